"""What every rewrite needs of an ONNX graph: constants in, constants out, who uses a value."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def constant(value: ir.Value | None) -> np.ndarray | None:
    """Return a value's numbers when they are part of the graph, else None."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def new_constant(graph: ir.Graph, like: str, array: np.ndarray) -> ir.Value:
    """Add an initializer whose name starts with `like` and return it."""
    name, number = like, 0
    while name in graph.initializers:
        number += 1
        name = f"{like}_{number}"
    array = np.ascontiguousarray(array)
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def attribute(node: ir.Node, name: str, default: object = None) -> object:
    """Return a node's attribute as a plain Python value."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def shape_of(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Return a value's shape, None for an axis without a number, or None when it is unknown."""
    if value is None or value.shape is None:
        return None
    return tuple(axis if isinstance(axis, int) else None for axis in value.shape)


def channels_of(value: ir.Value) -> int | None:
    """Return the length of a value's second axis, or None when it is unknown."""
    shape = shape_of(value)
    return shape[1] if shape is not None and len(shape) > 1 else None


def only_user(value: ir.Value) -> ir.Node | None:
    """Return the one node that reads a value; None when others do or the graph gives it out."""
    users = value.consumers()
    return users[0] if len(users) == 1 and not value.is_graph_output() else None


def private_producer(value: ir.Value, *operators: str) -> ir.Node | None:
    """Return the node that makes a value when it is such an operator and nobody else reads it."""
    node = value.producer()
    if node is None or node.op_type not in operators or node.domain not in ("", "ai.onnx"):
        return None
    return node if only_user(value) is not None else None


def nodes(graph: ir.Graph, *operators: str) -> list[ir.Node]:
    """Return the standard nodes of these operators, in the order of execution."""
    return [n for n in graph if n.op_type in operators and n.domain in ("", "ai.onnx")]


def bypass(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Let everyone who reads the node's first output read `value`, and remove the node.

    An output of the graph keeps its name; `value` must then be made by a node.
    """
    ir.convenience.replace_all_uses_with(node.outputs[0], value, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def can_replace(node: ir.Node, value: ir.Value) -> bool:
    """Say whether `value` can stand for the node's output, also where the graph gives it out."""
    return not node.outputs[0].is_graph_output() or (
        value.producer() is not None and not value.is_graph_output()
    )


def insert_after(graph: ir.Graph, node: ir.Node, new: ir.Node) -> ir.Value:
    """Put a node behind another, describe its output like the other's, and return the output."""
    graph.insert_after(node, new)
    output, model = new.outputs[0], node.outputs[0]
    output.shape, output.type = model.shape, model.type
    output.name = f"{model.name}_{new.op_type.lower()}"
    return output


def batch_norm(node: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Return scale and shift of a batch normalisation, float64 (channels,), or None.

    In evaluation mode it is ``y = scale * x + shift`` with ``scale = gamma / sqrt(var + eps)``
    and ``shift = beta - mean * scale`` (ONNX operator BatchNormalization). None when one of its
    four constants is not part of the graph, or when it is in training mode.
    """
    arrays = [constant(value) for value in node.inputs[1:5]]
    if any(array is None for array in arrays) or attribute(node, "training_mode", 0):
        return None
    gamma, beta, mean, variance = (array.astype(np.float64) for array in arrays)
    scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return scale, beta - mean * scale


def is_padded(conv: ir.Node) -> bool:
    """Say whether a convolution or pooling reads beyond its input's border."""
    automatic = attribute(conv, "auto_pad", "NOTSET")
    return automatic not in ("NOTSET", "VALID") or any(attribute(conv, "pads", ()))


def weight_and_bias(node: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a Conv's or Gemm's float64 weight and bias, the bias 0 where there is none.

    A Gemm's weight is turned so that its rows are outputs. None when they are not constants, or
    when a Gemm scales its terms.
    """
    weight = constant(node.inputs[1])
    bias_value = node.inputs[2] if len(node.inputs) > 2 else None
    bias = constant(bias_value)
    if weight is None or (bias_value is not None and bias is None):
        return None
    weight = weight.astype(np.float64)
    if node.op_type == "Gemm":
        if attribute(node, "alpha", 1.0) != 1 or attribute(node, "beta", 1.0) != 1:
            return None
        if attribute(node, "transA", 0):
            return None
        weight = weight if attribute(node, "transB", 0) else weight.T
    bias = np.zeros(len(weight)) if bias is None else bias.astype(np.float64).reshape(-1)
    return weight, np.broadcast_to(bias, len(weight))


def set_weight_and_bias(
    graph: ir.Graph, node: ir.Node, weight: np.ndarray | None, bias: np.ndarray
) -> None:
    """Give a Conv or Gemm new constants, rows of a Gemm's weight being outputs, as float32.

    A weight of None leaves the weight as it is.
    """
    stem = node.name or node.outputs[0].name
    if weight is not None:
        if node.op_type == "Gemm" and not attribute(node, "transB", 0):
            weight = weight.T
        new = new_constant(graph, f"{stem}.weight", weight.astype(np.float32))
        node.replace_input_with(1, new)
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    new = new_constant(graph, f"{stem}.bias", bias.astype(np.float32))
    node.replace_input_with(2, new)
