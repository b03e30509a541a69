from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cosine
from scipy.stats import binomtest

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.agreement import embedding_agreement, flipped_pairs, mcnemar_exact
from lresnet_utils.verify.protocol import fold_numbers, guide_protocol


def test_agreement_equals_scipy_whatever_the_length_of_the_rows():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(25, 64)).astype(np.float32)
    b = a + rng.normal(scale=0.1, size=a.shape)
    found = embedding_agreement(a * 16, b)
    expected = [1 - cosine(u.astype(float), v) for u, v in zip(a, b, strict=True)]
    assert found["min_cosine"] == pytest.approx(min(expected), abs=1e-14)
    assert found["mean_cosine"] == pytest.approx(np.mean(expected), abs=1e-14)
    unit_a = a.astype(float) / np.linalg.norm(a.astype(float), axis=1, keepdims=True)
    unit_b = b / np.linalg.norm(b, axis=1, keepdims=True)
    assert found["max_abs_difference"] == pytest.approx(np.abs(unit_a - unit_b).max(), abs=1e-15)
    assert found["n"] == 25


def test_equal_embeddings_agree_exactly_and_tiny_differences_are_seen():
    a = np.random.default_rng(1).normal(size=(10, 512))
    assert embedding_agreement(a, a)["min_cosine"] == 1.0
    tilted = np.array([[1.0, 1e-7]])
    lost = 1 - embedding_agreement([[1.0, 0.0]], tilted)["min_cosine"]
    assert lost == pytest.approx(5e-15, rel=0.05)


def test_embeddings_without_direction_are_refused():
    good = np.eye(3)
    for row in ([0.0, 0.0, 0.0], [np.nan, 1.0, 0.0], [np.inf, 0.0, 0.0]):
        bad = np.eye(3)
        bad[1] = row
        for pair in ((good, bad), (bad, good)):
            with pytest.raises(EvaluationError, match="1 embeddings are zero") as error:
                embedding_agreement(*pair)
            assert error.value.where == "image 1"
    with pytest.raises(EvaluationError, match="no embedding"):
        embedding_agreement(np.empty((0, 3)), np.empty((0, 3)))
    with pytest.raises(EvaluationError, match="cannot be compared"):
        embedding_agreement(np.eye(3), np.eye(2))


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_flips_equal_a_loop_over_the_pairs(seed, per_pair):
    rng = np.random.default_rng(seed)
    n = 30
    a, b = rng.choice([0.9, 1.0, 1.1, 1.2], (2, n))
    same, acquired = rng.random(n) < 0.5, rng.random(n) < 0.8
    acquired[0] = True
    a[~acquired] = np.nan
    thr_a = rng.choice([1.0, 1.1], n) if per_pair else 1.0
    thr_b = 1.1
    lost, gained = [], []
    for i in range(n):
        right_a = (a[i] < np.broadcast_to(thr_a, n)[i]) == same[i]
        right_b = (b[i] < thr_b) == same[i]
        if acquired[i] and right_a and not right_b:
            lost.append(i)
        if acquired[i] and right_b and not right_a:
            gained.append(i)
    flips = flipped_pairs(a, thr_a, b, thr_b, same, acquired)
    assert flips.lost.tolist() == lost
    assert flips.gained.tolist() == gained
    assert flips.indices.tolist() == sorted(lost + gained)
    assert flips.n == acquired.sum()


def test_flips_under_the_protocol_account_for_its_errors():
    rng = np.random.default_rng(2)
    same = rng.random(200) < 0.5
    a = np.clip(rng.normal(np.where(same, 1.0, 1.8), 0.4), 0, 4)
    b = np.clip(a + rng.normal(0, 0.2, 200), 0, 4)
    result_a, result_b = guide_protocol(a, same), guide_protocol(b, same)
    fold = fold_numbers(200, 10)
    flips = flipped_pairs(
        a, result_a.best_thresholds[fold], b, result_b.best_thresholds[fold], same
    )
    assert len(flips.indices) > 0
    assert len(flips.lost) - len(flips.gained) == result_b.errors - result_a.errors


def test_scores_or_thresholds_that_do_not_fit_are_refused():
    with pytest.raises(EvaluationError, match="one number per pair"):
        flipped_pairs([0.5, 1.5], [1.0], [0.5, 1.5], 1.0, [True, False])
    with pytest.raises(EvaluationError, match="one number per pair"):
        flipped_pairs([0.5, 1.5], np.nan, [0.5, 1.5], 1.0, [True, False])
    with pytest.raises(EvaluationError, match="fit together"):
        flipped_pairs([0.5, 1.5], 1.0, [0.5], 1.0, [True, False])


@pytest.mark.parametrize("b", range(12))
@pytest.mark.parametrize("c", range(12))
def test_mcnemar_equals_the_sum_of_exact_fractions(b, c):
    n = b + c
    tail = sum(Fraction(comb(n, k), 2**n) for k in range(min(b, c) + 1))
    assert mcnemar_exact(b, c) == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-12)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_equals_scipy(b, c):
    expected = 1.0 if b + c == 0 else binomtest(b, b + c, 0.5).pvalue
    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("b", "c"), [(-1, 2), (1.5, 2), (3, None)])
def test_impossible_counts_are_refused(b, c):
    with pytest.raises(EvaluationError, match="two whole counts"):
        mcnemar_exact(b, c)
