"""Running a graph of another maker: the file as it is or, where that is no use, repaired."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.adopt.ports import Ports
from lresnet_utils.graph.adopt.repairs import MEANING, ROUNDING
from lresnet_utils.graph.adopt.understand import Foreign
from lresnet_utils.graph.session import cpu_session

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
