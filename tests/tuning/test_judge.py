"""Budgets: what counts as another decision, on which pairs."""

import numpy as np
import pytest

from lresnet_utils.embed import Embedding
from lresnet_utils.tuning.judge import draw_sample, judge


def embedding(vectors):
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embedding(vectors.astype(np.float32), np.zeros(len(vectors), bool), {}, None)


@pytest.fixture
def good(faces):
    """Embeddings that tell every pair of the sample rightly."""
    sample = draw_sample(faces, 1000)
    rows = np.random.default_rng(2).normal(size=(len(sample.images), 32))
    rows[sample.right[sample.same]] = rows[sample.left[sample.same]] + 0.01
    return sample, rows


def spoilt(sample, rows, genuine):
    """Let so many genuine pairs look like strangers."""
    rows = rows.copy()
    bad = sample.right[sample.same][:genuine]
    rows[bad] = np.random.default_rng(5).normal(size=(len(bad), rows.shape[1]))
    return rows


def test_the_same_embeddings_are_within_any_budget(good):
    sample, rows = good
    both = {"aligned": embedding(rows), "res28": embedding(rows)}
    verdict = judge(sample, both, both, 0.0)
    assert verdict["within_budget"] and verdict["worst_p"] == 1
    assert verdict["worst_loss_points"] == 0
    assert verdict["variants"]["res28"]["min_cosine"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("lost", "budget", "within"), [(2, 0.2, False), (2, 5.0, True)])
def test_lost_accuracy_is_held_against_the_budget(good, lost, budget, within):
    sample, rows = good
    base, own = embedding(rows), embedding(spoilt(sample, rows, lost))
    verdict = judge(sample, {"aligned": base}, {"aligned": own}, budget)
    assert verdict["variants"]["aligned"]["lost"] == lost
    assert verdict["worst_loss_points"] == pytest.approx(100 * lost / len(sample.same))
    assert verdict["within_budget"] is within


def test_a_significant_difference_is_out_of_any_budget_either_way(good):
    sample, rows = good
    fine, poor = embedding(rows), embedding(spoilt(sample, rows, 8))
    worse = judge(sample, {"aligned": fine}, {"aligned": poor}, 100.0)
    better = judge(sample, {"aligned": poor}, {"aligned": fine}, 100.0)
    assert worse["worst_p"] == better["worst_p"] == pytest.approx(2 / 2**8)
    assert not worse["within_budget"] and not better["within_budget"]


def test_one_bad_variant_is_enough(good):
    sample, rows = good
    base = {"aligned": embedding(rows), "res28": embedding(rows)}
    own = base | {"res28": embedding(spoilt(sample, rows, 8))}
    assert not judge(sample, base, own, 0.2)["within_budget"]


def test_a_sample_keeps_pairs_and_labels_together(faces):
    sample = draw_sample(faces, 45)
    assert 20 <= len(sample.images) <= 45
    original = {
        (left, right): same
        for left, right, same in zip(faces.left, faces.right, faces.same, strict=True)
    }
    for left, right, same in zip(sample.left, sample.right, sample.same, strict=True):
        assert original[sample.images[left], sample.images[right]] == same
