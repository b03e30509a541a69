"""From timed inferences to figures that say how sure they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lresnet_utils.errors import TargetError
from lresnet_utils.perf.timing import Timing
from lresnet_utils.targets.tool_log import PerfRecord
from lresnet_utils.text.language import NONE, message
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
    return _interval(
        timing.throughput_ips, "a single repeat has no spread", "Student t over repeats, 95 %"
    )


def _interval(rates: ArrayLike, none: str, method: str) -> dict[str, Any]:
    """Return the mean of some rates and its interval by `method`; `none` says why one has none."""
    if len(rates) < 2:
        value, low, high = float(rates[0]), None, None
        method = message(NONE, why=none)
    else:
        value, low, high = (float(x) for x in student_t(rates))
        # Two wild repeats can put the lower end below zero, which no rate can be.
        low = max(low, 0.0)
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
            refused[f"p{percent}"] = message(
                "needs {least} inferences, has {n}", least=least, n=len(pooled)
            )
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


# How much faster one build is than another, from each one's mean and interval.

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
        told = bare[0].get("interval") if bare[0].get("high") is None else None
        told = told or message(NONE, why="one of the rates has none")
        return {
            "value": value,
            "low": None,
            "high": None,
            "interval": told,
        }
    parts = []
    for rate in (first, second):
        # The upper end is used, since a lower one below zero is written as zero.
        t = float(special.stdtrit(rate["n"] - 1, _UPPER))
        error = (rate["high"] - rate["value"]) / t / rate["value"]
        parts.append((error**2, rate["n"] - 1))
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


# From the times of single layers to what they say: rates, intensities, shares by kind.

Layers = Sequence[Mapping[str, Any]]


def roofline_points(layers: Layers) -> list[dict[str, Any]]:
    """Return rate and arithmetic intensity of the layers whose arithmetic is counted.

    Parameters
    ----------
    layers : sequence of dict
        ``name``, ``kind``, ``ms``, ``flops`` and ``bytes`` per batch, as
        :func:`lresnet_utils.targets.openvino.profile_layers` gives them.

    Returns
    -------
    list of dict
        ``name``, ``kind``, ``ms``, ``intensity`` (operations per byte of input, weights and
        output) and ``tops`` (10^12 operations per second). A layer that took no time that the
        clock could see, or whose bytes are not known, is left out.

    Examples
    --------
    >>> layer = {"name": "a", "kind": "convolution", "ms": 2.0, "flops": 10**9, "bytes": 10**7}
    >>> roofline_points([layer])
    [{'name': 'a', 'kind': 'convolution', 'ms': 2.0, 'intensity': 100.0, 'tops': 0.5}]
    """
    return [
        {
            **{key: layer[key] for key in ("name", "kind", "ms")},
            "intensity": layer["flops"] / layer["bytes"],
            "tops": layer["flops"] / layer["ms"] / 1e9,
        }
        for layer in layers
        if layer["flops"] and layer["bytes"] and layer["ms"]
    ]


def by_kind(layers: Layers) -> list[dict[str, Any]]:
    """Add up the layers of each kind, those that take longest first.

    Returns
    -------
    list of dict
        ``kind``, ``n`` layers, ``ms`` per batch, ``share`` of the time of all layers,
        ``flops_share`` of the counted arithmetic, and ``tops`` (None where none is counted).

    Examples
    --------
    >>> a = {"kind": "convolution", "ms": 3.0, "flops": 6 * 10**9}
    >>> b = {"kind": "reorder", "ms": 1.0, "flops": 0}
    >>> [(row["kind"], row["share"], row["tops"]) for row in by_kind([b, a])]
    [('convolution', 0.75, 2.0), ('reorder', 0.25, None)]
    """
    whole_ms = sum(layer["ms"] for layer in layers)
    whole_flops = sum(layer["flops"] for layer in layers)
    rows = []
    for kind in {layer["kind"] for layer in layers}:
        some = [layer for layer in layers if layer["kind"] == kind]
        ms, flops = sum(layer["ms"] for layer in some), sum(layer["flops"] for layer in some)
        rows.append(
            {
                "kind": kind,
                "n": len(some),
                "ms": ms,
                "share": ms / whole_ms if whole_ms else 0.0,
                "flops_share": flops / whole_flops if whole_flops else 0.0,
                "tops": flops / ms / 1e9 if flops and ms else None,
            }
        )
    return sorted(rows, key=lambda row: (-row["ms"], row["kind"]))


# The speed that vendors' tools measured, in the words of the speed that is measured here.

_UNCOUNTED = "the tool's summary does not say of how many executions it is"


def tool_figures(records: Sequence[PerfRecord]) -> dict[str, Any]:
    """Summarise the runs of one tool as ``6_perf`` records a target.

    Parameters
    ----------
    records : sequence of PerfRecord
        One per run, all of one tool and batch size.

    Returns
    -------
    dict
        ``throughput_ips``: ``value`` (mean of the runs), ``low``, ``high`` (Student t over the
        runs, 95 %), ``n`` runs, ``interval``. ``latency_ms``: the median over the runs of the
        tool's own ``p50`` per batch; ``p90`` and ``p99`` are refused, since their rule (see
        :data:`lresnet_utils.perf.statistics.MINIMUM_N`) needs a count that the logs do not give,
        so that ``n`` is None; ``refused`` says why. ``clock`` and ``latency_clock`` say what the
        tool's clocks cover; figures of other clocks are no match. ``tool``, ``notes``, ``logs``
        (file and SHA-256) and ``samples``.

    Raises
    ------
    TargetError
        When there is no record, or they are of several tools or batch sizes.
    """
    if not records:
        raise TargetError("There is no record of the tool's speed.")
    if len({(record.tool, record.batch_size) for record in records}) > 1:
        raise TargetError("Records of several tools or batch sizes do not make one figure.")
    first = records[0]
    rates = [record.throughput_ips for record in records]
    medians = [record.latency_ms.get("p50") for record in records]
    refused = {"p90": _UNCOUNTED, "p99": _UNCOUNTED}
    if None in medians:
        p50, refused = None, {"p50": message("{tool} does not give it", tool=first.tool)} | refused
    else:
        p50 = float(np.median(medians))
    return {
        "throughput_ips": _interval(
            rates, "a single run has no spread", "Student t over the tool's runs, 95 %"
        ),
        "latency_ms": {"p50": p50, "p90": None, "p99": None, "n": None, "refused": refused},
        "tool": first.tool,
        "clock": first.throughput_clock,
        "latency_clock": first.latency_clock,
        "notes": list(dict.fromkeys(note for record in records for note in record.notes)),
        "logs": [{"file": record.source, "sha256": record.sha256} for record in records],
        "samples": {"throughput_ips": rates},
    }
