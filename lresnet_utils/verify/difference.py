"""The difference between two builds on the same pairs: its interval, and what may be said of it."""

from __future__ import annotations

import math

import numpy as np
from scipy import optimize, special

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.agreement import mcnemar_exact

ALPHA = 0.05
"""McNemar's exact p below which pairs lost and gained are not taken for chance."""


def tango(gained: int, lost: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Tango's score interval of the difference between two paired proportions.

    It stays honest where nothing changed: no pair of `n` still leaves room for a difference.

    Parameters
    ----------
    gained, lost : int
        Pairs that only the second, and only the first, decides rightly.
    n : int
        Pairs, taken as independent.
    confidence : float

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
    z = float(special.ndtri((1 + confidence) / 2))

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
