"""ONNX graphs: export, simplification, inspection, and agreement with PyTorch."""
