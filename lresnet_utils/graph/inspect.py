"""What is inside an ONNX file: operators, shapes, parameters and arithmetic."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from lresnet_utils.errors import GraphError
from lresnet_utils.files import sha256_file
from lresnet_utils.graph.reading import read_graph

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Layer:
    """One node of a graph.

    Attributes
    ----------
    name, op : str
        The node's name (its first output where it has none) and operator.
    flops : int
        Floating-point operations per image, 0 for operators that are not counted.
    output_shape : tuple
        Of the first output; unknown axes keep their symbolic name or ``"?"``.
    """

    name: str
    op: str
    flops: int
    output_shape: Shape


@dataclass(frozen=True)
class GraphSummary:
    """An ONNX file in numbers.

    Attributes
    ----------
    operators : dict of str to int
        Nodes of each operator, most frequent first.
    n_parameters : int
        Floating-point numbers stored as weights, means and variances of batch normalisation
        included.
    flops : int
        Two operations per multiply-add of Conv, Gemm and MatMul, per image. Biases,
        activations, normalisation and pooling (below 1 % here) are not counted.
    file_bytes : int
        Size of the file.
    sha256 : str
        Of the file.
    opset : int
        Version of the standard operators.
    inputs, outputs : dict of str to tuple
        Names and shapes.
    layers : tuple of Layer
        In the order of execution.
    """

    operators: dict[str, int]
    n_parameters: int
    flops: int
    file_bytes: int
    sha256: str
    opset: int
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    layers: tuple[Layer, ...]


def summarise(path: Path | str) -> GraphSummary:
    """Summarise an ONNX file.

    Parameters
    ----------
    path : path
        A graph whose first axis of the first input is the batch; a symbolic batch counts as 1.

    Returns
    -------
    GraphSummary
        Its numbers. IR-SE100 has 24.15e9 FLOP per image (12.077e9 multiply-adds), as the
        24.2 GFLOP that Open Model Zoo lists for face-recognition-resnet100-arcface.

    Raises
    ------
    GraphError
        When the file is missing or no ONNX graph, or a shape that arithmetic depends on cannot
        be inferred.
    """
    path = Path(path)
    model = read_graph(path)
    graph = model.graph
    shapes = _shapes(graph)
    weights = {tensor.name for tensor in graph.initializer}
    unknown = [v.name for v in (*graph.input, *graph.output) if v.name not in shapes]
    if unknown:
        raise GraphError(f"{unknown[0][:60]!r} has no shape.", where=str(path))
    inputs = {v.name: shapes[v.name] for v in graph.input if v.name not in weights}
    batch = _batch(inputs)
    layers = tuple(_layer(node, shapes, batch, where=str(path)) for node in graph.node)
    counts = Counter(layer.op for layer in layers)
    return GraphSummary(
        operators=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        n_parameters=sum(_floats(tensor) for tensor in graph.initializer),
        flops=sum(layer.flops for layer in layers),
        file_bytes=path.stat().st_size,
        sha256=sha256_file(path),
        opset=next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        inputs=inputs,
        outputs={value.name: shapes[value.name] for value in graph.output},
        layers=layers,
    )


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            axes = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(a.dim_value or a.dim_param or "?" for a in axes)
    return shapes


def _batch(inputs: dict[str, Shape]) -> int:
    first = next(iter(inputs.values()), ())
    return first[0] if first and isinstance(first[0], int) else 1


def _layer(node: onnx.NodeProto, shapes: dict[str, Shape], batch: int, *, where: str) -> Layer:
    if not node.output:
        raise GraphError(f"A node of type {node.op_type[:60]!r} has no output.", where=where)
    output = shapes.get(node.output[0], ("?",))
    flops = 0
    if node.op_type in ("Conv", "Gemm", "MatMul"):
        total = _elements(output) * _reduced(node, shapes)
        if total < 1:
            raise GraphError(
                f"The shape of {node.output[0]} cannot be inferred.",
                where=where,
                fix="simplify the graph with a fixed batch size first",
            )
        flops = 2 * total // batch
    return Layer(node.name or node.output[0], node.op_type, flops, output)


def _reduced(node: onnx.NodeProto, shapes: dict[str, Shape]) -> int:
    """Multiply-adds per output element."""
    if node.op_type == "Conv":
        # (out, in / groups, kernel height, kernel width)
        return _elements(("", *shapes.get(node.input[1], ("?", "?"))[1:]))
    axis = -1
    if node.op_type == "Gemm":
        axis = 0 if any(a.name == "transA" and a.i for a in node.attribute) else 1
    return _elements(("", shapes.get(node.input[0], ("?", "?"))[axis]))


def _elements(shape: Shape) -> int:
    """Product of the axes; a symbolic first axis is one image, any other unknown axis gives 0."""
    if not shape:
        return 1
    first, *rest = shape
    if any(not isinstance(axis, int) for axis in rest):
        return 0
    return (first if isinstance(first, int) else 1) * math.prod(rest)


def _floats(tensor: onnx.TensorProto) -> int:
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return math.prod(tensor.dims) if np.issubdtype(kind, np.floating) else 0
