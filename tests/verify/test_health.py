from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lresnet_utils.errors import EvaluationError
from lresnet_utils.machine.disk import to_json
from lresnet_utils.verify.health import failure_summary, set_health
from lresnet_utils.verify.intervals import pair_identities


def examine(left, right, same, folds=2, distances=None):
    left, right, same = np.array(left), np.array(right), np.array(same, bool)
    fold = np.repeat(np.arange(folds), len(same) // folds)
    people = pair_identities(left, right, same, 100)
    found = set_health(left, right, same, fold, people, distances)
    return {finding.finding: finding for finding in found}


def test_a_sound_set_has_only_harmless_findings():
    found = examine([0, 2, 8, 10], [1, 4, 9, 12], [1, 0, 1, 0], distances=np.array([0, 2, 0, 2.0]))
    assert len(found) == 7
    assert all(finding.harmless for finding in found.values())


def test_each_oddity_is_found_with_its_pairs():
    left = [0, 0, 5, 5, 1, 6, 8, 8]
    right = [1, 1, 5, 6, 2, 0, 9, 3]
    same = [1, 0, 0, 1, 1, 0, 1, 0]
    found = examine(left, right, same)
    assert found["Repeated pairs"].pairs == [0, 1]
    assert "2 of all are labelled both" in found["Repeated pairs"].evidence
    assert found["Same picture on both sides"].pairs == [2]
    assert "wrong label" in found["Same picture on both sides"].consequence
    # 0-1 is labelled both ways, and so one of its labels contradicts the other.
    assert found["Contradicting labels"].pairs == [1]
    assert "6 images" not in found["Repeated images"].evidence
    assert not found["People across folds"].harmless
    assert found["Class balance"].harmless


def test_unequal_classes_say_what_guessing_reaches():
    balance = examine([0, 2, 4, 6], [1, 3, 5, 7], [1, 0, 0, 0])["Class balance"]
    assert not balance.harmless
    assert "75.0%" in balance.consequence


def test_doubtful_labels_come_worst_first():
    distances = np.array([0.4, 0.3, 2.5, 0.2, 1.9, 1.8, 2.0, 0.1, np.nan, np.nan])
    same = [1, 1, 1, 1, 0, 0, 0, 0, 1, 0]
    doubtful = examine(range(0, 20, 2), range(1, 20, 2), same, 2, distances)["Labels to look at"]
    assert doubtful.pairs == [2, 7]


# Failures.


def test_counts_and_rates_of_a_case_worked_by_hand():
    #            genuine: right, wrong, lost       impostor: right x3, wrong
    distances = [0.2, 1.5, np.nan, 1.6, 1.7, 1.8, 0.3]
    same = [1, 1, 1, 0, 0, 0, 0]
    acquired = [1, 1, 0, 1, 1, 1, 1]
    found = failure_summary(distances, same, 1.0, acquired=acquired, failed=[False] * 13 + [True])
    assert (found.n_images, found.n_failed_images) == (14, 1)
    assert (found.n_genuine, found.n_impostor) == (3, 4)
    assert (found.n_genuine_lost, found.n_impostor_lost) == (1, 0)
    assert (found.false_matches, found.false_non_matches) == (1, 1)
    assert (found.fta, found.fmr, found.fnmr) == (1 / 7, 1 / 4, 1 / 2)
    assert found.far == pytest.approx(1 / 4 * 6 / 7)
    assert found.frr == pytest.approx(1 / 7 + 1 / 2 * 6 / 7)


@given(st.integers(0, 2**32 - 1))
def test_losing_the_same_share_of_both_classes_makes_a_lost_pair_a_refusal(seed):
    rng = np.random.default_rng(seed)
    same = np.repeat([True, False], 20)
    acquired = np.tile(np.arange(20) >= 5, 2)
    distances = rng.uniform(0, 3, 40)
    found = failure_summary(distances, same, 1.5, acquired=acquired, failed=[False])
    accepted = (distances < 1.5) & acquired
    assert found.far == pytest.approx((accepted & ~same).sum() / 20)
    assert found.frr == pytest.approx((~accepted & same).sum() / 20)


def test_without_failures_the_rates_are_the_same():
    found = failure_summary(
        [0.5, 1.5, 1.5], [1, 1, 0], 1.0, acquired=[True] * 3, failed=np.zeros(6, bool)
    )
    assert found.fta == 0
    assert (found.far, found.frr) == (found.fmr, found.fnmr) == (0.0, 0.5)


def test_a_class_without_pairs_has_no_rate():
    found = failure_summary([0.5, 0.5], [1, 0], 1.0, acquired=[True, False], failed=[0, 1])
    assert (found.fmr, found.far) == (None, None)
    assert (found.fnmr, found.frr) == (0.0, 0.5)
    assert '"far": null' in to_json(asdict(found))


def test_bad_flags_and_thresholds_are_refused():
    with pytest.raises(EvaluationError, match="failure flag"):
        failure_summary([0.5], [1], 1.0, acquired=[1], failed=[3])
    with pytest.raises(EvaluationError, match="threshold"):
        failure_summary([0.5], [1], float("nan"), acquired=[1], failed=[0])
    with pytest.raises(EvaluationError, match="no pair"):
        failure_summary([np.nan], [1], 1.0, acquired=[0], failed=[1])
