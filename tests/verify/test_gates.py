"""The two gates, against exact fractions, scipy and the guide's own numbers."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.gates import Gate, guide_gate, paired_gate, smallest_detectable_loss


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
