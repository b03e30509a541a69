import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from sklearn.metrics import det_curve, roc_auc_score, roc_curve

from lresnet_utils.errors import EvaluationError
from lresnet_utils.machine.disk import to_json
from lresnet_utils.verify.curves import decidability, error_rates, minimum_cost, roc, tar_at_far
from lresnet_utils.verify.intervals import wilson


def make(seed, n=300, decimals=None):
    rng = np.random.default_rng(seed)
    same = rng.random(n) < 0.4
    distances = np.clip(rng.normal(np.where(same, 0.9, 1.9), 0.35), 0, 4)
    return (distances if decimals is None else distances.round(decimals)), same


@st.composite
def scores(draw):
    n = draw(st.integers(2, 25))
    distance = st.one_of(st.sampled_from([0.0, 0.5, 1.0, 1.5]), st.floats(0, 4))
    distances = np.array(draw(st.lists(distance, min_size=n, max_size=n)))
    same = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    same[:2] = True, False
    return distances, same


def counted(distances, same, threshold):
    """Return FMR and FNMR by counting."""
    genuine, impostor = distances[same], distances[~same]
    fmr = sum(bool(d < threshold) for d in impostor) / len(impostor)
    fnmr = sum(not d < threshold for d in genuine) / len(genuine)
    return fmr, fnmr


@pytest.mark.parametrize("decimals", [None, 2, 1, 0])
@pytest.mark.parametrize("seed", range(3))
def test_the_curve_and_its_area_are_those_of_scikit_learn(seed, decimals):
    distances, same = make(seed, decimals=decimals)
    curve = roc(distances, same)
    fmr, tmr, _ = roc_curve(same, -distances)
    assert (curve.fmr == fmr).all()
    assert (curve.tmr == tmr).all()
    assert curve.auc == roc_auc_score(same, -distances)
    assert (curve.n_genuine, curve.n_impostor) == (same.sum(), (~same).sum())


@given(scores())
def test_each_threshold_gives_exactly_its_point(data):
    distances, same = data
    curve = roc(distances, same)
    assert (np.diff(curve.thresholds) > 0).all()
    for fmr, tmr, threshold in zip(curve.fmr, curve.tmr, curve.thresholds, strict=True):
        expected_fmr, expected_fnmr = counted(distances, same, threshold)
        assert fmr == expected_fmr
        assert tmr == pytest.approx(1 - expected_fnmr, abs=1e-15)
    assert (curve.fmr[0], curve.tmr[0], curve.fmr[-1], curve.tmr[-1]) == (0, 0, 1, 1)


@given(scores())
def test_the_area_is_the_probability_of_the_right_order(data):
    distances, same = data
    genuine, impostor = distances[same], distances[~same]
    wins = sum((g < i) + 0.5 * (g == i) for g in genuine for i in impostor)
    assert roc(distances, same).auc == pytest.approx(wins / len(genuine) / len(impostor), abs=1e-12)


@given(scores())
def test_the_equal_error_rate_solves_the_interpolated_curve(data):
    distances, same = data
    curve = roc(distances, same)
    # Along the curve's arc, parametrised by fmr + tmr, the gap fmr - fnmr rises from -1 to 1.
    arc = curve.fmr + curve.tmr
    at = brentq(lambda s: np.interp(s, arc, curve.fmr) + np.interp(s, arc, curve.tmr) - 1, 0, 2)
    assert curve.eer == pytest.approx(np.interp(at, arc, curve.fmr), abs=1e-9)


@given(scores())
def test_the_equal_error_threshold_is_the_best_attained(data):
    distances, same = data
    fmr, fnmr = counted(distances, same, roc(distances, same).eer_threshold)
    every = [0.0, *np.nextafter(distances, np.inf)]
    gaps = [abs(np.subtract(*counted(distances, same, threshold))) for threshold in every]
    assert abs(fmr - fnmr) == pytest.approx(min(gaps), abs=1e-15)


def test_known_equal_error_rates():
    assert roc([0.1, 0.2, 1.8, 1.9], [1, 1, 0, 0]).eer == 0
    assert roc([1.8, 1.9, 0.1, 0.2], [1, 1, 0, 0]).eer == 1
    tied = roc([1.0] * 6, [1, 1, 0, 0, 0, 0])
    # Accepting none and accepting all are equally far from equal rates: the smaller one counts.
    assert (tied.eer, tied.eer_threshold) == (0.5, 0.0)
    # Nine of ten genuine pairs below 1, one of ten impostors: an attained point on the diagonal.
    distances = [0.5] * 9 + [1.5] + [1.5] * 9 + [0.5]
    assert roc(distances, [1] * 10 + [0] * 10).eer == pytest.approx(0.1, abs=1e-15)


def test_distances_one_bit_apart_are_told_apart():
    near = np.nextafter(1.0, 2.0)
    curve = roc([1.0, near], [True, False])
    assert curve.auc == 1
    assert curve.eer == 0
    assert curve.eer_threshold == near


@given(scores(), st.lists(st.one_of(st.sampled_from([0.5, 1.0]), st.floats(-1, 5)), max_size=6))
def test_error_rates_equal_counting(data, thresholds):
    distances, same = data
    accuracy, fmr, fnmr = error_rates(distances, same, thresholds)
    assert len(accuracy) == len(thresholds)
    for i, threshold in enumerate(thresholds):
        assert (fmr[i], fnmr[i]) == counted(distances, same, threshold)
        right = sum(bool((d < threshold) == s) for d, s in zip(distances, same, strict=True))
        assert accuracy[i] == right / len(distances)


def test_the_rate_of_an_absent_class_is_not_a_number():
    accuracy, fmr, fnmr = error_rates([0.5, 1.5], [True, True], [1.0])
    assert (accuracy[0], fnmr[0]) == (0.5, 0.5)
    assert np.isnan(fmr[0])


@given(scores(), st.floats(0.001, 0.999))
def test_tar_at_far_takes_the_largest_threshold_within_the_target(data, far):
    distances, same = data
    (row,) = tar_at_far(distances, same, [far])
    n_impostor = int((~same).sum())
    if 1 / n_impostor > far:
        assert set(row) == {"far", "refused"}
        return
    fmr, fnmr = counted(distances, same, row["threshold"])
    assert row["achieved_far"] == fmr <= far
    assert row["tar"] == pytest.approx(1 - fnmr, abs=1e-15)
    assert counted(distances, same, np.nextafter(row["threshold"], np.inf))[0] > far
    accepted = round(row["tar"] * row["n_genuine"])
    assert (row["low"], row["high"]) == wilson(accepted, row["n_genuine"])


@pytest.mark.parametrize("far", [k / 100 for k in range(1, 100)])
def test_every_share_of_a_hundred_impostors_is_reached_exactly(far):
    distances = np.concatenate([[0.0], np.linspace(1, 2, 100)])
    same = np.arange(101) == 0
    (row,) = tar_at_far(distances, same, [far])
    assert row["achieved_far"] == far


def test_targets_below_the_resolution_are_refused_with_the_reason():
    distances, same = make(0)
    n_impostor = int((~same).sum())
    rows = tar_at_far(distances, same, [0.1, 1 / n_impostor, 1e-4])
    assert ["refused" in row for row in rows] == [False, False, True]
    assert f"{n_impostor} impostor pairs" in rows[2]["refused"]
    assert rows[1]["achieved_far"] == 1 / n_impostor
    assert '"refused"' in to_json(rows)


def test_absent_classes_are_refused_with_the_reason():
    assert "no impostor" in tar_at_far([0.5], [True], [0.1])[0]["refused"]
    assert "no genuine" in tar_at_far([0.5], [False], [0.1])[0]["refused"]
    with pytest.raises(EvaluationError, match="2 genuine and 0 impostor"):
        roc([0.5, 0.6], [True, True])


def test_impossible_requests_are_refused():
    for far in (0.0, 1.0, -0.1, np.nan):
        with pytest.raises(EvaluationError, match="between 0 and 1"):
            tar_at_far([0.5, 1.5], [True, False], [far])
    with pytest.raises(EvaluationError, match="list of numbers"):
        error_rates([0.5, 1.5], [True, False], [np.nan])
    with pytest.raises(EvaluationError, match="not finite"):
        roc([0.5, np.nan], [True, False])


def tiny_sets(count):
    """Yield small sets with ties, duplicates and float32 scores; both classes are there."""
    rng = np.random.default_rng(7)
    for _ in range(count):
        n = int(rng.integers(2, 30))
        same = rng.random(n) < rng.choice([0.1, 0.5, 0.9])
        same[:2] = True, False
        distances = rng.uniform(0, 4, n)
        kind = rng.integers(4)
        if kind == 1:
            distances = distances.round(int(rng.integers(0, 2)))
        elif kind == 2:
            distances = np.repeat(distances, 2)[:n]
        elif kind == 3:
            distances = distances.astype(np.float32)
        yield distances, same


def test_hundreds_of_random_sets_equal_scikit_learn_and_counting():
    for distances, same in tiny_sets(400):
        curve = roc(distances, same)
        score = -np.asarray(distances, np.float64)
        fmr, tmr, _ = roc_curve(same, score)
        assert np.array_equal(curve.fmr, fmr)
        assert np.array_equal(curve.tmr, tmr)
        every_fmr, every_fnmr, thresholds = det_curve(same, score, drop_intermediate=False)
        # scikit-learn accepts `score >= threshold`; infinity, which accepts nothing, comes first.
        cuts = np.append(0.0, np.nextafter(-thresholds[np.isfinite(thresholds)], np.inf))
        _, own_fmr, own_fnmr = error_rates(distances, same, cuts[-len(every_fmr) :])
        order = np.argsort(every_fmr - every_fnmr, kind="stable")
        own = np.argsort(own_fmr - own_fnmr, kind="stable")
        assert own_fmr[own] == pytest.approx(every_fmr[order], abs=1e-15)
        assert own_fnmr[own] == pytest.approx(every_fnmr[order], abs=1e-15)
        for point in range(len(curve.fmr)):
            expected = counted(np.asarray(distances, float), same, curve.thresholds[point])
            assert curve.fmr[point] == expected[0]
            assert 1 - curve.tmr[point] == pytest.approx(expected[1], abs=1e-15)


# Points.


@pytest.mark.parametrize("seed", range(5))
def test_the_least_cost_is_that_of_trying_every_threshold(seed):
    rng = np.random.default_rng(seed)
    same = np.arange(60) % 3 == 0
    distances = np.clip(rng.normal(np.where(same, 0.9, 1.6), 0.4), 0, 4).round(1)
    rows = minimum_cost(roc(distances, same), [0.5, 0.01], cost_miss=10)
    for row in rows:
        prior = row["prior"]
        costs = []
        for cut in [0.0, *np.nextafter(distances, 9)]:
            fnmr, fmr = np.mean(distances[same] >= cut), np.mean(distances[~same] < cut)
            costs.append(10 * prior * fnmr + (1 - prior) * fmr)
        assert row["value"] == pytest.approx(min(costs) / min(10 * prior, 1 - prior))
        assert row["fmr"] == np.mean(distances[~same] < row["threshold"])
        assert row["fnmr"] == pytest.approx(np.mean(distances[same] >= row["threshold"]))


def test_impossible_costs_are_refused():
    curve = roc([0.1, 0.9], [True, False])
    with pytest.raises(EvaluationError):
        minimum_cost(curve, [1.0])
    with pytest.raises(EvaluationError):
        minimum_cost(curve, [0.5], cost_miss=0)


def test_decidability_needs_two_spread_classes():
    assert "refused" in decidability([0.1, 0.2], [True, True])
    assert "refused" in decidability([0.1, 0.2], [True, False])


def test_where_no_semaphore_can_be_made_nothing_is_warned_of():
    """As where /dev/shm is read-only: scikit-learn's joblib warns as it is imported."""
    code = """
import _multiprocessing
def refuse(*_, **__):
    raise OSError(30, "Read-only file system")
_multiprocessing.SemLock = refuse
import lresnet_utils.verify.curves, joblib
assert joblib._multiprocessing_helpers.mp is None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
