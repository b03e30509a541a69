"""Every pair of a labelled set, scored in blocks: exact rates without the matrix.

The scores pass by twice. The first time they are counted in two fine histograms, genuine and
impostor; that bounds each wanted threshold to one bin, exactly. The second time the scores of those
bins alone are kept, and the thresholds are picked among them. Histograms add up and scores are the
same bits everywhere (:mod:`lresnet_utils.verify.all_pairs`), so it does not matter how the pairs
are cut into blocks, nor which machines score them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.curves import budget, equal_error, unresolved
from lresnet_utils.verify.scores import unit_rows

BINS = 1 << 20
# Scores kept in the second pass; at 8 bytes each they and their sorted copy take 1.6 GB.
_MOST_KEPT = 100_000_000


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
    vectors: ArrayLike, identity: ArrayLike, far_targets: Iterable[float], *, bins: int = BINS
) -> AllPairs:
    """Score every pair of embeddings and evaluate them.

    Scores are squared distances ``2 - 2 cos`` of the embeddings rounded to multiples of 2^-26,
    which float32 barely resolves; for these scores everything is exact. Memory holds the
    embeddings, the histograms, one block, and the scores of a few bins.

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
    rows = Rows.of(unit_rows(vectors), np.unique(identity, return_inverse=True)[1])
    return evaluate(
        lambda: count(rows, None, bins),
        lambda wanted: keep(rows, None, bins, wanted),
        len(rows),
        far_targets,
        bins=bins,
    )


def evaluate(
    count_all: Callable[[], np.ndarray],
    keep_all: Callable[[list[int]], list[tuple[np.ndarray, ...]]],
    n_images: int,
    far_targets: Iterable[float],
    *,
    bins: int = BINS,
) -> AllPairs:
    """Evaluate pairs that are scored elsewhere, in two passes.

    Parameters
    ----------
    count_all : callable
        Returns the sum of :func:`lresnet_utils.verify.all_pairs.count` over all tiles.
    keep_all : callable
        Takes numbers of bins; returns what :func:`lresnet_utils.verify.all_pairs.keep` does, of
        all tiles together.
    n_images, far_targets, bins
        As for :func:`all_pairs`.

    Returns
    -------
    AllPairs

    Raises
    ------
    EvaluationError
        When a class has no pair, or too many scores lie in the bins that hold the thresholds.
    """
    if bins < 2 or bins & (bins - 1):
        raise EvaluationError(f"The number of bins is a power of two, not {bins}.")
    impostor, genuine = (_Class(counts) for counts in count_all())
    if not genuine.n or not impostor.n:
        raise EvaluationError(f"There are {genuine.n} genuine and {impostor.n} impostor pairs.")
    edges = np.arange(bins + 1) * (4.0 / bins)
    # The last edge accepts everything, a distance of 4 too.
    edges[-1] = np.nextafter(4.0, 5.0)
    fmr, tmr = impostor.below / impostor.n, genuine.below / genuine.n
    fnmr = (genuine.n - genuine.below) / genuine.n
    cross = int(np.argmax(fmr >= fnmr)) - 1
    allowed = {far: budget(far, impostor.n) for far in far_targets}
    # The bin of the order statistic that each false accept rate asks for.
    holding = {
        far: int(np.searchsorted(impostor.below, k, side="right")) - 1
        for far, k in allowed.items()
        if k
    }
    wanted = sorted({cross, *holding.values()})
    kept = impostor.counts[wanted].sum() + genuine.counts[wanted].sum()
    if kept > _MOST_KEPT:
        raise EvaluationError(
            f"{kept:,} scores lie in the bins that hold the thresholds; at most {_MOST_KEPT:,} "
            "fit.",
            fix="evaluate a sample of the people, or ask for fewer false accept rates",
        )
    for number, (others, own) in zip(wanted, keep_all(wanted), strict=True):
        impostor.kept[number], genuine.kept[number] = np.sort(others), np.sort(own)
    eer, threshold = _cross(genuine, impostor, cross, (edges[cross], edges[cross + 1]))
    change = np.append(True, (np.diff(impostor.below) > 0) | (np.diff(genuine.below) > 0))
    return AllPairs(
        n_images=n_images,
        n_genuine=genuine.n,
        n_impostor=impostor.n,
        fmr=fmr[change],
        tmr=tmr[change],
        thresholds=edges[change],
        eer=eer,
        eer_threshold=threshold,
        tar_at_far=[
            _row(far, k, genuine, impostor, holding[far])
            if k
            else {"far": far, "refused": unresolved(impostor.n)}
            for far, k in allowed.items()
        ],
    )


class _Class:
    """The pairs of one class: how many lie in each bin and below it, and what was kept."""

    def __init__(self, counts: np.ndarray) -> None:
        self.counts = counts
        self.below = np.append(0, np.cumsum(counts))
        self.n = int(self.below[-1])
        self.kept: dict[int, np.ndarray] = {}

    def accepted(self, number: int, threshold: float) -> int:
        """Count the pairs below a threshold that lies in a bin whose scores were kept."""
        inside = np.searchsorted(self.kept[number], threshold, side="left")
        return int(self.below[number] + inside)


def _row(far: float, k: int, genuine: _Class, impostor: _Class, number: int) -> dict[str, Any]:
    """Pick the `k`-th impostor score out of its bin."""
    threshold = float(impostor.kept[number][k - impostor.below[number]])
    return {
        "far": far,
        "achieved_far": impostor.accepted(number, threshold) / impostor.n,
        "tar": genuine.accepted(number, threshold) / genuine.n,
        "threshold": threshold,
        "n_genuine": genuine.n,
        "n_impostor": impostor.n,
    }


def _cross(
    genuine: _Class, impostor: _Class, number: int, ends: tuple[float, float]
) -> tuple[float, float]:
    """Cross FMR and FNMR between two edges, where every score is known."""
    own, others = genuine.kept[number], impostor.kept[number]
    scores = np.unique(np.concatenate([own, others]))
    accepted = [
        kind.below[number] + np.append(0, np.searchsorted(kept, scores, side="right"))
        for kind, kept in ((impostor, others), (genuine, own))
    ]
    fmr, fnmr = accepted[0] / impostor.n, (genuine.n - accepted[1]) / genuine.n
    # The lower edge accepts what the last score below it does.
    return equal_error(fmr, fnmr, np.append(ends[0], np.nextafter(scores, np.inf)))


# Scores between two runs of embeddings, the same bits on every machine and in every blocking.
#
# A float dot product depends on the order in which a machine adds, so two machines, or one machine
# with blocks of other shapes, would disagree in the last bits, and counts at a threshold with them.
# Here components are first rounded to multiples of 2^-26. Products of two are then multiples of
# 2^-52, and sums of them stay below 2 as the rows have length one (Cauchy-Schwarz), so that float64
# holds every partial sum exactly: there is nothing left to round, whatever the order.

_STEPS = 2.0**26
_BLOCK_BYTES = 1 << 25
# Float32 rows that were scaled to length one are within this.
_LENGTH_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Rows:
    """Embeddings of length one on the grid, and who they show.

    Attributes
    ----------
    vectors : ndarray of float64, shape (n, d)
        Multiples of 2^-26.
    identity : ndarray of int, shape (n,)
    """

    vectors: np.ndarray
    identity: np.ndarray

    @classmethod
    def of(cls, unit: ArrayLike, identity: ArrayLike) -> Rows:
        """Round unit rows to the grid: by at most 2^-27 per component.

        Raises
        ------
        EvaluationError
            When a row is not of length one, or there is not one identity for each.
        """
        unit, identity = np.asarray(unit, np.float64), np.asarray(identity)
        if unit.ndim != 2 or identity.shape != unit.shape[:1]:
            raise EvaluationError(f"{len(unit)} embeddings need one identity each.")
        # A row with NaN has no length, and fails this as well.
        if not (np.abs(np.square(unit).sum(axis=1) - 1) < _LENGTH_TOLERANCE).all():
            raise EvaluationError(
                "An embedding is zero or not finite.", fix="leave out the images that failed"
            )
        return cls(np.rint(unit * _STEPS) / _STEPS, identity)

    def __getitem__(self, part: slice) -> Rows:
        return Rows(self.vectors[part], self.identity[part])

    def __len__(self) -> int:
        return len(self.vectors)


def tiles(n: int, side: int) -> Iterator[tuple[slice, slice]]:
    """Yield pairs of runs of at most `side` rows that together hold every pair of `n` rows once.

    Two equal runs stand for the pairs within.

    Examples
    --------
    >>> [(a.start, b.start) for a, b in tiles(5, 2)]
    [(0, 0), (0, 2), (0, 4), (2, 2), (2, 4), (4, 4)]
    """
    runs = [slice(start, min(n, start + side)) for start in range(0, n, side)]
    yield from ((a, b) for i, a in enumerate(runs) for b in runs[i:])


def count(a: Rows, b: Rows | None, bins: int) -> np.ndarray:
    """Count the scores of a tile in a histogram over [0, 4].

    Parameters
    ----------
    a, b : Rows
        The two runs; `b` None for the pairs within `a`.
    bins : int
        A power of two.

    Returns
    -------
    ndarray of int64, shape (2, bins)
        Impostor pairs, genuine pairs.
    """
    counts = np.zeros((2, bins), np.int64)
    for distances, same in _blocks(a, b):
        number = _bin_of(distances, bins)
        own = np.bincount(number[same], minlength=bins)
        counts[1] += own
        # What is not genuine is impostor: quicker than picking it out.
        counts[0] += np.bincount(number.ravel(), minlength=bins) - own
    return counts


def keep(a: Rows, b: Rows | None, bins: int, wanted: list[int]) -> list[tuple[np.ndarray, ...]]:
    """Return the scores of a tile that fall into some bins.

    Returns
    -------
    list of (ndarray, ndarray)
        For each wanted bin the impostor scores and the genuine scores, float64, in no order.
    """
    chosen = np.zeros(bins, bool)
    chosen[wanted] = True
    # The empty part is for runs without rows.
    parts: list[tuple[np.ndarray, ...]] = [(np.empty(0), np.empty(0, int), np.empty(0, bool))]
    for distances, same in _blocks(a, b):
        number = _bin_of(distances, bins)
        inside = chosen[number]
        parts.append((distances[inside], number[inside], same[inside]))
    distances, number, same = (np.concatenate(column) for column in zip(*parts, strict=True))
    return [
        (distances[(number == one) & ~same], distances[(number == one) & same]) for one in wanted
    ]


def _blocks(a: Rows, b: Rows | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the distances of pairs and whether both show one person, each pair once."""
    within = b is None
    other = a if within else b
    height = max(1, _BLOCK_BYTES // (8 * max(1, len(other))))
    for start in range(0, len(a), height):
        stop = min(len(a), start + height)
        columns = slice(start if within else 0, None)
        d = a.vectors[start:stop] @ other.vectors[columns].T
        np.clip(np.subtract(2.0, np.multiply(d, 2.0, out=d), out=d), 0.0, 4.0, out=d)
        same = a.identity[start:stop, None] == other.identity[None, columns]
        if within:
            later = np.arange(start, len(a))[None, :] > np.arange(start, stop)[:, None]
            d, same = d[later], same[later]
        yield d, same


def _bin_of(distances: np.ndarray, bins: int) -> np.ndarray:
    # bins is a power of two, so the product is exact and agrees with the edges.
    return np.minimum((distances * (bins / 4.0)).astype(np.int32), bins - 1)
