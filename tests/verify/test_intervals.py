import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.intervals import (
    KNOWN,
    RECOVERED,
    PairDependence,
    PairIdentities,
    Variance,
    adjusted_wilson,
    clopper_pearson,
    pair_identities,
    share_variance,
    student,
    student_t,
    wilson,
)

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


# Identities.


def test_genuine_pairs_and_repeated_images_join_people():
    found = pair_identities([0, 2, 4, 1], [1, 3, 0, 4], [True, True, False, True], 6)
    # 0-1 and 1-4 are genuine, so 0, 1, 4 are one person; the impostor pair 4-0 joins nothing.
    assert found.left[0] == found.right[3] == found.left[2] == found.right[2]
    assert found.left[1] == found.right[1] != found.left[0]
    assert (found.count, found.source) == (3, RECOVERED)


def test_random_genuine_pairs_recover_the_people():
    rng = np.random.default_rng(0)
    person = rng.integers(0, 20, 200)
    left, right = rng.integers(0, 200, (2, 40_000))
    same = person[left] == person[right]
    found = pair_identities(left, right, same, 200)
    known = pair_identities(left, right, same, 200, person)
    assert found.count == known.count == 20
    assert known.source == KNOWN
    assert len(np.unique(np.stack([found.left, known.left]), axis=1).T) == 20
    assert ((found.left == found.right) == same).all()


def test_sides_that_do_not_fit_are_refused():
    with pytest.raises(EvaluationError, match="do not fit"):
        pair_identities([0, 1], [1], [True, False], 2)


# Dependence.


def sides(seed, n, people):
    rng = np.random.default_rng(seed)
    left, right = rng.integers(0, people, (2, n))
    return rng, PairIdentities(left, right, people, "known")


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(2, 9))
def test_the_variance_is_the_sum_over_all_pairs_that_share_a_person(seed, n, people):
    rng, ids = sides(seed, n, people)
    influence = rng.normal(size=n)
    pairs = PairDependence(ids)
    shared = own = 0.0
    for p in range(n):
        for q in range(n):
            one, other = {ids.left[p], ids.right[p]}, {ids.left[q], ids.right[q]}
            shared += influence[p] * influence[q] * bool(one & other)
            own += influence[p] * influence[q] * (one == other)
    expected = max(shared, own) * pairs.count / max(1, pairs.count - 1)
    found = pairs.variance(influence)
    assert found.value == pytest.approx(expected, abs=1e-9)
    assert found.naive == pytest.approx((influence**2).sum())


def test_pairs_of_different_people_are_independent():
    n = 400
    people = np.arange(n)
    pairs = PairDependence(PairIdentities(people, people, n, "known"))
    wrong = np.arange(n) % 10 == 0
    found = share_variance(wrong, pairs)
    assert found.value == pytest.approx(0.1 * 0.9 / (n - 1))
    low, high = adjusted_wilson(0.1, found, n)
    assert (low, high) == pytest.approx(wilson(40, n), abs=2e-3)


def test_freedom_is_the_number_of_people_for_normal_sums():
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(500), 4)
    pairs = PairDependence(PairIdentities(people, people, 500, "known"))
    # The people's sums are normal and the pairs' own squares are all alike.
    influence = np.repeat(rng.normal(size=500), 4) * np.tile([1, 1, 1, 1.0], 500)
    sums = pairs.variance(influence - influence.mean())
    assert sums.value / sums.naive == pytest.approx(4, rel=0.01)
    assert sums.freedom > 500


def test_two_people_with_all_errors_leave_little_freedom():
    people = np.repeat(np.arange(50), 10)
    pairs = PairDependence(PairIdentities(people, people, 50, "known"))
    found = share_variance(np.arange(500) < 13, pairs)
    assert found.value / found.naive > 5
    assert found.freedom < 50
    assert student(found.freedom) > student(1000)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_an_error_the_interval_is_the_plain_one(value):
    assert adjusted_wilson(value, Variance(0.0, 0.0, np.inf), 300) == wilson(int(300 * value), 300)
