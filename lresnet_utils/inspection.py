"""What a weights file or an ONNX file is, and what a params file must say about it."""

from __future__ import annotations

from pathlib import Path

from lresnet_utils.graph.foreign import Foreign, open_foreign
from lresnet_utils.models.checkpoint import fitting_architectures, read_checkpoint

_SHOWN = 6


def inspect_file(path: Path | str, *, output: str = "auto") -> list[str]:
    """Describe a file in a few lines, the last of which can be pasted into a params file.

    Parameters
    ----------
    path : path
        A checkpoint, a TorchScript or safetensors file, or an ``.onnx`` file.
    output : str
        Of an ``.onnx`` file with several outputs, the embedding's name.

    Raises
    ------
    CheckpointError, GraphError
        When the file cannot be used; the message says what to do.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        return _graph(open_foreign(path, output=output), path, output)
    return _weights(path)


def _weights(path: Path) -> list[str]:
    checkpoint = read_checkpoint(path)
    fitting = fitting_architectures(checkpoint.state)
    lines = [f"{path.name}: {len(checkpoint.state)} tensors"]
    if checkpoint.ignored:
        more = ", ..." if len(checkpoint.ignored) > _SHOWN else ""
        lines.append(f"  left out      {', '.join(checkpoint.ignored[:_SHOWN])}{more}")
    if not fitting:
        return [*lines, "  They fit no network known here; docs/add_a_network.md says what to do."]
    return [*lines, "model:", f"  architecture: {' or '.join(fitting)}", f"  weights: {path}"]


def _graph(foreign: Foreign, path: Path, output: str) -> list[str]:
    ports, told = foreign.ports, foreign.told
    batch = "any batch size" if ports.batch is None else f"batches of {ports.batch}"
    repairs = [f"{name} ({count})" for name, count in foreign.repairs.items()]
    kind = ports.input_type.name.lower()
    lines = [
        f"{path.name}: an ONNX graph, opset {foreign.file.opset}, "
        f"{foreign.n_parameters:,} parameters",
        f"  input         {ports.input}, {ports.layout.upper()}, {kind}, {batch}",
        f"  output        {ports.output}",
        f"  pixels        {told.because}",
        f"  repairs       {', '.join(repairs) or 'none needed'}",
        "model:",
        "  architecture: onnx",
        f"  weights: {path}",
        "  channel_order: rgb  # or bgr: no graph tells; 5_evaluate tests it",
    ]
    if told.normalisation is None:
        lines.append("  normalisation: minus1_1  # or as its maker scaled the pixels")
    if output != "auto":
        lines.append(f"  output: {output}")
    return lines
