"""Intervals and percentiles against SciPy, sorting and the rule they are taken from."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lresnet_utils.errors import TargetError
from lresnet_utils.perf.statistics import (
    MINIMUM_N,
    by_kind,
    latency_summary,
    nearest_rank,
    roofline_points,
    speed_ratio,
    throughput_interval,
    tool_figures,
)
from lresnet_utils.perf.timing import Timing
from lresnet_utils.targets.tool_log import PerfRecord
from lresnet_utils.verify.intervals import student_t


def timing(*repeats, batch_size=1):
    arrays = tuple(np.asarray(repeat, np.float64) for repeat in repeats)
    return Timing(batch_size, arrays, tuple(float(array.sum()) / 1e3 for array in arrays))


def test_the_interval_is_students():
    measured = timing([10, 12], [11, 11, 14], [9, 13], batch_size=4)
    rates = [4 * 2 / 0.022, 4 * 3 / 0.036, 4 * 2 / 0.022]
    figures = throughput_interval(measured)
    low, high = stats.t.interval(0.95, 2, np.mean(rates), stats.sem(rates))
    assert figures["value"] == pytest.approx(np.mean(rates))
    assert (figures["low"], figures["high"]) == pytest.approx((low, high))
    assert figures["n"] == 3 and "Student t" in figures["interval"]


def test_one_repeat_has_no_interval():
    figures = throughput_interval(timing([10.0]))
    assert figures["value"] == pytest.approx(100.0)
    assert figures["low"] is None and figures["high"] is None
    assert "single repeat" in figures["interval"]


def test_a_rate_is_never_negative():
    figures = throughput_interval(timing([1.0], [1000.0]))
    assert figures["low"] == 0.0


@pytest.mark.parametrize("percent", [90, 99])
def test_the_least_n_is_mlperfs(percent):
    slower = 1 - percent / 100
    n = MINIMUM_N[percent]
    assert stats.binom.cdf(1, n, slower) <= 0.01 < stats.binom.cdf(1, n - 1, slower)


@pytest.mark.parametrize("n", [1, 4, 5, 63, 64, 661, 662])
def test_percentiles_are_refused_below_their_least_n(n):
    values = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    summary = latency_summary(timing(values[: n // 2], values[n // 2 :]))
    assert summary["n"] == n
    for percent, least in ((50, 5), (90, 64), (99, 662)):
        name = f"p{percent}"
        if n < least:
            assert summary[name] is None
            assert str(least) in summary["refused"][name] and str(n) in summary["refused"][name]
        else:
            assert name not in summary["refused"]
            assert summary[name] == math.ceil(percent * n / 100)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=300),
    st.integers(1, 100),
)
def test_nearest_rank_is_the_smallest_value_that_reaches_the_share(values, percent):
    reached = [v for v in values if 100 * sum(w <= v for w in values) >= percent * len(values)]
    assert nearest_rank(values, percent) == min(reached)


@pytest.mark.parametrize("statistic", [throughput_interval, latency_summary])
def test_a_failed_session_has_no_statistics(statistic):
    broken = Timing(1, (np.array([1.0]),), (0.001,), failure="device lost")
    with pytest.raises(TargetError, match="device lost"):
        statistic(broken)


# test_ratio


def rate(samples):
    value, low, high = student_t(samples)
    return {"value": value, "low": max(low, 0.0), "high": high, "n": len(samples)}


def test_the_interval_is_welchs_on_the_log_scale():
    rng = np.random.default_rng(0)
    first, second = rng.normal(100, 0.01, 5), rng.normal(150, 0.03, 8)
    found = speed_ratio(rate(first), rate(second))
    # With a spread this small the logarithm is straight, and SciPy's Welch interval must agree.
    truth = stats.ttest_ind(np.log(second), np.log(first), equal_var=False).confidence_interval()
    assert found["value"] == pytest.approx(second.mean() / first.mean())
    assert np.log(found["low"]) == pytest.approx(truth.low, abs=1e-6)
    assert np.log(found["high"]) == pytest.approx(truth.high, abs=1e-6)


def test_a_clipped_lower_end_does_not_narrow_the_interval():
    wild = rate([10.0, 400.0])
    assert wild["low"] == 0.0
    found = speed_ratio(wild, wild)
    assert found["value"] == 1.0
    assert found["low"] < 0.1 and found["high"] > 10
    assert found["low"] * found["high"] == pytest.approx(1.0)


def test_coverage_on_drawn_repeats():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        found = speed_ratio(rate(rng.normal(100, 3, 5)), rate(rng.normal(130, 8, 5)))
        hits += found["low"] <= 1.3 <= found["high"]
    assert 0.93 <= hits / 2000 <= 0.975


@pytest.mark.parametrize("which", [0, 1])
def test_a_rate_without_an_interval_gives_a_bare_ratio_and_says_why(which):
    sides = [rate([10.0, 11.0]), rate([20.0, 21.0])]
    sides[which] = {"value": 15.0, "high": None, "n": 1, "interval": "none: a single repeat"}
    found = speed_ratio(*sides)
    assert found["low"] is None and found["high"] is None
    assert found["interval"] == "none: a single repeat"
    assert speed_ratio(rate([5.0, 5.0]), rate([10.0, 10.0]))["low"] == 2.0


# What single layers add up to.

LAYERS = [
    {"name": "a", "kind": "convolution", "ms": 4.0, "flops": 8 * 10**9, "bytes": 10**8},
    {"name": "b", "kind": "reorder", "ms": 5.0, "flops": 0, "bytes": 10**6},
    {"name": "c", "kind": "convolution", "ms": 1.0, "flops": 2 * 10**9, "bytes": None},
    {"name": "d", "kind": "convolution", "ms": 0.0, "flops": 10, "bytes": 10},
]


def test_kinds_add_up_to_everything():
    rows = by_kind(LAYERS)
    assert [(row["kind"], row["n"]) for row in rows] == [("convolution", 3), ("reorder", 1)]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert rows[0]["share"] == pytest.approx(0.5) and rows[0]["flops_share"] == 1
    assert rows[0]["tops"] == pytest.approx(2.0)
    assert by_kind([]) == []


def test_only_layers_with_arithmetic_bytes_and_time_are_points():
    (point,) = roofline_points(LAYERS)
    assert point == {"name": "a", "kind": "convolution", "ms": 4.0, "intensity": 80, "tops": 2}


# Several runs of a vendor's tool as one cell.

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
