"""From timed inferences to figures that say how sure they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lresnet_utils.perf.timing import Timing
from lresnet_utils.verify.intervals import student_t

MINIMUM_N = {50: 5, 90: 64, 99: 662}
"""Least number of inferences for which a percentile of latency is reported.

For the 90th and 99th percentile these are the least query counts of MLPerf Inference's early
stopping rule (``inference_rules.adoc``, "Early Stopping"): the smallest n at which one slower
query is still compatible, at 99 % confidence, with the percentile being met, that is the least n
with P(Binomial(n, 1 - p) <= 1) <= 0.01. A median of fewer than five inferences says little.
"""


def throughput_interval(timing: Timing) -> dict[str, Any]:
    """Return the mean throughput over the repeats and how sure it is.

    Parameters
    ----------
    timing : Timing
        One session's repeats.

    Returns
    -------
    dict
        ``value``, ``low``, ``high`` in images per second, ``n`` repeats and ``interval``, which
        names the method. With a single repeat ``low`` and ``high`` are None and ``interval``
        says why.

    Raises
    ------
    TargetError
        When the session failed or nothing was measured.

    Examples
    --------
    >>> steady = Timing(4, (np.array([10.0]), np.array([10.0])), (0.01, 0.01))
    >>> figures = throughput_interval(steady)
    >>> figures["value"], figures["low"], figures["high"], figures["n"]
    (400.0, 400.0, 400.0, 2)
    """
    timing.require_complete()
    rates = timing.throughput_ips
    if len(rates) < 2:
        value, low, high = float(rates[0]), None, None
        method = "none: a single repeat has no spread"
    else:
        value, low, high = (float(x) for x in student_t(rates))
        # Two wild repeats can put the lower end below zero, which no rate can be.
        low = max(low, 0.0)
        method = "Student t over repeats, 95 %"
    return {"value": value, "low": low, "high": high, "n": len(rates), "interval": method}


def paired_ratio(timing: Timing, base: Timing) -> dict[str, Any]:
    """Return how many times as fast one session is as another that took turns with it.

    Parameters
    ----------
    timing, base : Timing
        Of the same call of :func:`lresnet_utils.perf.timing.time_sessions`, so that repeat i of
        both saw the same state of the machine.

    Returns
    -------
    dict
        ``value``, ``low``, ``high``: geometric mean of the repeats' ratios and its Student t
        interval (95 %) on the logarithms; ``n`` repeats; ``interval`` names the method.

    Raises
    ------
    TargetError
        When a session failed or nothing was measured.
    EvaluationError
        When there are fewer than two repeats.

    Examples
    --------
    >>> slow = Timing(1, (np.array([20.0]), np.array([20.0])), (0.02, 0.02))
    >>> fast = Timing(1, (np.array([10.0]), np.array([10.0])), (0.01, 0.01))
    >>> round(paired_ratio(fast, slow)["value"], 6)
    2.0
    """
    timing.require_complete()
    base.require_complete()
    logs = np.log(timing.throughput_ips) - np.log(base.throughput_ips)
    value, low, high = (float(np.exp(x)) for x in student_t(logs))
    method = "Student t over the logarithms of the repeats' ratios, 95 %"
    return {"value": value, "low": low, "high": high, "n": len(logs), "interval": method}


def latency_summary(timing: Timing) -> dict[str, Any]:
    """Return percentiles of the time of one inference, as far as there are enough of them.

    Parameters
    ----------
    timing : Timing
        One session's repeats; their inferences are pooled.

    Returns
    -------
    dict
        ``p50``, ``p90``, ``p99`` in milliseconds by nearest rank, ``n`` inferences, and
        ``refused``: for every percentile that is None, why (see :data:`MINIMUM_N`).

    Raises
    ------
    TargetError
        When the session failed or nothing was measured.

    Examples
    --------
    >>> timing = Timing(1, (np.arange(1.0, 101.0),), (5.05,))
    >>> latency_summary(timing)
    {'p50': 50.0, 'p90': 90.0, 'p99': None, 'n': 100,
     'refused': {'p99': 'needs 662 inferences, has 100'}}
    """
    timing.require_complete()
    pooled = np.concatenate(timing.latencies_ms)
    values: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for percent, least in MINIMUM_N.items():
        enough = len(pooled) >= least
        values[f"p{percent}"] = nearest_rank(pooled, percent) if enough else None
        if not enough:
            refused[f"p{percent}"] = f"needs {least} inferences, has {len(pooled)}"
    return values | {"n": len(pooled), "refused": refused}


def nearest_rank(values: ArrayLike, percent: int) -> float:
    """Return the smallest value that at least `percent` per cent of all values do not exceed.

    No interpolation: the result is one of the values, as in ``trtexec``'s report.

    Parameters
    ----------
    values : array_like, shape (n,)
        At least one value.
    percent : int
        From 1 to 100.

    Examples
    --------
    >>> nearest_rank([15, 20, 35, 40, 50], 40)
    20.0
    """
    ordered = np.sort(np.asarray(values, np.float64))
    # In whole numbers, since 0.9 * n may fall just above or below the rank.
    rank = -(-percent * len(ordered) // 100)
    return float(ordered[rank - 1])
