"""Real faces through every form of the network, and how far their embeddings are apart."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.data.face_set import open_store
from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.data.source import ORL, sample_faces
from lresnet_utils.graph.parity import dead_layer
from lresnet_utils.run import NO_FACES, RunFolder, resolve
from lresnet_utils.verify.agreement import embedding_agreement
from lresnet_utils.verify.scores import unit_rows

# Enough faces to see a wrong layer, few enough that batch size 1 stays quick.
PARITY_FACES = 16
_ALIKE_DIGITS = 6


def sample_batches(dataset: str, spec: Mapping[str, Any], batch_size: int) -> np.ndarray:
    """Return the first faces of a set as network input.

    Parameters
    ----------
    dataset : str
        As ``dataset.source`` of :class:`lresnet_utils.params.Params`; the packaged faces serve a
        run that needs none of its own.
    spec : mapping
        ``channel_order``, ``normalisation`` and ``size`` that the network wants.
    batch_size : int
        Images per run.

    Returns
    -------
    float32 array, shape (n, batch_size, 3, size, size)
    """
    n = -(-PARITY_FACES // batch_size) * batch_size
    source = ORL if dataset in (ORL, NO_FACES) else str(resolve(dataset))
    return to_network_input(
        sample_faces(source, n),
        channel_order=spec["channel_order"],
        normalisation=spec["normalisation"],
    ).reshape(-1, batch_size, 3, spec["size"], spec["size"])


def timing_batch(run: RunFolder, batch_size: int) -> np.ndarray:
    """Return a run's first faces as network input, or packaged ones where it prepared none.

    Some runtimes' speed depends on the pixels. A set smaller than the batch is repeated: timing
    needs a full batch, not new faces.
    """
    spec = run.record("1_export", batch_size)["input"]
    if not (run.faces / "set.json").is_file():
        return sample_batches(NO_FACES, spec, batch_size)[0]
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
        The faces, as :func:`sample_batches` gave them.

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
