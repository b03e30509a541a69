import numpy as np

from lresnet_utils.verify.health import set_health
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
