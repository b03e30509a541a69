"""Exact folds of batch normalisation into the linear layer behind or before it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lresnet_utils.graph.rewrite.values import (
    attribute,
    batch_norm,
    bypass,
    constant,
    is_op,
    nodes,
    only_user,
    private_producer,
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
