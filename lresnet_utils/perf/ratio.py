"""How much faster one build is than another, from each one's mean and interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scipy import special

METHOD = "Welch's t interval on the logarithm of the ratio of the mean rates, 95 %"
_UPPER = 0.975


def speed_ratio(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ratio of two throughputs, second over first, with its interval.

    Each mean's standard error is read back from its Student t interval, so published numbers are
    enough. By the delta method the logarithm of a mean has the relative standard error; degrees
    of freedom follow Welch and Satterthwaite.

    Parameters
    ----------
    first, second : mapping
        ``throughput_ips`` of a cell: ``value``, ``high``, ``n`` (repeats) and ``interval``;
        ``high`` is None where a rate has no interval.

    Returns
    -------
    dict
        ``value``, ``low``, ``high``, ``interval``; without an interval on both sides ``low`` and
        ``high`` are None and ``interval`` says why.

    Examples
    --------
    >>> slow = {"value": 100.0, "high": 104.0, "n": 5}
    >>> ratio = speed_ratio(slow, {"value": 150.0, "high": 157.5, "n": 5})
    >>> f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"
    '1.50 [1.42, 1.58]'
    """
    value = second["value"] / first["value"]
    bare = [rate for rate in (first, second) if rate.get("high") is None or rate["n"] < 2]
    if bare:
        why = str(bare[0].get("interval") or "one of the rates has none").removeprefix("none: ")
        return {"value": value, "low": None, "high": None, "interval": f"none: {why}"}
    parts = [(_relative_error(rate) ** 2, rate["n"] - 1) for rate in (first, second)]
    variance = sum(share for share, _ in parts)
    if not variance:
        return {"value": value, "low": value, "high": value, "interval": METHOD}
    freedom = variance**2 / sum(share**2 / degrees for share, degrees in parts)
    half = float(special.stdtrit(freedom, _UPPER)) * math.sqrt(variance)
    return {
        "value": value,
        "low": value * math.exp(-half),
        "high": value * math.exp(half),
        "interval": METHOD,
    }


def _relative_error(rate: Mapping[str, Any]) -> float:
    """Return the standard error of a mean as a share of it.

    The upper end is used, since a lower one below zero is written as zero.
    """
    t = float(special.stdtrit(rate["n"] - 1, _UPPER))
    return (rate["high"] - rate["value"]) / t / rate["value"]
