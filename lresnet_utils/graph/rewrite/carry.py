"""Batch normalisation before a padded convolution: the scale folds, the shift is carried along."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch

from lresnet_utils.graph.rewrite.values import (
    attribute,
    batch_norm,
    bypass,
    can_replace,
    constant,
    insert_after,
    is_padded,
    new_constant,
    nodes,
    private_producer,
    set_weight_and_bias,
    shape_of,
    weight_and_bias,
)

# A shift of many standard deviations would drown the numbers it is added to.
_LARGEST_SHIFT = 16.0


def carry_norm_shift(graph: ir.Graph) -> int:
    """Fold batch normalisations into the convolutions behind them, padded ones included.

    A convolution pads with zeros *after* the normalisation, so ``W * pad(s x + t)`` is no
    convolution of ``pad(x)``. But with ``z = x + t / s`` it is ``(s W) * pad(z)``: the scale folds
    into the weights and only the shift ``c = t / s`` must be added to x. In a residual network x
    is a sum, and so is everything that reads it: ``x + c`` is made by adding c to one of the
    summands, ``x'= x + r`` becomes ``z' = z + (r + c' - c)``, a projection ``V x`` becomes
    ``V z - V c``, and sub-sampling commutes with adding a constant. So every batch normalisation
    of the stream disappears into weights, biases and one constant per residual branch, which
    itself folds into the branch's last convolution where no gate stands between.

    Where t / s exceeds 16 standard deviations of x (a channel that training switched off), that
    channel is not shifted; its constant t then reaches the convolution's output as a constant map
    ``W * pad(t)``, added there. A convolution without padding takes scale and shift directly.
    """
    return sum(_carry(graph, node) for node in nodes(graph, "BatchNormalization"))


def _carry(graph: ir.Graph, node: ir.Node) -> bool:
    norm, x = batch_norm(node), node.inputs[0]
    layers = node.outputs[0].consumers()
    if norm is None or node.outputs[0].is_graph_output() or not layers:
        return False
    if any(not _is_convolution(layer, node.outputs[0]) for layer in layers):
        return False
    scale, shift = norm
    if not can_replace(node, x) or len(shape_of(x) or ()) != 4:
        return False
    padded = [layer for layer in layers if is_padded(layer)]
    carried = _carried(constant(node.inputs[1]).astype(np.float64), scale, shift)
    if not padded or not _tolerates(x, besides=node):
        carried = np.zeros_like(shift)
    # Not computed as shift - scale * carried, whose rounding errors would each cost a map.
    left = np.where(carried == 0, shift, 0)
    if padded and left.any() and None in shape_of(x):
        return False
    for layer in layers:
        _fold(graph, layer, scale, left, shape_of(x))
    if carried.any():
        _shift(graph, x, carried, besides=node)
        x = node.inputs[0]
    bypass(graph, node, x)
    return True


def _carried(gamma: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    # shift / scale in standard deviations of x is shift / gamma.
    possible = np.abs(shift) <= _LARGEST_SHIFT * np.abs(gamma)
    return np.divide(shift, scale, out=np.zeros_like(shift), where=possible & (scale != 0))


def _is_convolution(node: ir.Node, data: ir.Value) -> bool:
    if node.op_type != "Conv" or node.inputs[0] is not data or weight_and_bias(node) is None:
        return False
    return attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")


def _fold(
    graph: ir.Graph, layer: ir.Node, scale: np.ndarray, shift: np.ndarray, shape: tuple
) -> None:
    """Let ``layer(s x + t)`` be computed from x, with a constant map where padding needs one."""
    weight, bias = weight_and_bias(layer)
    if shift.any() and is_padded(layer):
        constant_map = _map(layer, weight, shift, shape)
        reader_value = layer.outputs[0]
        users = list(reader_value.uses())
        value = new_constant(graph, f"{layer.name}.map", constant_map.astype(np.float32))
        added = insert_after(graph, layer, ir.node("Add", [reader_value, value]))
        for user, index in users:
            user.replace_input_with(index, added)
    elif shift.any():
        bias = bias + _per_output(layer, weight, shift)
    per_input = _by_group(layer, weight, scale)
    set_weight_and_bias(graph, layer, weight * per_input[..., None, None], bias)


def _by_group(layer: ir.Node, weight: np.ndarray, per_channel: np.ndarray) -> np.ndarray:
    """Lay one number per input channel out as (outputs, inputs of the output's group)."""
    groups = attribute(layer, "group", 1)
    return np.repeat(per_channel.reshape(groups, -1), len(weight) // groups, axis=0)


def _per_output(layer: ir.Node, weight: np.ndarray, per_channel: np.ndarray) -> np.ndarray:
    """Return what a constant image of these channels adds to every output, away from borders."""
    return np.einsum("oi,oi->o", weight.sum((2, 3)), _by_group(layer, weight, per_channel))


def _map(layer: ir.Node, weight: np.ndarray, shift: np.ndarray, shape: tuple) -> np.ndarray:
    image = np.broadcast_to(shift[:, None, None], (1, *shape[1:]))
    top, left, bottom, right = attribute(layer, "pads", (0, 0, 0, 0))
    padded = np.pad(image, ((0, 0), (0, 0), (top, bottom), (left, right)))
    return torch.nn.functional.conv2d(
        torch.from_numpy(padded),
        torch.from_numpy(weight),
        stride=list(attribute(layer, "strides", (1, 1))),
        dilation=list(attribute(layer, "dilations", (1, 1))),
        groups=attribute(layer, "group", 1),
    ).numpy()


def _tolerates(value: ir.Value, *, besides: ir.Node | None = None) -> bool:
    """Say whether everyone who reads a value can do with the value plus a constant."""
    if value.is_graph_output():
        return False
    return all(_can_compensate(user, value) for user in value.consumers() if user is not besides)


def _can_compensate(user: ir.Node, value: ir.Value) -> bool:
    if user.op_type == "BatchNormalization":
        return user.inputs[0] is value and batch_norm(user) is not None
    if user.op_type == "Conv":
        return _is_convolution(user, value) and not is_padded(user)
    if user.op_type == "MaxPool":
        single = set(attribute(user, "kernel_shape", (0,))) == {1} and len(user.outputs) == 1
        return single and not is_padded(user) and _tolerates(user.outputs[0])
    if user.op_type != "Add" or user.inputs[0] is user.inputs[1]:
        return False
    shapes = [shape_of(operand) for operand in user.inputs]
    return shapes[0] is not None and shapes[0] == shapes[1] and len(shapes[0]) == 4


def _shift(graph: ir.Graph, x: ir.Value, c: np.ndarray, *, besides: ir.Node) -> None:
    """Let x become ``x + c`` for `besides`, and nothing else change for the others."""
    for user in x.consumers():
        if user is not besides:
            _compensate(graph, user, x, c)
    producer = x.producer()
    if producer is not None and producer.op_type == "Add" and _is_sum(producer):
        _add_to_branch(graph, producer, None, c)
    elif producer is not None and producer.op_type == "Conv" and weight_and_bias(producer):
        _, bias = weight_and_bias(producer)
        set_weight_and_bias(graph, producer, None, bias + c)
    else:
        _add_constant(graph, x, c, readers=list(x.uses()))


def _is_sum(node: ir.Node) -> bool:
    shapes = [shape_of(operand) for operand in node.inputs]
    return shapes[0] is not None and shapes[0] == shapes[1]


def _compensate(graph: ir.Graph, user: ir.Node, value: ir.Value, c: np.ndarray) -> None:
    """Undo in `user` that the value it reads has grown by c."""
    if user.op_type == "BatchNormalization":
        mean = constant(user.inputs[3]).astype(np.float64) + c
        name = f"{user.name}.mean"
        user.replace_input_with(3, new_constant(graph, name, mean.astype(np.float32)))
    elif user.op_type == "Conv":
        weight, bias = weight_and_bias(user)
        set_weight_and_bias(graph, user, None, bias - _per_output(user, weight, c))
    elif user.op_type == "MaxPool":
        for reader in user.outputs[0].consumers():
            _compensate(graph, reader, user.outputs[0], c)
    else:
        _add_to_branch(graph, user, value, -c)


def _add_to_branch(graph: ir.Graph, total: ir.Node, grown: ir.Value | None, c: np.ndarray) -> None:
    """Add c to one of a sum's two operands, not to the one that has grown."""
    operands = [(i, v) for i, v in enumerate(total.inputs) if v is not grown]
    for _, operand in operands:
        layer = private_producer(operand, "Conv")
        constants = weight_and_bias(layer) if layer is not None else None
        if constants is not None:
            set_weight_and_bias(graph, layer, None, constants[1] + c)
            return
        addition = private_producer(operand, "Add")
        known = constant(addition.inputs[1]) if addition is not None else None
        if known is not None and known.shape == (1, len(c), 1, 1):
            joined = (known.reshape(-1).astype(np.float64) + c).reshape(known.shape)
            name = f"{addition.name}.shift"
            addition.replace_input_with(1, new_constant(graph, name, joined.astype(np.float32)))
            return
    private = [(i, v) for i, v in operands if len(v.uses()) == 1 and v.producer() is not None]
    index, operand = (private or operands)[0]
    _add_constant(graph, operand, c, readers=[(total, index)])


def _add_constant(graph: ir.Graph, value: ir.Value, c: np.ndarray, *, readers: list) -> None:
    number = new_constant(graph, f"{value.name}.shift", c.reshape(1, -1, 1, 1).astype(np.float32))
    node = ir.node("Add", [value, number], name=f"{value.name}_shifted")
    if value.producer() is None:
        graph.insert_before(graph[0], node)
        output = node.outputs[0]
        output.shape, output.type, output.name = value.shape, value.type, f"{value.name}_shifted"
    else:
        output = insert_after(graph, value.producer(), node)
    for user, index in readers:
        user.replace_input_with(index, output)
