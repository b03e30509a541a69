"""Scores between two runs of embeddings, the same bits on every machine and in every blocking.

A float dot product depends on the order in which a machine adds, so two machines, or one machine
with blocks of other shapes, would disagree in the last bits, and counts at a threshold with them.
Here components are first rounded to multiples of 2^-26. Products of two are then multiples of
2^-52, and sums of them stay below 2 as the rows have length one (Cauchy-Schwarz), so that float64
holds every partial sum exactly: there is nothing left to round, whatever the order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lresnet_utils.errors import EvaluationError

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
