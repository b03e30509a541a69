"""What the first nodes of a graph do to the pixels, told by running them on plain colours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from lresnet_utils.data.network_input import IMAGE_SIZE, Normalisation
from lresnet_utils.graph.adopt.ports import Ports
from lresnet_utils.graph.rewrite.values import constant, is_op, name_of, nodes
from lresnet_utils.graph.session import cpu_session

# A grey level that becomes zero, and grey levels per unit: no image scaled to one has such.
_GREY_CENTRE = 64.0
_GREY_STEP = 32.0
# The same for pixels that were divided by 255 before.
_UNIT_CENTRE = (0.2, 0.8)
_UNIT_STEP = (0.1, 1.0)

# What ends the arithmetic on pixels; a convolution that only exchanges or scales colours does not.
_LAYERS = (
    *("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv", "Gemm", "Einsum"),
    *(
        "MatMul",
        "MatMulInteger",
        "QLinearMatMul",
        "DynamicQuantizeLinear",
        "LSTM",
        "GRU",
        "RNN",
        "AveragePool",
        "MaxPool",
    ),
    *("LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
)
# Black, full red, green and blue, and colours between: what is a straight line passes through them.
_COLOURS = np.array(
    [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [31, 212, 101], [188, 7, 143]], np.float64
)
# Of the span; rounding in float32 behind a large offset stays below it.
_STRAIGHT = 2e-3
_MOST_IMAGES = 64
_SHOWN = 6
# Move or round numbers; shown only where there is nothing else.
_PASSING = ("Cast", "Identity", "Transpose", "QuantizeLinear", "DequantizeLinear", "Shape")


@dataclass(frozen=True)
class Told:
    """What a graph says about its pixels.

    Attributes
    ----------
    normalisation : str or None
        The scale of the pixels that go in; None when the graph does not tell.
    because : str
        What it was read from, or why it cannot be.
    followed : bool
        False when the graph does something to the pixels that tells no known scale: then none
        may be suggested either.
    exchanged : bool
        Whether the graph itself exchanges red and blue.
    """

    normalisation: Normalisation | None
    because: str
    followed: bool = True
    exchanged: bool = False


def told_pixels(model: ir.Model, ports: Ports) -> Told:
    """Read the scale of the pixels from what happens to them in front of the first layer.

    The nodes in front of the first convolution or matrix product are run on pictures of one
    colour each, so that it does not matter which nodes they are: permutations of channels, axes
    and types, padding and cutting pass, and arithmetic is found as ``y = (x - centre) / step``
    wherever it stands. A centre or a step of tens of grey levels means that the graph takes
    pixels from 0 to 255; a centre near one half and a step of at most one that it takes pixels
    from 0 to 1. A graph that hands its pixels on as they are tells nothing: they were scaled
    outside.

    Parameters
    ----------
    model : Model
        Its weights are constants; not changed.
    ports : Ports
        Of this graph.
    """
    if ports.input_type == ir.DataType.UINT8:
        return Told("raw", f"the input {ports.input} takes bytes")
    before, ends = _before_layers(model.graph)
    if strange := [node for node in before if _has_graph(node)]:
        return _unfollowed(strange[:1], "cannot be followed")
    if not before or not ends:
        return _nothing_done()
    if (ports.batch or 1) > _MOST_IMAGES:
        return _unfollowed(before, f"cannot be followed in batches of {ports.batch}")
    try:
        seen = _run(model, ends, ports)
    except Exception as error:  # ONNX Runtime's own errors, and those of a graph that lacks types
        return _unfollowed(before, f"cannot be run alone: {str(error).splitlines()[0][:200]}")
    found = [_line(answers) for answers in seen]
    told = [_told(line, before) for line in found]
    if any(one != told[0] for one in told):
        return _unfollowed(before, "scale the pixels in more than one way")
    return told[0]


def _nothing_done() -> Told:
    return Told(None, "the graph does no arithmetic on the pixels before its first layer")


def _unfollowed(before: list[ir.Node], why: str) -> Told:
    return Told(None, f"{_named(before)} {why}", followed=False)


def _named(before: list[ir.Node]) -> str:
    doing = [node for node in before if not is_op(node, *_PASSING)] or before
    shown = [f"{node.op_type} {name_of(node)}" for node in doing[:_SHOWN]]
    shown += ["..."] if len(doing) > _SHOWN else []
    return f"the graph's first nodes ({', '.join(shown)})"


def _before_layers(graph: ir.Graph) -> tuple[list[ir.Node], list[ir.Value]]:
    """Return the nodes between the picture and the first layers, and what those layers read."""
    pictures, later = {graph.inputs[0]}, set()
    before, ends = [], []
    for node in graph:
        if later.intersection(node.inputs):
            later.update(node.outputs)
        elif pictures.intersection(node.inputs) or (_has_graph(node) and not later):
            if is_op(node, *_LAYERS) and not _is_colour_conv(node):
                ends += [v for v in node.inputs if v in pictures and v not in ends]
                later.update(node.outputs)
            else:
                before.append(node)
                pictures.update(node.outputs)
    return before, ends


def _has_graph(node: ir.Node) -> bool:
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(found.type in kinds for found in node.attributes.values())


def _is_colour_conv(node: ir.Node) -> bool:
    """Say whether a convolution makes three colours of three, pixel by pixel."""
    weight = constant(node.inputs[1]) if is_op(node, "Conv") else None
    return weight is not None and weight.shape in ((3, 3, 1, 1), (3, 1, 1, 1))


def _run(model: ir.Model, ends: list[ir.Value], ports: Ports) -> list[np.ndarray]:
    """Run the nodes in front of the layers; per layer's input (colours, *its shape)."""
    graph = ir.convenience.extract(model.graph, inputs=model.graph.inputs, outputs=ends)
    for node in nodes(graph, "DequantizeLinear"):
        # Rounding is no arithmetic; where it cuts off is another maker's choice of range.
        source = node.inputs[0].producer()
        if is_op(source, "QuantizeLinear"):
            node.op_type = "Identity"
            node.attributes.clear()
            node.resize_inputs(1)
            node.replace_input_with(0, source.inputs[0])
    alone = ir.to_proto(ir.Model(graph, ir_version=model.ir_version))
    session = cpu_session(alone.SerializeToString(), as_written=True)
    size = (IMAGE_SIZE, IMAGE_SIZE)
    shape = (3, *size) if ports.layout == "nchw" else (*size, 3)
    kind, seen = graph.inputs[0].dtype.numpy(), []
    for colour in _COLOURS:
        plain = colour.reshape((3, 1, 1) if ports.layout == "nchw" else 3)
        picture = np.broadcast_to(plain, (ports.batch or 1, *shape)).astype(kind)
        seen.append(session.run(None, {ports.input: picture}))
    return [np.stack(answers) for answers in zip(*seen, strict=True)]


@dataclass(frozen=True)
class _Line:
    """What becomes of pixels: a straight line per number, or why it is none."""

    centre: float = 0.0
    step: float = 1.0
    exchanged: bool = False
    why_not: str | None = None


def _line(seen: np.ndarray) -> _Line:
    """Fit ``(x - centre) / step`` to what plain colours became, shape (colours, ...)."""
    seen = seen.astype(np.float64)
    if not np.isfinite(seen).all():
        return _Line(why_not="make values of them that are not finite")
    black, *full = seen[:4]
    slopes = (np.stack(full) - black) / 255
    limit = _STRAIGHT * np.abs(slopes).max(initial=0)
    moved = np.abs(slopes) > limit
    if not moved.any():
        return _Line(why_not="remove the picture")
    expected = black + np.tensordot(_COLOURS[4:], slopes, 1)
    allowed = 255 * limit + 1e-6 * np.abs(seen).max()
    if np.abs(expected - seen[4:]).max() > allowed:
        return _Line(why_not="do not follow a straight line between 0 and 255")
    if (moved.sum(0) > 1).any():
        return _Line(why_not="mix the colours")
    of_one = moved.any(0)
    colour = moved.argmax(0)
    slope = np.take_along_axis(slopes, colour[None], 0)[0][of_one]
    centre, step = float(np.mean(-black[of_one] / slope)), float(np.mean(1 / np.abs(slope)))
    centre = centre if abs(centre) > _STRAIGHT * step else 0.0
    return _Line(centre, step, _is_exchanged(np.where(of_one, colour, -1)))


def _is_exchanged(colour: np.ndarray) -> bool:
    """Say whether blue stands where red was, from the colour that each number is made of."""
    for axis in (1, 3) if colour.ndim == 4 and 3 in colour.shape[1::2] else ():
        if colour.shape[axis] == 3:
            planes = np.moveaxis(colour, axis, 0).reshape(3, -1)
            if all(set(np.unique(p)) - {-1} == {k} for p, k in zip(planes, (2, 1, 0), strict=True)):
                return True
    return False


def _told(line: _Line, before: list[ir.Node]) -> Told:
    if line.why_not:
        return _unfollowed(before, line.why_not)
    if line.centre == 0 and abs(line.step - 1) <= _STRAIGHT:
        return replace(_nothing_done(), exchanged=line.exchanged)
    doing = f"{_named(before)} compute (x - {line.centre:.4g}) / {line.step:.4g}"
    doing = f"{doing}; it exchanges red and blue" if line.exchanged else doing
    if line.centre >= _GREY_CENTRE or line.step >= _GREY_STEP:
        return Told("raw", doing, exchanged=line.exchanged)
    if _within(line.centre, _UNIT_CENTRE) and _within(line.step, _UNIT_STEP):
        return Told("zero_1", doing, exchanged=line.exchanged)
    return Told(None, f"{doing}, which fits no known scale of pixels", False, line.exchanged)


def _within(value: float, ends: tuple[float, float]) -> bool:
    return ends[0] <= value <= ends[1]
