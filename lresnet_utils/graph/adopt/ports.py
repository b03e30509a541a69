"""Where faces go into a graph of another maker, and where the embedding comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from lresnet_utils.data.network_input import IMAGE_SIZE
from lresnet_utils.errors import GraphError
from lresnet_utils.graph.rewrite.values import attribute, is_op, only_user, shape_of

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
