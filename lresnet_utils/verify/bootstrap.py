"""Bootstrap over identities: how rates and thresholds move when some people weigh more.

A replicate draws a sign ``s = ±1`` for every person and weighs a pair by ``1 + s/2`` (genuine) or
``1 + (s + s')/2`` (two people): half the double-or-nothing bootstrap (Owen and Eckles 2012), on
people as in Fogliato et al. (2024), and added rather than multiplied, since products triple the
variance of what is particular to one pair of people. Deviations are doubled to the full size.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from lresnet_utils.verify.dependence import PairDependence
from lresnet_utils.verify.protocol import guide_thresholds

SCALE = 2.0
_BLOCK = 25


@dataclass(frozen=True)
class Replicates:
    """What each replicate gives; ``b`` replicates, ``k`` folds.

    Attributes
    ----------
    eer : ndarray, shape (b,)
        Equal error rate.
    eer_fmr, eer_fnmr : ndarray, shape (b,)
        Both rates at the set's own threshold of the equal error rate.
    best : ndarray of int64, shape (b, k)
        Each fold's best threshold, as its number on the guide's grid.
    """

    eer: np.ndarray
    eer_fmr: np.ndarray
    eer_fnmr: np.ndarray
    best: np.ndarray


def resample(
    distances: np.ndarray,
    same: np.ndarray,
    fold: np.ndarray,
    folds: int,
    eer_threshold: float,
    pairs: PairDependence,
    *,
    replicates: int,
    seed: int,
) -> Replicates:
    """Evaluate the set under `replicates` draws of the people's weights.

    Blocks of replicates run on all cores; each block has its own stream of `seed`, so the numbers
    do not depend on how many cores there are. Memory holds a few arrays of the set's size per core.

    Parameters
    ----------
    distances : ndarray of float64, shape (n,)
        Squared distances of acquired pairs of both classes.
    same : ndarray of bool, shape (n,)
        True for genuine pairs.
    fold : ndarray of int64, shape (n,)
        Fold of each pair, from 0 to ``folds - 1``.
    folds : int
        Number of folds.
    eer_threshold : float
        The set's own threshold of the equal error rate.
    pairs : PairDependence
        Who is on each side.
    replicates, seed : int
        How many draws, and what they are drawn from.

    Returns
    -------
    Replicates
    """
    weighed = _Weighed(distances, same, fold, folds, eer_threshold, pairs)
    blocks = [min(_BLOCK, replicates - start) for start in range(0, replicates, _BLOCK)]
    streams = np.random.SeedSequence(seed).spawn(len(blocks))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = [row for part in pool.map(weighed.block, blocks, streams) for row in part]
    return Replicates(*(np.array(column) for column in zip(*rows, strict=True)))


class _Weighed:
    """The set in sorted order, so that one replicate costs a few passes over it."""

    def __init__(self, distances, same, fold, folds, eer_threshold, pairs) -> None:
        self.pairs, self.folds = pairs, folds
        order = np.argsort(distances, kind="stable")
        self.genuine, self.impostor = order[same[order]], order[~same[order]]
        g, i = distances[self.genuine], distances[self.impostor]
        self.eer_genuine = np.searchsorted(g, eer_threshold, side="left")
        self.eer_impostor = np.searchsorted(i, eer_threshold, side="left")
        scores = np.unique(distances)
        self.up_to_genuine = np.searchsorted(g, scores, side="right")
        self.up_to_impostor = np.searchsorted(i, scores, side="right")
        grid = guide_thresholds()
        first = np.searchsorted(grid, distances, side="right")
        self.width = len(grid) + 1
        self.cell = ((~same) * folds + fold) * self.width + first

    def block(self, count: int, stream: np.random.SeedSequence) -> list[tuple]:
        draw = np.random.default_rng(stream)
        return [self.replicate(draw) for _ in range(count)]

    def replicate(self, draw: np.random.Generator) -> tuple:
        sign = draw.integers(0, 2, self.pairs.count, dtype=np.int32) * 2 - 1
        weight = 2 + sign[self.pairs.left] + np.where(self.pairs.across, sign[self.pairs.right], 0)
        g, i = _running(weight[self.genuine]), _running(weight[self.impostor])
        # Of impostors that all weigh nothing no rate can be told: the draw leaves them as they are.
        i = i if i[-1] else np.arange(len(i))
        return (
            self._equal_error(g, i),
            i[self.eer_impostor] / i[-1],
            1 - g[self.eer_genuine] / g[-1],
            self._best(weight),
        )

    def _equal_error(self, g: np.ndarray, i: np.ndarray) -> float:
        fmr = np.append(0.0, i[self.up_to_impostor] / i[-1])
        gap = fmr - np.append(1.0, 1 - g[self.up_to_genuine] / g[-1])
        after = int(np.argmax(gap >= 0))
        share = -gap[after - 1] / (gap[after] - gap[after - 1])
        return fmr[after - 1] + share * (fmr[after] - fmr[after - 1])

    def _best(self, weight: np.ndarray) -> np.ndarray:
        counts = np.bincount(self.cell, weight, 2 * self.folds * self.width)
        genuine, impostor = counts.reshape(2, self.folds, self.width).cumsum(axis=2)
        right = genuine[:, :-1] + impostor[:, -1:] - impostor[:, :-1]
        return np.argmax(right.sum(axis=0) - right, axis=1)


def right_at(
    distances: np.ndarray, same: np.ndarray, fold: np.ndarray, best: np.ndarray
) -> np.ndarray:
    """Return the share of right decisions when fold ``f`` is decided at each ``best[:, f]``.

    Parameters
    ----------
    distances, same, fold : ndarray, shape (n,)
        The pairs.
    best : ndarray of int64, shape (b, k)
        Thresholds as numbers on the guide's grid.

    Returns
    -------
    ndarray of float64, shape (b,)
    """
    grid, folds = guide_thresholds(), best.shape[1]
    first, width = np.searchsorted(grid, distances, side="right"), len(grid) + 1
    counts = np.bincount(((~same) * folds + fold) * width + first, minlength=2 * folds * width)
    genuine, impostor = counts.reshape(2, folds, width).cumsum(axis=2)
    right = genuine[:, :-1] + impostor[:, -1:] - impostor[:, :-1]
    return right[np.arange(folds), best].sum(axis=1) / len(distances)


def _running(weights: np.ndarray) -> np.ndarray:
    return np.append(0, np.cumsum(weights, dtype=np.int64))
