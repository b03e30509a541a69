"""The public face: the numbers are those of the functions behind it and of scikit-learn."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import lresnet_utils as lr
from lresnet_utils.params import Params
from lresnet_utils.verify.protocol import guide_protocol


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(3)
    same = np.tile([True, False], 200)
    distances = np.where(same, rng.normal(1.0, 0.3, 400), rng.normal(1.8, 0.2, 400)).clip(0, 4)
    return distances, same


def test_the_numbers_are_the_protocols_and_scikit_learns(scores):
    distances, same = scores
    numbers = lr.evaluate_pairs(*scores).numbers
    guide = guide_protocol(distances, same)
    assert numbers["accuracy"]["value"] == guide.mean_accuracy
    assert numbers["threshold"]["value"] == guide.mean_threshold
    assert numbers["auc"]["value"] == pytest.approx(roc_auc_score(same, -distances), abs=1e-12)
    assert [row["far"] for row in numbers["tar_at_far"]] == [0.1, 0.01, 0.001, 0.0001]


def test_intervals_are_over_people_where_they_are_known(scores):
    distances, same = scores
    plain = lr.evaluate_pairs(distances, same).numbers
    assert "independent" in plain["accuracy"]["interval"] and plain["eer"]["interval"] is None
    left = np.arange(400) % 40
    people = np.stack([left, np.where(same, left, (left + 1) % 40)], axis=1)
    found = lr.evaluate_pairs(distances, same, people=[[f"p{p}" for p in row] for row in people])
    assert "40 known identities" in found.numbers["accuracy"]["interval"]
    assert found.numbers["eer"]["low"] < found.numbers["eer"]["value"]


def test_a_pair_without_a_score_is_left_out_and_counted(scores):
    distances, same = scores
    without = np.where(np.arange(400) == 7, np.nan, distances)
    assert lr.evaluate_pairs(without, same).numbers["accuracy"]["n"] == 399


def test_embeddings_are_scored_by_hand_computed_distances():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(20), 4)
    vectors = rng.normal(size=(20, 16))[people] + 0.5 * rng.normal(size=(80, 16))
    left, right = np.array([0, 0, 8, 8] * 10), np.array([1, 5, 9, 13] * 10)
    found = lr.evaluate_embeddings(vectors, people, pairs=(left, right))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    by_hand = ((unit[left] - unit[right]) ** 2).sum(axis=1)
    assert np.allclose(found.scored.distances, by_hand, atol=1e-12)
    assert found.same.tolist() == [True, False] * 20
    drawn = lr.evaluate_embeddings(3 * vectors, people, folds=4)
    again = lr.evaluate_embeddings(vectors, [f"p{p:02d}" for p in people], folds=4)
    assert drawn.same.mean() == 0.5 and np.allclose(drawn.scored.distances, again.scored.distances)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda d, s: lr.evaluate_pairs(4 * d + 1, s), "no squared distance"),
        (lambda d, s: lr.evaluate_pairs(d, s[:-1]), "do not fit"),
        (lambda d, s: lr.evaluate_pairs(d, s | True), "All pairs are genuine"),
        (lambda d, s: lr.evaluate_pairs(d, s, people=s), "do not fit"),
        (lambda d, s: lr.evaluate_embeddings(np.eye(4), [1, 2]), "do not fit"),
        (
            lambda d, s: lr.evaluate_embeddings(np.zeros((2, 2)), [1, 1], pairs=([0], [1])),
            "length 0",
        ),
        (lambda d, s: lr.evaluate_embeddings(np.eye(2), [1, 2], pairs=([0], [9])), "name images"),
        (lambda d, s: lr.evaluate_embeddings(np.eye(4), [1, 1, 2, 2]), "do not fill 10 folds"),
        (lambda d, s: lr.read_results("/nonexistent"), "nonexistent"),
        (lambda d, s: lr.run_report("params/absent.yaml"), "cannot be read"),
    ],
)
def test_what_is_wrong_is_said_in_three_lines(scores, call, told):
    with pytest.raises(lr.LResNetError, match=told) as refused:
        call(*scores)
    assert len(str(refused.value).splitlines()) <= 3


def test_the_charts_show_the_numbers(scores):
    found = lr.evaluate_pairs(*scores, name="mine")
    shown = found._repr_html_()
    assert "mine" in shown and f"{100 * found.numbers['accuracy']['value']:.2f}" in shown
    for display in (found.roc(), found.det(), found.thresholds(), found.histogram(), found.folds()):
        assert "mine" in display.describe() and display.plot().figure_ is not None
    assert found.explore().threshold.value == pytest.approx(
        found.numbers["threshold"]["value"], abs=0.006
    )


def test_names_come_when_they_are_asked_for():
    assert lr.Params is Params and set(lr.__all__) == set(dir(lr))
    assert all(getattr(lr, name) for name in lr.__all__)
    with pytest.raises(AttributeError, match="evaluate_scores"):
        lr.evaluate_scores  # noqa: B018
    told = "import sys, lresnet_utils; sys.exit(bool({'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0
