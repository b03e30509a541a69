"""What every rewrite needs of an ONNX graph: constants in, constants out, who uses a value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx_ir as ir

from lresnet_utils.errors import GraphError, LResNetError


@contextmanager
def located(path: Path | str) -> Iterator[None]:
    """Let whatever goes wrong with a graph be a GraphError that names its file.

    A stranger's graph can lack anything: inputs, shapes, the types that its operators want.
    """
    try:
        yield
    except GraphError as error:
        raise GraphError(error.what, where=error.where or str(path), fix=error.fix) from error
    except (LResNetError, OSError):
        raise
    except Exception as error:
        cause = error
        while cause.__cause__ is not None:  # libraries wrap what was wrong in where they were
            cause = cause.__cause__
        told = str(cause).split("\n", 1)[0][:300] or type(cause).__name__
        raise GraphError(
            f"The graph contradicts itself: {told}",
            where=str(path),
            fix="export the network again, and see that onnx.checker accepts it",
        ) from error


def is_op(node: ir.Node | None, *operators: str) -> bool:
    """Say whether there is a node and it is one of these standard operators."""
    return node is not None and node.op_type in operators and node.domain in ("", "ai.onnx")


def nodes(graph: ir.Graph, *operators: str) -> list[ir.Node]:
    """Return the standard nodes of these operators, in the order of execution."""
    return [node for node in graph if is_op(node, *operators)]


def constant(value: ir.Value | None) -> np.ndarray | None:
    """Return a value's numbers when they are part of the graph, else None.

    An initializer that is also an input of the graph is only a default, so it is no constant.
    """
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def floats(value: ir.Value | None) -> np.ndarray | None:
    """Return a float32 constant as float64, else None.

    Other precisions are left alone: folding in float16 rounds far more than the limit on a
    rewrite allows.
    """
    array = constant(value)
    return array.astype(np.float64) if array is not None and array.dtype == np.float32 else None


def new_constant(graph: ir.Graph, like: str, array: np.ndarray) -> ir.Value:
    """Add an initializer whose name starts with `like` and return it; float64 becomes float32."""
    array = np.ascontiguousarray(array, np.float32 if array.dtype == np.float64 else array.dtype)
    name = unused_name(graph, like)
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def unused_name(graph: ir.Graph, like: str) -> str:
    """Return `like`, with a number behind it when a value of the graph has that name."""
    taken = {value.name for node in graph.all_nodes() for value in node.outputs}
    taken |= {value.name for value in graph.inputs} | set(graph.initializers)
    name, number = like, 0
    while name in taken:
        number += 1
        name = f"{like}_{number}"
    return name


def name_of(node: ir.Node) -> str:
    """Return a node's name, or its first output's where it has none."""
    return node.name or node.outputs[0].name


def attribute(node: ir.Node, name: str, default: object = None) -> object:
    """Return a node's attribute as a plain Python value."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def shape_of(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """Return a value's shape, None for an axis without a number, or None when it is unknown."""
    if value is None or value.shape is None:
        return None
    return tuple(axis if isinstance(axis, int) else None for axis in value.shape)


def only_user(value: ir.Value) -> ir.Node | None:
    """Return the node that reads a value; None when it is read twice or the graph gives it out."""
    uses = value.uses()
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def bypass(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    """Let everyone who reads the node's first output read `value`, and remove the node.

    An output of the graph keeps its name; see :func:`can_replace`.
    """
    old = node.outputs[0]
    name = old.name if old.is_graph_output() else None
    ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    if name is not None:
        value.name = name


def can_replace(node: ir.Node, value: ir.Value) -> bool:
    """Say whether `value` can stand for the node's output, also where the graph gives it out."""
    return not node.outputs[0].is_graph_output() or (
        value.producer() is not None and not value.is_graph_output()
    )


def put_before(graph: ir.Graph, node: ir.Node, new: ir.Node, like: ir.Value) -> ir.Value:
    """Insert a node of one output before another; the output is described and named like `like`."""
    graph.insert_before(node, new)
    return _described(graph, new, like)


def put_after(graph: ir.Graph, value: ir.Value, new: ir.Node) -> ir.Value:
    """Insert a node of one output where `value` is made; its output is described like `value`."""
    if value.producer() is None:
        graph.insert_before(graph[0], new)
    else:
        graph.insert_after(value.producer(), new)
    return _described(graph, new, value)


def _described(graph: ir.Graph, new: ir.Node, like: ir.Value) -> ir.Value:
    output = new.outputs[0]
    # The graph has named it val_0 or so, which says nothing in a runtime's profile.
    output.name = new.name = unused_name(graph, f"{like.name}_{new.op_type.lower()}")
    output.shape, output.type = like.shape, like.type
    return output


def batch_norm(node: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Return scale and shift of a batch normalisation, float64 (channels,), or None.

    In evaluation mode it is ``y = scale * x + shift`` with ``scale = gamma / sqrt(var + eps)``
    and ``shift = beta - mean * scale`` (ONNX operator BatchNormalization). None when one of its
    four constants is not part of the graph in float32, or when it is in training mode, which
    before opset 14 is told by its additional outputs.
    """
    arrays = [floats(value) for value in node.inputs[1:5]]
    if any(array is None for array in arrays) or len(node.outputs) > 1:
        return None
    if attribute(node, "training_mode", 0) or not attribute(node, "spatial", 1):
        return None
    gamma, beta, mean, variance = arrays
    scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return scale, beta - mean * scale


def is_padded(conv: ir.Node) -> bool:
    """Say whether a convolution or pooling reads beyond its input's border."""
    automatic = attribute(conv, "auto_pad", "NOTSET")
    return automatic not in ("NOTSET", "VALID") or any(attribute(conv, "pads", ()))


def weight_and_bias(node: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a Conv's or Gemm's float64 weight and bias, the bias 0 where there is none.

    A Gemm's weight is turned so that its rows are outputs. None when they are not float32
    constants, or when a Gemm scales its terms, turns its input or adds something else to each row.
    """
    weight = floats(node.inputs[1])
    bias_value = node.inputs[2] if len(node.inputs) > 2 else None
    bias = floats(bias_value)
    if weight is None or (bias_value is not None and bias is None):
        return None
    if node.op_type == "Gemm":
        if attribute(node, "alpha", 1.0) != 1 or attribute(node, "beta", 1.0) != 1:
            return None
        one_per_row = bias is not None and bias.ndim == 2 and bias.shape[0] != 1
        if attribute(node, "transA", 0) or one_per_row:
            return None
        weight = weight if attribute(node, "transB", 0) else weight.T
    bias = np.zeros(len(weight)) if bias is None else bias.reshape(-1)
    return weight, np.broadcast_to(bias, len(weight))


def set_weight_and_bias(
    graph: ir.Graph, node: ir.Node, weight: np.ndarray | None, bias: np.ndarray
) -> None:
    """Give a Conv or Gemm new constants, rows of a Gemm's weight being outputs, as float32.

    A weight of None leaves the weight as it is.
    """
    if weight is not None:
        if node.op_type == "Gemm" and not attribute(node, "transB", 0):
            weight = weight.T
        node.replace_input_with(1, new_constant(graph, f"{name_of(node)}.weight", weight))
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(2, new_constant(graph, f"{name_of(node)}.bias", bias))
