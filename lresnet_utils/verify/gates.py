"""Whether a build passes: by the guide's rule, and by a stricter one pair by pair.

The numbers come from :mod:`lresnet_utils.verify.protocol` and
:func:`lresnet_utils.verify.agreement.flipped_pairs`; here they are only judged.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import count
from numbers import Integral, Real
from typing import Any

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.agreement import mcnemar_exact
from lresnet_utils.verify.intervals import clopper_pearson

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
    evidence = (
        f"Accuracy {accuracy:.3%} is {100 * abs(drop):.3f} points {side} the published "
        f"{published:.3%}"
    )
    if n_pairs is not None:
        most = _wrong(published, n_pairs, tolerance)
        evidence += f"; the rule accepts up to {most:,} wrong pairs of {n_pairs:,}"
        itself = _wrong(published, n_pairs)
        evidence += f"; the published accuracy itself takes up to {itself:,}"
    return Gate("guide", rule, drop <= round(tolerance, 12), f"{evidence}.")


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
        refused = f"The decisions were not compared with {reference}."
    if refused is not None:
        return Gate("paired", rule, None, "", refused)
    n_lost, n_gained = _whole("n_lost", n_lost), _whole("n_gained", n_gained)
    n_pairs = _whole("n_pairs", n_pairs)
    if n_lost + n_gained > n_pairs:
        raise EvaluationError(f"{n_lost + n_gained} of {n_pairs} pairs cannot have changed sides.")
    least = smallest_detectable_loss(alpha)
    found = f"the smallest loss that the test can find is {least} pairs with none gained"
    if n_pairs == 0:
        return Gate("paired", rule, None, "", f"There are no pairs to compare; {found}.")
    p = mcnemar_exact(n_lost, n_gained)
    evidence = _paired_evidence(n_lost, n_gained, n_pairs, p, confidence)
    if n_pairs < least:
        reason = f"{n_pairs} pairs are too few: {found}."
        return Gate("paired", rule, None, f"{evidence}.", reason)
    passed = not (n_lost > n_gained and p < alpha)
    return Gate("paired", rule, passed, f"{evidence}; {found} ({least / n_pairs:.3%}).")


def smallest_detectable_loss(alpha: float = 0.05) -> int:
    """Return the fewest lost pairs, with none gained, that McNemar's exact test finds.

    Examples
    --------
    >>> smallest_detectable_loss(0.05)
    6
    """
    return next(lost for lost in count(1) if mcnemar_exact(lost, 0) < alpha)


def _paired_evidence(lost: int, gained: int, n_pairs: int, p: float, confidence: float) -> str:
    bound = clopper_pearson(lost, n_pairs, confidence)[1]
    return (
        f"{lost:,} lost and {gained:,} gained of {n_pairs:,} pairs; McNemar's exact "
        f"p = {p:.2g}, two-sided; lost share {lost / n_pairs:.3%}, at most {bound:.3%} "
        f"(Clopper-Pearson, upper end of the {100 * confidence:g}% interval)"
    )


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
