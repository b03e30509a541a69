"""An ONNX file from anywhere, read with bounds and without following paths that it names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from lresnet_utils.errors import GraphError
from lresnet_utils.untrusted.whole_file import read_bytes

MAX_BYTES = 2**31 - 1  # protobuf's own limit of one message
MAX_NODES = 100_000
MAX_AXIS = 2**31 - 1


def read_graph(path: Path | str) -> onnx.ModelProto:
    """Read an ONNX file that is whole by itself.

    Parameters
    ----------
    path : path

    Returns
    -------
    onnx.ModelProto
        Checked by ONNX's own checker, with inferred shapes.

    Raises
    ------
    GraphError
        When the file is missing, larger than `MAX_BYTES`, no graph or one of more than
        `MAX_NODES` nodes, keeps weights in other files, has a weight with another number of bytes
        than its shape needs, or names an impossible axis.
    """
    path = Path(path)
    data = read_bytes(path, most=MAX_BYTES, what="The ONNX file", error=GraphError)
    try:
        model = onnx.load_from_string(data)
    except DecodeError as error:
        raise _refused("it is damaged or none", path) from error
    _check(model, path)
    try:
        onnx.checker.check_model(model)
        return onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # the checker's and the inference's errors have no common base
        raise _refused(str(error).split("\n", 1)[0], path) from error


def _check(model: onnx.ModelProto, path: Path) -> None:
    """Refuse what the checker passes over or would act on."""
    if len(model.graph.node) > MAX_NODES:
        raise _refused(f"it has more than {MAX_NODES:,} nodes", path)
    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        raise _refused("it does not say which operators it is written in", path)
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise GraphError(
                f"The weight {tensor.name[:60]!r} lies outside the file.",
                where=str(path),
                fix="save the graph with its weights inside: onnx.save(model, path)",
            )
    for tensor in model.graph.initializer:
        if not _is_whole(tensor):
            raise _refused(f"the weight {tensor.name[:60]!r} is not as long as its shape", path)
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        axes = value.type.tensor_type.shape.dim
        if not all(0 <= axis.dim_value <= MAX_AXIS for axis in axes):
            raise _refused(f"an axis of {value.name[:60]!r} is no length up to {MAX_AXIS:,}", path)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a graph and of the graphs inside its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _tensors(inner)


def _is_whole(tensor: onnx.TensorProto) -> bool:
    """Tell whether a tensor has the bytes or numbers that its shape and type need."""
    if any(axis < 0 for axis in tensor.dims):
        return False
    n = math.prod(tensor.dims)
    try:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
    except KeyError:
        return False
    four_bits = kind.name in ("int4", "uint4", "float4_e2m1fn")
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data) == (-(-n // 2) if four_bits else n * kind.itemsize)
    per_number = 2 if kind.kind == "c" else 1
    return len(getattr(tensor, field)) == (-(-n // 2) if four_bits else n * per_number)


def _refused(why: str, path: Path) -> GraphError:
    return GraphError(f"The file cannot be read as an ONNX graph: {why}.", where=str(path))
