"""Exact rewrites of one node at a time: identity pooling, global pooling, PReLU's slope."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lresnet_utils.graph.rewrite.values import (
    attribute,
    bypass,
    can_replace,
    constant,
    is_padded,
    new_constant,
    nodes,
    put_before,
    shape_of,
)


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
