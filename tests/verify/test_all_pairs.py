import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify import all_pairs as evaluation
from lresnet_utils.verify.all_pairs import Rows, all_pairs, count, keep, tiles
from lresnet_utils.verify.curves import error_rates, roc, tar_at_far
from lresnet_utils.verify.scores import unit_rows

FARS = [0.3, 0.05, 0.01, 1e-9]


def pairs_of(x, identity):
    """Score every pair in whole numbers of 2^-52."""
    i, j = np.triu_indices(len(x), 1)
    rows = np.rint(unit_rows(x) * 2**26).astype(np.int64)
    distances = np.clip(2 - (rows[i] * rows[j]).sum(axis=1) * 2.0**-51, 0, 4)
    return distances, identity[i] == identity[j]


@pytest.mark.parametrize("bins", [1 << 4, 1 << 20])
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_scoring_every_pair_at_once(monkeypatch, seed, bins):
    monkeypatch.setattr(evaluation, "_BLOCK_BYTES", 8 * 90 * 7)
    rng = np.random.default_rng(seed)
    identity = rng.integers(0, 12, 90)
    x = rng.normal(size=(12, 24))[identity] + rng.choice([0.6, 2.0]) * rng.normal(size=(90, 24))
    found = all_pairs(x, identity, FARS, bins=bins)
    distances, same = pairs_of(x, identity)
    curve = roc(distances, same)
    assert (found.n_genuine, found.n_impostor) == (curve.n_genuine, curve.n_impostor)
    assert found.eer == pytest.approx(curve.eer, abs=1e-12)
    for own, row in zip(found.tar_at_far, tar_at_far(distances, same, FARS), strict=True):
        for key in own.keys() & row.keys() - {"refused"}:
            assert own[key] == row[key], key
        assert ("refused" in own) == ("refused" in row)
    _, fmr, fnmr = error_rates(distances, same, found.thresholds)
    np.testing.assert_array_equal(found.fmr, fmr)
    np.testing.assert_allclose(found.tmr, 1 - fnmr, atol=1e-15)


def test_embeddings_that_are_equal_or_opposite_stay_in_range():
    x = np.array([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], np.float32)
    found = all_pairs(x, [0, 0, 1, 1], [0.5])
    assert (found.eer, found.tmr[-1], found.fmr[-1]) == (0.0, 1.0, 1.0)
    upside_down = all_pairs(x, [0, 1, 0, 1], [0.5])
    assert upside_down.eer == pytest.approx(
        roc(*pairs_of(x, np.array([0, 1, 0, 1]))).eer, abs=1e-12
    )


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(EvaluationError, match="0 impostor"):
        all_pairs(np.eye(3), [0, 0, 0], [0.1])
    with pytest.raises(EvaluationError, match="zero or not finite"):
        all_pairs([[1.0, 0], [0, 0], [0, 1]], [0, 0, 1], [0.1])
    with pytest.raises(EvaluationError, match="power of two"):
        all_pairs(np.eye(3), [0, 0, 1], [0.1], bins=100)
    with pytest.raises(EvaluationError, match="identity each"):
        all_pairs(np.eye(3), [0, 0], [0.1])
    with pytest.raises(EvaluationError, match="identity each"):
        all_pairs(np.eye(3), [0, 0, 1, 1], [0.1])


def test_more_scores_in_one_bin_than_memory_holds_are_refused(monkeypatch):
    monkeypatch.setattr(evaluation, "_MOST_KEPT", 3)
    with pytest.raises(EvaluationError, match="6 scores lie in the bins"):
        all_pairs(np.eye(4), [0, 0, 1, 1], [0.5])


# However the pairs are cut and on whichever kernel they are scored, the bits are the same.


BINS = 1 << 12


def sample(n=60, size=33, seed=0):
    rng = np.random.default_rng(seed)
    x = unit_rows(rng.normal(size=(n, size)).astype(np.float32))
    return Rows.of(x, rng.integers(0, 5, n))


@settings(max_examples=20)
@given(n=st.integers(0, 40), side=st.integers(1, 41))
def test_tiles_hold_every_pair_once(n, side):
    held = np.zeros((n, n), int)
    for a, b in tiles(n, side):
        block = np.ones((a.stop - a.start, b.stop - b.start), int)
        held[a, b] += np.triu(block, 1) if a == b else block
    np.testing.assert_array_equal(held, np.triu(np.ones((n, n), int), 1))


@settings(max_examples=15)
@given(side=st.integers(1, 60), seed=st.integers(0, 3))
def test_the_sum_over_tiles_does_not_depend_on_the_tiles(side, seed):
    rows = sample(seed=seed)
    parts = [(rows[a], None if a == b else rows[b]) for a, b in tiles(len(rows), side)]
    whole = count(rows, None, BINS)
    np.testing.assert_array_equal(sum(count(*part, BINS) for part in parts), whole)
    assert whole.sum() == 60 * 59 // 2
    wanted = [int(np.argmax(whole[0])), int(np.argmax(whole[1]))]
    kept = [keep(*part, BINS, wanted) for part in parts]
    for number, expected in enumerate(keep(rows, None, BINS, wanted)):
        for column, scores in enumerate(expected):
            found = np.sort(np.concatenate([part[number][column] for part in kept]))
            np.testing.assert_array_equal(found, np.sort(scores))
            assert len(scores) == whole[column][wanted[number]]


def test_scores_are_exact_in_any_order_of_adding():
    rows = sample(size=512)
    forward = rows.vectors @ rows.vectors.T
    shuffled = np.random.default_rng(1).permutation(512)
    backward = np.einsum("id,jd->ij", rows.vectors[:, shuffled], rows.vectors[:, shuffled])
    np.testing.assert_array_equal(forward, backward)
    whole = np.rint(rows.vectors * 2**26).astype(np.int64)
    np.testing.assert_array_equal(forward * 2**52, (whole @ whole.T).astype(np.float64))


def test_rounding_to_the_grid_moves_a_component_by_half_a_step():
    x = unit_rows(np.random.default_rng(2).normal(size=(9, 512)))
    assert np.abs(Rows.of(x, np.zeros(9, int)).vectors - x).max() <= 2.0**-27
