"""Exact folds of batch normalisation into the linear layer behind or before it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from lresnet_utils.graph.rewrite.values import (
    attribute,
    batch_norm,
    bypass,
    constant,
    floats,
    is_op,
    is_padded,
    name_of,
    new_constant,
    nodes,
    only_user,
    private_producer,
    put_after,
    set_weight_and_bias,
    shape_of,
    weight_and_bias,
)


def fold_norm_backward(graph: ir.Graph) -> int:
    """Fold a batch normalisation into the convolution or fully connected layer before it.

    ``s (W x + b) + t = (s W) x + (s b + t)``, with one s and t per output. Simplifiers do this
    for convolutions and leave the one behind IR's last fully connected layer.
    """
    count = 0
    for node in nodes(graph, "BatchNormalization"):
        layer = private_producer(node.inputs[0], "Conv", "Gemm")
        norm = batch_norm(node)
        constants = weight_and_bias(layer) if layer is not None else None
        if norm is None or constants is None:
            continue
        (scale, shift), (weight, bias) = norm, constants
        weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        set_weight_and_bias(graph, layer, weight, scale * bias + shift)
        bypass(graph, node, layer.outputs[0])
        count += 1
    return count


def fold_norm_forward(graph: ir.Graph) -> int:
    """Fold a batch normalisation into the fully connected layer behind it, across a Flatten.

    ``W (s x + t) + b = (W s) x + (W t + b)``. After a Flatten the s and t of a channel stand once
    for each of its pixels. With :func:`fold_norm_backward` this makes one layer of the
    BN-FC-BN at the end of the IR networks.
    """
    count = 0
    for node in nodes(graph, "BatchNormalization"):
        norm, user = batch_norm(node), only_user(node.outputs[0])
        flat = is_op(user, "Flatten", "Reshape")
        if flat and not _flattens(user, shape_of(node.inputs[0])):
            continue
        layer = only_user(user.outputs[0]) if flat else user
        constants = weight_and_bias(layer) if is_op(layer, "Gemm") else None
        if norm is None or constants is None:
            continue
        weight, bias = constants
        pixels = weight.shape[1] // len(norm[0])
        scale, shift = (np.repeat(per_channel, pixels) for per_channel in norm)
        set_weight_and_bias(graph, layer, weight * scale, bias + weight @ shift)
        bypass(graph, node, node.inputs[0])
        count += 1
    return count


def _flattens(node: ir.Node, shape: tuple[int | None, ...] | None) -> bool:
    """Say whether a node turns (n, c, h, w) into (n, c h w)."""
    if shape is None or len(shape) != 4 or None in shape[1:]:
        return False
    if node.op_type == "Flatten":
        return attribute(node, "axis", 1) == 1
    target, wanted = constant(node.inputs[1]), int(np.prod(shape[1:]))
    if target is None or target.size != 2:
        return False
    return int(target[1]) in (wanted, -1) and int(target[0]) in (shape[0] or -1, -1, 0)


# Batch normalisation before a padded convolution: the scale folds, the shift is carried along.

# A shift of many standard deviations would drown the numbers it is added to.
_LARGEST_SHIFT = 16.0

# A node that reads a value, and as which of its inputs.
_Use = tuple[ir.Node, int]


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
    ``W * pad(t)``, added there. So it is for all channels where something else reads x that
    cannot make up for the shift. A convolution without padding takes scale and shift directly.
    """
    return sum(_carry(graph, node) for node in nodes(graph, "BatchNormalization"))


def _carry(graph: ir.Graph, node: ir.Node) -> bool:
    norm, x, normalised = batch_norm(node), node.inputs[0], node.outputs[0]
    uses, shape = normalised.uses(), shape_of(x)
    if norm is None or shape is None or len(shape) != 4 or normalised.is_graph_output():
        return False
    if not uses or not all(_is_convolution(graph, *use) for use in uses):
        return False
    layers = [use.node for use in uses]
    padded = [layer for layer in layers if is_padded(layer)]
    others = _adaptable(graph, x, besides=node) if padded else None
    scale, shift = norm
    if others is None:
        carried = np.zeros_like(shift)
    else:
        # shift / scale in standard deviations of x is shift / gamma.
        possible = np.abs(shift) <= _LARGEST_SHIFT * np.abs(floats(node.inputs[1]))
        carried = np.divide(shift, scale, out=np.zeros_like(shift), where=possible & (scale != 0))
    # Not computed as shift - scale * carried, whose rounding errors would each cost a map.
    left = np.where(carried == 0, shift, 0)
    given_out = any(layer.outputs[0].is_graph_output() for layer in padded)
    if padded and left.any() and (None in shape[1:] or given_out):
        return False
    for layer in layers:
        _fold(graph, layer, scale, left, shape[1:])
    if carried.any():
        _shift(graph, x, carried, others)
    bypass(graph, node, node.inputs[0])
    return True


def _is_convolution(graph: ir.Graph, node: ir.Node, index: int) -> bool:
    if not is_op(node, "Conv") or node.graph is not graph or index != 0:
        return False
    known = attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    return known and weight_and_bias(node) is not None


def _fold(
    graph: ir.Graph, layer: ir.Node, scale: np.ndarray, shift: np.ndarray, shape: tuple[int, ...]
) -> None:
    """Let ``layer(s x + t)`` be computed from x, with a constant map where padding needs one."""
    weight, bias = weight_and_bias(layer)
    if shift.any() and is_padded(layer):
        output = layer.outputs[0]
        constant_map = new_constant(
            graph, f"{name_of(layer)}.map", _map(layer, weight, shift, shape)
        )
        _insert_addition(graph, output, constant_map, output.uses())
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


def _map(
    layer: ir.Node, weight: np.ndarray, shift: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Return what an image of the constants `shift` adds to the output, borders included."""
    import torch  # a second of every notebook that shows rewrites, were it at the top

    image = np.broadcast_to(shift[:, None, None], (1, *shape))
    top, left, bottom, right = attribute(layer, "pads", (0, 0, 0, 0))
    padded = np.pad(image, ((0, 0), (0, 0), (top, bottom), (left, right)))
    return torch.nn.functional.conv2d(
        torch.from_numpy(padded),
        torch.from_numpy(weight),
        stride=list(attribute(layer, "strides", (1, 1))),
        dilation=list(attribute(layer, "dilations", (1, 1))),
        groups=attribute(layer, "group", 1),
    ).numpy()


def _adaptable(graph: ir.Graph, x: ir.Value, *, besides: ir.Node) -> list[_Use] | None:
    """List who else reads a value, if each of them can do with the value plus a constant."""
    uses = _uses(x)
    if uses is None:
        return None
    others = [(node, index) for node, index in uses if node is not besides]
    twice = len({node for node, _ in others}) < len(others)
    return others if not twice and all(_can_compensate(graph, *use) for use in others) else None


def _uses(value: ir.Value) -> list[_Use] | None:
    """List who reads a value or a sub-sampled copy of it; None when the graph gives one out."""
    if value.is_graph_output():
        return None
    found: list[_Use] = []
    for node, index in value.uses():
        deeper = _uses(node.outputs[0]) if _subsamples(node) else [(node, index)]
        if deeper is None:
            return None
        found += deeper
    return found


def _subsamples(node: ir.Node) -> bool:
    if not is_op(node, "MaxPool", "AveragePool") or len(node.outputs) > 1 or is_padded(node):
        return False
    # Rounding up may add a window that lies outside.
    return {*attribute(node, "kernel_shape")} == {1} and not attribute(node, "ceil_mode", 0)


def _can_compensate(graph: ir.Graph, user: ir.Node, index: int) -> bool:
    if user.graph is not graph:
        return False
    if is_op(user, "BatchNormalization"):
        return index == 0 and batch_norm(user) is not None
    if is_op(user, "Add"):
        return _is_sum(user)
    return _is_convolution(graph, user, index) and not is_padded(user)


def _is_sum(node: ir.Node) -> bool:
    """Say whether a node adds two images of the same shape, so that either may be shifted."""
    left, right = (shape_of(operand) for operand in node.inputs)
    return left is not None and left == right and len(left) == 4 and left[1] is not None


def _shift(graph: ir.Graph, x: ir.Value, c: np.ndarray, others: list[_Use]) -> None:
    """Let x become ``x + c`` for one reader, and nothing else change for the others."""
    for user, index in others:
        _compensate(graph, user, index, c)
    producer = x.producer()
    if _absorb(graph, producer, c):
        return
    if is_op(producer, "Add") and _is_sum(producer):
        _add_to_branch(graph, producer, (0, 1), c)
    else:
        _add_constant(graph, x, c, x.uses())


def _compensate(graph: ir.Graph, user: ir.Node, index: int, c: np.ndarray) -> None:
    """Undo in `user` that the value it reads has grown by c."""
    if is_op(user, "BatchNormalization"):
        mean = floats(user.inputs[3]) + c
        user.replace_input_with(3, new_constant(graph, f"{name_of(user)}.mean", mean))
    elif is_op(user, "Conv"):
        weight, bias = weight_and_bias(user)
        set_weight_and_bias(graph, user, None, bias - _per_output(user, weight, c))
    else:
        _add_to_branch(graph, user, (1 - index,), -c)


def _add_to_branch(
    graph: ir.Graph, total: ir.Node, candidates: tuple[int, ...], c: np.ndarray
) -> None:
    """Add c to one of the named operands of a sum, at no cost if one of them allows that."""
    private = [i for i in candidates if only_user(total.inputs[i]) is total]
    if any(_absorb(graph, total.inputs[i].producer(), c) for i in private):
        return
    # Not the shortcut, which others read too.
    index = (private or candidates)[0]
    _add_constant(graph, total.inputs[index], c, [(total, index)])


def _absorb(graph: ir.Graph, node: ir.Node | None, c: np.ndarray) -> bool:
    """Let a node's output grow by c through a constant that the node already adds, if it does."""
    if is_op(node, "Conv") and weight_and_bias(node) is not None:
        set_weight_and_bias(graph, node, None, weight_and_bias(node)[1] + c)
        return True
    if is_op(node, "Add"):
        for index, operand in enumerate(node.inputs):
            known = floats(operand)
            if known is not None and known.shape == (1, len(c), 1, 1):
                joined = known + c.reshape(known.shape)
                node.replace_input_with(
                    index, new_constant(graph, f"{name_of(node)}.shift", joined)
                )
                return True
    return False


def _add_constant(graph: ir.Graph, value: ir.Value, c: np.ndarray, uses: Iterable[_Use]) -> None:
    number = new_constant(graph, f"{value.name}.shift", c.reshape(1, -1, 1, 1))
    _insert_addition(graph, value, number, uses)


def _insert_addition(
    graph: ir.Graph, value: ir.Value, number: ir.Value, uses: Iterable[_Use]
) -> None:
    added = put_after(graph, value, ir.node("Add", [value, number]))
    for user, index in uses:
        user.replace_input_with(index, added)
