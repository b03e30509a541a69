"""ONNX files of other makers: read, understood, repaired, and fitted to a run."""

from lresnet_utils.graph.adopt.fit import Adopted, adopt_onnx
from lresnet_utils.graph.adopt.understand import Foreign, open_foreign

__all__ = ["Adopted", "Foreign", "adopt_onnx", "open_foreign"]
