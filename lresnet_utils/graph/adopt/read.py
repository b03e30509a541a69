"""Reading an ONNX file from anywhere, its external weights included."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import onnx
from onnx import external_data_helper, inliner, numpy_helper

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.reading import (
    COPY_AGAIN,
    DO_NOT_USE,
    MAX_GROWN_BYTES,
    found,
    is_whole,
    read_message,
    stored_bytes,
)
from lresnet_utils.machine.disk import sha256_file

# The operators' version from which PReLU broadcasts and BatchNormalization has today's meaning.
_OLDEST_OPSET = 7
# A protobuf message, which the run's own files must fit into, holds less than 2**31 bytes.
_MOST_BYTES = 1_900_000_000
_STANDARD = ("", "ai.onnx")


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
    whole = _hash_of_all(path, _take_in_all(model, path))
    _make_dense(model, path)
    try:
        # A function may be written in another version of the operators than the graph.
        model = inliner.inline_local_functions(model, True) if model.functions else model
    except Exception as error:  # the C++ core's own errors
        what = f"The graph's functions cannot be put in: {str(error).splitlines()[0]}"
        raise _refused(path, what, "export the network without functions of its own") from error
    _check_nodes(path, model.graph, opset)
    _check_wiring(path, model.graph)
    return ForeignFile(path, model, whole, opset)


def external_files(path: Path | str) -> list[Path]:
    """Return the files of weights that a graph names, sorted; none when it cannot be read."""
    path = Path(path)
    try:
        tensors = found(read_message(path, whole=False), onnx.TensorProto)
        outside = filter(external_data_helper.uses_external_data, tensors)
        return sorted({_beside(path, _entries(tensor, path)["location"]) for tensor in outside})
    except (GraphError, KeyError):  # whatever is wrong with it is said before work starts
        return []


def _hash_of_all(path: Path, others: set[Path]) -> str:
    """Return the file's hash or, with files of weights, that of all files' hashes."""
    if not others:
        return sha256_file(path)
    lines = [f"{file.name} {sha256_file(file)}\n" for file in sorted({path, *others})]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _refused(path: Path, what: str, fix: str | None) -> GraphError:
    return GraphError(what, where=str(path), fix=fix)


def _check_nodes(path: Path, graph: onnx.GraphProto, opset: int) -> None:
    """See that nodes are of the standard, and have what they cannot be without."""
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


def _check_wiring(path: Path, graph: onnx.GraphProto) -> None:
    """See that whatever is read was made before, and that names are text."""
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


def _take_in_all(model: onnx.ModelProto, path: Path) -> set[Path]:
    """Copy all external tensors into the message; return the files they came from."""
    files: set[Path] = set()
    total = 0
    for tensor in found(model, onnx.TensorProto):
        if external_data_helper.uses_external_data(tensor):
            total += stored_bytes(tensor) or 0
            if total > _MOST_BYTES:
                what = f"The graph has more than {_MOST_BYTES:,} bytes of weights."
                raise _refused(path, what, "use a smaller network")
            files.add(_take_in(tensor, path))
        elif not is_whole(tensor):
            what = f"The weight {tensor.name[:60]!r} is not as long as its shape."
            raise _refused(path, what, COPY_AGAIN)
        # Nobody who reads what is published must look for a file.
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    return files


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


def _take_in(tensor: onnx.TensorProto, path: Path) -> Path:
    """Copy one external tensor into the message; return the file it came from."""
    entries = _entries(tensor, path)
    file = _beside(path, entries.get("location", ""))
    wanted = stored_bytes(tensor)
    offset, length = (
        _number(entries.get(key, str(default)))
        for key, default in (("offset", 0), ("length", wanted))
    )
    if wanted is None or offset is None or length is None:
        raise _described_wrongly(tensor, path)
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
        tensor.raw_data = stream.read(length)
    if not is_whole(tensor):
        raise _described_wrongly(tensor, path)
    return file


def _number(text: str) -> int | None:
    """Return a number as every reader reads it: digits alone, and few enough for a file's size."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


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
