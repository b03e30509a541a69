import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.curves import tar_at_far
from lresnet_utils.verify.paired import (
    WeightedScores,
    hull,
    order_difference,
    paired_bootstrap,
    sampling_units,
    tango,
    verdict,
)
from lresnet_utils.verify.protocol import fold_numbers, guide_protocol


def scores(seed, n=120, people=12):
    rng = np.random.default_rng(seed)
    same = np.arange(n) % 2 == 0
    left = rng.integers(0, people, n)
    right = np.where(same, left, (left + rng.integers(1, people, n)) % people)
    # Three images per person, so that genuine pairs join different images.
    distances = np.clip(np.round(rng.normal(np.where(same, 1.0, 1.7), 0.4), 2), 0, 4)
    return distances, same, 3 * left + rng.integers(0, 2, n), 3 * right + 2


@given(st.integers(0, 2**32 - 1))
def test_whole_weights_are_repeated_pairs(seed):
    """Every pair counted w times is the unweighted evaluation of a list that repeats it."""
    distances, same, _, _ = scores(seed)
    weights = np.random.default_rng(seed).integers(0, 3, len(same)).astype(float)
    fold = fold_numbers(len(same), 10)
    mine = WeightedScores(distances, same, fold)
    plain = guide_protocol(distances, same)
    assert mine.accuracy(np.ones(len(same))) == pytest.approx(1 - plain.errors / plain.n)
    rows = np.repeat(np.arange(len(same)), weights.astype(int))
    if not (same[rows].any() and (~same[rows]).any()):
        return
    for far in (0.05, 0.1, 0.29, 0.5):
        (row,) = tar_at_far(distances[rows], same[rows], [far])
        if "refused" not in row:
            assert mine.tar(weights, far) == row["tar"]


def test_a_replicate_chooses_its_thresholds_again():
    distances, same, _, _ = scores(5)
    fold = fold_numbers(len(same), 10)
    weights = np.random.default_rng(0).integers(0, 3, len(same)).astype(float)
    right = total = 0.0
    for k in range(10):
        train = fold != k
        best = max(
            np.arange(0, 4, 0.01),
            key=lambda t, train=train: (weights * ((distances < t) == same))[train].sum(),
        )
        right += (weights * ((distances < best) == same))[~train].sum()
        total += weights[~train].sum()
    assert WeightedScores(distances, same, fold).accuracy(weights) == pytest.approx(right / total)


def test_people_are_found_through_genuine_pairs_and_weights_are_products():
    left, right = [0, 1, 3, 0, 5], [1, 2, 4, 3, 5]
    units = sampling_units(left, right, [True, True, True, False, False])
    assert units.n == 3
    assert "3 people" in units.words
    weights = units.weights(np.random.default_rng(0), 500)
    # Pairs 0 and 1 lie within the first person, 2 within the second, 3 between the two.
    assert np.array_equal(weights[:, 0], weights[:, 1])
    assert np.array_equal(weights[:, 3], weights[:, 0] * weights[:, 2])
    assert weights[:, 0].mean() == pytest.approx(1, abs=0.1)
    assert (weights[:, 0] + weights[:, 2] + weights[:, 4] == 3).all()


def test_many_small_separate_groups_are_drawn_whole():
    left = np.arange(0, 400, 2)
    units = sampling_units(left, left + 1, np.arange(200) % 2 == 0)
    assert units.n == 200
    assert "separate groups" in units.words
    assert np.array_equal(units.left, units.right)


def test_a_build_against_itself_never_differs_and_the_seed_decides_the_rest():
    distances, same, left, right = scores(1)
    fold, units = fold_numbers(len(same), 10), sampling_units(left, right, same)
    one = WeightedScores(distances, same, fold)
    shifted = WeightedScores(np.clip(distances + 0.3 * same, 0, 4), same, fold)
    itself = paired_bootstrap(one, one, units, fars=[0.1], replicates=200)
    assert not itself.accuracy.any() and not itself.tar[0.1].any()
    runs = [
        paired_bootstrap(one, shifted, units, fars=[0.1], replicates=200, seed=seed)
        for seed in (4, 4, 5)
    ]
    assert np.array_equal(runs[0].accuracy, runs[1].accuracy)
    assert not np.array_equal(runs[0].accuracy, runs[2].accuracy)
    assert runs[0].accuracy.mean() < -0.02
    with pytest.raises(EvaluationError, match="replicates"):
        paired_bootstrap(one, one, units, replicates=10)


def test_the_bootstrap_is_wider_where_pairs_share_people():
    """Errors that come in people spread wider than pairs drawn one by one would say."""
    rng = np.random.default_rng(2)
    person, same = rng.permutation(np.repeat(np.arange(30), 20)), np.ones(600, bool)
    # Six people are hard for the second build, the others never.
    worse = np.where((person < 6) & (rng.random(600) < 0.8), 4.0, 0.5)
    fold = fold_numbers(600, 10)
    first = WeightedScores(np.full(600, 0.5), same, fold)
    second = WeightedScores(worse, same, fold)
    people = sampling_units(person, person, same)
    single = sampling_units(np.arange(600), np.arange(600), same)
    assert people.n == 30 and single.n == 600
    wide, narrow = (
        np.std(paired_bootstrap(first, second, units, replicates=300).accuracy)
        for units in (people, single)
    )
    assert wide > 2 * narrow


# Difference.


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(0, 0, 50), (3, 9, 60), (0, 5, 40), (7, 0, 30), (10, 10, 25)]
)
def test_tangos_ends_solve_the_score_equation(gained, lost, n):
    """The constrained likelihood is maximised numerically, without Tango's closed form."""

    def score(delta):
        def minus(q):
            cells = np.array([q + delta, q, 1 - 2 * q - delta])
            counts = np.array([gained, lost, n - gained - lost])
            return -np.sum(counts[counts > 0] * np.log(np.maximum(cells[counts > 0], 1e-300)))

        low, high = max(0.0, -delta), (1 - delta) / 2
        q = optimize.minimize_scalar(
            minus, bounds=(low, high), method="bounded", options={"xatol": 1e-13}
        ).x
        return (gained - lost - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))

    z = stats.norm.ppf(0.975)
    low, high = tango(gained, lost, n)
    assert low < (gained - lost) / n < high
    assert score(low) == pytest.approx(z, abs=2e-3)
    assert score(high) == pytest.approx(-z, abs=2e-3)
    assert tango(lost, gained, n) == pytest.approx((-high, -low), abs=1e-9)


@given(st.integers(1, 200), st.data())
def test_tango_holds_its_estimate_and_stays_inside_minus_one_to_one(n, data):
    gained = data.draw(st.integers(0, n))
    lost = data.draw(st.integers(0, n - gained))
    low, high = tango(gained, lost, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1


def test_without_a_change_the_interval_is_what_n_pairs_leave_open():
    z2 = stats.norm.ppf(0.975) ** 2
    for n in (24, 3600, 6000):
        assert tango(0, 0, n) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)))
    with pytest.raises(EvaluationError, match="impossible"):
        tango(3, 3, 5)


def test_the_joined_interval_takes_the_wider_end_on_each_side():
    drawn = np.linspace(-0.02, 0.10, 1001)
    assert hull(drawn, (-0.05, 0.01)) == pytest.approx((-0.05, 0.097))
    assert hull(np.array([np.nan, np.nan]), (-0.1, 0.2)) == (-0.1, 0.2)


@given(
    st.floats(-0.5, 0.5), st.floats(0, 0.5), st.floats(0.001, 0.5), st.integers(0, 9),
    st.integers(0, 9),
)  # fmt: skip
def test_the_verdict_follows_its_rule(low, width, margin, lost, gained):
    high = low + width
    word = verdict(low, high, margin, lost=lost, gained=gained)
    sure = stats.binomtest(lost, lost + gained).pvalue < 0.05 if lost + gained else False
    open_ = low <= 0 <= high and not (-margin < low and high < margin)
    assert (word == "equivalent") == (-margin < low and high < margin)
    if word == "worse":
        assert high < 0 and low <= -margin
    if word == "better":
        assert low > 0 and high >= margin
    assert (word == "worse on these pairs") == (open_ and sure and lost > gained)
    assert (word == "better on these pairs") == (open_ and sure and lost < gained)
    assert (word == "not enough data") == (open_ and not sure)
    with pytest.raises(EvaluationError, match="margin"):
        verdict(low, high, 0.0)


# Orders.


def people(n=60, images=4, seed=0):
    rng = np.random.default_rng(seed)
    left, right = np.triu_indices(n * images, 1)
    who = np.repeat(np.arange(n), images)
    same = who[left] == who[right]
    chosen = np.concatenate(
        [np.flatnonzero(same), rng.choice(np.flatnonzero(~same), same.sum(), replace=False)]
    )
    chosen = rng.permutation(chosen)
    return left[chosen], right[chosen], same[chosen]


def distances(same, noise, seed):
    rng = np.random.default_rng(seed)
    return np.clip(np.where(same, 1.0, 2.0) + rng.normal(0, noise, len(same)), 0, 4)


def judged(used, other, acquired=None):
    left, right, same = people()
    every = np.ones(len(same), bool)
    acquired = every if acquired is None else acquired
    options = {"folds": 10, "replicates": 200, "seed": 0}
    return order_difference((used, acquired), (other, every), left, right, same, **options)


def test_the_better_way_is_found_from_either_side():
    _, _, same = people()
    good, poor = distances(same, 0.3, 1), distances(same, 0.8, 2)
    first, second = judged(good, poor), judged(poor, good)
    assert (first["right"], second["right"]) == ("used", "other")
    d = first["difference"]
    assert d["low"] <= d["value"] <= d["high"] < 0
    assert d["value"] == pytest.approx(-second["difference"]["value"])
    assert first["used"] == second["other"]


def test_equal_and_nearly_equal_ways_cannot_be_told_apart():
    _, _, same = people()
    good = distances(same, 0.4, 1)
    alike = judged(good, good)
    assert alike["right"] is None
    assert alike["difference"]["value"] == 0
    assert alike["difference"]["low"] < 0 < alike["difference"]["high"]
    assert judged(good, distances(same, 0.41, 2))["right"] is None


def test_pairs_that_one_way_lacks_are_left_out_of_both():
    _, _, same = people()
    good, poor = distances(same, 0.3, 1), distances(same, 0.8, 2)
    kept = np.random.default_rng(5).random(len(same)) < 0.8
    found = judged(np.where(kept, good, np.nan), poor, kept)
    assert found["difference"]["n"] == found["used"]["n"] == found["other"]["n"] == kept.sum()


def test_too_few_pairs_are_refused():
    _, _, same = people()
    nothing = np.zeros(len(same), bool)
    with pytest.raises(EvaluationError):
        judged(np.full(len(same), np.nan), distances(same, 0.3, 1), nothing)
