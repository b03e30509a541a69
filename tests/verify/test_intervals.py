import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.intervals import clopper_pearson, student_t, wilson

counts = st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
confidences = st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999])


@given(counts, confidences)
def test_wilson_equals_scipy(count, confidence):
    k, n = count
    expected = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert wilson(k, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(counts, confidences)
def test_wilson_bounds_are_one_z_from_the_proportion(count, confidence):
    k, n = count
    z = stats.norm.isf((1 - confidence) / 2)
    for bound in wilson(k, n, confidence):
        assert (k / n - bound) ** 2 == pytest.approx(z**2 * bound * (1 - bound) / n, abs=1e-12)


@given(counts, confidences)
def test_clopper_pearson_bounds_leave_half_the_risk_in_each_tail(count, confidence):
    k, n = count
    low, high = clopper_pearson(k, n, confidence)
    tail = (1 - confidence) / 2
    if k > 0:
        assert stats.binom.sf(k - 1, n, low) == pytest.approx(tail, rel=1e-6)
    if k < n:
        assert stats.binom.cdf(k, n, high) == pytest.approx(tail, rel=1e-6)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (14, 6000), (1, 1)])
def test_clopper_pearson_equals_scipy(k, n):
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    assert clopper_pearson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(1, 10**9))
def test_the_ends_are_exact(n):
    for interval in (wilson, clopper_pearson):
        assert interval(0, n)[0] == 0.0
        assert interval(n, n)[1] == 1.0
        assert 0 < interval(0, n)[1] <= 1
        assert 0 <= interval(n, n)[0] < 1


def test_no_error_in_n_follows_the_rule_of_three():
    # One-sided 95 % is two-sided 90 %.
    assert clopper_pearson(0, 3000, 0.90)[1] == pytest.approx(3 / 3000, rel=2e-3)


def test_narrow_integers_do_not_overflow():
    assert wilson(np.int32(60_000), np.int32(120_000)) == wilson(60_000, 120_000)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30).filter(lambda v: np.std(v) > 1e-3),
    confidences,
)
def test_student_t_equals_scipy(values, confidence):
    mean, low, high = student_t(values, confidence)
    expected = stats.t.interval(
        confidence, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
    )
    assert mean == np.mean(values)
    assert (low, high) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_repeats_without_spread_have_no_width():
    assert student_t([5.0, 5.0, 5.0]) == (5.0, 5.0, 5.0)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_impossible_proportions_are_refused(interval):
    for k, n in [(-1, 5), (6, 5), (0, 0), (0.5, 5), (1, 5.0)]:
        with pytest.raises(EvaluationError, match="not a proportion"):
            interval(k, n)
    for confidence in (0.0, 1.0, 95):
        with pytest.raises(EvaluationError, match="between 0 and 1"):
            interval(1, 5, confidence)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_too_few_or_broken_repeats_are_refused(values):
    with pytest.raises(EvaluationError, match="at least two"):
        student_t(values)
