"""Reading an ONNX file from anywhere, its external weights included."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnx
from onnx import external_data_helper, inliner

from lresnet_utils.errors import GraphError
from lresnet_utils.files import sha256_file

# The operators' version from which PReLU broadcasts and BatchNormalization has today's meaning.
_OLDEST_OPSET = 7
# A protobuf message, which the run's own files must fit into, holds less than 2**31 bytes.
_MOST_BYTES = 1_900_000_000
_STANDARD = ("", "ai.onnx")
_COPY_AGAIN = "compare its size and hash with the source's, and copy it again"


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
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except FileNotFoundError as error:
        raise GraphError("The ONNX file does not exist.", where=str(path)) from error
    except Exception as error:  # protobuf's own errors for a damaged file
        raise _refused(path, "The file is damaged or is no ONNX graph.", _COPY_AGAIN) from error
    opset = max((o.version for o in model.opset_import if o.domain in _STANDARD), default=0)
    if opset < _OLDEST_OPSET:
        what = f"The graph uses operators of version {opset}; {_OLDEST_OPSET} is the oldest known."
        raise _refused(path, what, "convert it: onnx.version_converter.convert_version(model, 17)")
    whole = _hash_of_all(path, _take_in_all(model.graph, path))
    model = inliner.inline_local_functions(model) if model.functions else model
    _check_domains(path, model.graph)
    _check_wiring(path, model.graph)
    return ForeignFile(path, model, whole, opset)


def _hash_of_all(path: Path, others: set[Path]) -> str:
    """Return the file's hash or, with files of weights, that of all files' hashes."""
    if not others:
        return sha256_file(path)
    lines = [f"{file.name} {sha256_file(file)}\n" for file in sorted({path, *others})]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _refused(path: Path, what: str, fix: str | None) -> GraphError:
    return GraphError(what, where=str(path), fix=fix)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else attribute.graphs
            for subgraph in inner:
                yield from _graphs(subgraph)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for inner in _graphs(graph):
        yield from inner.initializer
        for node in inner.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _check_domains(path: Path, graph: onnx.GraphProto) -> None:
    others = sorted(
        {
            f"{node.domain}.{node.op_type}"
            for inner in _graphs(graph)
            for node in inner.node
            if node.domain not in _STANDARD
        }
    )
    if others:
        raise _refused(
            path,
            f"The graph uses operators outside the ONNX standard: {', '.join(others[:3])}.",
            "use the graph as it was before a runtime optimised or quantised it",
        )


def _check_wiring(path: Path, graph: onnx.GraphProto) -> None:
    """See that whatever is read was made before, and that names are text."""
    known = {"", *(v.name for v in graph.input), *(t.name for t in graph.initializer)}
    known |= {tensor.values.name for tensor in graph.sparse_initializer}
    wanted = [*((n, n.input) for n in graph.node), (None, [v.name for v in graph.output])]
    for node, names in wanted:
        for name in names:
            if not isinstance(name, str) or name not in known:
                what = f"The graph is damaged: it reads {name!r}, which nothing makes."
                raise _refused(path, what, _COPY_AGAIN)
        known.update(node.output if node is not None else ())


def _take_in_all(graph: onnx.GraphProto, path: Path) -> set[Path]:
    """Copy all external tensors into the message; return the files they came from."""
    files: set[Path] = set()
    total = 0
    for tensor in _tensors(graph):
        if external_data_helper.uses_external_data(tensor):
            files.add(_take_in(tensor, path))
            total += len(tensor.raw_data)
            if total > _MOST_BYTES:
                what = f"The graph has more than {_MOST_BYTES:,} bytes of weights."
                raise _refused(path, what, "use a smaller network")
    return files


def _take_in(tensor: onnx.TensorProto, path: Path) -> Path:
    """Copy one external tensor into the message; return the file it came from."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    file = _beside(path, location)
    try:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        wanted = math.prod(tensor.dims) * kind.itemsize
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", wanted))
    except (KeyError, TypeError, ValueError) as error:
        what = f"The external weight {tensor.name} is described wrongly."
        raise _refused(path, what, _COPY_AGAIN) from error
    if length != wanted or wanted > _MOST_BYTES or offset < 0 or min(tensor.dims, default=0) < 0:
        what = f"The external weight {tensor.name} has {length} bytes instead of {wanted}."
        raise _refused(path, what, _COPY_AGAIN)
    with file.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    if len(tensor.raw_data) != length:
        raise _refused(file, f"The file ends before weight {tensor.name}.", _COPY_AGAIN)
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.DEFAULT
    return file


def _beside(path: Path, location: str) -> Path:
    """Return the file of external weights, which must lie in the graph's own folder."""
    folder = path.resolve().parent
    parts = PurePosixPath(location).parts
    file = (folder / location).resolve()
    outside = not parts or ".." in parts or "\\" in location or not file.is_relative_to(folder)
    if outside or PurePosixPath(location).is_absolute():
        raise _refused(
            path,
            f"The graph asks for weights outside its folder: {location!r}.",
            "do not use this file unless you know its source; save it again as one file",
        )
    if not file.is_file():
        what = f"The graph's weights are in a file of their own, {location}, which is not there."
        raise _refused(path, what, "copy it beside the graph")
    return file
