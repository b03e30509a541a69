"""An ONNX file from anywhere, read with bounds and without following paths that it names."""

from __future__ import annotations

import hashlib
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import onnx
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from onnx import external_data_helper, inliner, numpy_helper

from lresnet_utils.errors import GraphError
from lresnet_utils.machine.disk import sha256_file
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
# The operators' version from which PReLU broadcasts and BatchNormalization has today's meaning.
_OLDEST_OPSET = 7
# A protobuf message, which the run's own files must fit into, holds less than 2**31 bytes.
_MOST_BYTES = 1_900_000_000
_STANDARD = ("", "ai.onnx")
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
    _settle_calls(model, path)
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
    # Refuse what the checker passes over or would act on.
    if len(model.graph.node) > MAX_NODES:
        raise refused(path, f"it has more than {MAX_NODES:,} nodes")
    if not any(entry.domain in _STANDARD for entry in model.opset_import):
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


def _settle_calls(model: onnx.ModelProto, path: Path) -> None:
    """See what a file's functions come to, before anything puts them in: ten calls of ten calls.

    Every reader of graphs does that, each in its own way: the names and attributes of a call may
    come to stand wherever the function's body has a place for one. Functions' defaults are written
    into the calls that leave them out, as ONNX's inliner forgets them.
    """
    functions: dict[_Key, onnx.FunctionProto] = {}
    for function in model.functions:
        if function.domain in _STANDARD:  # ONNX Runtime passes it over, others put it in
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
    added = 0
    for node in found(model, onnx.NodeProto):
        called = functions.get(_key(node, node.op_type))
        given = {attribute.name for attribute in node.attribute}
        for default in called.attribute_proto if called else ():
            if default.name not in given:
                added += default.ByteSize()
                if added > MAX_GROWN_BYTES:
                    why = f"its functions' defaults come to more than {MAX_GROWN_BYTES:,} bytes"
                    raise refused(path, why, DO_NOT_USE)
                node.attribute.append(default)


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


def _key(entry: onnx.NodeProto | onnx.FunctionProto, name: str) -> _Key:
    return ("" if entry.domain == "ai.onnx" else entry.domain, name, entry.overload)


# An ONNX file of another maker, its external weights included.


@dataclass(frozen=True)
class ForeignFile:
    """An ONNX file with all its weights in memory.

    Attributes
    ----------
    path : Path
        The file.
    model : ModelProto
        As the file has it, external weights taken in and functions of its own expanded.
    sha256 : str
        Of the file or, with external weights, of the hashes of all its files.
    opset : int
        Version of the standard operators.
    """

    path: Path
    model: onnx.ModelProto
    sha256: str
    opset: int


def read_foreign(path: Path | str) -> ForeignFile:
    """Read an ONNX file and the external weights beside it.

    Raises
    ------
    GraphError
        When the file is missing or is no ONNX graph, its external weights are missing, damaged or
        outside its folder, its operators are too old, or some are not of the ONNX standard.
    """
    path = Path(path)
    model = read_message(path, whole=False)
    versions = [entry.version for entry in model.opset_import if entry.domain in _STANDARD]
    if len(versions) != 1:
        what = f"The graph says {len(versions)} times which version its operators have."
        raise _refused(path, what, COPY_AGAIN)
    opset = versions[0]
    if opset < _OLDEST_OPSET:
        what = f"The graph uses operators of version {opset}; {_OLDEST_OPSET} is the oldest known."
        raise _refused(path, what, "convert it: onnx.version_converter.convert_version(model, 17)")
    # All external tensors are copied into the message.
    files: set[Path] = set()
    total = 0
    for tensor in found(model, onnx.TensorProto):
        if external_data_helper.uses_external_data(tensor):
            total += stored_bytes(tensor) or 0
            if total > _MOST_BYTES:
                what = f"The graph has more than {_MOST_BYTES:,} bytes of weights."
                raise _refused(path, what, "use a smaller network")
            file, tensor.raw_data = _external_bytes(tensor, path)
            files.add(file)
            if not is_whole(tensor):
                raise _described_wrongly(tensor, path)
        elif not is_whole(tensor):
            what = f"The weight {tensor.name[:60]!r} is not as long as its shape."
            raise _refused(path, what, COPY_AGAIN)
        # Nobody who reads what is published must look for a file.
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    _make_dense(model, path)
    try:
        # A function may be written in another version of the operators than the graph.
        model = inliner.inline_local_functions(model, True) if model.functions else model
    except Exception as error:  # the C++ core's own errors
        what = f"The graph's functions cannot be put in: {str(error).splitlines()[0]}"
        raise _refused(path, what, "export the network without functions of its own") from error
    _check_graph(path, model.graph, opset)
    digest = sha256_file(path)
    if files:
        lines = [f"{file.name} {sha256_file(file)}\n" for file in sorted({path, *files})]
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    return ForeignFile(path, model, digest, opset)


def external_files(path: Path | str) -> list[Path]:
    """Return the files of weights that a graph names, sorted; none when it cannot be read."""
    path = Path(path)
    try:
        tensors = found(read_message(path, whole=False), onnx.TensorProto)
        outside = filter(external_data_helper.uses_external_data, tensors)
        return sorted({_beside(path, _entries(tensor, path)["location"]) for tensor in outside})
    except (GraphError, KeyError):  # whatever is wrong with it is said before work starts
        return []


def _refused(path: Path, what: str, fix: str | None) -> GraphError:
    return GraphError(what, where=str(path), fix=fix)


def _check_graph(path: Path, graph: onnx.GraphProto, opset: int) -> None:
    """See that nodes are of the standard and have what they cannot be without.

    And that whatever is read was made before, and that names are text.
    """
    nodes = list(found(graph, onnx.NodeProto))
    others = sorted({f"{n.domain}.{n.op_type}" for n in nodes if n.domain not in _STANDARD})
    if others:
        raise _refused(
            path,
            f"The graph uses operators outside the ONNX standard: {', '.join(others[:3])}.",
            "use the graph as it was before a runtime optimised or quantised it",
        )
    for node in nodes:
        known = onnx.defs.has(node.op_type, opset, "")
        fewest = onnx.defs.get_schema(node.op_type, opset, "").min_input if known else 0
        if len(node.input) < fewest or not node.output:
            what = (
                f"The graph is damaged: {node.op_type} {node.name[:60]!r} has {len(node.input)} "
                f"inputs and {len(node.output)} outputs."
            )
            raise _refused(path, what, COPY_AGAIN)
    known = {"", *(v.name for v in graph.input), *(t.name for t in graph.initializer)}
    for scope in found(graph, onnx.GraphProto):
        names = [tensor.name for tensor in scope.initializer]
        if len(set(names)) < len(names):  # of which runtimes take the first or the last
            raise _refused(path, "The graph is damaged: two weights have one name.", COPY_AGAIN)
    wanted = [*((n, n.input) for n in graph.node), (None, [v.name for v in graph.output])]
    for node, names in wanted:
        for name in names:
            if not isinstance(name, str) or name not in known:
                what = f"The graph is damaged: it reads {name!r}, which nothing makes."
                raise _refused(path, what, COPY_AGAIN)
        known.update(node.output if node is not None else ())


def _make_dense(model: onnx.ModelProto, path: Path) -> None:
    """Store sparse weights like the others, which is what runtimes do; not all know them."""
    total = 0
    for sparse in found(model, onnx.SparseTensorProto):
        full = onnx.TensorProto(data_type=sparse.values.data_type, dims=sparse.dims)
        total += stored_bytes(full) or 0
        if total > MAX_GROWN_BYTES:
            what = f"The sparse weights come to more than {MAX_GROWN_BYTES:,} bytes."
            raise _refused(path, what, DO_NOT_USE)
    for graph in found(model, onnx.GraphProto):
        graph.initializer.extend(_dense(sparse, path) for sparse in graph.sparse_initializer)
        del graph.sparse_initializer[:]
    for attribute in found(model, onnx.AttributeProto):
        if attribute.name == "sparse_value" and attribute.HasField("sparse_tensor"):
            dense = _dense(attribute.sparse_tensor, path)
            attribute.CopyFrom(onnx.helper.make_attribute("value", dense))


def _dense(sparse: onnx.SparseTensorProto, path: Path) -> onnx.TensorProto:
    try:
        values, places = map(numpy_helper.to_array, (sparse.values, sparse.indices))
        array = np.zeros(tuple(sparse.dims), values.dtype)
        if places.ndim == 2:
            places = np.ravel_multi_index(tuple(places.T), array.shape)
        if values.ndim != 1 or values.shape != places.shape or (places < 0).any():
            raise ValueError("no place for every number")
        array.reshape(-1)[places] = values
        return numpy_helper.from_array(array, sparse.values.name)
    except (ValueError, TypeError, IndexError) as error:
        what = f"The sparse weight {sparse.values.name[:60]!r} is described wrongly."
        raise _refused(path, what, COPY_AGAIN) from error


def _entries(tensor: onnx.TensorProto, path: Path) -> dict[str, str]:
    """Return what a tensor says of its place; text alone, and nothing twice."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    texts = all(isinstance(text, str) for pair in entries.items() for text in pair)
    if not texts or len(entries) < len(tensor.external_data):
        raise _described_wrongly(tensor, path)
    return entries


def _described_wrongly(tensor: onnx.TensorProto, path: Path) -> GraphError:
    what = f"The external weight {tensor.name[:60]!r} is described wrongly."
    return _refused(path, what, COPY_AGAIN)


def _external_bytes(tensor: onnx.TensorProto, path: Path) -> tuple[Path, bytes]:
    """Return the file that an external tensor is in, and its bytes."""
    entries = _entries(tensor, path)
    file = _beside(path, entries.get("location", ""))
    wanted = stored_bytes(tensor)
    given = entries.get("offset", "0"), entries.get("length", f"{wanted}")
    # Every reader takes digits alone, few enough for a file's size, for a number.
    if wanted is None or not all(re.fullmatch("[0-9]{1,20}", number) for number in given):
        raise _described_wrongly(tensor, path)
    offset, length = map(int, given)
    if length != wanted:
        what = f"The external weight {tensor.name[:60]!r} has {length} bytes instead of {wanted}."
        raise _refused(path, what, COPY_AGAIN)
    # What is there now must be what was looked at: a pipe would block, a link lead elsewhere.
    handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as stream:
        about = os.fstat(stream.fileno())
        if not stat.S_ISREG(about.st_mode) or offset + length > about.st_size:
            what = f"The file ends before weight {tensor.name[:60]!r}."
            raise _refused(file, what, COPY_AGAIN)
        stream.seek(offset)
        return file, stream.read(length)


def _beside(path: Path, location: str) -> Path:
    """Return the file of external weights, which must lie in the graph's own folder."""
    parts = PurePosixPath(location).parts
    try:
        folder = path.resolve().parent
        file = (folder / location).resolve()
        inside, there = file.is_relative_to(folder), file.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a zero byte
        inside = there = False
    # By a name with stars ONNX Runtime means a place in its own memory.
    strange = not parts or ".." in parts or any(sign in location for sign in "\\*\0")
    if strange or PurePosixPath(location).is_absolute() or not inside:
        raise _refused(
            path, f"The graph asks for weights outside its folder: {location!r}.", DO_NOT_USE
        )
    if not there:
        what = f"The graph's weights are in a file of their own, {location}, which is not there."
        raise _refused(path, what, "copy it beside the graph")
    return file
