"""The pairs to look at first: genuine ones that look unlike, impostors that look alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.scores import checked_scores


@dataclass(frozen=True)
class WorstPairs:
    """Pair numbers, the worst first.

    Attributes
    ----------
    genuine : ndarray of int64
        Genuine pairs with the largest distances.
    impostor : ndarray of int64
        Impostor pairs with the smallest distances.
    genuine_wrong, impostor_wrong : ndarray of bool
        For each of those, whether the threshold decides it wrongly.
    n_genuine_wrong, n_impostor_wrong : int
        Wrong decisions among all pairs of the class, listed or not.
    """

    genuine: np.ndarray
    impostor: np.ndarray
    genuine_wrong: np.ndarray
    impostor_wrong: np.ndarray
    n_genuine_wrong: int
    n_impostor_wrong: int


def worst_pairs(
    distances: ArrayLike,
    same: ArrayLike,
    threshold: float,
    k: int,
    *,
    acquired: ArrayLike | None = None,
) -> WorstPairs:
    """List the `k` worst genuine and the `k` worst impostor pairs.

    These are where wrong labels and damaged images show up. Equal distances are listed in the
    order of the pairs.

    Parameters
    ----------
    distances : array_like of float, shape (n,)
        Squared distances.
    same : array_like of bool, shape (n,)
        True for genuine pairs.
    threshold : float
        A pair is accepted when ``distance < threshold``.
    k : int
        How many of each class; fewer are listed when the class is smaller.
    acquired : array_like of bool, shape (n,), optional
        Pairs that have a distance; all of them when not given.

    Returns
    -------
    WorstPairs

    Raises
    ------
    EvaluationError
        When the scores cannot be used, `k` is negative or the threshold is not a number.

    Examples
    --------
    >>> worst = worst_pairs([0.2, 1.6, 1.8, 0.9], [True, True, False, False], 1.4, 1)
    >>> worst.genuine, worst.impostor, worst.impostor_wrong
    (array([1]), array([3]), array([ True]))
    """
    distances, same, acquired = checked_scores(distances, same, acquired)
    if k < 0 or np.isnan(threshold):
        raise EvaluationError(f"Cannot list {k} pairs at the threshold {threshold}.")
    wrong = ((distances < threshold) != same) & acquired
    genuine = _first(np.flatnonzero(same & acquired), -distances, k)
    impostor = _first(np.flatnonzero(~same & acquired), distances, k)
    return WorstPairs(
        genuine=genuine,
        impostor=impostor,
        genuine_wrong=wrong[genuine],
        impostor_wrong=wrong[impostor],
        n_genuine_wrong=int((wrong & same).sum()),
        n_impostor_wrong=int((wrong & ~same).sum()),
    )


def _first(pairs: np.ndarray, key: np.ndarray, k: int) -> np.ndarray:
    return pairs[np.argsort(key[pairs], kind="stable")[:k]]
