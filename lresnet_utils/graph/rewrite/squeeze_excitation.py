"""Squeeze-and-excitation in the form that runtimes fuse: 1x1 convolutions, and a plain product."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lresnet_utils.graph.rewrite.values import (
    bypass,
    constant,
    floats,
    is_op,
    name_of,
    new_constant,
    nodes,
    only_user,
    put_before,
    shape_of,
    weight_and_bias,
)

_ELEMENTWISE = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "Tanh")


def gate_convolutions(graph: ir.Graph) -> int:
    """Turn fully connected layers between a Flatten and its reversal into 1x1 convolutions.

    On an image of one pixel a 1x1 convolution is ``W x + b``, what Gemm and MatMul compute for
    the flattened image. Flatten and the final Reshape then have nothing left to do. This is how
    exporters write the gate of squeeze-and-excitation when it was made of linear layers; the
    whole chain is turned, or nothing.
    """
    return sum(_turn(graph, node) for node in nodes(graph, "Flatten", "Reshape", "Squeeze"))


def _turn(graph: ir.Graph, start: ir.Node) -> bool:
    x = start.inputs[0]
    shape, flat = shape_of(x), shape_of(start.outputs[0])
    if shape is None or len(shape) != 4 or shape[2:] != (1, 1) or shape[1] is None:
        return False
    chain, end = _chain(start)
    linear = [node for node in chain if is_op(node, "Gemm", "MatMul")]
    if flat is None or flat[1:] != shape[1:2] or not linear or not _reverses(end):
        return False
    value = x
    for node in chain:
        if node in linear:
            weight, bias = _linear(node)
            inputs = [
                value,
                new_constant(graph, f"{name_of(node)}.weight", weight[..., None, None]),
            ]
            if bias is not None:
                inputs.append(new_constant(graph, f"{name_of(node)}.bias", bias))
            value = put_before(graph, node, ir.node("Conv", inputs), node.outputs[0])
        else:
            node.replace_input_with(0, value)
            value = node.outputs[0]
        channels = shape_of(node.outputs[0])[1]
        value.shape = ir.Shape([x.shape[0], channels, 1, 1])
    bypass(graph, end, value)
    for node in reversed([start, *linear]):
        graph.remove(node, safe=True)
    return True


def _chain(start: ir.Node) -> tuple[list[ir.Node], ir.Node | None]:
    """Follow a value through layers and activations; return those and what comes after them."""
    chain, value = [], start.outputs[0]
    while True:
        node = only_user(value)
        known = is_op(node, *_ELEMENTWISE) or (
            is_op(node, "Gemm", "MatMul") and _linear(node) is not None
        )
        if not known or node.inputs[0] is not value or len(shape_of(node.outputs[0]) or ()) != 2:
            return chain, node
        chain.append(node)
        value = node.outputs[0]


def _linear(node: ir.Node) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Return weight (outputs, inputs) and bias of a Gemm or MatMul; no bias where it is zero."""
    if node.op_type == "MatMul":
        weight = floats(node.inputs[1])
        return None if weight is None or weight.ndim != 2 else (weight.T, None)
    known = weight_and_bias(node)
    return known and (known[0], known[1] if known[1].any() else None)


def _reverses(node: ir.Node | None) -> bool:
    """Say whether a node turns (n, c) into (n, c, 1, 1)."""
    if not is_op(node, "Reshape", "Unsqueeze"):
        return False
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    if before is None or after is None or None in before[1:]:
        return False
    # Equal channels make equal batches, known or not: both hold the same numbers.
    return after[1:] == (*before[1:], 1, 1)


def gate_scaling(graph: ir.Graph) -> int:
    """Multiply an image by its gate without expanding the gate, the image first.

    ``x * Expand(g, shape of x) = x * g``, since Mul broadcasts by itself, and ``g * x = x * g``.
    """
    count = 0
    for node in nodes(graph, "Mul"):
        bare = [_without_expand(graph, node, index) for index in (0, 1)]
        if any(bare) or _gate_is_first(node):
            count += 1
        if _gate_is_first(node):
            gate, image = node.inputs
            node.replace_input_with(0, image)
            node.replace_input_with(1, gate)
    return count


def _without_expand(graph: ir.Graph, product: ir.Node, index: int) -> bool:
    expand = product.inputs[index].producer()
    if not is_op(expand, "Expand") or constant(expand.inputs[1]) is None:
        return False
    shape = shape_of(expand.outputs[0])
    if shape is None or None in shape or shape != shape_of(product.inputs[1 - index]):
        return False
    product.replace_input_with(index, expand.inputs[0])
    if not expand.outputs[0].uses() and not expand.outputs[0].is_graph_output():
        graph.remove(expand, safe=True)
    return True


def _gate_is_first(product: ir.Node) -> bool:
    gate, image = (shape_of(operand) for operand in product.inputs)
    if gate is None or image is None or not len(gate) == len(image) == 4:
        return False
    return gate[2:] == (1, 1) and None not in image[2:] and image[2:] != (1, 1)
