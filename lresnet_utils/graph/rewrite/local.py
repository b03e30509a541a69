"""Exact rewrites of one node at a time: identity pooling, PReLU's slope, global pooling."""

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
            kernel = tuple(attribute(node, "kernel_shape", ()))
            strides = tuple(attribute(node, "strides", (1,) * len(kernel)))
            if {*kernel, *strides} != {1} or is_padded(node) or len(node.outputs) > 1:
                continue
        if can_replace(node, node.inputs[0]):
            bypass(graph, node, node.inputs[0])
            count += 1
    return count


def shape_prelu_slope(graph: ir.Graph) -> int:
    """Give PReLU's slope the shape (1, C, 1, 1).

    ``PReLU(x) = max(x, 0) + slope * min(x, 0)`` with the slope broadcast to x from the right, so
    (C, 1, 1) and (1, C, 1, 1) mean the same for a 4-d x. OpenVINO fuses only the second into the
    convolution before it. Files whose slope is (C,), which ONNX does not broadcast to channels but
    which some exporters write, are mended by this too.
    """
    count = 0
    for node in nodes(graph, "PRelu"):
        slope, shape = constant(node.inputs[1]), shape_of(node.inputs[0])
        if slope is None or shape is None or len(shape) != 4 or slope.size != shape[1]:
            continue
        wanted = (1, slope.size, 1, 1)
        flat_means_channels = slope.ndim > 1 or shape[3] != shape[1]
        if slope.shape == wanted or not flat_means_channels:
            continue
        if slope.ndim > 1 and slope.shape[-2:] != (1, 1):
            continue  # one slope per row or column, not per channel
        name = node.inputs[1].name or "slope"
        node.replace_input_with(1, new_constant(graph, name, slope.reshape(wanted)))
        count += 1
    return count


def global_pooling(graph: ir.Graph) -> int:
    """Turn a mean over height and width into GlobalAveragePool.

    ``ReduceMean(x, axes=(2, 3), keepdims=1) = GlobalAveragePool(x)`` by definition. Newer
    exporters write squeeze-and-excitation's pooling as the first; runtimes have a kernel for the
    second.
    """
    count = 0
    for node in nodes(graph, "ReduceMean"):
        shape = shape_of(node.inputs[0])
        axes = attribute(node, "axes")
        if axes is None and len(node.inputs) > 1:
            axes = constant(node.inputs[1])
        if shape is None or len(shape) != 4 or axes is None or not attribute(node, "keepdims", 1):
            continue
        if sorted(int(axis) % 4 for axis in np.ravel(axes)) != [2, 3]:
            continue
        pooled = ir.node("GlobalAveragePool", [node.inputs[0]], name=f"{node.name}_global")
        graph.insert_before(node, pooled)
        output = pooled.outputs[0]
        output.name = f"{node.outputs[0].name}_global"
        output.shape, output.type = node.outputs[0].shape, node.outputs[0].type
        bypass(graph, node, output)
        count += 1
    return count
