"""Intervals and percentiles against SciPy, sorting and the rule they are taken from."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lresnet_utils.errors import TargetError
from lresnet_utils.perf.statistics import (
    MINIMUM_N,
    latency_summary,
    nearest_rank,
    throughput_interval,
)
from lresnet_utils.perf.timing import Timing


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
