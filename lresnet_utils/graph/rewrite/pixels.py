"""Rewrites of a graph's input: pictures as they are, and the mirrored view in the same batch.

They change what the graph takes, so they are not part of ``REWRITES``: who runs the graph must
know. :func:`lresnet_utils.graph.rewrite.prepare_input` applies them to a file.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir

from lresnet_utils.data.network_input import PIXEL_SCALES, Normalisation
from lresnet_utils.errors import GraphError
from lresnet_utils.graph.rewrite.batch import rebatch
from lresnet_utils.graph.rewrite.values import (
    attribute,
    is_op,
    name_of,
    new_constant,
    only_input,
    only_user,
    put_before,
    shape_of,
    unused_name,
    weight_and_bias,
)


def take_pixels(
    model: ir.Model,
    *,
    channel_order: Literal["rgb", "bgr"],
    normalisation: Normalisation,
) -> None:
    """Let a graph take RGB pictures of bytes and do the preprocessing itself.

    ``((x / 255) - 0.5) / 0.5 = (x - 127.5) / 127.5``. The division folds into the weights of a
    convolution that reads the input, and BGR is the same convolution with its input channels
    reversed. The subtraction stays: it must come before the convolution pads with zeros, and it
    is exact for whole numbers. Before anything but a convolution, all of it becomes nodes.

    Parameters
    ----------
    model : Model
        Its one input is float32 (n, 3, height, width); changed in place to uint8
        (n, height, width, 3), under the same name.
    channel_order, normalisation
        What the graph wants now, as in
        :func:`lresnet_utils.data.network_input.to_network_input`.

    Raises
    ------
    GraphError
        When the graph has another input than that.
    """
    graph = model.graph
    faces = only_input(graph)
    shape = shape_of(faces)
    if faces.dtype != ir.DataType.FLOAT or shape is None or len(shape) != 4 or shape[1] != 3:
        raise GraphError(
            f"The graph's input {faces.name} is not float32 (n, 3, height, width).",
            fix="prepare the input of the graph as it was exported",
        )
    bgr, (subtracted, divided) = channel_order == "bgr", PIXEL_SCALES[normalisation]
    folded = _fold_into_first(graph, faces, bgr, divided)
    steps = [ir.node("Transpose", [faces], attributes={"perm": [0, 3, 1, 2]})]
    steps.append(ir.node("Cast", [steps[-1].outputs[0]], attributes={"to": 1}))
    if bgr and not folded:
        order = new_constant(graph, f"{faces.name}.bgr", np.array([2, 1, 0]))
        steps.append(ir.node("Gather", [steps[-1].outputs[0], order], attributes={"axis": 1}))
    for operator, number, needed in (
        ("Sub", subtracted, subtracted != 0),
        ("Div", divided, divided != 1 and not folded),
    ):
        if needed:
            operand = new_constant(graph, f"{faces.name}.{operator.lower()}", np.array(number))
            steps.append(ir.node(operator, [steps[-1].outputs[0], operand]))
    _lead_in(graph, faces, steps)
    n, _, height, width = faces.shape
    faces.shape, faces.dtype = ir.Shape([n, height, width, 3]), ir.DataType.UINT8


def add_mirror(model: ir.Model) -> None:
    """Let a graph embed each picture and its mirrored copy in one batch, as one embedding.

    The n pictures and their n copies, left and right exchanged, run as a batch of 2 n; what the
    graph gives out is ``unit(unit(a) + unit(b))`` of the two views' embeddings, as the pipeline
    computes it from two runs. Where that has no direction, it is NaN.

    Parameters
    ----------
    model : Model
        Its one input is (n, 3, height, width), or (n, height, width, 3) of uint8 after
        :func:`take_pixels`, and its one output (n, d), with n a number. Changed in place.

    Raises
    ------
    GraphError
        When the graph is not like that, or holds its batch size where it cannot be changed.
    """
    graph = model.graph
    faces, batch = only_input(graph), _batch_size(graph)
    if _opset(model) < 10:
        raise GraphError("Mirroring in the graph needs opset 10.", fix="export it again")
    rebatch(graph, batch, 2 * batch)
    axis = 2 if faces.dtype == ir.DataType.UINT8 else 3
    numbers = [new_constant(graph, "mirror", np.array([k])) for k in (-1, -(2**31), axis, -1)]
    flipped = ir.node("Slice", [faces, *numbers])
    both = ir.node("Concat", [faces, flipped.outputs[0]], attributes={"axis": 0})
    _lead_in(graph, faces, [flipped, both])
    _join_views(model, batch)
    for node in graph:
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    _check_shapes(model)


def _fold_into_first(graph: ir.Graph, faces: ir.Value, bgr: bool, divided: float) -> bool:
    """Let a convolution that alone reads the input undo the channel order and the scale."""
    first = only_user(faces)
    constants = weight_and_bias(first) if is_op(first, "Conv") else None
    if constants is None or first.graph is not graph or attribute(first, "group", 1) != 1:
        return False
    weight = constants[0][:, ::-1] if bgr else constants[0]
    first.replace_input_with(1, new_constant(graph, f"{name_of(first)}.weight", weight / divided))
    return True


def _lead_in(graph: ir.Graph, faces: ir.Value, steps: list[ir.Node]) -> None:
    """Put nodes between the graph's input and everyone who read it."""
    uses = [use for use in faces.uses() if use.node not in steps]
    first = graph[0]
    for step in steps:
        put_before(graph, first, step, faces)
        step.outputs[0].shape = step.outputs[0].type = None
    for user, index in uses:
        user.replace_input_with(index, steps[-1].outputs[0])


def _batch_size(graph: ir.Graph) -> int:
    faces, outputs = only_input(graph), [shape_of(value) for value in graph.outputs]
    batch = (shape_of(faces) or (None,))[0]
    if batch is None:
        raise GraphError("The graph's batch size is not a number.", fix="simplify it first")
    if len(outputs) != 1 or outputs[0] is None or len(outputs[0]) != 2 or outputs[0][0] != batch:
        raise GraphError(f"The graph does not give out one table of {batch} embeddings.")
    return batch


def _opset(model: ir.Model) -> int:
    imports = model.graph.opset_imports
    return imports.get("") or imports["ai.onnx"]


def _join_views(model: ir.Model, batch: int) -> None:
    """Make one unit vector of rows i and n + i of the graph's output."""
    graph = model.graph
    views = graph.outputs[0]
    name, views.name = views.name, unused_name(graph, f"{views.name}_views")
    last = ir.Value(name=name, shape=views.shape, type=views.type)

    def append(operator: str, *inputs: ir.Value, **attributes: object) -> ir.Value:
        node = ir.node(operator, inputs, attributes=attributes)
        graph.append(node)
        node.outputs[0].name = node.name = unused_name(graph, f"{name}_{operator.lower()}")
        return node.outputs[0]

    def unit(rows: ir.Value) -> ir.Value:
        if _opset(model) < 18:
            length = append("ReduceL2", rows, axes=[1], keepdims=1)
        else:
            length = append("ReduceL2", rows, numbers[1], keepdims=1)
        return append("Div", rows, length)

    numbers = {
        k: new_constant(graph, f"{name}.{k}", np.array([k])) for k in {0, 1, batch, 2 * batch}
    }
    units = unit(views)
    plain, mirrored = (
        append("Slice", units, numbers[start], numbers[start + batch], numbers[0])
        for start in (0, batch)
    )
    joined = unit(append("Add", plain, mirrored))
    joined.shape, joined.type = last.shape, last.type
    graph.outputs[0] = joined
    joined.name = name


def _check_shapes(model: ir.Model) -> None:
    try:
        onnx.shape_inference.infer_shapes(ir.to_proto(model), check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise GraphError(
            "The graph holds its batch size where it cannot be changed.",
            fix="leave the mirrored view to a second run",
        ) from error
