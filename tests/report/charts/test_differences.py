import numpy as np

from lresnet_utils.report.charts.builds import CosineDisplay, DifferenceDisplay

ROWS = [
    {"cell": "16/a\n→ 16/b", "value": 0.0, "low": -0.001, "high": 0.001, "n": 3600},
    {"cell": "16/c", "value": -0.03, "low": -0.06, "high": -0.008, "n": 3600},
]


def test_differences_are_told_in_points_and_drawn_where_they_are():
    display = DifferenceDisplay(ROWS, 0.2).plot()
    assert "16/a → 16/b: 0.00 points [−0.10, +0.10]" in display.describe()
    assert "16/c: −3.00 points [−6.00, −0.80]" in display.describe()
    (low, high) = display.ax_.get_xlim()
    assert low < -6 and high > 6
    marks = [float(line.get_xdata()[0]) for line in display.ax_.lines if line.get_marker() == "o"]
    assert marks == [0.0, -3.0]


def test_cosines_show_the_median_and_survive_perfect_agreement():
    values = 1 - np.array([0.0, 1e-4, 1e-3])
    display = CosineDisplay({"16/a": values, "16/b": np.ones(3)}).plot()
    assert "16/a: smallest cosine 0.9990000, median 0.9999000 over 3 faces" in display.describe()
    medians = [float(line.get_xdata()[0]) for line in display.ax_.lines]
    np.testing.assert_allclose(medians, [1e-4, 1e-9], rtol=1e-9)
