"""How much faster one build is than another, from each one's mean and interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import special

METHOD = "Welch's t interval on the logarithm of the ratio of the mean rates, 95 %"
CHAINED = "Welch's t interval on the sum of two independent ratios' logarithms, 95 %"
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
        ``value``, ``low``, ``high``, ``interval`` and ``degrees`` of freedom; without an interval
        on both sides ``low``, ``high`` and ``degrees`` are None and ``interval`` says why.

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
        return _bare(value, why)
    parts = [(_relative_error(rate) ** 2, rate["n"] - 1) for rate in (first, second)]
    return _welch(value, parts) | {"interval": METHOD}


def chained_ratio(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return the product of two ratios that were measured independently, with its interval.

    If the first says how much faster B is than A, and the second how much faster C is than B, the
    product says how much faster C is than A. The logarithms' variances add, since no repeat is in
    both; degrees of freedom follow Welch and Satterthwaite.

    Parameters
    ----------
    first, second : mapping
        ``value``, ``low``, ``high`` by Student's t on the logarithm, and either ``degrees`` of
        freedom or ``n`` repeats, one more than the degrees.

    Returns
    -------
    dict
        As :func:`speed_ratio`.

    Examples
    --------
    >>> graph = {"value": 1.5, "low": 1.4, "high": 1.5**2 / 1.4, "n": 5}
    >>> chain = chained_ratio(graph, {"value": 2.0, "low": 1.9, "high": 2.0**2 / 1.9, "n": 5})
    >>> f"{chain['value']:.2f} [{chain['low']:.2f}, {chain['high']:.2f}]"
    '3.00 [2.79, 3.23]'
    """
    value = first["value"] * second["value"]
    bare = [ratio for ratio in (first, second) if ratio.get("low") is None]
    if bare:
        why = str(bare[0].get("interval") or "one of the ratios has none").removeprefix("none: ")
        return _bare(value, why)
    parts = []
    for ratio in (first, second):
        degrees = ratio.get("degrees") or ratio["n"] - 1
        half = math.log(ratio["high"] / ratio["low"]) / 2
        parts.append(((half / float(special.stdtrit(degrees, _UPPER))) ** 2, degrees))
    return _welch(value, parts) | {"interval": CHAINED}


def _bare(value: float, why: str) -> dict[str, Any]:
    return {"value": value, "low": None, "high": None, "degrees": None, "interval": f"none: {why}"}


def _welch(value: float, parts: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return a ratio's interval from the variances of its logarithm's terms and their degrees."""
    variance = sum(share for share, _ in parts)
    if not variance:
        degrees = sum(degrees for _, degrees in parts)
        return {"value": value, "low": value, "high": value, "degrees": degrees}
    degrees = variance**2 / sum(share**2 / degrees for share, degrees in parts)
    half = float(special.stdtrit(degrees, _UPPER)) * math.sqrt(variance)
    low, high = value * math.exp(-half), value * math.exp(half)
    return {"value": value, "low": low, "high": high, "degrees": degrees}


def _relative_error(rate: Mapping[str, Any]) -> float:
    """Return the standard error of a mean as a share of it.

    The upper end is used, since a lower one below zero is written as zero.
    """
    t = float(special.stdtrit(rate["n"] - 1, _UPPER))
    return (rate["high"] - rate["value"]) / t / rate["value"]
