"""Several runs of a vendor's tool as one cell."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from lresnet_utils.errors import TargetError
from lresnet_utils.perf.statistics import tool_figures
from lresnet_utils.targets.tool_log import PerfRecord

RATES = [101.0, 99.5, 100.25]


def record(rate, *, tool="ais_bench", batch_size=4, **latency_ms):
    latency_ms = latency_ms or {"mean": 40.0, "p50": 39.0 + rate / 100, "p99": 44.0}
    return PerfRecord(
        tool=tool,
        batch_size=batch_size,
        throughput_ips=rate,
        throughput_clock="the device",
        latency_ms=latency_ms,
        latency_clock="per batch",
        source=f"run_{rate}.log",
        sha256="00",
        notes=("one chip", f"rate {rate}"),
    )


def test_the_interval_is_over_the_runs():
    figures = tool_figures([record(rate) for rate in RATES])
    told = figures["throughput_ips"]
    low, high = stats.t.interval(0.95, 2, np.mean(RATES), stats.sem(RATES))
    assert (told["value"], told["n"]) == (pytest.approx(np.mean(RATES)), 3)
    assert (told["low"], told["high"]) == (pytest.approx(low), pytest.approx(high))
    assert figures["samples"]["throughput_ips"] == RATES
    assert [log["file"] for log in figures["logs"]] == [f"run_{rate}.log" for rate in RATES]
    assert figures["notes"] == ["one chip", "rate 101.0", "rate 99.5", "rate 100.25"]
    assert json.loads(json.dumps(figures)) == figures


def test_the_median_is_the_tools_own_and_uncounted_tails_are_refused():
    latency = tool_figures([record(rate) for rate in RATES])["latency_ms"]
    assert latency["p50"] == 39.0 + 100.25 / 100
    assert (latency["p90"], latency["p99"], latency["n"]) == (None, None, None)
    assert set(latency["refused"]) == {"p90", "p99"}
    only_mean = tool_figures([record(1.0, mean_per_image=3.0)])["latency_ms"]
    assert only_mean["p50"] is None
    assert only_mean["refused"]["p50"] == "ais_bench does not give it"


def test_one_run_has_no_interval():
    told = tool_figures([record(100.0)])["throughput_ips"]
    assert (told["value"], told["low"], told["high"], told["n"]) == (100.0, None, None, 1)
    assert "single run" in told["interval"]


def test_what_does_not_belong_together_is_refused():
    for records in ([], [record(1.0), record(1.0, tool="msame")]):
        with pytest.raises(TargetError):
            tool_figures(records)
    with pytest.raises(TargetError, match="batch sizes"):
        tool_figures([record(1.0), dataclasses.replace(record(1.0), batch_size=8)])
