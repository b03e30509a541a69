"""Two builds evaluated on the same redrawn pairs: a bootstrap that respects what pairs share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, sparse, special
from scipy.sparse.csgraph import connected_components

from lresnet_utils.errors import EvaluationError
from lresnet_utils.text.language import message
from lresnet_utils.verify.agreement import flipped_pairs, mcnemar_exact
from lresnet_utils.verify.intervals import pair_identities
from lresnet_utils.verify.protocol import fold_numbers, guide_protocol, guide_thresholds
from lresnet_utils.verify.scores import checked_scores

# Separate groups of pairs can be drawn whole when there are many and none is most of the set.
LEAST_GROUPS = 50
LARGEST_GROUP = 0.05
_CHUNK = 64


@dataclass(frozen=True)
class Units:
    """What a bootstrap draws instead of pairs.

    Attributes
    ----------
    left, right : ndarray of int64, shape (n,)
        The unit of each side of every pair; a pair within one unit has the same twice.
    n : int
        Units.
    words : str
        What they are, for the description of the method.
    """

    left: np.ndarray
    right: np.ndarray
    n: int
    words: str

    def only(self, kept: np.ndarray) -> Units:
        """Return the units of some of the pairs, drawn from as many as before."""
        return Units(self.left[kept], self.right[kept], self.n, self.words)

    def weights(self, rng: np.random.Generator, replicates: int) -> np.ndarray:
        """Draw `n` units with replacement, `replicates` times; return each pair's weight.

        A pair counts as often as its unit was drawn or, across two units, as the product of both
        counts (float64, whole numbers, shape (replicates, pairs)).
        """
        counts = rng.multinomial(self.n, np.full(self.n, 1 / self.n), size=replicates)
        left, right = counts[:, self.left], counts[:, self.right]
        return np.where(self.left == self.right, left, left * right).astype(np.float64)


def sampling_units(left: ArrayLike, right: ArrayLike, same: ArrayLike) -> Units:
    """Find the people or groups that pairs share, from the pairs alone.

    Images joined by genuine pairs show one person. Where people and the pairs between them fall
    into many small separate groups, a group is the unit and the pairs of different groups are
    independent; otherwise a person is.

    Parameters
    ----------
    left, right : array_like of int, shape (n,)
        The images of each pair; equal images have equal numbers.
    same : array_like of bool, shape (n,)
        True for genuine pairs.

    Returns
    -------
    Units

    Notes
    -----
    Drawing people and weighting a pair by the product of both counts is the vertex bootstrap; it
    errs towards wide intervals (Fogliato, Patil and Perona, IJCV 2024, arXiv 2306.01198).

    Examples
    --------
    Images 0, 1 and 2 are one person, 3 another:

    >>> units = sampling_units([0, 1, 2], [1, 2, 3], [True, True, False])
    >>> units.n, units.left.tolist(), units.right.tolist()
    (2, [0, 0, 0], [0, 0, 1])
    """
    left, right, same = np.asarray(left), np.asarray(right), np.asarray(same, bool)
    if not len(left) or not left.shape == right.shape == same.shape:
        raise EvaluationError("Pairs need a left image, a right image and a label each.")
    _, numbers = np.unique(np.concatenate([left, right]), return_inverse=True)
    left, right = np.split(numbers, 2)
    images = numbers.max() + 1
    shared = sparse.coo_matrix((np.ones(len(left)), (left, right)), shape=(images, images))
    groups, group = connected_components(shared, directed=False)
    sizes = np.bincount(group[left], minlength=groups)
    if groups >= LEAST_GROUPS and sizes.max() <= LARGEST_GROUP * len(left):
        ends = group[left]
        words = message("{n} separate groups of pairs that share images", n=groups)
        return Units(ends, ends, groups, words)
    people = pair_identities(left, right, same, images)
    words = message("{n} people (images joined by genuine pairs)", n=people.count)
    return Units(people.left, people.right, people.count, words)


class WeightedScores:
    """One build's scores, ready to be evaluated under many weightings of the pairs.

    Parameters
    ----------
    distances : array_like of float, shape (n,)
        Squared distances, all finite.
    same : array_like of bool, shape (n,)
        True for genuine pairs.
    fold : ndarray of int, shape (n,)
        The fold of each pair.
    """

    def __init__(self, distances: ArrayLike, same: ArrayLike, fold: np.ndarray):
        distances, same, _ = checked_scores(distances, same)
        thresholds = guide_thresholds()
        self.folds, self.width = int(fold.max()) + 1, len(thresholds) + 1
        # As in `protocol`: a pair is accepted from this threshold on.
        first = np.searchsorted(thresholds, distances, side="right")
        self.slot = (fold * self.width + first).astype(np.intp)
        self.genuine, self.impostor = np.flatnonzero(same), np.flatnonzero(~same)
        self.by_genuine = self.genuine[np.argsort(distances[same], kind="stable")]
        self.by_impostor = self.impostor[np.argsort(distances[~same], kind="stable")]
        # The number of genuine pairs strictly below each impostor distance, in ascending order.
        self.below = np.searchsorted(
            distances[self.by_genuine], distances[self.by_impostor], side="left"
        )

    def accuracy(self, weights: np.ndarray) -> float:
        """Return the share of right decisions by the guide's protocol; thresholds chosen anew."""
        genuine = self._accepted(self.genuine, weights)
        impostor = self._accepted(self.impostor, weights)
        right = genuine[:, :-1] + (impostor[:, -1:] - impostor[:, :-1])
        best = np.argmax(right.sum(axis=0) - right, axis=1)
        total = genuine[:, -1].sum() + impostor[:, -1].sum()
        return float(right[np.arange(self.folds), best].sum() / total)

    def _accepted(self, members: np.ndarray, weights: np.ndarray) -> np.ndarray:
        counts = np.bincount(
            self.slot[members], weights=weights[members], minlength=self.folds * self.width
        )
        return counts.reshape(self.folds, self.width).cumsum(axis=1)

    def tar(self, weights: np.ndarray, far: float) -> float:
        """Return the true accept rate at the largest threshold with FMR <= `far`, else NaN.

        The threshold is an impostor distance, as in :func:`lresnet_utils.verify.curves.tar_at_far`.
        """
        impostor = np.cumsum(weights[self.by_impostor])
        genuine = np.concatenate([[0.0], np.cumsum(weights[self.by_genuine])])
        if not impostor[-1] or not genuine[-1]:
            return math.nan
        # Shares are compared as quotients, since far * n may be rounded to either side.
        at = int(np.searchsorted(impostor / impostor[-1], far, side="right"))
        return float(genuine[self.below[min(at, len(self.below) - 1)]] / genuine[-1])


@dataclass(frozen=True)
class PairedReplicates:
    """Bootstrap replicates of the difference between two builds, second minus first.

    Attributes
    ----------
    accuracy : ndarray of float64, shape (r,)
    tar : dict of float to ndarray of float64, shape (r,)
        One per false accept rate.
    words : str
        How they were drawn.
    """

    accuracy: np.ndarray
    tar: dict[float, np.ndarray]
    words: str


def paired_bootstrap(
    first: WeightedScores,
    second: WeightedScores,
    units: Units,
    *,
    fars: Iterable[float] = (),
    replicates: int = 2000,
    seed: int = 0,
) -> PairedReplicates:
    """Draw the units of both builds together and evaluate both anew each time.

    Parameters
    ----------
    first, second : WeightedScores
        Of the same pairs in the same order.
    units : Units
        Of these pairs.
    fars : iterable of float
        False accept rates.
    replicates, seed : int

    Returns
    -------
    PairedReplicates
    """
    if replicates < 100:
        raise EvaluationError(
            f"{replicates} replicates give no 95 % interval.", fix="ask for 100 or more"
        )
    rng, fars = np.random.default_rng(seed), list(fars)
    rows = []
    for start in range(0, replicates, _CHUNK):
        for weights in units.weights(rng, min(_CHUNK, replicates - start)):
            if not weights.any():
                continue  # with very few people a draw can hold no pair at all
            rows.append(
                [second.accuracy(weights) - first.accuracy(weights)]
                + [second.tar(weights, far) - first.tar(weights, far) for far in fars]
            )
    table = np.array(rows)
    return PairedReplicates(
        accuracy=table[:, 0],
        tar={far: table[:, 1 + i] for i, far in enumerate(fars)},
        words=message(
            "paired bootstrap over {over}, thresholds chosen anew, percentiles of "
            "{replicates} replicates, seed {seed}",
            over=units.words,
            replicates=replicates,
            seed=seed,
        ),
    )


# The difference between two builds on the same pairs: its interval, and what may be said of it.

ALPHA = 0.05
"""McNemar's exact p below which pairs lost and gained are not taken for chance."""


def tango(gained: int, lost: int, n: int) -> tuple[float, float]:
    """Return Tango's score interval (95 %) of the difference between two paired proportions.

    It stays honest where nothing changed: no pair of `n` still leaves room for a difference.

    Parameters
    ----------
    gained, lost : int
        Pairs that only the second, and only the first, decides rightly.
    n : int
        Pairs, taken as independent.

    Returns
    -------
    low, high : float
        Bounds of ``(gained - lost) / n``'s expectation.

    Notes
    -----
    Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17 (1998), 891-908.

    Examples
    --------
    >>> low, high = tango(0, 0, 3600)
    >>> f"{low:.6f} {high:.6f}"
    '-0.001066 0.001066'
    """
    if not (n >= 1 and min(gained, lost) >= 0 and gained + lost <= n):
        raise EvaluationError(f"{gained} gained and {lost} lost of {n} pairs is impossible.")
    z = float(special.ndtri(0.975))

    def score(delta: float) -> float:
        # The constrained estimate of the lost share, then the score statistic.
        b = -gained - lost + (2 * n - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        share = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        variance = n * (2 * share + delta * (1 - delta))
        distance = gained - lost - n * delta
        # Without a change there is neither distance nor variance at zero.
        return distance / math.sqrt(variance) if variance > 0 else 0.0

    value, edge = (gained - lost) / n, 1 - 1e-12

    def end(target: float, bound: float) -> float:
        if abs(value) >= edge and value * bound > 0:
            return value
        return float(optimize.brentq(lambda delta: score(delta) - target, value, bound, xtol=1e-14))

    return end(z, -edge), end(-z, edge)


def hull(replicates: np.ndarray, score: tuple[float, float]) -> tuple[float, float]:
    """Return the percentile interval (95 %) joined with a score interval: at each end the wider.

    The bootstrap knows what pairs share but sees only changes that happened; the score interval
    knows how little a few pairs say but takes them as independent.
    """
    known = replicates[~np.isnan(replicates)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else score
    return float(min(low, score[0])), float(max(high, score[1]))


def verdict(low: float, high: float, margin: float, *, lost: int = 0, gained: int = 0) -> str:
    """Return what an interval of the accuracy difference (second minus first) allows to say.

    The interval speaks of people who were not drawn. Where it leaves zero open, McNemar's exact
    test may still be sure of the pairs that were decided, which then is said of these alone.

    Parameters
    ----------
    low, high : float
        The interval, shares of one.
    margin : float
        Differences smaller than this do not matter.
    lost, gained : int
        Pairs that only the first, and only the second, decides rightly.

    Returns
    -------
    str
        ``equivalent`` when the interval lies within the margin, else ``worse`` or ``better``
        when it lies on one side of zero, else ``worse on these pairs`` or ``better on these
        pairs`` when McNemar's exact p is below 0.05, else ``not enough data``.

    Examples
    --------
    >>> verdict(-0.001, 0.001, 0.002), verdict(-0.03, -0.01, 0.002)
    ('equivalent', 'worse')
    >>> verdict(0.001, 0.004, 0.002), verdict(-0.004, 0.001, 0.002)
    ('better', 'not enough data')
    >>> verdict(-0.09, 0.004, 0.002, lost=25, gained=0)
    'worse on these pairs'
    """
    if not 0 < margin < 1:
        raise EvaluationError(f"A margin lies between 0 and 1, not at {margin}.")
    if -margin < low and high < margin:
        return "equivalent"
    if high < 0:
        return "worse"
    if low > 0:
        return "better"
    if mcnemar_exact(lost, gained) < ALPHA:
        return f"{'worse' if lost > gained else 'better'} on these pairs"
    return "not enough data"


# One network fed in two ways: which of them is right, as far as the pairs can tell.

_LEAST_REPLICATES = 100


def order_difference(
    used: tuple[np.ndarray, np.ndarray],
    other: tuple[np.ndarray, np.ndarray],
    left: np.ndarray,
    right: np.ndarray,
    same: np.ndarray,
    *,
    folds: int,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Return how accurate a network is either way, and the difference with its interval.

    Parameters
    ----------
    used, other : (float64 array, bool array), each of shape (n,)
        Squared distances of the pairs, and which pairs have one.
    left, right : int array, shape (n,)
        The images of each pair.
    same : bool array, shape (n,)
        True for genuine pairs.
    folds, replicates, seed : int
        Of the guide's protocol and of the paired bootstrap.

    Returns
    -------
    dict
        ``used`` and ``other`` (accuracy and wrong pairs by the guide's protocol, over the pairs
        that both have), ``difference`` (other minus used: value, low, high, n, McNemar's exact p,
        interval) and ``right``: "used", "other", or None where the interval covers 0.

    Raises
    ------
    EvaluationError
        When too few pairs are left for the folds.
    """
    both = used[1] & other[1]
    fold = fold_numbers(len(same), folds)
    results = [guide_protocol(d, same, folds=folds, acquired=both) for d, _ in (used, other)]
    thresholds = [result.best_thresholds[fold] for result in results]
    flips = flipped_pairs(used[0], thresholds[0], other[0], thresholds[1], same, both)
    scores = [WeightedScores(d[both], same[both], fold[both]) for d, _ in (used, other)]
    units = sampling_units(left, right, same).only(both)
    drawn = paired_bootstrap(
        *scores, units, replicates=max(replicates, _LEAST_REPLICATES), seed=seed
    )
    gained, lost = len(flips.gained), len(flips.lost)
    low, high = hull(drawn.accuracy, tango(gained, lost, flips.n))
    right_one = "other" if low > 0 else "used" if high < 0 else None
    either = [{"value": r.mean_accuracy, "errors": r.errors, "n": r.n} for r in results]
    return {
        "used": either[0],
        "other": either[1],
        "difference": {
            "value": (gained - lost) / flips.n,
            "low": low,
            "high": high,
            "n": flips.n,
            "mcnemar_p": mcnemar_exact(lost, gained),
            "interval": message("{method}; joined with Tango's score interval", method=drawn.words),
        },
        "right": right_one,
    }
