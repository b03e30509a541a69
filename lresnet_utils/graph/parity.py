"""Running one network through PyTorch and through ONNX Runtime, to see that they agree.

And where its embeddings are of no use, to find the layer from which they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort

from lresnet_utils.errors import GraphError
from lresnet_utils.graph.reading import read_graph
from lresnet_utils.verify.scores import unit_rows

if TYPE_CHECKING:
    from torch import nn


# What one run gives out beside the embedding while a layer is looked for.
_SHOWN_BYTES = 2**28
_SHOWN_FACES = 3
_ALIKE = 1e-6


def run_network(module: nn.Module, batches: np.ndarray) -> np.ndarray:
    """Run a PyTorch network over batches of faces.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode on the CPU.
    batches : float32 array, shape (batch, 3, h, w) or (n, batch, 3, h, w)
        One batch, or several.

    Returns
    -------
    float32 array, shape (batch, d) or (n * batch, d)
        The embeddings as the network gives them, not normalised here.
    """
    # Most who import this module run ONNX files alone, and PyTorch takes a second to import.
    import torch

    with torch.inference_mode():
        rows = [module(torch.from_numpy(batch)).numpy() for batch in _each(batches)]
    return np.concatenate(rows)


def run_onnx(path: Path | str, batches: np.ndarray, *, as_written: bool = False) -> np.ndarray:
    """Run an ONNX file over batches of faces with ONNX Runtime on the CPU.

    Parameters
    ----------
    path : path
        A graph with one input and one output.
    batches : float32 array, shape (batch, 3, h, w) or (n, batch, 3, h, w)
        One batch, or several; `batch` must be the graph's batch size. For a graph that takes
        pictures as they are, uint8 in the shape it wants.
    as_written : bool
        Execute every node of the file. Otherwise ONNX Runtime first folds and fuses on its own,
        which is faster and what a user of the file gets.

    Returns
    -------
    float32 array, shape (batch, d) or (n * batch, d)
        The embeddings as the graph gives them, not normalised here.

    Raises
    ------
    GraphError
        When the file is missing, is not a graph, or does not take such batches.
    """
    try:
        session = cpu_session(path, as_written=as_written)
        name = session.get_inputs()[0].name
        rows = [session.run(None, {name: batch})[0] for batch in _each(batches)]
    except Exception as error:  # ONNX Runtime has its own family of errors under Exception
        message = str(error).split("\n", 1)[0]
        raise GraphError(
            f"ONNX Runtime could not run the graph: {message}",
            where=str(path),
            fix="export it again for this batch size",
        ) from error
    return np.concatenate(rows)


def _each(batches: np.ndarray) -> list[np.ndarray]:
    batches = np.ascontiguousarray(batches, np.uint8 if batches.dtype == np.uint8 else np.float32)
    return list(batches if batches.ndim == 5 else batches[None])


def unit_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest difference of a component of two graphs' unit embeddings.

    A row that is not finite agrees with a row that is not finite either, and with no other.

    Examples
    --------
    >>> broken = np.array([[3.0, 4.0], [np.nan, 0.0]])
    >>> unit_difference(broken, broken), unit_difference(broken, np.ones((2, 2)))
    (0.0, inf)
    """
    a, b = unit_rows(a), unit_rows(b)
    both = np.isnan(a) & np.isnan(b)
    difference = np.abs(np.where(both, 0.0, a) - np.where(both, 0.0, b))
    return float(np.nan_to_num(difference, nan=np.inf).max(initial=0.0))


def dead_layer(path: Path | str, faces: np.ndarray) -> str | None:
    """Return the node from which a graph's embeddings are of no use: its name and operator.

    Looked for from the output backwards: the node whose output is not finite, zero throughout or
    the same for every face, while whatever it makes that from is not. In this order, the first of
    the three that holds of the output is looked for.

    Parameters
    ----------
    path : path
        A graph with one input and one output, of any size of batch.
    faces : float32 array, shape (n, 3, h, w)
        At most three are used, each as a whole batch.

    Returns
    -------
    str or None
        None when the graph's output is none of that, or it does not run with its inner values
        given out.
    """
    graph = (model := read_graph(path)).graph
    makers = {name: node for node in graph.node for name in node.output if name}
    of_faces = {graph.input[0].name}
    for node in graph.node:
        if of_faces.intersection(node.input):
            of_faces.update(filter(None, node.output))
    wanted = graph.output[0].name
    faces = faces[:_SHOWN_FACES]
    bad: dict[str, list[bool]] = {}
    try:
        for names in _in_parts(graph, [name for name in makers if name in of_faces]):
            del graph.output[:]
            graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
            session = cpu_session(model.SerializeToString(), as_written=True)
            port = session.get_inputs()[0]
            batch = port.shape[0] if isinstance(port.shape[0], int) else 1
            seen = [session.run(names, {port.name: np.stack([face] * batch)}) for face in faces]
            bad |= {
                name: _bad(one) for name, one in zip(names, zip(*seen, strict=True), strict=True)
            }
    except Exception:  # ONNX Runtime's own family of errors; what cannot be looked for stays open
        return None
    if wanted not in bad or not any(bad[wanted]):
        return None
    kind = bad[wanted].index(True)
    while True:
        node = makers[wanted]
        source = next((name for name in node.input if name in bad and bad[name][kind]), None)
        if source is None:
            return f"{node.name or node.output[0]} ({node.op_type})"
        wanted = source


def _bad(values: tuple[np.ndarray, ...]) -> list[bool]:
    """Say of one value, per face, whether it is not finite, zero throughout, or always the same."""
    if not all(np.issubdtype(value.dtype, np.floating) for value in values):
        return [False] * 3
    finite = all(np.isfinite(value).all() for value in values)
    if not finite:
        return [True, False, False]
    first, *others = values
    limit = _ALIKE * np.abs(first).max(initial=0.0)
    alike = bool(others) and all(np.abs(other - first).max(initial=0) <= limit for other in others)
    return [False, not any(value.any() for value in values), alike]


def _in_parts(graph: onnx.GraphProto, names: list[str]) -> Iterator[list[str]]:
    """Part values so that each part takes a bounded room, as far as their shapes are known."""
    axes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    part, room = [], 0
    for name in names:
        size = 4 * int(np.prod(axes.get(name) or [0], dtype=object)) or _SHOWN_BYTES // 8
        if part and room + size > _SHOWN_BYTES:
            yield part
            part, room = [], 0
        part, room = [*part, name], room + size
    if part:
        yield part


# ONNX Runtime where it judges a graph: on the CPU, without printing, without taking cores.

# A file that does not run says so by its exception; ONNX Runtime need not print it as well.
_LOG_NOTHING_BUT_FATAL = 4


def cpu_session(path: Path | str | bytes, *, as_written: bool = False) -> ort.InferenceSession:
    """Load an ONNX file to see what it computes, not how fast.

    Parameters
    ----------
    path : Path, str or bytes
        The file, or what a file would hold.
    as_written : bool
        True to run the nodes that the file holds; otherwise ONNX Runtime fuses and folds them
        first, and differences between two files may be of its own making.

    Returns
    -------
    onnxruntime.InferenceSession
        Whose threads do not spin while they wait: two notebooks that check graphs side by side
        would each be several times slower than alone.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_NOTHING_BUT_FATAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if as_written:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(
        path if isinstance(path, bytes) else str(path), options, providers=["CPUExecutionProvider"]
    )
