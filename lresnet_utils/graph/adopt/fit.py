"""Fitting an ONNX file of another maker to a run: its batch size, its names, its layout."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from lresnet_utils.data.network_input import IMAGE_SIZE
from lresnet_utils.errors import GraphError
from lresnet_utils.graph.adopt.repairs import MEANING, ROUNDING
from lresnet_utils.graph.adopt.understand import Foreign, Ports
from lresnet_utils.graph.parity import cpu_session, unit_difference
from lresnet_utils.graph.rewrite.values import located, put_before, rebatch, unused_name
from lresnet_utils.graph.to_onnx import INPUT_NAME, OUTPUT_NAME
from lresnet_utils.machine.disk import atomic_path

TOLERANCE = 1e-5
"""Largest difference of a component of the unit embeddings that rounding in float32 explains."""

TOLERANCE_HALF = 1e-2
"""The same where the file computes in 16 bits and the adopted graph does not."""

_CHECKED_FACES = 4


@dataclass(frozen=True)
class Adopted:
    """What was done to a file, and how it was checked.

    Attributes
    ----------
    batch_size, embedding_size : int
        Images per run, and numbers per face.
    changes : dict of str to int
        Repairs and adaptations by name, with how often each was made.
    compared_with : str
        What the adopted graph was compared with, face by face.
    max_abs_difference : float
        Largest difference of a component of the unit embeddings.
    length : float or None
        Mean length of the embeddings before normalisation; 1 where the graph normalises them,
        None where it is not finite.
    """

    batch_size: int
    embedding_size: int
    changes: dict[str, int]
    compared_with: str
    max_abs_difference: float
    length: float | None


def adopt_onnx(
    foreign: Foreign,
    out: Path | str,
    *,
    batch_size: int,
    input_range: tuple[float, float] = (-1.0, 1.0),
    seed: int = 0,
) -> Adopted:
    """Write a file as this project's own graphs are, and compare it with the original.

    Parameters
    ----------
    foreign : Foreign
        From :func:`lresnet_utils.graph.adopt.understand.open_foreign`; not changed.
    out : path
        The one file to write, whole or not at all: input ``image`` float32
        (batch_size, 3, 112, 112), output ``features`` float32 (batch_size, embedding_size).
    batch_size : int
        Images per run.
    input_range : (float, float)
        Smallest and largest random pixel of the comparison, as the network is used.
    seed : int
        Of the random pixels.

    Raises
    ------
    GraphError
        When the graph cannot run batches of this size, or gives other unit embeddings than
        before by more than :data:`TOLERANCE` (:data:`TOLERANCE_HALF` for 16-bit files).
    """
    where = str(foreign.file.path)
    generator = np.random.default_rng(seed)
    faces = generator.uniform(*input_range, (batch_size, 3, IMAGE_SIZE, IMAGE_SIZE))
    faces = (faces.round() if _bytes(foreign.ports) else faces).astype(np.float32)
    rows = np.unique(np.linspace(0, batch_size - 1, min(batch_size, _CHECKED_FACES)).astype(int))
    expected, compared_with = baseline(foreign, faces[rows])
    with located(where), atomic_path(out) as temporary:
        model = foreign.model.clone()
        changes = foreign.repairs | _fitted(model.graph, foreign.ports, batch_size)
        output = model.graph.outputs[0]
        output.shape, output.dtype = ir.Shape([batch_size, expected.shape[1]]), ir.DataType.FLOAT
        RemoveUnusedNodesPass()(model)
        write_model(model, temporary, where)
        try:
            found = run_graph(temporary, faces, _own_ports(batch_size), where)
        except GraphError as error:  # the file itself ran
            raise GraphError(error.what, fix=batch_fix(foreign.ports.batch)) from error
        difference = _compare(expected, found[rows], foreign, batch_size)
    length = float(np.linalg.norm(found.astype(np.float64), axis=1).mean())
    known = length if np.isfinite(length) else None
    return Adopted(batch_size, found.shape[1], changes, compared_with, difference, known)


def _compare(expected: np.ndarray, found: np.ndarray, foreign: Foreign, batch_size: int) -> float:
    limit = TOLERANCE_HALF if ROUNDING & foreign.repairs.keys() else TOLERANCE
    difference = unit_difference(expected, found)
    if not difference <= limit:
        raise GraphError(
            f"At batch size {batch_size} the graph computes something else than the file: unit "
            f"embeddings differ by {difference:.1e} (at most {limit:.0e} is allowed).",
            where=str(foreign.file.path),
            fix=batch_fix(foreign.ports.batch),
        )
    return difference


def _fitted(graph: ir.Graph, ports: Ports, batch_size: int) -> dict[str, int]:
    """Give a graph this project's input and output; return what had to be changed."""
    changes = {}
    faces = graph.inputs[0]
    if ports.batch is not None and ports.batch != batch_size:
        changes["batch-size"] = 1 + rebatch(graph, ports.batch, batch_size)
    chosen = next(value for value in graph.outputs if value.name == ports.output)
    if len(graph.outputs) > 1:
        changes["other-outputs-dropped"] = len(graph.outputs) - 1
        graph.outputs[:] = [chosen]
    steps = []
    if ports.layout == "nhwc":
        steps.append(ir.node("Transpose", [faces], attributes={"perm": [0, 2, 3, 1]}))
        changes["channels-last-input"] = 1
    if faces.dtype != ir.DataType.FLOAT:
        value = steps[-1].outputs[0] if steps else faces
        steps.append(ir.node("Cast", [value], attributes={"to": int(faces.dtype)}))
        changes["float-input"] = 1
    uses = [use for use in faces.uses() if use.node not in steps]
    first = graph[0]
    for step in steps:
        put_before(graph, first, step, faces)
        step.outputs[0].shape = step.outputs[0].type = None
    for user, index in uses if steps else ():
        user.replace_input_with(index, steps[-1].outputs[0])
    # Make the output a table of float32, whatever its rank and precision.
    given = graph.outputs[0]
    last = given
    if given.shape is not None and len(given.shape) == 4:
        last = _appended(graph, ir.node("Flatten", [last]))
        changes["flat-output"] = 1
    if given.dtype not in (None, ir.DataType.FLOAT):
        last = _appended(graph, ir.node("Cast", [last], attributes={"to": 1}))
        changes["float-output"] = 1
    last.dtype = ir.DataType.FLOAT
    graph.outputs[0] = last
    _rename(graph, faces, INPUT_NAME)
    _rename(graph, graph.outputs[0], OUTPUT_NAME)
    faces.shape = ir.Shape([batch_size, 3, IMAGE_SIZE, IMAGE_SIZE])
    faces.dtype = ir.DataType.FLOAT
    for value in (value for node in graph.all_nodes() for value in node.outputs):
        value.shape = None
    return changes


def _appended(graph: ir.Graph, node: ir.Node) -> ir.Value:
    graph.append(node)
    node.outputs[0].name = node.name = unused_name(graph, f"adopted_{node.op_type.lower()}")
    return node.outputs[0]


def _rename(graph: ir.Graph, value: ir.Value, name: str) -> None:
    """Give a value its name; another value of that name gets a new one."""
    if value.name == name:
        return
    for other in [*graph.initializers.values(), *(v for n in graph for v in n.outputs)]:
        if other.name == name:
            other.name = unused_name(graph, f"{name}_inner")
    value.name = name


def _own_ports(batch_size: int) -> Ports:
    return Ports(INPUT_NAME, OUTPUT_NAME, "nchw", ir.DataType.FLOAT, batch_size)


def _bytes(ports: Ports) -> bool:
    return ports.input_type == ir.DataType.UINT8


# Running a graph of another maker: the file as it is or, where that is no use, repaired.

_LONGEST = 300


def baseline(foreign: Foreign, faces: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the embeddings of the file as it is, if it runs and means what it says.

    Parameters
    ----------
    foreign : Foreign
        The file.
    faces : float32 array, shape (n, 3, 112, 112)
        In the channel order and scale that the network wants.

    Returns
    -------
    embeddings : float32 array, shape (n, d)
        As the graph gives them.
    what : str
        What gave them: the file, or the repaired graph and why.
    """
    reason = "it was exported in training mode" if MEANING & foreign.repairs.keys() else None
    if reason is None:
        try:
            path = foreign.file.path
            return run_graph(path, faces, foreign.ports, str(path)), "the file as it is"
        except GraphError as error:
            reason = error.what
            if not foreign.repairs:
                raise
    ports = foreign.ports
    if ROUNDING & foreign.repairs.keys():
        ports = replace(ports, input_type=ir.DataType.FLOAT)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "repaired.onnx"
        write_model(foreign.model, path, str(foreign.file.path))
        rows = run_graph(path, faces, ports, str(foreign.file.path))
    return rows, f"the repaired graph, since the file as it is cannot be compared: {reason}"


def write_model(model: ir.Model, path: Path, where: str) -> None:
    """Write a graph that follows the standard; a GraphError says where it does not."""
    try:
        proto = onnx.shape_inference.infer_shapes(ir.to_proto(model))
        onnx.checker.check_model(proto)
        onnx.save(proto, path)
    except Exception as error:  # the checker's own errors, or text that is none
        message = str(error).split("\n", 1)[0]
        what = f"The graph does not follow the standard: {message}"
        raise GraphError(what[:_LONGEST], where=where) from error


def batch_fix(batch: int | None) -> str:
    """Say what to do about a graph that runs only at the batch size written into it, if any."""
    if batch is None:
        return "set batch_sizes: [1], or export it again so that faces do not depend on each other"
    return f"set batch_sizes: [{batch}], or export it again with a dynamic batch"


def run_graph(path: Path, faces: np.ndarray, ports: Ports, where: str) -> np.ndarray:
    """Run a graph node by node over faces, in batches of its own size.

    One by one where it takes any: what a face's neighbours change then shows in a comparison.

    Parameters
    ----------
    path : Path
        The graph.
    faces : float32 array, shape (n, 3, 112, 112)
        In the channel order and scale that the network wants.
    ports : Ports
        Of this graph.
    where : str
        The file that an error names.

    Returns
    -------
    float32 array, shape (n, d)
    """
    batch = ports.batch or 1
    padded = np.pad(faces, ((0, -len(faces) % batch), (0, 0), (0, 0), (0, 0)), mode="edge")
    if ports.layout == "nhwc":
        padded = padded.transpose(0, 2, 3, 1)
    padded = np.ascontiguousarray(padded, ports.input_type.numpy())
    try:
        # Left to itself, ONNX Runtime would make its own folds in both graphs that are compared.
        session = cpu_session(path, as_written=True)
        rows = [
            session.run([ports.output], {ports.input: padded[start : start + batch]})[0]
            for start in range(0, len(padded), batch)
        ]
    except Exception as error:  # ONNX Runtime has its own family of errors under Exception
        raise GraphError(f"ONNX Runtime cannot run it: {_said(error)}", where=where) from error
    if any(len(block) != batch or block.size % batch for block in rows):
        raise GraphError(
            f"The output {ports.output} does not hold one embedding per picture: its shape is "
            f"{rows[0].shape} for {batch}.",
            where=where,
        )
    return np.concatenate([b.reshape(batch, -1) for b in rows])[: len(faces)].astype(np.float32)


def _said(error: Exception) -> str:
    """Return what ONNX Runtime says, without its codes and the places in its own source."""
    text = " ".join(str(error).split())
    text = re.sub(r"Load model from .*? failed: ?", "", text)
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return re.sub(r"\S*/onnxruntime_src/.*? was false\. ", "", text)[:_LONGEST].rstrip(". ")
