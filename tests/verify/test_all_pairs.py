import numpy as np
import pytest

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify import all_pairs as evaluation
from lresnet_utils.verify.all_pairs import all_pairs
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
