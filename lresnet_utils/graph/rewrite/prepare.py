"""Applying rewrites to a file, with proof that it still computes the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from lresnet_utils.errors import GraphError, nearest
from lresnet_utils.graph.parity import run_onnx, unit_difference
from lresnet_utils.graph.reading import read_message
from lresnet_utils.graph.rewrite.batchnorm import fold_norm_backward, fold_norm_forward
from lresnet_utils.graph.rewrite.carry import carry_norm_shift
from lresnet_utils.graph.rewrite.local import (
    global_pooling,
    remove_identity_pooling,
    shape_prelu_slope,
)
from lresnet_utils.graph.rewrite.squeeze_excitation import gate_convolutions, gate_scaling
from lresnet_utils.graph.rewrite.values import located, only_input
from lresnet_utils.machine.disk import atomic_path

REWRITES: dict[str, Callable[[ir.Graph], int]] = {
    "identity-pooling": remove_identity_pooling,
    "global-pooling": global_pooling,
    "gate-convolutions": gate_convolutions,
    "gate-scaling": gate_scaling,
    "prelu-slope": shape_prelu_slope,
    "norm-backward": fold_norm_backward,
    "norm-forward": fold_norm_forward,
    "norm-carried": carry_norm_shift,
}
"""Every rewrite by name, in the order in which they are applied."""

TOLERANCE = 1e-5
"""Largest difference of a component of the unit embeddings that rounding may explain."""

# Initializers had to be listed as inputs before this version, and runtimes did not let a caller
# override them; since then, listing one says that a caller may.
_IR_VERSION_OF_DEFAULTS = 4


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
        The graph to read and the one file to write, whole or not at all. The graph has one
        input and one output.
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
        When a rewrite is not known, the file is no such graph, or the unit embeddings of the two
        graphs, both executed node by node, differ by more than :data:`TOLERANCE`. Nothing is
        written then.
    """
    for name in rewrites:
        if name not in REWRITES:
            raise GraphError(f"Unknown rewrite {name!r}.", fix=nearest(name, REWRITES))
    model = _load(path)
    before = len(model.graph)
    faces = only_input(model.graph)
    if faces.shape is None:
        raise GraphError(f"The shape of the graph's input {faces.name} is not known.", str(path))
    # An axis without a number has length one.
    shape = [axis if isinstance(axis, int) else 1 for axis in faces.shape]
    pixels = np.random.default_rng(seed).uniform(*input_range, shape)
    batch = pixels.astype(np.uint8 if faces.dtype == ir.DataType.UINT8 else np.float32)
    applied = {n: apply(model.graph) for n, apply in REWRITES.items() if n in rewrites}
    expected = run_onnx(path, batch, as_written=True)
    RemoveUnusedNodesPass()(model)
    with atomic_path(out) as temporary:
        onnx.save(ir.to_proto(model), temporary)
        # Node by node: ONNX Runtime's own optimiser would make some of the same folds in both.
        difference = unit_difference(expected, run_onnx(temporary, batch, as_written=True))
        if not difference <= TOLERANCE:
            raise GraphError(
                f"The rewritten graph computes something else: unit embeddings differ by "
                f"{difference:.1e} (at most {TOLERANCE:.0e} is allowed).",
                where=str(path),
                fix="leave a rewrite out, and report the graph",
            )
    return PrepareRecord(applied, before, len(model.graph), difference)


def _load(path: Path | str) -> ir.Model:
    proto = read_message(path)
    with located(path):
        if proto.ir_version < _IR_VERSION_OF_DEFAULTS:
            constants = {tensor.name for tensor in proto.graph.initializer}
            inputs = [value for value in proto.graph.input if value.name not in constants]
            del proto.graph.input[:]
            proto.graph.input.extend(inputs)
            proto.ir_version = _IR_VERSION_OF_DEFAULTS
        model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
        only_input(model.graph)
        if len(model.graph.outputs) != 1:
            raise GraphError(f"The graph has {len(model.graph.outputs)} outputs instead of one.")
    return model
