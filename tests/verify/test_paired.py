import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.curves import tar_at_far
from lresnet_utils.verify.paired import WeightedScores, paired_bootstrap, sampling_units
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
