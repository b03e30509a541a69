"""Named repairs of what exporters left wrong, or runtimes refuse, in other makers' graphs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.rewrite.values import (
    attribute,
    bypass,
    can_replace,
    constant,
    name_of,
    new_constant,
    nodes,
    shape_of,
)

_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def drop_weight_inputs(graph: ir.Graph) -> int:
    """Take the weights out of the list of inputs.

    Before IR version 4 they had to stand there, and exporters with
    ``keep_initializers_as_inputs`` still do it. A caller could then override them, so no
    simplifier may fold them.
    """
    weights = [value for value in graph.inputs if value.const_value is not None]
    for value in weights:
        graph.inputs.remove(value)
        graph.register_initializer(value)
    return len(weights)


def drop_unused_inputs(graph: ir.Graph) -> int:
    """Take inputs that nothing reads out of the list, as quantised weights leave them behind."""
    unused = [v for v in graph.inputs if not (v.uses() or v.is_graph_output())]
    if len(unused) == len(graph.inputs):
        return 0
    for value in unused:
        graph.inputs.remove(value)
    return len(unused)


def end_training(graph: ir.Graph) -> int:
    """Put batch normalisation and dropout that were exported in training mode into evaluation.

    In training mode a batch normalisation uses the statistics of the batch instead of those it
    has stored, and a dropout removes values at random. Training mode is told by the attribute
    ``training_mode``, before opset 14 by additional outputs, and by dropout's third input.
    """
    count = 0
    for node in nodes(graph, "BatchNormalization"):
        training = attribute(node, "training_mode", 0) or len(node.outputs) > 1
        surplus = node.outputs[1:]
        if not training or any(v.uses() or v.is_graph_output() for v in surplus):
            continue
        node.attributes.pop("training_mode", None)
        node.resize_outputs(1)
        count += 1
    for node in nodes(graph, "Dropout"):
        training = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        used = any(value.uses() for value in node.outputs[1:])
        if training is not None and training.any() and not used:
            if not can_replace(node, node.inputs[0]):
                continue
            bypass(graph, node, node.inputs[0])
            count += 1
    return count


def norm_per_channel(graph: ir.Graph) -> int:
    """Remove ``spatial`` from batch normalisations with one statistic per channel.

    MXNet's exporter writes ``spatial=0``, which asked for one statistic per pixel, to graphs that
    have one per channel, and still does where the attribute no longer exists.
    """
    count = 0
    for node in nodes(graph, "BatchNormalization"):
        if "spatial" not in node.attributes:
            continue
        gamma = constant(node.inputs[1])
        if gamma is not None and gamma.ndim != 1:
            raise GraphError(
                f"The batch normalisation {name_of(node)} has statistics per pixel.",
                fix="export the network again without spatial=0",
            )
        del node.attributes["spatial"]
        count += 1
    return count


def prelu_per_channel(graph: ir.Graph) -> int:
    """Give PReLU's slopes the shape (C, 1, 1) where they have (C,).

    ONNX broadcasts from the right, so (C,) would be one slope per column of the picture. Where
    that is impossible, and the input has C channels, one per channel was meant; where the width
    happens to be C too, the file means what it says and stays.
    """
    count = 0
    for node in nodes(graph, "PRelu"):
        slope, shape = constant(node.inputs[1]), shape_of(node.inputs[0])
        if slope is None or slope.ndim != 1 or shape is None or len(shape) != 4:
            continue
        if slope.size > 1 and shape[1] == slope.size != shape[3]:
            shaped = new_constant(graph, f"{name_of(node)}.slope", slope.reshape(-1, 1, 1))
            node.replace_input_with(1, shaped)
            count += 1
    return count


def half_to_single(graph: ir.Graph) -> int:
    """Store 16-bit weights as float32 and compute in float32.

    Every such weight has the same value in float32. What changes is the rounding in between:
    on a processor without 16-bit arithmetic runtimes compute in float32 anyway, and the other
    targets must start from the same numbers.
    """
    count = 0
    for value in [*graph.initializers.values()]:
        if value.dtype in _HALVES:
            array = value.const_value.numpy().astype(np.float32)
            value.const_value = ir.tensor(array, name=value.name)
            value.dtype = ir.DataType.FLOAT
            count += 1
    for node in graph.all_nodes():
        for name, found in node.attributes.items():
            if found.type == ir.AttributeType.TENSOR and found.value.dtype in _HALVES:
                wide = ir.tensor(found.value.numpy().astype(np.float32))
                node.attributes[name] = ir.AttrTensor(name, wide)
                count += 1
            elif node.op_type == "Cast" and name == "to" and ir.DataType(found.value) in _HALVES:
                node.attributes[name] = ir.AttrInt64(name, ir.DataType.FLOAT)
    typed = [*graph.inputs, *graph.outputs, *(v for n in graph.all_nodes() for v in n.outputs)]
    for value in typed:
        if value.dtype in _HALVES:
            value.dtype = ir.DataType.FLOAT
            count += value.is_graph_input() or value.is_graph_output()
    return count


REPAIRS: dict[str, Callable[[ir.Graph], int]] = {
    "weights-not-inputs": drop_weight_inputs,
    "unused-inputs-dropped": drop_unused_inputs,
    "training-ended": end_training,
    "norm-per-channel": norm_per_channel,
    "prelu-per-channel": prelu_per_channel,
    "half-to-single": half_to_single,
}
"""Every repair by name, in the order in which they are made; each says how often it was needed."""

ROUNDING = frozenset({"half-to-single"})
"""Repairs after which the graph rounds otherwise than the file."""

MEANING = frozenset({"training-ended"})
"""Repairs after which the graph computes otherwise than the file, as it was meant to."""
