import numpy as np
import pytest
from scipy import stats

from lresnet_utils.perf.statistics import speed_ratio
from lresnet_utils.verify.intervals import student_t


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
