import json
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cosine
from scipy.stats import binomtest

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.agreement import (
    Gate,
    embedding_agreement,
    flipped_pairs,
    guide_gate,
    mcnemar_exact,
    paired_gate,
    smallest_detectable_loss,
)
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


# The two gates, against exact fractions, scipy and the guide's own numbers.


def test_the_guides_own_accuracy_passes_its_rule_and_the_slack_is_told_in_pairs():
    gate = guide_gate(0.9976666666666667, 0.998, n_pairs=6000)
    assert gate.passed is True and gate.reason is None and gate.name == "guide"
    assert gate.rule == "Accuracy lower than published by at most 1% of all pairs."
    assert "up to 72 wrong pairs of 6,000" in gate.evidence
    assert "0.033 points below the published 99.800%" in gate.evidence


@given(st.integers(1, 700), st.integers(0, 200), st.integers(0, 200), st.data())
def test_the_verdict_and_the_accepted_pairs_agree_with_exact_fractions(n, miss, slack, data):
    wrong = data.draw(st.integers(0, n))
    published, tolerance = (1000 - miss) / 1000, slack / 1000
    gate = guide_gate((n - wrong) / n, published, tolerance, n_pairs=n)
    limit = Fraction(miss + slack, 1000)
    assert gate.passed is (Fraction(wrong, n) <= limit)
    accepted = max(k for k in range(n + 1) if Fraction(k, n) <= limit)
    assert f"accepts up to {accepted:,} wrong pairs of {n:,};" in gate.evidence


def test_a_mean_over_folds_on_the_limit_passes_and_one_pair_more_fails():
    folds = np.full(10, 600 - 7) / 600
    folds[:2] = (600 - 8) / 600
    assert guide_gate(folds.mean(), 0.998).passed is True
    folds[2] = (600 - 8) / 600
    assert guide_gate(folds.mean(), 0.998).passed is False
    assert guide_gate(np.nextafter(0.988, 0), 0.998).passed is True


def test_more_than_published_is_above_it():
    gate = guide_gate(0.999, 0.998)
    assert gate.passed is True
    assert gate.evidence == "Accuracy 99.900% is 0.100 points above the published 99.800%."


@pytest.mark.parametrize(
    ("gate", "reason"),
    [
        (guide_gate(None, 0.998), "No accuracy was evaluated."),
        (guide_gate(0.9, None), "No accuracy is published for this network on this set."),
        (guide_gate(0.9, 0.998, refused="The weights are random."), "The weights are random."),
        (paired_gate(None, None, None), "The decisions were not compared with the reference."),
        (paired_gate(1, 0, 9, refused="The weights are random."), "The weights are random."),
    ],
)
def test_what_cannot_be_judged_says_why(gate, reason):
    assert gate.passed is None and gate.reason == reason and gate.evidence == ""
    assert gate.rule


@given(st.integers(0, 40), st.integers(0, 40), st.integers(6, 300))
def test_the_paired_verdict_is_scipys_binomial_test_in_the_direction_of_a_loss(lost, gained, rest):
    n = lost + gained + rest
    gate = paired_gate(lost, gained, n)
    p = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert gate.passed is not (lost > gained and p < 0.05)
    high = stats.binomtest(lost, n).proportion_ci(0.95, method="exact").high
    assert f"{lost:,} lost and {gained:,} gained of {n:,} pairs" in gate.evidence
    assert f"p = {p:.2g}," in gate.evidence
    assert f"at most {high:.3%} " in gate.evidence


def test_what_the_guides_rule_accepts_the_paired_one_refuses():
    """Of 6,000 pairs the reference has 14 wrong and the build the 72 that the guide accepts."""
    assert guide_gate((6000 - 72) / 6000, 0.998, n_pairs=6000).passed is True
    assert paired_gate(58, 0, 6000, reference="torch-fp32").passed is False


@pytest.mark.parametrize("alpha", [0.5, 0.1, 0.05, 0.01, 1e-6])
def test_the_smallest_detectable_loss_is_the_first_significant_one(alpha):
    least = smallest_detectable_loss(alpha)
    assert stats.binomtest(least, least).pvalue < alpha
    assert stats.binomtest(least - 1, least - 1).pvalue >= alpha
    assert paired_gate(least, 0, 1000, alpha).passed is False
    assert paired_gate(least - 1, 0, 1000, alpha).passed is True
    assert f"find is {least} pairs with none gained" in paired_gate(0, 0, 1000, alpha).evidence


def test_too_few_pairs_are_not_judged_and_the_smallest_loss_is_told():
    gate = paired_gate(5, 0, 5)
    assert gate.passed is None
    assert gate.reason == (
        "5 pairs are too few: the smallest loss that the test can find is 6 pairs with none gained."
    )
    assert "at most 100.000%" in gate.evidence
    assert paired_gate(6, 0, 6).passed is False
    empty = paired_gate(0, 0, 0)
    assert empty.passed is None and "6 pairs" in empty.reason


def test_a_gate_is_plain_data():
    gate = paired_gate(np.int64(2), np.int32(1), np.int64(3600))
    assert Gate(**json.loads(json.dumps(gate.to_json()))) == gate
    assert isinstance(guide_gate(np.float64(0.99), np.float64(0.998)).passed, bool)


@pytest.mark.parametrize(
    "call",
    [
        lambda: guide_gate(1.5, 0.998),
        lambda: guide_gate(float("nan"), 0.998),
        lambda: guide_gate(0.9, 99.8),
        lambda: guide_gate(0.9, 0.998, -0.01),
        lambda: guide_gate(0.9, 0.998, n_pairs=0),
        lambda: paired_gate(-1, 0, 10),
        lambda: paired_gate(6, 5, 10),
        lambda: paired_gate(1.5, 0, 10),
        lambda: paired_gate(1, 0, 10, alpha=0),
        lambda: paired_gate(1, 0, 10, alpha=1.0),
        lambda: paired_gate(1, 0, 10, confidence=1.0),
    ],
)
def test_impossible_numbers_are_refused(call):
    with pytest.raises(EvaluationError):
        call()
