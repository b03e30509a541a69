"""Two builds of one network, embedding by embedding and pair by pair."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.scores import checked_scores, squared_l2, unit_rows


@dataclass(frozen=True)
class FlippedPairs:
    """The pairs that two builds decide differently.

    Attributes
    ----------
    indices : ndarray of int64
        Pair numbers of all that changed sides, ascending.
    lost : ndarray of int64
        Those that the first build decides rightly and the second wrongly.
    gained : ndarray of int64
        Those that the first build decides wrongly and the second rightly.
    n : int
        Pairs compared.
    """

    indices: np.ndarray
    lost: np.ndarray
    gained: np.ndarray
    n: int


def embedding_agreement(a: ArrayLike, b: ArrayLike) -> dict[str, float | int]:
    """Measure how far two sets of embeddings of the same images agree.

    Both are scaled to unit rows in float64 first, so builds that end before or after the
    normalisation can be compared.

    Parameters
    ----------
    a, b : array_like, shape (n, d)
        Embeddings of the same images in the same order; leave out failed ones.

    Returns
    -------
    dict
        ``min_cosine`` and ``mean_cosine`` over images, ``max_abs_difference`` over all numbers of
        the unit rows, ``n`` images. The cosine is computed as ``1 - distance / 2``, which keeps
        its last digits near 1 and never exceeds 1.

    Raises
    ------
    EvaluationError
        When shapes differ, there is no row, or a row is zero or not finite.

    Examples
    --------
    >>> embedding_agreement([[2.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]])
    {'min_cosine': 0.0, 'mean_cosine': 0.5, 'max_abs_difference': 1.0, 'n': 2}
    """
    a, b = unit_rows(a), unit_rows(b)
    cosine = 1.0 - squared_l2(a, b) / 2
    if not a.size:
        raise EvaluationError("There is no embedding to compare.")
    # A zero row stays zero and a row with NaN becomes NaN, so a usable one has a positive length.
    unusable = ~((np.abs(a).max(axis=1) > 0) & (np.abs(b).max(axis=1) > 0))
    if unusable.any():
        raise EvaluationError(
            f"{int(unusable.sum())} embeddings are zero or not finite.",
            where=f"image {int(np.argmax(unusable))}",
            fix="leave out the images that failed on either side",
        )
    return {
        "min_cosine": float(cosine.min()),
        "mean_cosine": float(cosine.mean()),
        "max_abs_difference": float(np.abs(a - b).max()),
        "n": len(cosine),
    }


def embedding_cosines(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Return the cosine of the two embeddings of each image.

    Parameters
    ----------
    a, b : array_like, shape (n, d)
        Usable embeddings of the same images in the same order, of any length.

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    EvaluationError
        When the shapes differ.

    Examples
    --------
    >>> embedding_cosines([[2.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]).tolist()
    [1.0, 0.0]
    """
    return 1.0 - squared_l2(unit_rows(a), unit_rows(b)) / 2


def flipped_pairs(
    dist_a: ArrayLike,
    thr_a: ArrayLike,
    dist_b: ArrayLike,
    thr_b: ArrayLike,
    same: ArrayLike,
    acquired: ArrayLike | None = None,
) -> FlippedPairs:
    """Find the pairs that two builds decide differently.

    Parameters
    ----------
    dist_a, dist_b : array_like of float, shape (n,)
        Squared distances of the same pairs from the first and the second build.
    thr_a, thr_b : float or array_like of float, shape (n,)
        Each build's threshold, one for all pairs or one per pair (as in a protocol with folds).
    same : array_like of bool, shape (n,)
        True for genuine pairs.
    acquired : array_like of bool, shape (n,), optional
        Pairs that both builds have a distance for; all of them when not given.

    Returns
    -------
    FlippedPairs

    Raises
    ------
    EvaluationError
        When scores or thresholds cannot be used.

    Examples
    --------
    >>> flips = flipped_pairs([0.5, 1.8], 1.4, [1.5, 1.8], 1.4, [True, False])
    >>> flips.lost, flips.gained
    (array([0]), array([], dtype=int64))
    """
    right_a, used = _right(dist_a, thr_a, same, acquired)
    right_b, _ = _right(dist_b, thr_b, same, acquired)
    if right_a.shape != right_b.shape:
        raise EvaluationError(f"{len(right_a)} pairs cannot be compared with {len(right_b)}.")
    return FlippedPairs(
        indices=np.flatnonzero((right_a != right_b) & used),
        lost=np.flatnonzero(right_a & ~right_b & used),
        gained=np.flatnonzero(~right_a & right_b & used),
        n=int(used.sum()),
    )


def mcnemar_exact(b: int, c: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    If two builds were equally good, each pair that only one of them decides rightly would fall to
    either side like a fair coin.

    Parameters
    ----------
    b, c : int
        Numbers of pairs that only the first, and only the second, decides rightly.

    Returns
    -------
    float
        ``min(1, 2 P(X <= min(b, c)))`` for binomial ``X`` of ``b + c`` fair throws; 1 when no
        pair changed sides.

    Raises
    ------
    EvaluationError
        When a count is negative or not whole.

    Notes
    -----
    McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947), with the binomial instead of the chi-square.

    Examples
    --------
    >>> mcnemar_exact(0, 6)
    0.03125
    """
    if not all(isinstance(count, Integral) and count >= 0 for count in (b, c)):
        raise EvaluationError(f"McNemar's test needs two whole counts, not {b} and {c}.")
    return float(min(1.0, 2 * special.bdtr(float(min(b, c)), int(b + c), 0.5)))


def _right(
    distances: ArrayLike, threshold: ArrayLike, same: ArrayLike, acquired: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    distances, same, acquired = checked_scores(distances, same, acquired)
    threshold = np.asarray(threshold, dtype=np.float64)
    if threshold.shape not in ((), distances.shape) or np.isnan(threshold).any():
        raise EvaluationError("A threshold must be one number, or one number per pair.")
    return (distances < threshold) == same, acquired
