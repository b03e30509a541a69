"""From a PyTorch network to an ONNX file, and to a simpler one that still computes the same."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxsim
import torch
from torch import nn

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.parity import run_onnx, same_embeddings
from lresnet_utils.graph.reading import found, read_message, stored_bytes
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
        # The exporter announces its own retirement and its folding rules on every call.
        with (
            atomic_path(path) as temporary,
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (faces,),
                temporary,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                opset_version=opset,
                # The TorchScript exporter, on purpose. Measured with torch 2.13 on IR-SE100, the
                # newer one takes longer (14 s against 10 s), gives opset 18 where 17 is asked for,
                # turns the 49 GlobalAveragePool into ReduceMean with its axes as an input, which
                # older device compilers refuse, and writes paths of the exporting machine into
                # the file.
                dynamo=False,
                # EVAL would fold convolutions and batch normalisation unchecked; the module's own
                # mode (evaluation, see above) is preserved instead.
                training=torch.onnx.TrainingMode.PRESERVE,
            )
    except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        raise GraphError(
            f"PyTorch could not export the network: {str(error).splitlines()[0]}",
            where=str(path),
            fix=f"try opset={DEFAULT_OPSET}" if opset != DEFAULT_OPSET else None,
        ) from error
    return Path(path)


# Simplifying.

# Measured on SFace and IR-SE100: right folds change a component of a unit embedding by up to 3e-6;
# one of hundreds of channels wrong by a fifth changes it by 3e-4 and more, a whole layer by 7e-3.
TOLERANCE = 1e-4
# Folding makes constants of shapes and sums of weights, and none larger than the largest weight or
# this; a stranger's graph of 3 kB may ask for one of a gigabyte.
_FOLDED_BYTES = 64 * 2**20
_ONNXSIM_BYTES = 2**31 - 10_000  # its own limit
# onnxsim would turn the final ReduceL2 and Div into LpNormalization: one node less, but a rare
# operator that a device's compiler may not know.
_SKIPPED_PASSES = ["fuse_lp_normalization"]


@dataclass(frozen=True)
class SimplifyRecord:
    """What simplification did.

    Attributes
    ----------
    nodes_before, nodes_after : int
        Nodes of the two graphs.
    seconds : float
        Time of the simplification itself, without the checks.
    checks : int
        Random batches on which the two graphs were compared.
    max_abs_difference : float
        Largest difference of a component of the unit embeddings over all checks.
    """

    nodes_before: int
    nodes_after: int
    seconds: float
    checks: int
    max_abs_difference: float


def simplify_onnx(
    path: Path | str,
    out: Path | str,
    *,
    batch_size: int,
    checks: int = 3,
    input_range: tuple[float, float] = (-1.0, 1.0),
    seed: int = 0,
) -> SimplifyRecord:
    """Fold constants and batch normalisation with onnxsim, and compare the two graphs.

    Parameters
    ----------
    path, out : path
        The graph to read and the one file to write, whole or not at all.
    batch_size : int
        Fixes the first axis of the graph's input, like onnxsim's ``--input-shape`` in the guide.
    checks : int
        Batches of random pixels that both graphs must agree on, at least 1.
    input_range : (float, float)
        Smallest and largest random pixel, as the network is used: (-1, 1), or (0, 255) for
        architectures with ``raw`` pixels. In a narrower range a wrong fold can hide.
    seed : int
        Of the random pixels.

    Returns
    -------
    SimplifyRecord
        Sizes, time and agreement.

    Raises
    ------
    GraphError
        When the graph cannot be simplified, or the result differs by more than ``TOLERANCE`` in
        any component of a unit embedding. Nothing is written then.

    Notes
    -----
    onnxsim's own check is not used. It is off unless asked for; asked, it draws pixels in [0, 1),
    compares components one by one with a relative tolerance, which components near zero fail by
    rounding alone, and prints both arrays.
    """
    if checks < 1:
        raise GraphError("A simplified graph must be checked at least once.", fix="checks=1")
    model = read_message(path)
    where = str(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise GraphError(f"The graph has {len(inputs)} inputs instead of one.", where=where)
    batch, *rest = inputs[0].type.tensor_type.shape.dim
    if batch.dim_value not in (0, batch_size) or not all(axis.dim_value for axis in rest):
        raise GraphError(
            f"The graph's input does not take batches of {batch_size}.",
            where=where,
            fix="export it for this batch size",
        )
    shape = [batch_size, *(axis.dim_value for axis in rest)]
    kept = (stored_bytes(tensor) or 0 for tensor in found(model, onnx.TensorProto))
    most = min(max([_FOLDED_BYTES, *kept]), _ONNXSIM_BYTES)
    started = time.perf_counter()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            simple, _ = onnxsim.simplify(
                model,
                overwrite_input_shapes={inputs[0].name: shape},
                skipped_optimizers=_SKIPPED_PASSES,
                tensor_size_threshold=f"{most}B",
                certify=False,
            )
    except Exception as error:  # the C++ core raises plain RuntimeError and protobuf errors
        message = str(error).split("\n", 1)[0]
        raise GraphError(f"onnxsim could not simplify the graph: {message}", where=where) from error
    seconds = time.perf_counter() - started
    generator = np.random.default_rng(seed)
    batches = generator.uniform(*input_range, (checks, *shape)).astype(np.float32)
    with atomic_path(out) as temporary:
        onnx.save(simple, temporary)
        # Both node by node: left to itself, ONNX Runtime makes the same folds as onnxsim, so both
        # would share a wrong one, and rounds a quantised graph otherwise, which onnxsim would be
        # blamed for.
        difference = same_embeddings(
            run_onnx(path, batches, as_written=True),
            run_onnx(temporary, batches, as_written=True),
            TOLERANCE,
            what="The simplified graph computes something else",
            where=where,
            fix="use the exported graph as it is, and report the graph to onnxsim",
        )
    return SimplifyRecord(
        nodes_before=len(model.graph.node),
        nodes_after=len(simple.graph.node),
        seconds=seconds,
        checks=checks,
        max_abs_difference=difference,
    )
