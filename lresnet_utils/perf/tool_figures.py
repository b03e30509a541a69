"""The speed that vendors' tools measured, in the words of the speed that is measured here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lresnet_utils.errors import TargetError
from lresnet_utils.targets.vendor_logs import PerfRecord
from lresnet_utils.verify.intervals import student_t

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
    return {
        "throughput_ips": _interval(rates),
        "latency_ms": _latency(records),
        "tool": first.tool,
        "clock": first.throughput_clock,
        "latency_clock": first.latency_clock,
        "notes": list(dict.fromkeys(note for record in records for note in record.notes)),
        "logs": [{"file": record.source, "sha256": record.sha256} for record in records],
        "samples": {"throughput_ips": rates},
    }


def _interval(rates: list[float]) -> dict[str, Any]:
    if len(rates) < 2:
        method = "none: a single run has no spread"
        return {"value": rates[0], "low": None, "high": None, "n": 1, "interval": method}
    value, low, high = (float(x) for x in student_t(rates))
    return {
        "value": value,
        "low": max(low, 0.0),
        "high": high,
        "n": len(rates),
        "interval": "Student t over the tool's runs, 95 %",
    }


def _latency(records: Sequence[PerfRecord]) -> dict[str, Any]:
    medians = [record.latency_ms.get("p50") for record in records]
    refused = {"p90": _UNCOUNTED, "p99": _UNCOUNTED}
    if None in medians:
        refused = {"p50": f"{records[0].tool} does not give it"} | refused
        p50 = None
    else:
        p50 = float(np.median(medians))
    return {"p50": p50, "p90": None, "p99": None, "n": None, "refused": refused}
