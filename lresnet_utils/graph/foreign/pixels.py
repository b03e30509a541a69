"""What the first nodes of a graph tell about the pixels it was made for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from lresnet_utils.data.network_input import Normalisation
from lresnet_utils.graph.foreign.ports import Ports
from lresnet_utils.graph.rewrite.values import (
    attribute,
    batch_norm,
    constant,
    is_op,
    name_of,
    only_user,
)

# A grey level that becomes zero, and grey levels per unit: no image scaled to one has such.
_GREY_CENTRE = 64.0
_GREY_STEP = 32.0
# The same for pixels that were divided by 255 before.
_UNIT_CENTRE = (0.2, 0.8)
_UNIT_STEP = (0.1, 1.0)


@dataclass(frozen=True)
class Told:
    """What a graph says about its pixels.

    Attributes
    ----------
    normalisation : str or None
        The scale of the pixels that go in; None when the graph does not tell.
    because : str
        What it was read from, or why it cannot be.
    """

    normalisation: Normalisation | None
    because: str


def told_pixels(graph: ir.Graph, ports: Ports) -> Told:
    """Read the scale of the pixels from the arithmetic in front of the first layer.

    Subtractions, products, divisions and a batch normalisation in front of everything else make
    up ``y = (x - centre) / step``. A centre or a step of tens of grey levels means that the graph
    takes pixels from 0 to 255; a centre near one half and a step of at most one that it takes
    pixels from 0 to 1. A graph without such nodes tells nothing: its pixels were scaled outside.

    Parameters
    ----------
    graph : Graph
        Weights are constants.
    ports : Ports
        Of this graph.
    """
    if ports.input_type == ir.DataType.UINT8:
        return Told("raw", f"the input {ports.input} takes bytes")
    scale, shift, used = _first_steps(graph, ports)
    if not used:
        return Told(None, "the graph does no arithmetic on the pixels before its first layer")
    by = f"the graph's first nodes ({', '.join(used)})"
    if not np.all(np.abs(scale) > 0):
        return Told(None, f"{by} remove the picture")
    centre, step = float(np.mean(-shift / scale)), float(np.mean(1 / np.abs(scale)))
    doing = f"{by} compute (x - {centre:.4g}) / {step:.4g}"
    if centre >= _GREY_CENTRE or step >= _GREY_STEP:
        return Told("raw", doing)
    if _within(centre, _UNIT_CENTRE) and _within(step, _UNIT_STEP):
        return Told("zero_1", doing)
    return Told(None, f"{doing}, which fits no known scale of pixels")


def _within(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] <= value <= ends[1]


def _first_steps(graph: ir.Graph, ports: Ports) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Follow the picture while it is only scaled; return scale, shift and the nodes' names."""
    value, layout = graph.inputs[0], ports.layout
    scale, shift, used = np.ones(1), np.zeros(1), []
    while (node := only_user(value)) is not None:
        if is_op(node, "Cast", "Identity"):
            pass
        elif is_op(node, "Transpose") and layout == "nhwc":
            if tuple(attribute(node, "perm", ())) != (0, 3, 1, 2):
                break
            layout = "nchw"
        else:
            found = _affine(node, value, layout)
            if found is None:
                break
            scale, shift = scale * found[0], shift * found[0] + found[1]
            used.append(f"{node.op_type} {name_of(node)}")
        value = node.outputs[0]
    return scale, shift, used


def _affine(node: ir.Node, x: ir.Value, layout: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return scale and shift of a node that only scales the picture, else None."""
    if is_op(node, "BatchNormalization"):
        return batch_norm(node) if layout == "nchw" and node.inputs[0] is x else None
    if not is_op(node, "Sub", "Add", "Mul", "Div"):
        return None
    first = node.inputs[0] is x
    number = _per_channel(constant(node.inputs[1 if first else 0]), layout)
    if number is None:
        return None
    one, zero = np.ones(1), np.zeros(1)
    if node.op_type == "Add":
        return one, number
    if node.op_type == "Mul":
        return number, zero
    if node.op_type == "Sub":
        return (one, -number) if first else (-one, number)
    return (1 / number, zero) if first and np.all(number != 0) else None


def _per_channel(array: np.ndarray | None, layout: str) -> np.ndarray | None:
    """Return a constant as one number, or one per channel; None when it is anything else."""
    if array is None or not np.issubdtype(array.dtype, np.number):
        return None
    array = array.astype(np.float64)
    if array.size == 1:
        return array.reshape(1)
    channels = 1 if layout == "nchw" else 3
    shape = (1,) * (4 - array.ndim) + array.shape
    if array.size == 3 and len(shape) == 4 and shape[channels] == 3:
        return array.reshape(3)
    return None
