"""From a PyTorch network to an ONNX file."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import torch
from torch import nn

from lresnet_utils.errors import GraphError
from lresnet_utils.machine.disk import atomic_path

INPUT_NAME = "image"
OUTPUT_NAME = "features"
DEFAULT_OPSET = 17


def export_onnx(
    module: nn.Module,
    path: Path | str,
    *,
    batch_size: int,
    size: int = 112,
    opset: int = DEFAULT_OPSET,
) -> Path:
    """Write a network as one ONNX file with a fixed batch size.

    Parameters
    ----------
    module : nn.Module
        A network in evaluation mode on the CPU.
    path : path
        The file to make, whole or not at all. Weights are inside it, whatever their size.
    batch_size : int
        Faces per run; written into the graph, because the vendors' compilers want it fixed.
    size : int
        Height and width of a face in pixels.
    opset : int
        Version of the ONNX operators. The default, 17, is the last in which ReduceL2 carries its
        axes as an attribute, as older device compilers expect; the guide used 11.

    Returns
    -------
    Path
        `path`. The input is ``image`` (batch_size, 3, size, size), the output ``features``
        (batch_size, embedding_size), as in the guide's LResNet_pth2onnx.py.

    Raises
    ------
    GraphError
        When the network is in training mode or cannot be exported.

    Notes
    -----
    The graph is the network as it is: batch normalisation is not folded here, so that folding is
    the simplifier's step, and is checked there. Tensors of equal value are stored once and shared
    through Identity nodes. The same weights give the same bytes.
    """
    if module.training:
        raise GraphError(
            "The network is in training mode; its batch statistics would be exported.",
            where=type(module).__name__,
            fix="call eval() on it first",
        )
    if batch_size < 1:
        raise GraphError(f"A batch size of {batch_size} is not possible.", fix="use 1 or more")
    faces = torch.zeros(batch_size, 3, size, size)
    try:
        with atomic_path(path) as temporary, _quiet():
            _export(module, faces, temporary, opset)
    except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        raise GraphError(
            f"PyTorch could not export the network: {str(error).splitlines()[0]}",
            where=str(path),
            fix=f"try opset={DEFAULT_OPSET}" if opset != DEFAULT_OPSET else None,
        ) from error
    return Path(path)


def _export(module: nn.Module, faces: torch.Tensor, path: Path, opset: int) -> None:
    torch.onnx.export(
        module,
        (faces,),
        path,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        opset_version=opset,
        # The TorchScript exporter, on purpose. Measured with torch 2.13 on IR-SE100, the newer
        # one takes longer (14 s against 10 s), gives opset 18 where 17 is asked for, turns the 49
        # GlobalAveragePool into ReduceMean with its axes as an input, which older device
        # compilers refuse, and writes paths of the exporting machine into the file.
        dynamo=False,
        # EVAL would fold convolutions and batch normalisation unchecked; the module's own mode
        # (evaluation, see above) is preserved instead.
        training=torch.onnx.TrainingMode.PRESERVE,
    )


@contextlib.contextmanager
def _quiet():
    # The exporter announces its own retirement and its folding rules on every call.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
