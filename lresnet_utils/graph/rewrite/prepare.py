"""Applying rewrites to a file, with proof that it still computes the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from lresnet_utils.errors import GraphError, nearest
from lresnet_utils.files import atomic_path
from lresnet_utils.graph.parity import run_onnx
from lresnet_utils.graph.rewrite.carry import carry_norm_shift
from lresnet_utils.graph.rewrite.folding import fold_norm_backward, fold_norm_forward
from lresnet_utils.graph.rewrite.local import (
    global_pooling,
    remove_identity_pooling,
    shape_prelu_slope,
)
from lresnet_utils.verify.scores import unit_rows

REWRITES: dict[str, Callable[[ir.Graph], int]] = {
    "identity-pooling": remove_identity_pooling,
    "global-pooling": global_pooling,
    "prelu-slope": shape_prelu_slope,
    "norm-backward": fold_norm_backward,
    "norm-forward": fold_norm_forward,
    "norm-carried": carry_norm_shift,
}
"""Every rewrite by name, in the order in which they are applied."""

TOLERANCE = 1e-5
"""Largest difference of a component of the unit embeddings that rounding may explain."""


@dataclass(frozen=True)
class PrepareRecord:
    """What preparing a graph did.

    Attributes
    ----------
    applied : dict of str to int
        For every rewrite asked for, how often its pattern fitted.
    nodes_before, nodes_after : int
        Nodes of the two graphs.
    max_abs_difference : float
        Largest difference of a component of the unit embeddings of random pixels.
    """

    applied: dict[str, int]
    nodes_before: int
    nodes_after: int
    max_abs_difference: float


def prepare_onnx(
    path: Path | str,
    out: Path | str,
    *,
    rewrites: Sequence[str] = tuple(REWRITES),
    input_range: tuple[float, float] = (-1.0, 1.0),
    seed: int = 0,
) -> PrepareRecord:
    """Rewrite an ONNX file and compare the two graphs.

    Parameters
    ----------
    path, out : path
        The graph to read and the one file to write, whole or not at all.
    rewrites : sequence of str
        Names in :data:`REWRITES`; they are applied in the order of that table.
    input_range : (float, float)
        Smallest and largest random pixel of the comparison, as the network is used.
    seed : int
        Of the random pixels.

    Returns
    -------
    PrepareRecord

    Raises
    ------
    GraphError
        When a rewrite is not known, the file is no graph, or the unit embeddings of the two
        graphs, both executed node by node, differ by more than :data:`TOLERANCE`. Nothing is
        written then.
    """
    for name in rewrites:
        if name not in REWRITES:
            raise GraphError(f"Unknown rewrite {name!r}.", fix=nearest(name, REWRITES))
    model = _load(path)
    before = len(model.graph)
    applied = {n: apply(model.graph) for n, apply in REWRITES.items() if n in rewrites}
    proto = _without_unused(ir.to_proto(model))
    with atomic_path(out) as temporary:
        onnx.save(proto, temporary)
        difference = _difference(path, temporary, proto, input_range, seed)
    return PrepareRecord(applied, before, len(proto.graph.node), difference)


def _load(path: Path | str) -> ir.Model:
    try:
        return ir.from_proto(onnx.shape_inference.infer_shapes(onnx.load(path)))
    except Exception as error:  # a missing file, or protobuf's own errors for a damaged one
        raise GraphError(
            "The file is missing or is no ONNX graph.", where=str(path), fix="export it again"
        ) from error


def _without_unused(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the constants that no node reads any more."""
    used = {name for node in model.graph.node for name in node.input}
    used |= {value.name for value in model.graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _difference(
    before: Path | str, after: Path, model: onnx.ModelProto, pixels: tuple, seed: int
) -> float:
    weights = {tensor.name for tensor in model.graph.initializer}
    (faces,) = (value for value in model.graph.input if value.name not in weights)
    shape = [axis.dim_value or 1 for axis in faces.type.tensor_type.shape.dim]
    batch = np.random.default_rng(seed).uniform(*pixels, shape).astype(np.float32)
    # Node by node: ONNX Runtime's own optimiser would make some of the same folds in both.
    old, new = (unit_rows(run_onnx(p, batch, as_written=True)) for p in (before, after))
    difference = float(np.abs(old - new).max())
    if not difference <= TOLERANCE:
        raise GraphError(
            f"The rewritten graph computes something else: unit embeddings differ by "
            f"{difference:.1e} (at most {TOLERANCE:.0e} is allowed).",
            where=str(before),
            fix="leave a rewrite out, and report the graph",
        )
    return difference
