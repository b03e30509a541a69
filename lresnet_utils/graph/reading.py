"""An ONNX file from anywhere, read with bounds and without following paths that it names."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import onnx
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message

from lresnet_utils.errors import GraphError
from lresnet_utils.untrusted.bytes import read_bytes

MAX_BYTES = 2**31 - 1  # protobuf's own limit of one message
MAX_FIELDS = 2_000_000
"""Entries of a file; each takes a hundred bytes and more in memory, and may be two in the file."""
MAX_NODES = 100_000
MAX_CALLS = 64
"""Functions that call each other, one below the other."""
MAX_GROWN_BYTES = 2**28
"""By how much a file's functions may make the graph larger where they are put in."""
MAX_AXIS = 2**31 - 1

COPY_AGAIN = "compare its size and hash with the source's, and copy it again"
DO_NOT_USE = "do not use this file unless you know its source; save it again as one file"

_BITS = {"int4": 4, "uint4": 4, "float4_e2m1fn": 4, "int2": 2, "uint2": 2}
_NUMBERS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
# Messages in messages; protobuf's own limit is 100.
_MAX_LEVELS = 200
_Kind = TypeVar("_Kind", bound=Message)
# Domain, name and overload of a function, and of a node that calls it.
_Key = tuple[str, str, str]


def read_message(path: Path | str, *, whole: bool = True) -> onnx.ModelProto:
    """Read an ONNX file as it stands; nothing that it names is followed.

    Parameters
    ----------
    path : path
    whole : bool
        Whether all numbers must be inside the file, as many as the shapes say.

    Raises
    ------
    GraphError
        When the file is missing, no regular file, larger than `MAX_BYTES` or no graph, has more
        than `MAX_FIELDS` entries, or when its functions call themselves or would make more than
        `MAX_NODES` nodes or `MAX_GROWN_BYTES` of it where they are put in.
    """
    path = Path(path)
    data = read_bytes(path, most=MAX_BYTES, what="The ONNX file", error=GraphError)
    try:
        if not _has_few_fields(data):
            raise refused(path, f"it has more than {MAX_FIELDS:,} entries", DO_NOT_USE)
        model = onnx.load_from_string(data)
    except (DecodeError, IndexError) as error:
        raise refused(path, "it is damaged or none") from error
    _check_calls(model, path)
    _fill_in_defaults(model, path)
    for tensor in found(model, onnx.TensorProto) if whole else ():
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise GraphError(
                f"The weight {tensor.name[:60]!r} lies outside the file.",
                where=str(path),
                fix="save the graph with its weights inside: onnx.save(model, path)",
            )
        if not is_whole(tensor):
            raise refused(path, f"the weight {tensor.name[:60]!r} is not as long as its shape")
    return model


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
        As of :func:`read_message`, and when the graph names an impossible axis or does not follow
        the standard.
    """
    path = Path(path)
    model = read_message(path)
    # Refuse what the checker passes over or would act on
    if len(model.graph.node) > MAX_NODES:
        raise refused(path, f"it has more than {MAX_NODES:,} nodes")
    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        raise refused(path, "it does not say which operators it is written in")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        axes = value.type.tensor_type.shape.dim
        if not all(0 <= axis.dim_value <= MAX_AXIS for axis in axes):
            raise refused(path, f"an axis of {value.name[:60]!r} is no length up to {MAX_AXIS:,}")
    try:
        onnx.checker.check_model(model)
        return onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # the checker's and the inference's errors have no common base
        raise refused(path, str(error).split("\n", 1)[0]) from error


def found(message: Message, kind: type[_Kind]) -> Iterator[_Kind]:
    """Yield every message of a kind, wherever in another one it may stand.

    By the format's own description, so that no place is forgotten: in nodes, in graphs inside
    nodes, in functions, in defaults of their attributes, in what a file keeps for training.
    """
    left = [message]
    while left:
        part = left.pop()
        if isinstance(part, kind):
            yield part
        if isinstance(part, onnx.TensorProto):  # whose numbers would be copied to look at them
            continue
        for field, value in part.ListFields():
            if field.message_type is not None:
                left.extend([value] if isinstance(value, Message) else value)


def stored_bytes(tensor: onnx.TensorProto) -> int | None:
    """Return the bytes that a tensor's numbers take in a file; None where there are no such."""
    try:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError:
        return None
    if kind.hasobject or any(axis < 0 for axis in tensor.dims):
        return None
    return -(-math.prod(tensor.dims) * _BITS.get(kind.name, 8 * kind.itemsize) // 8)


def is_whole(tensor: onnx.TensorProto) -> bool:
    """Tell whether a tensor has the bytes or numbers that its shape and type need."""
    stored = [getattr(tensor, field) for field in _NUMBERS]
    n, numbers = math.prod(tensor.dims), sum(map(len, stored))
    if tensor.data_type == onnx.TensorProto.STRING:
        return n == len(tensor.string_data) == numbers and not tensor.HasField("raw_data")
    wanted = stored_bytes(tensor)
    if wanted is None:
        return False
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data) == wanted and not numbers
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if kind.name not in _BITS:
        wanted = n * (2 if kind.kind == "c" else 1)
    field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
    return len(getattr(tensor, field)) == wanted == numbers


def refused(path: Path, why: str, fix: str = COPY_AGAIN) -> GraphError:
    """Return the error that says why a file is not read."""
    return GraphError(f"The file cannot be read as an ONNX graph: {why}.", where=str(path), fix=fix)


def _has_few_fields(data: bytes) -> bool:
    """Count the entries of a message without making anything of them.

    A list of a million empty nodes takes two million bytes in the file and a hundred times as much
    once it is parsed.
    """
    count, at, end, kind = 0, 0, len(data), onnx.ModelProto.DESCRIPTOR
    above: list[tuple[int, Descriptor]] = []
    while True:
        while at == end and above:
            end, kind = above.pop()
        if at == end:
            return True
        count += 1
        if count > MAX_FIELDS:
            return False
        key, at = _varint(data, at)
        form, inner = key & 7, _messages_of(kind).get(key >> 3)
        if form == 0:
            _, at = _varint(data, at)
        elif form == 2:
            length, at = _varint(data, at)
            if inner is None:
                at += length
            else:
                above.append((end, kind))
                end, kind = at + length, inner
                if end > above[-1][0]:
                    raise IndexError("an entry is longer than what it stands in")
        elif form in (1, 5):
            at += 8 if form == 1 else 4
        else:
            raise IndexError("a form that no writer of ONNX files uses")
        if at > end or len(above) > _MAX_LEVELS:
            raise IndexError("an entry is longer than what it stands in, or lies too deep")


@cache
def _messages_of(kind: Descriptor) -> dict[int, Descriptor]:
    return {field.number: field.message_type for field in kind.fields if field.message_type}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    if value < 128:
        return value, at + 1
    value, shift = value & 127, 7
    while shift < 70:
        at += 1
        value |= (data[at] & 127) << shift
        if data[at] < 128:
            return value, at + 1
        shift += 7
    raise IndexError("a number has no end")


@dataclass
class _Expanded:
    """What a graph or a function's body comes to with all functions put in."""

    nodes: int = 0
    places: int = 0
    bytes: int = 0
    calls: int = 0

    def __iadd__(self, inner: _Expanded) -> _Expanded:
        self.nodes += inner.nodes
        self.places += inner.places
        self.bytes += inner.bytes
        self.calls = max(self.calls, 1 + inner.calls)
        return self


def _check_calls(model: onnx.ModelProto, path: Path) -> None:
    """See what a file's functions come to, before anything puts them in: ten calls of ten calls.

    Every reader of graphs does that, each in its own way: the names and attributes of a call may
    come to stand wherever the function's body has a place for one.
    """
    functions: dict[_Key, onnx.FunctionProto] = {}
    for function in model.functions:
        if function.domain in ("", "ai.onnx"):  # ONNX Runtime passes it over, others put it in
            why = f"its function {function.name[:60]!r} stands in for a standard operator"
            raise refused(path, why, DO_NOT_USE)
        if _key(function, function.name) in functions:
            raise refused(path, f"it has two functions {function.name[:60]!r}", DO_NOT_USE)
        functions[_key(function, function.name)] = function
    if not functions:
        return
    longest = 0
    for node in found(model, onnx.NodeProto):
        if _key(node, node.op_type) in functions:
            longest = max(longest, node.ByteSize())
            if next(found(node, onnx.GraphProto), None) is not None:
                raise refused(path, "it gives a graph to one of its functions", DO_NOT_USE)
    for function in functions.values():
        for default in function.attribute_proto:
            longest = max(longest, default.ByteSize())
    known: dict[_Key, _Expanded] = {}
    for owner in (*found(model, onnx.GraphProto), *functions.values()):
        whole = _expanded(owner, functions, known, (), path)
        grown = whole.bytes - sum(node.ByteSize() for node in owner.node)
        grown += whole.places * longest * (1 + whole.calls)
        if whole.nodes > MAX_NODES or grown > MAX_GROWN_BYTES or whole.calls > MAX_CALLS:
            raise refused(
                path,
                f"its functions, which call each other, come to more than {MAX_NODES:,} nodes, "
                f"{MAX_GROWN_BYTES:,} bytes or {MAX_CALLS} levels",
                DO_NOT_USE,
            )


def _expanded(
    owner: onnx.GraphProto | onnx.FunctionProto,
    functions: Mapping[_Key, onnx.FunctionProto],
    known: dict[_Key, _Expanded],
    above: tuple[_Key, ...],
    path: Path,
) -> _Expanded:
    whole = _Expanded(bytes=sum(node.ByteSize() for node in owner.node))
    for node in found(owner, onnx.NodeProto):
        whole.nodes += 1
        whole.places += len(node.input) + len(node.output) + len(node.attribute)
        key = _key(node, node.op_type)
        if key not in functions:
            continue
        if key in above:
            raise refused(path, f"its function {node.op_type[:60]!r} calls itself", DO_NOT_USE)
        if key not in known and len(above) < MAX_CALLS:
            known[key] = _expanded(functions[key], functions, known, (*above, key), path)
        whole.bytes += sum(default.ByteSize() for default in functions[key].attribute_proto)
        # Below so many levels nothing is counted any more; they are refused.
        whole += known.get(key, _Expanded(calls=MAX_CALLS))
    return whole


def _fill_in_defaults(model: onnx.ModelProto, path: Path) -> None:
    """Write functions' defaults into the calls that leave them out; ONNX's inliner forgets them."""
    defaults = {_key(f, f.name): f.attribute_proto for f in model.functions}
    added = 0
    for node in found(model, onnx.NodeProto) if defaults else ():
        given = {attribute.name for attribute in node.attribute}
        for default in defaults.get(_key(node, node.op_type), ()):
            if default.name not in given:
                added += default.ByteSize()
                if added > MAX_GROWN_BYTES:
                    why = f"its functions' defaults come to more than {MAX_GROWN_BYTES:,} bytes"
                    raise refused(path, why, DO_NOT_USE)
                node.attribute.append(default)


def _key(entry: onnx.NodeProto | onnx.FunctionProto, name: str) -> _Key:
    return ("" if entry.domain == "ai.onnx" else entry.domain, name, entry.overload)
