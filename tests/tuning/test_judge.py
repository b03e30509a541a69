"""Budgets: what counts as another decision, on which pairs."""

from types import SimpleNamespace

import numpy as np
import pytest

from lresnet_utils.errors import DataError
from lresnet_utils.targets.embed import Embedding
from lresnet_utils.tuning.judge import FOLDS, draw_sample, judge


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


def listed(same, people, failures=()):
    """Return a set without pixels: pair `k` shows pictures 2k and 2k + 1."""
    n = len(same)
    images = np.arange(2 * n, dtype=np.int32)
    return SimpleNamespace(
        name="listed",
        n_pairs=n,
        n_images=2 * n,
        left=images[::2],
        right=images[1::2],
        same=np.asarray(same),
        failures=tuple((image, "cut short") for image in failures),
        compared=lambda: (images[::2], images[1::2], 2 * n, people),
    )


ORDERS = {
    "alternating": lambda n: np.arange(n) % 2 == 0,
    "three to one": lambda n: np.arange(n) % 4 != 0,
    "in blocks of 300": lambda n: np.arange(n) // 300 % 2 == 0,
    "one class after the other": lambda n: np.arange(n) < n // 2,
    "few genuine": lambda n: np.arange(n) % 100 == 7,
}


@pytest.mark.parametrize("most", [40, 333, 1000, 1500])
@pytest.mark.parametrize("order", ORDERS)
def test_no_order_of_the_pairs_makes_a_sample_one_sided(order, most):
    n = 6000
    same = ORDERS[order](n)
    sample = draw_sample(listed(same, None), most)
    drawn = sample.images[sample.left] // 2
    fold = np.arange(n) // (n // FOLDS)
    assert len(sample.images) <= most
    assert len(sample.images) >= min(most, 2 * n) - 2 * 2 * FOLDS
    for kind in (True, False):
        for number in range(FOLDS):
            stratum = (same == kind) & (fold == number)
            taken = stratum[drawn].sum()
            share = len(drawn) * stratum.sum() / n
            assert abs(taken - share) < 2 + 0.1 * share and (taken > 0) == stratum.any()


def test_everyone_gets_a_turn_before_anyone_gets_two():
    """One person has half of each fold's genuine pairs, which come first."""
    n = 2000
    same = np.arange(n) % 200 < 100
    place, fold = np.arange(n) % 200, np.arange(n) // 200
    person = np.where(place < 50, fold, 10 + fold * 200 + place)
    people = np.repeat(person, 2)
    people[1::2] = np.where(same, people[1::2], people[1::2] + 10_000)
    sample = draw_sample(listed(same, people), 600)
    drawn = sample.images[sample.left] // 2
    genuine = drawn[same[drawn]]
    assert len(genuine) == 150
    assert np.bincount(person[genuine], minlength=10)[:10].max() == 1


def test_a_constant_network_is_out_of_the_budget_whatever_the_order():
    same = ORDERS["alternating"](2000)
    sample = draw_sample(listed(same, None), 1000)
    rows = np.random.default_rng(2).normal(size=(len(sample.images), 32))
    rows[sample.right[sample.same]] = rows[sample.left[sample.same]] + 0.01
    constant = np.ones_like(rows) + 1e-3 * rows
    verdict = judge(sample, {"aligned": embedding(rows)}, {"aligned": embedding(constant)}, 0.2)
    assert not verdict["within_budget"] and verdict["worst_p"] < 1e-6


@pytest.mark.parametrize("kind", [True, False])
def test_pairs_of_one_class_are_refused(kind):
    with pytest.raises(DataError, match=f"{0 if kind else 100} impostor"):
        draw_sample(listed(np.full(100, kind), None), 50)
    # Those of the other class have no picture that can be used.
    same = np.full(100, kind)
    same[:3] = not kind
    with pytest.raises(DataError, match="both kinds"):
        draw_sample(listed(same, None, failures=(0, 3, 4)), 50)
