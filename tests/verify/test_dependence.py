import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lresnet_utils.verify.intervals import (
    PairDependence,
    PairIdentities,
    Variance,
    adjusted_wilson,
    share_variance,
    student,
    wilson,
)


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
