"""Confidence intervals for a proportion and for a mean."""

from __future__ import annotations

import math
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lresnet_utils.errors import EvaluationError


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of the proportion ``k / n``.

    Its coverage is near `confidence` on average. It takes the `n` cases as independent: pairs
    that share a person are not quite, and the true interval is then wider (Fogliato et al., 2024,
    arXiv 2306.01198).

    Parameters
    ----------
    k, n : int
        Cases counted, of how many.
    confidence : float
        Two-sided confidence, between 0 and 1.

    Returns
    -------
    low, high : float
        Bounds as fractions; exactly 0 for ``k = 0`` and exactly 1 for ``k = n``.

    Raises
    ------
    EvaluationError
        Unless ``0 <= k <= n``, ``n >= 1`` and ``0 < confidence < 1``.

    Notes
    -----
    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
    (1927); without continuity correction.

    Examples
    --------
    The guide's 14 errors in 6,000 pairs:

    >>> low, high = wilson(6000 - 14, 6000)
    >>> f"{low:.5f} {high:.5f}"
    '0.99609 0.99861'
    """
    k, n = _whole(k, n)
    z = float(special.ndtri(_upper(confidence)))
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    # At the ends the formula is exactly 0 or 1; rounding must not say otherwise.
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Clopper-Pearson ("exact") interval of the proportion ``k / n``.

    Its coverage is never below `confidence` for independent cases, so it is wider than
    :func:`wilson`.

    Parameters
    ----------
    k, n : int
        Cases counted, of how many.
    confidence : float
        Two-sided confidence, between 0 and 1.

    Returns
    -------
    low, high : float
        Bounds as fractions; exactly 0 for ``k = 0`` and exactly 1 for ``k = n``.

    Raises
    ------
    EvaluationError
        Unless ``0 <= k <= n``, ``n >= 1`` and ``0 < confidence < 1``.

    Notes
    -----
    Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26 (1934), through quantiles of the beta distribution.

    Examples
    --------
    >>> low, high = clopper_pearson(14, 6000)
    >>> f"{low:.5f} {high:.5f}"
    '0.00128 0.00391'
    """
    k, n = _whole(k, n)
    upper = _upper(confidence)
    low = 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, 1 - upper))
    high = 1.0 if k == n else float(special.betaincinv(k + 1, n - k, upper))
    return low, high


def student_t(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of `values` and its Student t interval.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        At least two repeats of a measurement.
    confidence : float
        Two-sided confidence, between 0 and 1.

    Returns
    -------
    mean, low, high : float
        ``mean ± t s / sqrt(n)``, with ``s`` and ``t`` over ``n - 1`` degrees of freedom.

    Raises
    ------
    EvaluationError
        When there are fewer than two values, one is not finite, or `confidence` is not between
        0 and 1.

    Examples
    --------
    >>> mean, low, high = student_t([1.0, 2.0, 3.0])
    >>> f"{mean:.3f} {low:.3f} {high:.3f}"
    '2.000 -0.484 4.484'
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise EvaluationError(
            "A Student t interval needs a list of at least two finite values.",
            fix="repeat the measurement",
        )
    mean = float(values.mean())
    t = float(special.stdtrit(len(values) - 1, _upper(confidence)))
    half = t * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def _whole(k: int, n: int) -> tuple[int, int]:
    whole = isinstance(k, Integral) and isinstance(n, Integral)
    if not whole or not (n >= 1 and 0 <= k <= n):
        raise EvaluationError(f"{k} of {n} is not a proportion of whole cases.")
    # NumPy's narrow integers would overflow in a product.
    return int(k), int(n)


def _upper(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise EvaluationError(f"A confidence lies between 0 and 1, not at {confidence}.")
    return (1 + confidence) / 2
