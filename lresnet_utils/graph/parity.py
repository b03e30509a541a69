"""One network through PyTorch and through every graph made of it, to see that they agree.

On random pixels and on real faces. And where its embeddings are of no use, to find the layer from
which they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort

from lresnet_utils.data.collection import Asked
from lresnet_utils.data.face_set import open_store
from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.data.readers import orl
from lresnet_utils.errors import GraphError
from lresnet_utils.graph.reading import read_graph
from lresnet_utils.run import RunFolder
from lresnet_utils.verify.agreement import embedding_agreement
from lresnet_utils.verify.scores import unit_rows

if TYPE_CHECKING:
    from torch import nn

_ALIKE_DIGITS = 6
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


def same_embeddings(
    before: np.ndarray, after: np.ndarray, limit: float, *, what: str, where: str, fix: str
) -> float:
    """Return :func:`unit_difference`, or refuse a graph that computes something else.

    Parameters
    ----------
    before, after : array, shape (n, d)
        Embeddings of the same pixels.
    limit : float
        Largest difference that is allowed.
    what, where, fix : str
        What is wrong when there is more, of which file, and what to do.

    Raises
    ------
    GraphError
        When a component differs by more than `limit`.
    """
    difference = unit_difference(before, after)
    if not difference <= limit:
        raise GraphError(
            f"{what}: unit embeddings differ by {difference:.1e} (at most {limit:.0e} is allowed).",
            where=where,
            fix=fix,
        )
    return difference


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
    # In parts that take a bounded room each, as far as the values' shapes are known.
    axes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    parts: list[list[str]] = []
    room = _SHOWN_BYTES
    for name in (name for name in makers if name in of_faces):
        size = 4 * int(np.prod(axes.get(name) or [0], dtype=object)) or _SHOWN_BYTES // 8
        if room + size > _SHOWN_BYTES:
            parts.append([])
            room = 0
        parts[-1].append(name)
        room += size
    bad: dict[str, list[bool]] = {}
    try:
        for names in parts:
            del graph.output[:]
            graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
            session = cpu_session(model.SerializeToString(), as_written=True)
            port = session.get_inputs()[0]
            batch = port.shape[0] if isinstance(port.shape[0], int) else 1
            seen = [session.run(names, {port.name: np.stack([face] * batch)}) for face in faces]
            for name, *values in zip(names, *seen, strict=True):
                # Over all faces: whether it is not finite, zero throughout, or always the same.
                bad[name] = [False] * 3
                if not all(np.issubdtype(value.dtype, np.floating) for value in values):
                    continue
                if not all(np.isfinite(value).all() for value in values):
                    bad[name][0] = True
                    continue
                bad[name][1] = not any(value.any() for value in values)
                first, *others = values
                limit = _ALIKE * np.abs(first).max(initial=0.0)
                bad[name][2] = bool(others) and all(
                    np.abs(other - first).max(initial=0) <= limit for other in others
                )
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


# Real faces.


def timing_batch(run: RunFolder, batch_size: int) -> np.ndarray:
    """Return a run's first faces as network input, or packaged ones where it prepared none.

    Some runtimes' speed depends on the pixels. A set smaller than the batch is repeated: timing
    needs a full batch, not new faces.
    """
    spec = run.record("1_export", batch_size)["input"]
    if not (run.faces / "set.json").is_file():
        # Straight from their reader: other sets' readers have no part in what a build comes to.
        packaged = orl.read("orl", Asked(pairs=None, folds=2)).faces
        found = (packaged.face(picture)[0] for picture in range(min(batch_size, len(packaged))))
        images = np.stack([image for image in found if image is not None])
    else:
        images = open_store(run.faces).images()
    return to_network_input(
        np.asarray(images[np.arange(batch_size) % len(images)]),
        channel_order=spec["channel_order"],
        normalisation=spec["normalisation"],
    )


def agreement(outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Compare the unit embeddings of each form with the next, and of the first with the last.

    Parameters
    ----------
    outputs : mapping of str to float32 array, shape (n, d)
        The embeddings of the same faces by every form of the network, in the order in which one
        was made from the other.

    Returns
    -------
    list of dict
        Names ``a`` and ``b``, and :func:`lresnet_utils.verify.agreement.embedding_agreement` of the
        faces that have an embedding; none where no face has one in any form.
    """
    unit = {name: unit_rows(np.asarray(rows)) for name, rows in outputs.items()}
    # What none of the forms can embed tells no difference; a face that only some can does.
    some = np.logical_or.reduce([np.nan_to_num(rows).any(axis=1) for rows in unit.values()])
    names = list(unit)
    pairs = [*pairwise(names), (names[0], names[-1])] if some.any() else []
    return [{"a": a, "b": b} | embedding_agreement(unit[a][some], unit[b][some]) for a, b in pairs]


def sample_health(rows: np.ndarray, graph: Path, batches: np.ndarray) -> dict[str, Any]:
    """Count the faces of the sample that get no embedding of use, and say where that begins.

    Parameters
    ----------
    rows : float32 array, shape (n, d)
        Their embeddings as the network gives them.
    graph : Path
        The exported graph.
    batches : float32 array
        The faces, as network input.

    Returns
    -------
    dict
        ``n_images``, ``n_not_finite``, ``n_zero``, ``n_distinct``; and ``layer``, the node from
        which it is so, None where all is well or that cannot be found.
    """
    finite = np.isfinite(rows).all(axis=1)
    zero = finite & ~rows.any(axis=1)
    counts = {
        "n_images": len(rows),
        "n_not_finite": int((~finite).sum()),
        "n_zero": int(zero.sum()),
        "n_distinct": n_distinct(unit_rows(rows[finite & ~zero])),
    }
    lost = next((bad for bad in (~finite, zero) if bad.any()), finite)
    unwell = not finite.all() or zero.any() or counts["n_distinct"] <= 1
    faces = batches.reshape(-1, *batches.shape[2:])[lost]
    return counts | {"layer": dead_layer(graph, faces) if unwell else None}


def n_distinct(vectors: np.ndarray) -> int:
    """Return how many unit embeddings differ by more than rounding."""
    # Adding zero makes one of both zeros, whose bytes differ.
    return len({row.tobytes() for row in np.round(vectors, _ALIKE_DIGITS) + 0.0})
