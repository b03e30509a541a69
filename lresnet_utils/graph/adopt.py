"""ONNX files of other makers: read, understood, repaired, and fitted to a run."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from lresnet_utils.data.network_input import IMAGE_SIZE, Normalisation
from lresnet_utils.errors import GraphError
from lresnet_utils.graph.inspect import Quantised, count_parameters, find_quantised
from lresnet_utils.graph.parity import cpu_session, same_embeddings
from lresnet_utils.graph.reading import ForeignFile, read_foreign
from lresnet_utils.graph.to_onnx import INPUT_NAME, OUTPUT_NAME
from lresnet_utils.graph.values import (
    attribute,
    bypass,
    can_replace,
    constant,
    is_op,
    located,
    name_of,
    new_constant,
    nodes,
    only_user,
    put_before,
    shape_of,
    unused_name,
)
from lresnet_utils.machine.disk import atomic_path
from lresnet_utils.text.language import message

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
    batch, *rest = shape_of(faces)
    if batch is not None and not 0 <= batch <= _MOST_IMAGES:
        raise GraphError(
            f"The input {faces.name} takes batches of {batch}, not of 1 to {_MOST_IMAGES:,}.",
            fix="export the network again with another batch size, or a dynamic one",
        )
    # Where the channels are; the first node decides where the shape leaves it open.
    if 3 in (rest[0], rest[2]):
        channels_first = rest[0] == 3
    elif rest[0] is None and is_op(only_user(faces), "Transpose"):
        channels_first = tuple(attribute(only_user(faces), "perm", ())) != _TO_CHANNELS_FIRST
    else:
        channels_first = rest[2] != 1
    channels, size = (rest[0], rest[1:]) if channels_first else (rest[2], rest[:2])
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
    layout = "nchw" if channels_first else "nhwc"
    # The embedding: the output that is asked for, or the only one that can be it.
    outputs = {value.name: value for value in graph.outputs}
    listed = ", ".join(f"{name} {_words(value)}" for name, value in list(outputs.items())[:_SHOWN])
    if output != AUTO and output not in outputs:
        raise GraphError(
            f"The graph has no output {output!r}.", fix=f"set model.output to one of: {listed}"
        )
    fitting = [outputs[output]] if output != AUTO else []
    for value in outputs.values() if output == AUTO else ():
        shape = shape_of(value)
        if shape is None:
            # Unknown before the graph has run; with a single output that will tell.
            fits = len(outputs) == 1
        else:
            table = len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1))
            fits = table and shape[1] not in (0, 1)
        fitting += [value] if fits else []
    if len(fitting) != 1:
        count = "None" if not fitting else f"{len(fitting)}"
        raise GraphError(
            f"{count} of the graph's {len(outputs)} outputs can be the embedding: {listed}.",
            fix="set model.output to the name of the right one, or export the network without "
            "others",
        )
    return Ports(faces.name, fitting[0].name, layout, faces.dtype, batch)


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
    *("MatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeLinear", "LSTM", "GRU", "RNN"),
    *("AveragePool", "MaxPool", "LpPool"),
    *("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"),
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


_UNTOUCHED = Told(None, "the graph does no arithmetic on the pixels before its first layer")


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
        return Told("raw", message("the input {input} takes bytes", input=ports.input))
    # The nodes between the picture and the first layers, and what those layers read.
    pictures, later = {model.graph.inputs[0]}, set()
    before, ends = [], []
    for node in model.graph:
        if later.intersection(node.inputs):
            later.update(node.outputs)
        elif pictures.intersection(node.inputs) or (_has_graph(node) and not later):
            weight = constant(node.inputs[1]) if is_op(node, "Conv") else None
            # Three colours of three, pixel by pixel.
            of_colours = weight is not None and weight.shape in ((3, 3, 1, 1), (3, 1, 1, 1))
            if is_op(node, *_LAYERS) and not of_colours:
                ends += [v for v in node.inputs if v in pictures and v not in ends]
                later.update(node.outputs)
            else:
                before.append(node)
                pictures.update(node.outputs)
    if strange := [node for node in before if _has_graph(node)]:
        return _unfollowed(strange[:1], "cannot be followed")
    if not before or not ends:
        return _UNTOUCHED
    if (ports.batch or 1) > _MOST_IMAGES_TRIED:
        return _unfollowed(before, f"cannot be followed in batches of {ports.batch}")
    try:
        seen = _run(model, ends, ports)
    except Exception as error:  # ONNX Runtime's own errors, and those of a graph that lacks types
        return _unfollowed(before, f"cannot be run alone: {str(error).splitlines()[0][:200]}")
    told = [_fit_line(answers, before) for answers in seen]
    if any(one != told[0] for one in told):
        return _unfollowed(before, "scale the pixels in more than one way")
    return told[0]


def _unfollowed(before: list[ir.Node], why: str) -> Told:
    return Told(None, f"{_named(before)} {why}", followed=False)


def _named(before: list[ir.Node]) -> str:
    doing = [node for node in before if not is_op(node, *_PASSING)] or before
    shown = [f"{node.op_type} {name_of(node)}" for node in doing[:_SHOWN_PIXELS]]
    shown += ["..."] if len(doing) > _SHOWN_PIXELS else []
    return message("the graph's first nodes ({nodes})", nodes=", ".join(shown))


def _has_graph(node: ir.Node) -> bool:
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(found.type in kinds for found in node.attributes.values())


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


def _fit_line(seen: np.ndarray, before: list[ir.Node]) -> Told:
    """Fit ``(x - centre) / step`` to what plain colours became, shape (colours, ...)."""
    seen = seen.astype(np.float64)
    if not np.isfinite(seen).all():
        return _unfollowed(before, "make values of them that are not finite")
    black, *full = seen[:4]
    slopes = (np.stack(full) - black) / 255
    limit = _STRAIGHT * np.abs(slopes).max(initial=0)
    moved = np.abs(slopes) > limit
    if not moved.any():
        return _unfollowed(before, "remove the picture")
    expected = black + np.tensordot(_COLOURS[4:], slopes, 1)
    allowed = 255 * limit + 1e-6 * np.abs(seen).max()
    if np.abs(expected - seen[4:]).max() > allowed:
        return _unfollowed(before, "do not follow a straight line between 0 and 255")
    if (moved.sum(0) > 1).any():
        return _unfollowed(before, "mix the colours")
    of_one = moved.any(0)
    colour = moved.argmax(0)
    slope = np.take_along_axis(slopes, colour[None], 0)[0][of_one]
    centre, step = float(np.mean(-black[of_one] / slope)), float(np.mean(1 / np.abs(slope)))
    centre = centre if abs(centre) > _STRAIGHT * step else 0.0
    # Whether blue stands where red was, from the colour that each number is made of.
    colour, exchanged = np.where(of_one, colour, -1), False
    for axis in (1, 3) if colour.ndim == 4 else ():
        if colour.shape[axis] == 3:
            planes = np.moveaxis(colour, axis, 0).reshape(3, -1)
            found = [set(np.unique(plane)) - {-1} for plane in planes]
            exchanged = exchanged or found == [{2}, {1}, {0}]
    if centre == 0 and abs(step - 1) <= _STRAIGHT:
        return replace(_UNTOUCHED, exchanged=exchanged)
    doing = message(
        "{before} compute (x - {centre:.4g}) / {step:.4g}",
        before=_named(before),
        centre=centre,
        step=step,
    )
    doing = message("{doing}; it exchanges red and blue", doing=doing) if exchanged else doing
    if centre >= _GREY_CENTRE or step >= _GREY_STEP:
        return Told("raw", doing, exchanged=exchanged)
    (nearest, farthest), (least, most) = _UNIT_CENTRE, _UNIT_STEP
    if nearest <= centre <= farthest and least <= step <= most:
        return Told("zero_1", doing, exchanged=exchanged)
    return Told(
        None, message("{doing}, which fits no known scale of pixels", doing=doing), False, exchanged
    )


# Repairs of what exporters left wrong, or runtimes refuse.

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


# The file as a whole.

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
        How often each repair of :data:`REPAIRS` was needed;
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


# Fitting to a run: its batch size, its names, its layout.

TOLERANCE = 1e-5
"""Largest difference of a component of the unit embeddings that rounding in float32 explains."""

TOLERANCE_HALF = 1e-2
"""The same where the file computes in 16 bits and the adopted graph does not."""

_CHECKED_FACES = 4


@dataclass(frozen=True)
class Adopted:
    """What was done to a file, and how it was checked.

    Attributes
    ----------
    batch_size, embedding_size : int
        Images per run, and numbers per face.
    changes : dict of str to int
        Repairs and adaptations by name, with how often each was made.
    compared_with : str
        What the adopted graph was compared with, face by face.
    max_abs_difference : float
        Largest difference of a component of the unit embeddings.
    length : float or None
        Mean length of the embeddings before normalisation; 1 where the graph normalises them,
        None where it is not finite.
    """

    batch_size: int
    embedding_size: int
    changes: dict[str, int]
    compared_with: str
    max_abs_difference: float
    length: float | None


def adopt_onnx(
    foreign: Foreign,
    out: Path | str,
    *,
    batch_size: int,
    input_range: tuple[float, float] = (-1.0, 1.0),
    seed: int = 0,
) -> Adopted:
    """Write a file as this project's own graphs are, and compare it with the original.

    Parameters
    ----------
    foreign : Foreign
        From :func:`open_foreign`; not changed.
    out : path
        The one file to write, whole or not at all: input ``image`` float32
        (batch_size, 3, 112, 112), output ``features`` float32 (batch_size, embedding_size).
    batch_size : int
        Images per run.
    input_range : (float, float)
        Smallest and largest random pixel of the comparison, as the network is used.
    seed : int
        Of the random pixels.

    Raises
    ------
    GraphError
        When the graph cannot run batches of this size, or gives other unit embeddings than
        before by more than :data:`TOLERANCE` (:data:`TOLERANCE_HALF` for 16-bit files).
    """
    where = str(foreign.file.path)
    generator = np.random.default_rng(seed)
    faces = generator.uniform(*input_range, (batch_size, 3, IMAGE_SIZE, IMAGE_SIZE))
    faces = faces.round() if foreign.ports.input_type == ir.DataType.UINT8 else faces
    faces = faces.astype(np.float32)
    rows = np.unique(np.linspace(0, batch_size - 1, min(batch_size, _CHECKED_FACES)).astype(int))
    expected, compared_with = baseline(foreign, faces[rows])
    with located(where), atomic_path(out) as temporary:
        model = foreign.model.clone()
        changes = foreign.repairs | _fitted(model.graph, foreign.ports, batch_size)
        output = model.graph.outputs[0]
        output.shape, output.dtype = ir.Shape([batch_size, expected.shape[1]]), ir.DataType.FLOAT
        RemoveUnusedNodesPass()(model)
        write_model(model, temporary, where)
        own = Ports(INPUT_NAME, OUTPUT_NAME, "nchw", ir.DataType.FLOAT, batch_size)
        fix = batch_fix(foreign.ports.batch)
        try:
            found = run_graph(temporary, faces, own, where)
        except GraphError as error:  # the file itself ran
            raise GraphError(error.what, fix=fix) from error
        difference = same_embeddings(
            expected,
            found[rows],
            TOLERANCE_HALF if ROUNDING & foreign.repairs.keys() else TOLERANCE,
            what=f"At batch size {batch_size} the graph computes something else than the file",
            where=where,
            fix=fix,
        )
    length = float(np.linalg.norm(found.astype(np.float64), axis=1).mean())
    known = length if np.isfinite(length) else None
    return Adopted(batch_size, found.shape[1], changes, compared_with, difference, known)


def rebatch(graph: ir.Graph, old: int, new: int) -> int:
    """Replace the batch size in the shapes that nodes ask for; return how many did.

    Only a shape that begins with `old` is changed, and only where it is asked of a tensor that
    begins with `old` or with an axis that inference does not know, so shapes of weights stay. What
    the graph's input and output say is left to the caller, and so is the proof that the network
    still computes the same.

    Parameters
    ----------
    graph : Graph
        With inferred shapes; changed in place.
    old, new : int
        Images per run, before and after.
    """
    count = 0
    for node in nodes(graph, "Reshape", "Expand"):
        target = constant(node.inputs[1])
        shape = shape_of(node.inputs[0])
        if target is None or constant(node.inputs[0]) is not None or not target.size:
            continue
        if target[0] == old and (shape is None or shape[0] in (old, None)):
            changed = np.array([new, *target[1:]], np.int64)
            node.replace_input_with(1, new_constant(graph, f"{name_of(node)}.shape", changed))
            count += 1
    return count


def _fitted(graph: ir.Graph, ports: Ports, batch_size: int) -> dict[str, int]:
    """Give a graph this project's input and output; return what had to be changed."""
    changes = {}
    faces = graph.inputs[0]
    if ports.batch is not None and ports.batch != batch_size:
        changes["batch-size"] = 1 + rebatch(graph, ports.batch, batch_size)
    chosen = next(value for value in graph.outputs if value.name == ports.output)
    if len(graph.outputs) > 1:
        changes["other-outputs-dropped"] = len(graph.outputs) - 1
        graph.outputs[:] = [chosen]
    steps = []
    if ports.layout == "nhwc":
        steps.append(ir.node("Transpose", [faces], attributes={"perm": [0, 2, 3, 1]}))
        changes["channels-last-input"] = 1
    if faces.dtype != ir.DataType.FLOAT:
        value = steps[-1].outputs[0] if steps else faces
        steps.append(ir.node("Cast", [value], attributes={"to": int(faces.dtype)}))
        changes["float-input"] = 1
    uses = [use for use in faces.uses() if use.node not in steps]
    first = graph[0]
    for step in steps:
        put_before(graph, first, step, faces)
        step.outputs[0].shape = step.outputs[0].type = None
    for user, index in uses if steps else ():
        user.replace_input_with(index, steps[-1].outputs[0])
    # Make the output a table of float32, whatever its rank and precision.
    last = given = graph.outputs[0]
    endings = []
    if given.shape is not None and len(given.shape) == 4:
        endings.append(("Flatten", {}))
        changes["flat-output"] = 1
    if given.dtype not in (None, ir.DataType.FLOAT):
        endings.append(("Cast", {"to": 1}))
        changes["float-output"] = 1
    for operator, attributes in endings:
        node = ir.node(operator, [last], attributes=attributes)
        graph.append(node)
        last = node.outputs[0]
        last.name = node.name = unused_name(graph, f"adopted_{operator.lower()}")
    last.dtype = ir.DataType.FLOAT
    graph.outputs[0] = last
    # Another value that has one of the two names gets a new one.
    for port, name in ((faces, INPUT_NAME), (last, OUTPUT_NAME)):
        if port.name == name:
            continue
        for other in [*graph.initializers.values(), *(v for n in graph for v in n.outputs)]:
            if other.name == name:
                other.name = unused_name(graph, f"{name}_inner")
        port.name = name
    faces.shape = ir.Shape([batch_size, 3, IMAGE_SIZE, IMAGE_SIZE])
    faces.dtype = ir.DataType.FLOAT
    for value in (value for node in graph.all_nodes() for value in node.outputs):
        value.shape = None
    return changes


# Running a graph of another maker: the file as it is or, where that is no use, repaired.

_LONGEST = 300


def baseline(foreign: Foreign, faces: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the embeddings of the file as it is, if it runs and means what it says.

    Parameters
    ----------
    foreign : Foreign
        The file.
    faces : float32 array, shape (n, 3, 112, 112)
        In the channel order and scale that the network wants.

    Returns
    -------
    embeddings : float32 array, shape (n, d)
        As the graph gives them.
    what : str
        What gave them: the file, or the repaired graph and why.
    """
    reason = "it was exported in training mode" if MEANING & foreign.repairs.keys() else None
    if reason is None:
        try:
            path = foreign.file.path
            return run_graph(path, faces, foreign.ports, str(path)), "the file as it is"
        except GraphError as error:
            reason = error.what
            if not foreign.repairs:
                raise
    ports = foreign.ports
    if ROUNDING & foreign.repairs.keys():
        ports = replace(ports, input_type=ir.DataType.FLOAT)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "repaired.onnx"
        write_model(foreign.model, path, str(foreign.file.path))
        rows = run_graph(path, faces, ports, str(foreign.file.path))
    return rows, message(
        "the repaired graph, since the file as it is cannot be compared: {reason}", reason=reason
    )


def write_model(model: ir.Model, path: Path, where: str) -> None:
    """Write a graph that follows the standard; a GraphError says where it does not."""
    try:
        proto = onnx.shape_inference.infer_shapes(ir.to_proto(model))
        onnx.checker.check_model(proto)
        onnx.save(proto, path)
    except Exception as error:  # the checker's own errors, or text that is none
        first = str(error).split("\n", 1)[0]
        what = f"The graph does not follow the standard: {first}"
        raise GraphError(what[:_LONGEST], where=where) from error


def batch_fix(batch: int | None) -> str:
    """Say what to do about a graph that runs only at the batch size written into it, if any."""
    if batch is None:
        return "set batch_sizes: [1], or export it again so that faces do not depend on each other"
    return f"set batch_sizes: [{batch}], or export it again with a dynamic batch"


def run_graph(path: Path, faces: np.ndarray, ports: Ports, where: str) -> np.ndarray:
    """Run a graph node by node over faces, in batches of its own size.

    One by one where it takes any: what a face's neighbours change then shows in a comparison.

    Parameters
    ----------
    path : Path
        The graph.
    faces : float32 array, shape (n, 3, 112, 112)
        In the channel order and scale that the network wants.
    ports : Ports
        Of this graph.
    where : str
        The file that an error names.

    Returns
    -------
    float32 array, shape (n, d)
    """
    batch = ports.batch or 1
    padded = np.pad(faces, ((0, -len(faces) % batch), (0, 0), (0, 0), (0, 0)), mode="edge")
    if ports.layout == "nhwc":
        padded = padded.transpose(0, 2, 3, 1)
    padded = np.ascontiguousarray(padded, ports.input_type.numpy())
    try:
        # Left to itself, ONNX Runtime would make its own folds in both graphs that are compared.
        session = cpu_session(path, as_written=True)
        rows = [
            session.run([ports.output], {ports.input: padded[start : start + batch]})[0]
            for start in range(0, len(padded), batch)
        ]
    except Exception as error:  # ONNX Runtime has its own family of errors under Exception
        # What it says, without its codes and the places in its own source.
        text = " ".join(str(error).split())
        text = re.sub(r"Load model from .*? failed: ?", "", text)
        text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
        text = re.sub(r"\S*/onnxruntime_src/.*? was false\. ", "", text)[:_LONGEST].rstrip(". ")
        raise GraphError(f"ONNX Runtime cannot run it: {text}", where=where) from error
    if any(len(block) != batch or block.size % batch for block in rows):
        raise GraphError(
            f"The output {ports.output} does not hold one embedding per picture: its shape is "
            f"{rows[0].shape} for {batch}.",
            where=where,
        )
    return np.concatenate([b.reshape(batch, -1) for b in rows])[: len(faces)].astype(np.float32)
