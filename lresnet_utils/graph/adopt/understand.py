"""What an ONNX file of another maker is: its input and output, its pixels, and its repairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir

from lresnet_utils.data.network_input import IMAGE_SIZE, Normalisation
from lresnet_utils.errors import GraphError
from lresnet_utils.graph.adopt.repairs import REPAIRS
from lresnet_utils.graph.inspect import Quantised, count_parameters, find_quantised
from lresnet_utils.graph.parity import cpu_session
from lresnet_utils.graph.reading import ForeignFile, read_foreign
from lresnet_utils.graph.rewrite.values import (
    attribute,
    constant,
    is_op,
    located,
    name_of,
    nodes,
    only_user,
    shape_of,
)

# Where faces go into a graph of another maker, and where the embedding comes out.

AUTO = "auto"
_INPUT_TYPES = (
    ir.DataType.FLOAT,
    ir.DataType.FLOAT16,
    ir.DataType.BFLOAT16,
    ir.DataType.DOUBLE,
    ir.DataType.UINT8,
)
_TO_CHANNELS_FIRST = (0, 3, 1, 2)
_SHOWN = 4
# A batch of the file's own size is made to compare with; so many pictures take 600 MB.
_MOST_IMAGES = 4096


@dataclass(frozen=True)
class Ports:
    """A graph's input and output, as the graph has them.

    Attributes
    ----------
    input, output : str
        Names.
    layout : {"nchw", "nhwc"}
        Whether channels come before or after height and width.
    input_type : DataType
        Of the pixels.
    batch : int or None
        The batch size that is written into the graph; None for any.
    """

    input: str
    output: str
    layout: Literal["nchw", "nhwc"]
    input_type: ir.DataType
    batch: int | None


def find_ports(graph: ir.Graph, output: str = AUTO) -> Ports:
    """Find a graph's input of faces and its output of embeddings.

    Parameters
    ----------
    graph : Graph
        With inferred shapes; its weights are no inputs.
    output : str
        Name of the output to take; ``auto`` takes the only one that can be an embedding.

    Raises
    ------
    GraphError
        When there is not one input of 112x112 colour pictures, or not one output that fits.
    """
    faces = _faces(graph)
    layout, batch = _layout(faces)
    return Ports(faces.name, _embedding(graph, output).name, layout, faces.dtype, batch)


def _faces(graph: ir.Graph) -> ir.Value:
    if len(graph.inputs) != 1:
        names = ", ".join(value.name for value in graph.inputs[:_SHOWN]) or "none"
        raise GraphError(
            f"The graph has {len(graph.inputs)} inputs instead of one: {names}.",
            fix="export the network again with its picture as the only input",
        )
    faces = graph.inputs[0]
    if faces.shape is None or len(faces.shape) != 4:
        raise GraphError(
            f"The input {faces.name} is no batch of pictures: its shape is {_words(faces)}.",
            fix="export the network again with a picture as input",
        )
    if faces.dtype not in _INPUT_TYPES:
        raise GraphError(
            f"The input {faces.name} holds {faces.dtype}, not pixels.",
            fix="export the network again with float32 pictures",
        )
    return faces


def _layout(faces: ir.Value) -> tuple[Literal["nchw", "nhwc"], int | None]:
    batch, *rest = shape_of(faces)
    if batch is not None and not 0 <= batch <= _MOST_IMAGES:
        raise GraphError(
            f"The input {faces.name} takes batches of {batch}, not of 1 to {_MOST_IMAGES:,}.",
            fix="export the network again with another batch size, or a dynamic one",
        )
    layout = "nchw" if _channels_first(faces, rest) else "nhwc"
    channels, size = (rest[0], rest[1:]) if layout == "nchw" else (rest[2], rest[:2])
    if channels not in (3, None):
        raise GraphError(
            f"The network takes pictures of {channels} channels: its input {faces.name} is "
            f"{_words(faces)}.",
            fix="use a network for colour pictures",
        )
    if any(side not in (IMAGE_SIZE, None) for side in size):
        raise GraphError(
            f"The network wants other pictures than {IMAGE_SIZE} x {IMAGE_SIZE} pixels: its input "
            f"{faces.name} is {_words(faces)}.",
            fix=f"use a network for faces aligned to {IMAGE_SIZE} x {IMAGE_SIZE}, as ArcFace's are",
        )
    return layout, batch


def _channels_first(faces: ir.Value, rest: list[int | None]) -> bool:
    """Say where the channels are; the first node decides where the shape leaves it open."""
    if 3 in (rest[0], rest[2]):
        return rest[0] == 3
    if rest[0] is None and is_op(only_user(faces), "Transpose"):
        return tuple(attribute(only_user(faces), "perm", ())) != _TO_CHANNELS_FIRST
    return rest[2] != 1


def _embedding(graph: ir.Graph, wanted: str) -> ir.Value:
    outputs = {value.name: value for value in graph.outputs}
    listed = ", ".join(f"{name} {_words(value)}" for name, value in list(outputs.items())[:_SHOWN])
    if wanted != AUTO:
        if wanted not in outputs:
            raise GraphError(
                f"The graph has no output {wanted!r}.", fix=f"set model.output to one of: {listed}"
            )
        return outputs[wanted]
    fitting = [v for v in outputs.values() if _may_be_embedding(v, alone=len(outputs) == 1)]
    if len(fitting) == 1:
        return fitting[0]
    count = "None" if not fitting else f"{len(fitting)}"
    raise GraphError(
        f"{count} of the graph's {len(outputs)} outputs can be the embedding: {listed}.",
        fix="set model.output to the name of the right one, or export the network without others",
    )


def _may_be_embedding(value: ir.Value, *, alone: bool) -> bool:
    shape = shape_of(value)
    if shape is None:
        # Unknown before the graph has run; with a single output that will tell.
        return alone
    if len(shape) == 4:
        return shape[1] not in (0, 1) and shape[2:] == (1, 1)
    return len(shape) == 2 and shape[1] not in (0, 1)


def _words(value: ir.Value) -> str:
    if value.shape is None:
        return "(unknown)"
    return "(" + ", ".join(str(axis) for axis in value.shape) + ")"


# What the first nodes of a graph do to the pixels, told by running them on plain colours.

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
_MOST_IMAGES_TRIED = 64
_SHOWN_PIXELS = 6
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
    if (ports.batch or 1) > _MOST_IMAGES_TRIED:
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
    shown = [f"{node.op_type} {name_of(node)}" for node in doing[:_SHOWN_PIXELS]]
    shown += ["..."] if len(doing) > _SHOWN_PIXELS else []
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


_IR_VERSION_OF_CONSTANTS = 4


@dataclass(frozen=True)
class Foreign:
    """An ONNX file, understood and repaired, but not yet fitted to a run.

    Attributes
    ----------
    file : ForeignFile
        What was read.
    model : Model
        The repaired graph; its input and output are those of the file, but for their precision.
    ports : Ports
        Input and output as the file has them.
    told : Told
        The scale of the pixels, as far as the graph tells it.
    repairs : dict of str to int
        How often each repair of :data:`~lresnet_utils.graph.adopt.repairs.REPAIRS` was needed;
        only those that were.
    n_parameters : int
        Numbers stored as weights, as floating-point numbers or integers.
    quantised : Quantised or None
        What of it was made integers before it came here.
    """

    file: ForeignFile
    model: ir.Model
    ports: Ports
    told: Told
    repairs: dict[str, int]
    n_parameters: int
    quantised: Quantised | None


def open_foreign(path: Path | str, *, output: str = AUTO) -> Foreign:
    """Read an ONNX file and find out what a run must know about it.

    Parameters
    ----------
    path : path
        The file; see :func:`lresnet_utils.graph.reading.read_foreign`.
    output : str
        Name of the output to take; ``auto`` takes the only one that can be an embedding.

    Raises
    ------
    GraphError
        When the file cannot be read, or its input or output is not that of a face network here.
    """
    file = read_foreign(path)
    with located(path):
        model = ir.from_proto(onnx.shape_inference.infer_shapes(file.model))
        # Before this version weights had to be inputs, which they are no longer below.
        model.ir_version = max(model.ir_version, _IR_VERSION_OF_CONSTANTS)
        first = ("weights-not-inputs", "unused-inputs-dropped")
        counts = {name: REPAIRS[name](model.graph) for name in first}
        ports = find_ports(model.graph, output)
        counts |= {n: fix(model.graph) for n, fix in REPAIRS.items() if n not in counts}
        told = told_pixels(model, ports)
        proto = file.model.graph
        about = count_parameters(proto), find_quantised(proto)
    needed = {name: count for name, count in counts.items() if count}
    return Foreign(file, model, ports, told, needed, *about)
