"""Two builds of one network, embedding by embedding and pair by pair, and whether one passes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import count
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lresnet_utils.errors import EvaluationError
from lresnet_utils.text.language import message
from lresnet_utils.verify.intervals import clopper_pearson
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
            where=message("image {image}", image=int(np.argmax(unusable))),
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
    if not all(isinstance(pairs, Integral) and pairs >= 0 for pairs in (b, c)):
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


# Whether a build passes: by the guide's rule, and by a stricter one pair by pair. The numbers come
# from the protocol and from `flipped_pairs`; here they are only judged.

GUIDE_TOLERANCE = 0.01
"""Drop of accuracy that the guide's section 6.3 allows, as a fraction of all pairs."""


@dataclass(frozen=True)
class Gate:
    """One rule and how a build fares under it.

    Attributes
    ----------
    name : str
        ``'guide'`` or ``'paired'``.
    rule : str
        The rule in words, with its limits.
    passed : bool or None
        None when it cannot be judged; `reason` then says why.
    evidence : str
        The numbers that the judgement rests on, in words; empty where there are none.
    reason : str or None
        Why it cannot be judged.
    """

    name: str
    rule: str
    passed: bool | None
    evidence: str
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the gate as a plain dict."""
        return asdict(self)


def guide_gate(
    accuracy: float | None,
    published: float | None,
    tolerance: float = GUIDE_TOLERANCE,
    *,
    n_pairs: int | None = None,
    refused: str | None = None,
) -> Gate:
    """Judge by the guide's rule: not more than `tolerance` below the published accuracy.

    Parameters
    ----------
    accuracy : float or None
        Fraction of pairs judged rightly; None where it was not evaluated.
    published : float or None
        Accuracy published for this network on this set; None where there is none.
    tolerance : float
        The drop allowed, as a fraction of all pairs.
    n_pairs : int, optional
        Pairs evaluated; the evidence then says how many of them may be wrong.
    refused : str, optional
        Why there is nothing to judge; the gate is then not judged, whatever the numbers.

    Returns
    -------
    Gate

    Raises
    ------
    EvaluationError
        When a number is not a fraction, or `n_pairs` is not a positive whole number.

    Examples
    --------
    >>> gate = guide_gate(0.9976666666666667, 0.998, n_pairs=6000)
    >>> gate.passed
    True
    >>> for sentence in gate.evidence.split("; "):
    ...     print(sentence)
    Accuracy 99.767% is 0.033 points below the published 99.800%
    the rule accepts up to 72 wrong pairs of 6,000
    the published accuracy itself takes up to 12.
    >>> guide_gate(None, 0.998).reason
    'No accuracy was evaluated.'
    """
    tolerance = _fraction("tolerance", tolerance)
    n_pairs = None if n_pairs is None else _whole("n_pairs", n_pairs, least=1)
    rule = f"Accuracy lower than published by at most {100 * tolerance:g}% of all pairs."
    if refused is None and accuracy is None:
        refused = "No accuracy was evaluated."
    if refused is None and published is None:
        refused = "No accuracy is published for this network on this set."
    if refused is not None:
        return Gate("guide", rule, None, "", refused)
    accuracy, published = _fraction("accuracy", accuracy), _fraction("published", published)
    # A mean over folds may miss the limit by its last bit; one pair weighs far more than 1e-12.
    drop = round(published - accuracy, 12)
    side = "above" if drop < 0 else "below"
    compared = message(
        "Accuracy {accuracy:.3%} is {drop:.3f} points {side} the published {published:.3%}",
        accuracy=accuracy,
        drop=100 * abs(drop),
        side=side,
        published=published,
    )
    evidence = message("{clause}.", clause=compared)
    if n_pairs is not None:
        evidence = message(
            "{compared}; the rule accepts up to {most:,} wrong pairs of {n_pairs:,}; the "
            "published accuracy itself takes up to {itself:,}.",
            compared=compared,
            most=_wrong(published, n_pairs, tolerance),
            n_pairs=n_pairs,
            itself=_wrong(published, n_pairs),
        )
    return Gate("guide", rule, drop <= round(tolerance, 12), evidence)


def paired_gate(
    n_lost: int | None,
    n_gained: int | None,
    n_pairs: int | None,
    alpha: float = 0.05,
    *,
    confidence: float = 0.95,
    reference: str = "the reference",
    refused: str | None = None,
) -> Gate:
    """Judge pair by pair against a reference: no significant loss, and a bound on the loss.

    A pass says that no loss was found, not that there is none; how large it may still be is the
    upper end of the Clopper-Pearson interval of the lost share, which the evidence states.

    Parameters
    ----------
    n_lost, n_gained : int or None
        Pairs that only the reference, and only the build, decides rightly.
    n_pairs : int or None
        Pairs that both decided.
    alpha : float
        A loss is significant when McNemar's exact two-sided p is below this.
    confidence : float
        Two-sided confidence of the interval.
    reference : str
        What the build is compared with, in words.
    refused : str, optional
        Why there is nothing to judge; the gate is then not judged, whatever the counts.

    Returns
    -------
    Gate
        Not judged when there are so few pairs that even the loss of all would not be
        significant.

    Raises
    ------
    EvaluationError
        When a count is negative or not whole, more pairs changed sides than there are, or
        `alpha` or `confidence` is not between 0 and 1.

    Examples
    --------
    >>> gate = paired_gate(9, 1, 6000)
    >>> gate.passed
    False
    >>> for sentence in gate.evidence.split("; "):
    ...     print(sentence)
    9 lost and 1 gained of 6,000 pairs
    McNemar's exact p = 0.021, two-sided
    lost share 0.150%, at most 0.285% (Clopper-Pearson, upper end of the 95% interval)
    the smallest loss that the test can find is 6 pairs with none gained (0.100%).
    >>> paired_gate(9, 2, 6000).passed, paired_gate(1, 9, 6000).passed
    (True, True)
    >>> print(paired_gate(3, 0, 5).reason)
    5 pairs are too few: the smallest loss that the test can find is 6 pairs with none gained.
    """
    for what, value in (("alpha", alpha), ("confidence", confidence)):
        if not 0 < _fraction(what, value) < 1:
            raise EvaluationError(f"{what} lies between 0 and 1, not at {value}.")
    rule = (
        f"No significant loss of pairs against {reference} (McNemar's exact test, "
        f"p below {alpha:g}), with the upper bound of the lost share stated."
    )
    if refused is None and None in (n_lost, n_gained, n_pairs):
        refused = message("The decisions were not compared with {reference}.", reference=reference)
    if refused is not None:
        return Gate("paired", rule, None, "", refused)
    n_lost, n_gained = _whole("n_lost", n_lost), _whole("n_gained", n_gained)
    n_pairs = _whole("n_pairs", n_pairs)
    if n_lost + n_gained > n_pairs:
        raise EvaluationError(f"{n_lost + n_gained} of {n_pairs} pairs cannot have changed sides.")
    least = smallest_detectable_loss(alpha)
    found = message(
        "the smallest loss that the test can find is {least} pairs with none gained", least=least
    )
    if n_pairs == 0:
        return Gate(
            "paired",
            rule,
            None,
            "",
            message("There are no pairs to compare; {found}.", found=found),
        )
    p = mcnemar_exact(n_lost, n_gained)
    bound = clopper_pearson(n_lost, n_pairs, confidence)[1]
    evidence = message(
        "{lost:,} lost and {gained:,} gained of {n:,} pairs; McNemar's exact p = "
        "{p:.2g}, two-sided; lost share {share:.3%}, at most {bound:.3%} "
        "(Clopper-Pearson, upper end of the {confidence:g}% interval)",
        lost=n_lost,
        gained=n_gained,
        n=n_pairs,
        p=p,
        share=n_lost / n_pairs,
        bound=bound,
        confidence=100 * confidence,
    )
    if n_pairs < least:
        reason = message("{n_pairs} pairs are too few: {found}.", n_pairs=n_pairs, found=found)
        return Gate("paired", rule, None, message("{clause}.", clause=evidence), reason)
    passed = not (n_lost > n_gained and p < alpha)
    evidence = message(
        "{clause}; {found} ({share:.3%}).", clause=evidence, found=found, share=least / n_pairs
    )
    return Gate("paired", rule, passed, evidence)


def smallest_detectable_loss(alpha: float = 0.05) -> int:
    """Return the fewest lost pairs, with none gained, that McNemar's exact test finds.

    Examples
    --------
    >>> smallest_detectable_loss(0.05)
    6
    """
    return next(lost for lost in count(1) if mcnemar_exact(lost, 0) < alpha)


def _wrong(published: float, n_pairs: int, tolerance: float = 0.0) -> int:
    """Count the wrong pairs that still reach an accuracy, in decimals: 0.072 x 6,000 is 432."""
    share = 1 - Decimal(repr(published)) + Decimal(repr(tolerance))
    return min(n_pairs, math.floor(share * n_pairs))


def _fraction(what: str, value: float) -> float:
    if not isinstance(value, Real) or not 0 <= value <= 1:
        raise EvaluationError(f"{what} is a fraction between 0 and 1, not {value}.")
    return float(value)


def _whole(what: str, value: int, least: int = 0) -> int:
    if not isinstance(value, Integral) or value < least:
        raise EvaluationError(f"{what} is a whole number of at least {least}, not {value}.")
    return int(value)
