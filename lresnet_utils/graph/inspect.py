"""What is inside an ONNX file: operators, shapes, parameters and arithmetic."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.reading import read_graph
from lresnet_utils.machine.disk import sha256_file

Shape = tuple[int | str, ...]

# Where operators on integers have their weights, biases included.
_INTEGER_WEIGHTS = {
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3,),
    "ConvInteger": (1,),
    "MatMulInteger": (1,),
    "DequantizeLinear": (0,),
}
# The rest of their constants tell what an integer means, and are no parameters.
_MEANINGS = {
    "QLinearConv": (1, 2, 4, 5, 6, 7),
    "QLinearMatMul": (1, 2, 4, 5, 6, 7),
    "ConvInteger": (2, 3),
    "MatMulInteger": (2, 3),
    "DequantizeLinear": (1, 2),
    "QuantizeLinear": (1, 2),
}
_ZERO_POINTS = {"QuantizeLinear": (2,), "DequantizeLinear": (2,)}
# Which input of a convolution is its weight.
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_PRODUCTS = {*_CONVOLUTIONS, "Gemm", "MatMul", "QLinearMatMul", "MatMulInteger"}
_OF_ACTIVATIONS = {
    *("QuantizeLinear", "DynamicQuantizeLinear"),
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
}
_FLOATS = {
    *(onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16),
    *(onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE),
}
WEIGHTS = "weights"
WEIGHTS_AND_ACTIVATIONS = "weights and activations"


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
class Quantised:
    """What of a graph was made integers before it came here.

    Attributes
    ----------
    what : {"weights and activations", "weights"}
        Whether products are of integers, or integers are only how the weights are stored.
    types : tuple of str
        Of the integers, such as ``int8``; sorted.
    nodes : int
        That quantise, take back, or compute with integers.
    """

    what: str
    types: tuple[str, ...]
    nodes: int

    @property
    def precision(self) -> str | None:
        """In which products are computed, such as ``int8``; None: as in any other graph."""
        if self.what == WEIGHTS:
            return None
        bits = [int(kind.removeprefix("u")[3:]) for kind in self.types if "int" in kind]
        return f"int{max(bits)}" if bits else self.types[0]


@dataclass(frozen=True)
class GraphSummary:
    """An ONNX file in numbers.

    Attributes
    ----------
    operators : dict of str to int
        Nodes of each operator, most frequent first.
    n_parameters : int
        Numbers stored as weights, means and variances of batch normalisation included; what
        integers stand for is not counted again.
    flops : int
        Two operations per multiply-add of Conv, Gemm and MatMul, of integers too, per image.
        Biases, activations, normalisation and pooling (below 1 % here) are not counted.
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
    quantised : Quantised or None
        None where all products are of floating-point numbers.
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
    quantised: Quantised | None = None


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
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    weights = set(shapes)
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.HasField("shape"):
            axes = value.type.tensor_type.shape.dim
            shapes[value.name] = tuple(a.dim_value or a.dim_param or "?" for a in axes)
    unknown = [v.name for v in (*graph.input, *graph.output) if v.name not in shapes]
    if unknown:
        raise GraphError(f"{unknown[0][:60]!r} has no shape.", where=str(path))
    inputs = {v.name: shapes[v.name] for v in graph.input if v.name not in weights}
    first = next(iter(inputs.values()), ())
    batch = first[0] if first and isinstance(first[0], int) else 1
    layers = []
    for node in graph.node:
        if not node.output:
            what = f"A node of type {node.op_type[:60]!r} has no output."
            raise GraphError(what, where=str(path))
        output = shapes.get(node.output[0], ("?",))
        flops = 0
        if node.op_type in _PRODUCTS:
            if node.op_type in _CONVOLUTIONS:
                # (out, in / groups, kernel height, kernel width)
                weight = node.input[_CONVOLUTIONS[node.op_type]]
                reduced = shapes.get(weight, ("?", "?"))[1:]
            else:
                axis = -1
                if node.op_type == "Gemm":
                    axis = 0 if any(a.name == "transA" and a.i for a in node.attribute) else 1
                reduced = (shapes.get(node.input[0], ("?", "?"))[axis],)
            # Multiply-adds of all output elements.
            total = _elements(output) * _elements(("", *reduced))
            if total < 1:
                raise GraphError(
                    f"The shape of {node.output[0]} cannot be inferred.",
                    where=str(path),
                    fix="simplify the graph with a fixed batch size first",
                )
            flops = 2 * total // batch
        layers.append(Layer(node.name or node.output[0], node.op_type, flops, output))
    counts = Counter(layer.op for layer in layers)
    return GraphSummary(
        operators=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        n_parameters=count_parameters(graph),
        flops=sum(layer.flops for layer in layers),
        file_bytes=path.stat().st_size,
        sha256=sha256_file(path),
        opset=next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")),
        inputs=inputs,
        outputs={value.name: shapes[value.name] for value in graph.output},
        layers=tuple(layers),
        quantised=find_quantised(graph),
    )


def count_parameters(graph: onnx.GraphProto) -> int:
    """Return how many numbers a graph stores as weights, as floating-point numbers or integers."""
    stored = _stored(graph)
    integers = set(_constants_of(graph, _INTEGER_WEIGHTS, stored))
    others = {t.name for t in graph.initializer if t.data_type in _FLOATS}
    others -= set(_constants_of(graph, _MEANINGS, stored))
    return sum(math.prod(stored[name].dims) for name in integers | others)


def find_quantised(graph: onnx.GraphProto) -> Quantised | None:
    """Return what of a graph is quantised already, or None."""
    nodes = [node for node in graph.node if node.op_type in _MEANINGS.keys() | _OF_ACTIVATIONS]
    if not nodes:
        return None
    stored = _stored(graph)
    # A weight may be stored as it was trained, and quantised where it is used.
    computed = any(n.op_type in _OF_ACTIVATIONS and n.input[0] not in stored for n in nodes)
    given = {*_constants_of(graph, _INTEGER_WEIGHTS, stored)}
    given |= {*_constants_of(graph, _ZERO_POINTS, stored)}
    kinds = {onnx.TensorProto.DataType.Name(stored[name].data_type).lower() for name in given}
    # Biases are wider than what they are added to.
    types = tuple(sorted(kinds - {"int32", "float"})) or ("uint8",)
    return Quantised(WEIGHTS_AND_ACTIVATIONS if computed else WEIGHTS, types, len(nodes))


def _stored(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Return the numbers that a graph holds, by the names that its nodes read them by."""
    made = {
        node.output[0]: found.t
        for node in graph.node
        if node.op_type == "Constant" and node.output
        for found in node.attribute
        if found.name == "value"
    }
    return made | {tensor.name: tensor for tensor in graph.initializer}


def _constants_of(
    graph: onnx.GraphProto,
    places: Mapping[str, tuple[int, ...]],
    stored: Mapping[str, onnx.TensorProto],
) -> Iterator[str]:
    """Yield the names of stored numbers at these places of these operators."""
    for node in graph.node:
        read = (node.input[k] for k in places.get(node.op_type, ()) if k < len(node.input))
        yield from (name for name in read if name in stored)


def _elements(shape: Shape) -> int:
    """Product of the axes; a symbolic first axis is one image, any other unknown axis gives 0."""
    if not shape:
        return 1
    first, *rest = shape
    if any(not isinstance(axis, int) for axis in rest):
        return 0
    return (first if isinstance(first, int) else 1) * math.prod(rest)
