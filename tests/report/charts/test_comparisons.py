from itertools import pairwise

import pytest

from lresnet_utils.report.charts.display import spread
from lresnet_utils.report.charts.distributions import (
    OperatorDisplay,
    ParityDisplay,
    RobustnessDisplay,
)


def test_operators_are_ordered_by_frequency_and_changes_are_said():
    display = OperatorDisplay({"Conv": 3, "Add": 1, "BN": 3}, {"Conv": 3, "Add": 1}).plot()
    assert display.operators == ["BN", "Conv", "Add"]
    assert display.describe() == (
        "Nodes by operator: 7 before, 4 after simplification. Changed: BN 3 to 0."
    )
    assert [text.get_text() for text in display.ax_.texts] == ["3 → 0", "3", "1"]


def test_parity_puts_zero_on_the_edge_and_forgives_a_cosine_above_one():
    rows = [
        {"pair": "a – b", "min_cosine": 1 + 1e-12, "mean_cosine": 1, "max_abs_difference": 0,
         "n": 8},
        {"pair": "a – c", "min_cosine": 0.99, "mean_cosine": 1, "max_abs_difference": 0.01, "n": 8},
    ]  # fmt: skip
    display = ParityDisplay(rows).plot()
    marks = [float(line.get_xdata()[0]) for line in display.ax_.get_lines()[:4]]
    assert marks == pytest.approx([1e-9, 1e-9, 0.01, 0.01])
    assert "a – c: smallest cosine 0.9900000" in display.describe()


def test_robustness_keeps_the_given_order_and_uses_the_labels():
    rows = [
        {"target": target, "variant": variant, "accuracy": 0.9, "low": 0.8, "high": 0.95}
        for variant in ("plain", "aligned")
        for target in ("torch-fp32", "openvino-bf16")
    ]
    display = RobustnessDisplay(rows, {"plain": "plain resize"}).plot()
    ticks = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert ticks == ["plain resize", "aligned"]
    assert "plain resize, openvino-bf16: 90.00\u00a0% [80.00, 95.00]" in display.describe()


def test_spread_keeps_the_order_and_the_gap():
    moved = spread([0.5, 0.5, 0.51, 0.9], 0.1)
    assert moved.tolist() == sorted(moved)
    assert min(b - a for a, b in pairwise(moved)) >= 0.1 - 1e-9
    assert moved[3] == 0.9
