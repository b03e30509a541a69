"""Intervals of accuracy, EER, TAR@FAR, AUC and threshold that respect shared identities."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from lresnet_utils.errors import EvaluationError
from lresnet_utils.text.language import message
from lresnet_utils.verify.curves import Roc, budget
from lresnet_utils.verify.intervals import (
    LEAST_IDENTITIES,
    PairDependence,
    PairIdentities,
    Variance,
    adjusted_wilson,
    bounded_mean,
    student,
)
from lresnet_utils.verify.protocol import guide_thresholds

Interval = tuple[float, float]
# Rates at which the band of a curve is computed.
_BAND_RATES = 60


@dataclass(frozen=True)
class Band:
    """Pointwise 95 % interval of the true match rate at given false match rates.

    Attributes
    ----------
    fmr, low, high : ndarray of float64, shape (j,)
        The rate of the threshold that stays at or below `fmr`.
    """

    fmr: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Uncertainty:
    """95 % intervals over people, not over pairs.

    Attributes
    ----------
    accuracy, eer, auc, threshold : (low, high)
        Of the protocol's accuracy and mean threshold, and of the ROC. None for the threshold
        when no draw moves it: the classes hardly overlap, and others would do as well.
    tar : dict of float to (low, high) or None
        Per false accept rate that the set can resolve; None where so few impostor pairs decide
        that the true threshold may lie below all of them.
    band : Band
        Of the ROC; one minus it is the band of the DET.
    design_effect : float
        Variance of the accuracy over that of independent pairs.
    people : int
        Identities in the pairs.
    people_wrong : int
        Identities in pairs that the protocol decided wrongly.
    method : str
        What was done, in words.
    """

    accuracy: Interval
    eer: Interval
    auc: Interval
    threshold: Interval | None
    tar: dict[float, Interval | None]
    band: Band
    design_effect: float
    people: int
    people_wrong: int
    method: str


def uncertainty(
    distances: np.ndarray,
    same: np.ndarray,
    fold: np.ndarray,
    best_thresholds: np.ndarray,
    curve: Roc,
    identities: PairIdentities,
    *,
    accuracy: float,
    far_targets: Sequence[float],
    replicates: int,
    seed: int,
) -> Uncertainty:
    """Compute the intervals of one evaluation.

    Each estimate's deviation is written as a sum over pairs, whose variance counts every two pairs
    that share a person (:mod:`~lresnet_utils.verify.intervals`), and the interval is Wilson's
    with the effective number of pairs. What no formula gives without densities comes from a
    bootstrap over people (:mod:`~lresnet_utils.verify.uncertainty`): the variance of the accuracy
    from choosing thresholds again, the weights of FMR and FNMR in the EER, and the percentiles of
    the threshold. At a FAR the match rate's interval is joined with the interval of the threshold,
    found from the number of impostors below it (MOVER; Zou and Donner 2008).

    Parameters
    ----------
    distances, same, fold : ndarray, shape (n,)
        Acquired pairs, their labels, and the fold of each.
    best_thresholds : ndarray of float64, shape (k,)
        Threshold of each fold.
    curve : Roc
        Of these pairs.
    identities : PairIdentities
        Of these pairs.
    accuracy : float
        What the protocol reports.
    far_targets : sequence of float
        False accept rates; those below the set's resolution are left out.
    replicates, seed : int
        Of the bootstrap.

    Returns
    -------
    Uncertainty

    Raises
    ------
    EvaluationError
        When the pairs show too few people to tell how they differ.
    """
    pairs = PairDependence(identities)
    if pairs.count < LEAST_IDENTITIES:
        raise EvaluationError(
            message(
                "The pairs show {n} people; at least {least} are needed to tell how people differ.",
                n=pairs.count,
                least=LEAST_IDENTITIES,
            )
        )
    view = _View(distances, same, pairs)
    draws = resample(
        distances,
        same,
        fold,
        len(best_thresholds),
        curve.eer_threshold,
        pairs,
        replicates=replicates,
        seed=seed,
    )
    right = (distances < best_thresholds[fold]) == same
    held = pairs.variance((right - right.mean()) / len(right))
    chosen = held.plus(float(right_at(distances, same, fold, draws.best).var()))
    wrong = np.concatenate([pairs.left[~right], pairs.right[~right]])
    return Uncertainty(
        accuracy=adjusted_wilson(accuracy, chosen, len(right)),
        eer=view.eer_interval(curve, draws),
        auc=view.auc_interval(curve.auc),
        threshold=_threshold_interval(best_thresholds.mean(), draws),
        tar={far: view.tar_interval(far) for far in far_targets if far * curve.n_impostor >= 1},
        band=view.band(),
        design_effect=chosen.value / chosen.naive if chosen.naive else 1.0,
        people=pairs.count,
        people_wrong=len(np.unique(wrong)),
        method=message(
            "95 %, {n} {what}, {replicates} bootstrap replicates",
            n=pairs.count,
            what=identities.source,
            replicates=replicates,
        ),
    )


class _View:
    """One set of pairs, seen through the influence of each pair on an estimate."""

    def __init__(self, distances: np.ndarray, same: np.ndarray, pairs: PairDependence) -> None:
        self.distances, self.same, self.pairs = distances, same, pairs
        self.genuine, self.impostor = np.sort(distances[same]), np.sort(distances[~same])
        # The match rate when the threshold is at each impostor pair's distance.
        below = np.searchsorted(self.genuine, self.impostor, side="left")
        self.reached = below / len(self.genuine)

    def rate_influence(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the influence of every pair on FMR and on FNMR at a threshold."""
        accepted = self.distances < threshold
        fmr, fnmr = accepted[~self.same].mean(), 1 - accepted[self.same].mean()
        return (
            np.where(self.same, 0.0, accepted - fmr) / len(self.impostor),
            np.where(self.same, ~accepted - fnmr, 0.0) / len(self.genuine),
        )

    def eer_interval(self, curve: Roc, draws: Replicates) -> Interval:
        """Between the pure FMR and the pure FNMR lies the EER, where the draws say."""
        share = np.clip(
            _slope(draws.eer_fmr - draws.eer_fnmr, draws.eer - draws.eer_fnmr, 0.5), 0, 1
        )
        fmr, fnmr = self.rate_influence(curve.eer_threshold)
        variance = self.pairs.variance(share * fmr + (1 - share) * fnmr)
        return adjusted_wilson(curve.eer, variance, min(curve.n_genuine, curve.n_impostor))

    def tar_interval(self, far: float) -> Interval | None:
        """Join the match rate's own interval with what the threshold's uncertainty does to it.

        None where the true threshold may lie below every impostor pair seen.
        """
        n, n_impostor = len(self.genuine), len(self.impostor)
        threshold = self.impostor[budget(far, n_impostor)]
        fmr, fnmr = self.rate_influence(threshold)
        rate, miss = self.pairs.variance(fmr), self.pairs.variance(fnmr)
        effect = rate.value / rate.naive if rate.naive > 0 else 1.0
        spread = student(rate.freedom) / 2 * math.sqrt(effect / n_impostor)
        # On the arcsine scale a share's variance does not depend on the share.
        ends = math.asin(math.sqrt(far)) + np.array([-spread, spread])
        counts = np.sin(np.clip(ends, 0, math.pi / 2)) ** 2 * n_impostor
        if counts[0] < 1:
            return None
        # With c impostors below it the true threshold lies between the c-th and the next one.
        moved = np.interp(counts - 0.5, np.arange(n_impostor), self.reached)
        tar = float(np.searchsorted(self.genuine, threshold, side="left")) / n
        low, high = adjusted_wilson(tar, miss, n)
        agree = _correlation(rate, miss, self.pairs.variance(fmr + fnmr))
        down = _join(tar - low, max(0.0, tar - moved[0]), agree)
        up = _join(high - tar, max(0.0, moved[1] - tar), agree)
        return max(0.0, tar - down), min(1.0, tar + up)

    def band(self) -> Band:
        """Return the interval at rates evenly spaced on a log axis, each a whole count of pairs."""
        n = len(self.impostor)
        rates = np.unique(np.rint(np.geomspace(1, max(1, n - 1), _BAND_RATES))) / n
        ends = {rate: self.tar_interval(rate) for rate in rates.tolist()}
        known = [(rate, *interval) for rate, interval in ends.items() if interval]
        return Band(*np.array(known).reshape(-1, 3).T)

    def auc_interval(self, auc: float) -> Interval:
        """Placements as in DeLong et al. (1988), summed per person instead of per pair.

        They are shares and no counts: a wrong pair may be a hair or a mile out of place.
        """
        above = 1 - _placement(self.distances, self.impostor)
        below = _placement(self.distances, self.genuine)
        influence = np.where(
            self.same,
            (above - auc) / len(self.genuine),
            (below - auc) / len(self.impostor),
        )
        n = min(len(self.genuine), len(self.impostor))
        return bounded_mean(auc, self.pairs.variance(influence), n)


def _placement(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return the share of `ordered` below each value, equal ones counted half."""
    below = np.searchsorted(ordered, values, side="left")
    up_to = np.searchsorted(ordered, values, side="right")
    return (below + up_to) / (2 * len(ordered))


def _slope(x: np.ndarray, y: np.ndarray, otherwise: float) -> float:
    x, y = x - x.mean(), y - y.mean()
    spread = float(x @ x)
    return float(x @ y) / spread if spread > 0 else otherwise


def _threshold_interval(value: float, draws: Replicates) -> Interval | None:
    means = draws.best.mean(axis=1) * 0.01
    if np.ptp(means) == 0:
        return None
    low, high = value + SCALE * (np.percentile(means, [2.5, 97.5]) - value)
    return float(max(0.0, min(low, value))), float(max(high, value))


def _correlation(a: Variance, b: Variance, of_sum: Variance) -> float:
    scale = 2 * math.sqrt(a.value * b.value)
    return min(1.0, max(-1.0, (of_sum.value - a.value - b.value) / scale)) if scale > 0 else 0.0


def _join(a: float, b: float, correlation: float) -> float:
    """Return the distance of a bound of a sum from the distances of its parts' bounds (MOVER)."""
    return math.sqrt(max(0.0, a * a + b * b + 2 * correlation * a * b))


# Bootstrap over identities: how rates and thresholds move when some people weigh more.
#
# A replicate draws a sign ``s = ±1`` for every person and weighs a pair by ``1 + s/2`` (genuine) or
# ``1 + (s + s')/2`` (two people): half the double-or-nothing bootstrap (Owen and Eckles 2012), on
# people as in Fogliato et al. (2024), and added rather than multiplied, since products triple the
# variance of what is particular to one pair of people. Deviations are doubled to the full size.

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
