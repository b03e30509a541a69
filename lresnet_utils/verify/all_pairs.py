"""Every pair of a labelled set, scored in blocks: exact rates without the matrix.

The scores pass by twice. The first time genuine ones, which are few, are kept and impostor ones
counted in a fine histogram; that bounds each wanted threshold to one bin, exactly. The second time
the scores of those bins alone are kept, and the thresholds are picked among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.curves import budget, equal_error, unresolved
from lresnet_utils.verify.scores import unit_rows

_BINS = 1 << 20
_BLOCK_BYTES = 1 << 26


@dataclass(frozen=True)
class AllPairs:
    """Rates over all pairs of a set.

    Attributes
    ----------
    n_images, n_genuine, n_impostor : int
        Counts.
    fmr, tmr, thresholds : ndarray of float64, shape (m,)
        Exact points of the ROC at the histogram's edges where something changes; the ROC's own
        corners between two edges are not resolved.
    eer, eer_threshold : float
        As :class:`~lresnet_utils.verify.curves.Roc` defines them, exact.
    tar_at_far : list of dict
        ``far``, ``achieved_far``, ``tar``, ``threshold``, ``n_genuine``, ``n_impostor``, exact; or
        ``far`` and ``refused``.
    """

    n_images: int
    n_genuine: int
    n_impostor: int
    fmr: np.ndarray
    tmr: np.ndarray
    thresholds: np.ndarray
    eer: float
    eer_threshold: float
    tar_at_far: list[dict[str, Any]]


def all_pairs(
    vectors: ArrayLike, identity: ArrayLike, far_targets: Iterable[float], *, bins: int = _BINS
) -> AllPairs:
    """Score every pair of embeddings and evaluate them.

    Scores are squared distances ``2 - 2 cos`` with the dot products in the embeddings' own float32
    or float64, then in float64; "exact" means exact for these scores. Memory holds the
    embeddings, the genuine scores, the histogram and one block.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
        Embeddings; scaled to unit length here.
    identity : array_like of int, shape (n,)
        Who each shows.
    far_targets : iterable of float
        Between 0 and 1.
    bins : int
        Of the histogram. Where many scores fall into one bin, more of them are kept.

    Returns
    -------
    AllPairs

    Raises
    ------
    EvaluationError
        When shapes do not fit, an embedding is zero or not finite, or a class has no pair.

    Examples
    --------
    >>> found = all_pairs([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], [0, 0, 1, 1], [0.3])
    >>> found.n_genuine, found.n_impostor, found.eer
    (2, 4, 0.0)
    """
    rows, identity = _checked(vectors, identity)
    genuine, counts = _first_pass(rows, identity, bins)
    n_genuine, n_impostor = len(genuine), int(counts.sum())
    if not n_genuine or not n_impostor:
        raise EvaluationError(f"There are {n_genuine} genuine and {n_impostor} impostor pairs.")
    edges = np.arange(bins + 1) * (4.0 / bins)
    # The last edge accepts everything, a distance of 4 too.
    edges[-1] = np.nextafter(4.0, 5.0)
    below = np.append(0, np.cumsum(counts))
    genuine_below = np.searchsorted(genuine, edges, side="left")
    fmr, fnmr = below / n_impostor, (n_genuine - genuine_below) / n_genuine
    cross = int(np.argmax(fmr >= fnmr)) - 1
    allowed = {far: budget(far, n_impostor) for far in far_targets}
    # The bin of the order statistic that each false accept rate asks for.
    holding = {
        far: int(np.searchsorted(below, k, side="right")) - 1 for far, k in allowed.items() if k
    }
    kept = _second_pass(rows, identity, bins, sorted({cross, *holding.values()}))
    ends = edges[cross], edges[cross + 1]
    eer, threshold = _cross(genuine, kept[cross], ends, int(below[cross]), n_impostor)
    change = np.append(True, (np.diff(below) > 0) | (np.diff(genuine_below) > 0))
    return AllPairs(
        n_images=len(rows),
        n_genuine=n_genuine,
        n_impostor=n_impostor,
        fmr=fmr[change],
        tmr=(genuine_below / n_genuine)[change],
        thresholds=edges[change],
        eer=eer,
        eer_threshold=threshold,
        tar_at_far=[
            _row(far, k, genuine, kept[holding[far]], int(below[holding[far]]), n_impostor)
            if k
            else {"far": far, "refused": unresolved(n_impostor)}
            for far, k in allowed.items()
        ],
    )


def _row(
    far: float, k: int, genuine: np.ndarray, impostor: np.ndarray, before: int, n_impostor: int
) -> dict[str, Any]:
    """Pick the `k`-th impostor score out of its bin, before which there are `before` scores."""
    threshold = float(impostor[k - before])
    accepted = before + int(np.searchsorted(impostor, threshold, side="left"))
    return {
        "far": far,
        "achieved_far": accepted / n_impostor,
        "tar": int(np.searchsorted(genuine, threshold, side="left")) / len(genuine),
        "threshold": threshold,
        "n_genuine": len(genuine),
        "n_impostor": n_impostor,
    }


def _checked(vectors: ArrayLike, identity: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    vectors, identity = np.asarray(vectors), np.asarray(identity)
    dtype = np.float32 if vectors.dtype in (np.float16, np.float32) else np.float64
    rows = unit_rows(vectors).astype(dtype)
    if identity.shape != rows.shape[:1]:
        raise EvaluationError(f"{len(rows)} embeddings need one identity each.")
    # A row of zeros stays zeros and a row with NaN becomes NaN.
    if not (np.abs(rows).max(axis=1, initial=0) > 0).all():
        raise EvaluationError(
            "An embedding is zero or not finite.", fix="leave out the images that failed"
        )
    return rows, np.unique(identity, return_inverse=True)[1].astype(np.int32)


def _blocks(rows: np.ndarray, identity: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the distances of genuine and of impostor pairs, each pair once, block by block."""
    n = len(rows)
    height = max(1, _BLOCK_BYTES // (8 * n))
    for start in range(0, n, height):
        stop = min(n, start + height)
        # Same shapes in both passes, so that both see the same bits.
        d = np.subtract(2.0, 2.0 * (rows[start:stop] @ rows[start:].T), dtype=np.float64)
        np.clip(d, 0.0, 4.0, out=d)
        same = identity[start:stop, None] == identity[None, start:]
        later = np.arange(start, n)[None, :] > np.arange(start, stop)[:, None]
        yield d[same & later], d[later & ~same]


def _bin_of(distances: np.ndarray, bins: int) -> np.ndarray:
    # bins is a power of two, so the product is exact and agrees with the edges.
    return np.minimum((distances * (bins / 4.0)).astype(np.int32), bins - 1)


def _first_pass(rows: np.ndarray, identity: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    if bins < 2 or bins & (bins - 1):
        raise EvaluationError(f"The number of bins is a power of two, not {bins}.")
    genuine, counts = [], np.zeros(bins, np.int64)
    for own, other in _blocks(rows, identity):
        genuine.append(own)
        counts += np.bincount(_bin_of(other, bins), minlength=bins)
    return np.sort(np.concatenate(genuine)), counts


def _second_pass(
    rows: np.ndarray, identity: np.ndarray, bins: int, wanted: list[int]
) -> dict[int, np.ndarray]:
    kept: dict[int, list[np.ndarray]] = {number: [] for number in wanted}
    chosen = np.zeros(bins, bool)
    chosen[wanted] = True
    for _, other in _blocks(rows, identity):
        number = _bin_of(other, bins)
        inside = chosen[number]
        other, number = other[inside], number[inside]
        for one in wanted:
            kept[one].append(other[number == one])
    return {number: np.sort(np.concatenate(parts)) for number, parts in kept.items()}


def _cross(
    genuine: np.ndarray,
    impostor: np.ndarray,
    ends: tuple[float, float],
    before: int,
    n_impostor: int,
) -> tuple[float, float]:
    """Cross FMR and FNMR between two edges, where every score is known."""
    first, last = np.searchsorted(genuine, ends, side="left")
    scores = np.unique(np.concatenate([genuine[first:last], impostor]))
    fmr = np.append(before, before + np.searchsorted(impostor, scores, side="right")) / n_impostor
    accepted = np.append(first, np.searchsorted(genuine, scores, side="right"))
    fnmr = (len(genuine) - accepted) / len(genuine)
    # The lower edge accepts what the last score below it does.
    return equal_error(fmr, fnmr, np.append(ends[0], np.nextafter(scores, np.inf)))
