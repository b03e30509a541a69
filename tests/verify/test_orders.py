import numpy as np
import pytest

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.paired import order_difference


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
