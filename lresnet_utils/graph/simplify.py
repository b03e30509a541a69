"""Simplifying an ONNX graph, with proof that it still computes the same."""

from __future__ import annotations

import contextlib
import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxsim

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.parity import run_onnx, unit_difference
from lresnet_utils.graph.reading import found, read_message, stored_bytes
from lresnet_utils.machine.disk import atomic_path

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
    name, shape = inputs[0].name, [batch_size, *(axis.dim_value for axis in rest)]
    started = time.perf_counter()
    simple = _simplified(model, name, shape, where=str(path))
    seconds = time.perf_counter() - started
    generator = np.random.default_rng(seed)
    batches = generator.uniform(*input_range, (checks, *shape)).astype(np.float32)
    with atomic_path(out) as temporary:
        onnx.save(simple, temporary)
        difference = _difference(path, temporary, batches)
    return SimplifyRecord(
        nodes_before=len(model.graph.node),
        nodes_after=len(simple.graph.node),
        seconds=seconds,
        checks=checks,
        max_abs_difference=difference,
    )


def _simplified(
    model: onnx.ModelProto, name: str, shape: list[int], *, where: str
) -> onnx.ModelProto:
    weights = (stored_bytes(tensor) or 0 for tensor in found(model, onnx.TensorProto))
    most = min(max([_FOLDED_BYTES, *weights]), _ONNXSIM_BYTES)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            simple, _ = onnxsim.simplify(
                model,
                overwrite_input_shapes={name: shape},
                skipped_optimizers=_SKIPPED_PASSES,
                tensor_size_threshold=f"{most}B",
                certify=False,
            )
    except Exception as error:  # the C++ core raises plain RuntimeError and protobuf errors
        message = str(error).split("\n", 1)[0]
        raise GraphError(f"onnxsim could not simplify the graph: {message}", where=where) from error
    return simple


def _difference(before: Path | str, after: Path, batches: np.ndarray) -> float:
    # Both node by node: left to itself, ONNX Runtime makes the same folds as onnxsim, so both would
    # share a wrong one, and rounds a quantised graph otherwise, which onnxsim would be blamed for.
    how = {"as_written": True}
    difference = unit_difference(run_onnx(before, batches, **how), run_onnx(after, batches, **how))
    if not difference <= TOLERANCE:
        raise GraphError(
            f"The simplified graph computes something else: unit embeddings differ by "
            f"{difference:.1e} (at most {TOLERANCE:.0e} is allowed).",
            where=str(before),
            fix="use the exported graph as it is, and report the graph to onnxsim",
        )
    return difference
