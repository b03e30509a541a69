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
from lresnet_utils.graph.rewrite.batchnorm import (
    carry_norm_shift,
    fold_norm_backward,
    fold_norm_forward,
)
from lresnet_utils.graph.rewrite.squeeze_excitation import gate_convolutions, gate_scaling
from lresnet_utils.graph.rewrite.values import (
    attribute,
    bypass,
    can_replace,
    constant,
    is_padded,
    located,
    new_constant,
    nodes,
    only_input,
    put_before,
    shape_of,
)
from lresnet_utils.machine.disk import atomic_path

# Exact rewrites of one node at a time: identity pooling, global pooling, PReLU's slope.


def remove_identity_pooling(graph: ir.Graph) -> int:
    """Remove poolings over windows of one pixel at stride one, and Identity nodes.

    The maximum and the mean of a single number are the number: ``pool(x) = x``. The shortcuts of
    IR networks are such poolings wherever they do not sub-sample; simplifiers leave them, and
    runtimes copy the tensor.
    """
    count = 0
    for node in nodes(graph, "MaxPool", "AveragePool", "Identity"):
        if node.op_type != "Identity":
            kernel = attribute(node, "kernel_shape")
            strides = attribute(node, "strides", (1,))
            if {*kernel, *strides} != {1} or is_padded(node) or len(node.outputs) > 1:
                continue
        if can_replace(node, node.inputs[0]):
            bypass(graph, node, node.inputs[0])
            count += 1
    return count


def global_pooling(graph: ir.Graph) -> int:
    """Turn a mean over height and width into GlobalAveragePool.

    ``ReduceMean(x, axes=(2, 3), keepdims=1) = GlobalAveragePool(x)`` by definition, and so is
    AveragePool with a window as large as x. Exporters write squeeze-and-excitation's pooling in
    these ways too; runtimes have a kernel for GlobalAveragePool.
    """
    count = 0
    for node in nodes(graph, "ReduceMean", "AveragePool"):
        x = node.inputs[0]
        shape = shape_of(x)
        if shape is None or len(shape) != 4:
            continue
        if not (_means_pixels(node) if node.op_type == "ReduceMean" else _spans(node, shape[2:])):
            continue
        pooled = put_before(graph, node, ir.node("GlobalAveragePool", [x]), node.outputs[0])
        bypass(graph, node, pooled)
        count += 1
    return count


def _means_pixels(mean: ir.Node) -> bool:
    axes = attribute(mean, "axes")
    if axes is None and len(mean.inputs) > 1:
        axes = constant(mean.inputs[1])
    if axes is None or not attribute(mean, "keepdims", 1):
        return False
    return sorted(int(axis) % 4 for axis in np.ravel(axes)) == [2, 3]


def _spans(pooling: ir.Node, size: tuple[int | None, ...]) -> bool:
    dilated = {*attribute(pooling, "dilations", (1,))} != {1}
    return tuple(attribute(pooling, "kernel_shape")) == size and not (is_padded(pooling) or dilated)


def shape_prelu_slope(graph: ir.Graph) -> int:
    """Give PReLU's slope the shape (1, C, 1, 1).

    ``PReLU(x) = max(x, 0) + slope * min(x, 0)`` with the slope broadcast to x from the right, so
    (C, 1, 1) and (1, C, 1, 1) mean the same for a 4-d x. OpenVINO fuses only the second into the
    convolution before it.
    """
    count = 0
    for node in nodes(graph, "PRelu"):
        slope, shape = constant(node.inputs[1]), shape_of(node.inputs[0])
        if slope is None or shape is None or len(shape) != 4 or slope.shape != (shape[1], 1, 1):
            continue
        reshaped = new_constant(graph, node.inputs[1].name, slope[None])
        node.replace_input_with(1, reshaped)
        count += 1
    return count


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
