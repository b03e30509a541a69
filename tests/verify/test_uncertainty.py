"""The intervals of a whole evaluation. Their coverage is a benchmark: benchmarks/coverage.py."""

import numpy as np
import pytest
from coverage import draw

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.curves import roc, tar_at_far
from lresnet_utils.verify.intervals import PairDependence, PairIdentities, wilson
from lresnet_utils.verify.protocol import fold_numbers, guide_protocol
from lresnet_utils.verify.uncertainty import _View, resample, uncertainty

PEOPLE, EACH = 60, 20


def scores(effect, seed=0):
    """Return pairs whose people differ by `effect` and otherwise by chance."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(PEOPLE), EACH)
    same = np.tile(np.arange(EACH) % 2 == 0, PEOPLE)
    other = np.where(same, person, (person + 1 + rng.integers(0, 5, len(person))) % PEOPLE)
    shift = effect * rng.normal(size=PEOPLE)
    noise = 0.35 * rng.normal(size=len(person)) + shift[person] * np.where(same, 1, 0.3)
    return np.clip(np.where(same, 1.0, 1.9) + noise, 0, 4), same, person, other


def judge(data, seed=0, replicates=60, far=(0.1, 0.02)):
    distances, same, person, other = data
    protocol, curve = guide_protocol(distances, same), roc(distances, same)
    found = uncertainty(
        distances,
        same,
        fold_numbers(len(same), 10),
        protocol.best_thresholds,
        curve,
        PairIdentities(person, other, PEOPLE, "known"),
        accuracy=protocol.mean_accuracy,
        far_targets=far,
        replicates=replicates,
        seed=seed,
    )
    return found, protocol, curve


def test_every_interval_holds_its_estimate_and_people_widen_it():
    (alike, protocol, curve), (apart, *_) = judge(scores(0.0)), judge(scores(0.6))
    assert alike.accuracy[0] < protocol.mean_accuracy < alike.accuracy[1]
    assert alike.eer[0] < curve.eer < alike.eer[1]
    assert alike.auc[0] < curve.auc < alike.auc[1]
    assert alike.threshold[0] <= protocol.mean_threshold <= alike.threshold[1]
    for row in tar_at_far(*scores(0.0)[:2], [0.1, 0.02]):
        low, high = alike.tar[row["far"]]
        # The threshold's own uncertainty is in it, so it is wider than Wilson's.
        assert low < row["low"] < row["tar"] < row["high"] <= high + 1e-9
    assert alike.design_effect < 2 < apart.design_effect
    plain = wilson(protocol.n - protocol.errors, protocol.n)
    assert alike.accuracy == pytest.approx(plain, abs=0.01)


def test_the_same_seed_gives_the_same_numbers_on_any_number_of_cores(monkeypatch):
    first, *_ = judge(scores(0.3))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    again, *_ = judge(scores(0.3))
    other, *_ = judge(scores(0.3), seed=1)
    assert first.eer == again.eer
    assert first.accuracy == again.accuracy
    assert first.eer != other.eer


def test_the_replicates_spread_as_the_variance_of_people_says():
    distances, same, person, other = scores(0.6)
    pairs = PairDependence(PairIdentities(person, other, PEOPLE, "known"))
    draws = resample(
        distances, same, fold_numbers(len(same), 10), 10, 1.4, pairs, replicates=800, seed=0
    )
    wrong = (distances >= 1.4)[same]
    found = PairDependence(PairIdentities(person[same], person[same], PEOPLE, "known")).variance(
        (wrong - wrong.mean()) / len(wrong)
    )
    assert 4 * draws.eer_fnmr.var() == pytest.approx(found.value, rel=0.15)
    assert draws.eer_fnmr.mean() == pytest.approx(wrong.mean(), abs=0.01)


def test_a_rate_that_too_few_impostors_decide_has_no_interval():
    found, _, curve = judge(scores(0.0), far=(0.1, 2 / 600, 1e-4))
    assert curve.n_impostor == 600
    assert found.tar[0.1] is not None
    assert found.tar[2 / 600] is None
    assert 1e-4 not in found.tar
    assert found.band.fmr[0] > 2 / 600
    assert (found.band.low <= found.band.high).all()


def test_too_few_people_are_refused():
    distances, same, person, other = scores(0.0)
    with pytest.raises(EvaluationError, match="2 people"):
        judge((distances, same, person % 2, other % 2))


def nearly_perfect(errors, distance):
    """Ninety people with 20 genuine pairs each; each error is one pair of another person."""
    person = np.repeat(np.arange(90), 40)
    same = np.tile(np.arange(40) < 20, 90)
    other = np.where(same, person, (person + 1) % 90)
    rng = np.random.default_rng(3)
    distances = np.where(same, 0.6, 1.8) + rng.uniform(-0.3, 0.3, len(same))
    distances[np.flatnonzero(same)[20 * np.arange(errors)]] = distance
    return distances, same, person, other


# A hair beyond the nearest impostors, and beyond nearly all of them.
@pytest.mark.parametrize("distance", [1.502, 2.0])
def test_more_errors_never_make_an_interval_tighter(distance):
    """With four errors it was [1.0000, 1.0000] where one gave [0.9979, 1.0000]."""
    judged = []
    for errors in range(9):
        data = nearly_perfect(errors, distance)
        found, _, curve = judge(data, far=(0.01,))
        assert (curve.auc < 1) == (errors > 0)
        assert found.auc[0] < curve.auc <= found.auc[1]
        judged.append((found.auc, found.eer, found.tar[0.01]))
    assert judged[0][0] == pytest.approx(wilson(1800, 1800))
    for statistic in zip(*judged, strict=True):
        low, high = np.array(statistic).T
        assert (np.diff(high - low) >= -1e-12).all()
    low, _ = np.array([auc for auc, *_ in judged]).T
    assert (np.diff(low) < 0).all()


@pytest.mark.parametrize(
    ("design", "most"), [((200, 5, 10, 0.35), 8), ((100, 6, 15, 0.35), 6), ((100, 6, 15, 0.4), 10)]
)
def test_the_interval_of_an_auc_near_one_holds_the_truth(design, most):
    """Sets of which most have at most five wrong pairs; more of them in benchmarks/coverage.py."""
    truth = roc(*draw(np.random.default_rng(1), 2000, *design[1:])[:2]).auc
    rng = np.random.default_rng(0)
    held, wrong = [], []
    for _ in range(150):
        distances, same, a, b = draw(rng, *design)
        curve = roc(distances, same)
        pairs = PairDependence(PairIdentities(a, b, design[0], "known"))
        low, high = _View(distances, same, pairs).auc_interval(curve.auc)
        held.append(low <= truth <= high)
        wrong.append(curve.eer * min(curve.n_genuine, curve.n_impostor))
    assert np.median(wrong) <= 5 and np.percentile(wrong, 95) <= most
    assert np.mean(held) >= 0.94
