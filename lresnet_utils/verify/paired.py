"""Two builds evaluated on the same redrawn pairs: a bootstrap that respects what pairs share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.protocol import guide_thresholds
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
    groups, group = _components(left, right, numbers.max() + 1)
    sizes = np.bincount(group[left], minlength=groups)
    if groups >= LEAST_GROUPS and sizes.max() <= LARGEST_GROUP * len(left):
        ends = group[left]
        return Units(ends, ends, groups, f"{groups} separate groups of pairs that share images")
    people, person = _components(left[same], right[same], numbers.max() + 1)
    return Units(
        person[left], person[right], people, f"{people} people (images joined by genuine pairs)"
    )


def _components(left: np.ndarray, right: np.ndarray, n: int) -> tuple[int, np.ndarray]:
    graph = sparse.coo_matrix((np.ones(len(left)), (left, right)), shape=(n, n))
    return connected_components(graph, directed=False)


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
        words=f"paired bootstrap over {units.words}, thresholds chosen anew, percentiles of "
        f"{replicates} replicates, seed {seed}",
    )
