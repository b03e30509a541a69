import numpy as np
import pytest

from lresnet_utils.report.charts.distributions import FoldDisplay, ScoreHistogramDisplay
from lresnet_utils.report.charts.error_rates import RocDisplay, ThresholdDisplay
from lresnet_utils.verify.curves import error_rates, roc
from lresnet_utils.verify.intervals import wilson

NBSP = "\u00a0"


@pytest.fixture(scope="module")
def scores():
    generator = np.random.default_rng(3)
    same = np.repeat([True, False], 200)
    distances = np.where(same, generator.normal(0.9, 0.3, 400), generator.normal(1.8, 0.2, 400))
    return np.clip(distances, 0, 4), same


def test_roc_starts_at_one_impostor_pair_and_is_the_empirical_curve(scores):
    distances, same = scores
    display = RocDisplay.from_rocs({"torch-fp32": roc(distances, same)}).plot()
    x, y = display.ax_.get_lines()[0].get_data()
    assert x[0] == pytest.approx(1 / 200)
    assert display.ax_.get_xscale() == "log"
    impostor, genuine = np.sort(distances[~same]), distances[same]
    for fmr, tmr in zip(x, y, strict=True):
        # The best that any threshold reaches while letting in at most that many impostors.
        allowed = round(fmr * 200)
        threshold = np.append(impostor, np.inf)[allowed]
        assert tmr == pytest.approx(np.mean(genuine < threshold))


def test_roc_band_is_wilsons_interval_of_the_drawn_curve(scores):
    curve = roc(*scores)
    display = RocDisplay.from_rocs({"torch-fp32": curve})
    fmr, low, high = display.band
    y = display.plot().ax_.get_lines()[0].get_ydata()
    assert fmr[0] == pytest.approx(1 / 200)
    assert [(a, b) for a, b in zip(low, high, strict=True)] == [
        wilson(round(v * 200), 200) for v in y
    ]


def test_a_perfect_roc_can_be_drawn():
    display = RocDisplay(
        {"a": (np.array([0.0, 0, 1]), np.array([0.0, 1, 1]), 1.0, 0.0)}, n_impostor=50, n_genuine=50
    ).plot()
    assert list(display.ax_.get_lines()[0].get_ydata()) == [1, 1]
    assert f"100.00{NBSP}% at a false match rate of 2.00{NBSP}%" in display.describe()


def test_roc_describes_every_target(scores):
    curve = roc(*scores)
    text = RocDisplay.from_rocs({"torch-fp32": curve, "openvino-bf16": curve}).describe()
    assert text.startswith("ROC curves of 2 targets.")
    assert text.count(f"AUC {curve.auc:.5f}") == 2


def test_threshold_display_says_the_rates_at_the_chosen_threshold(scores):
    thresholds = np.arange(0, 4, 0.01)
    accuracy, fmr, fnmr = error_rates(*scores, thresholds)
    display = ThresholdDisplay(thresholds, accuracy, fmr, fnmr, 1.4, "torch-fp32")
    distances, same = scores
    at = [np.mean((distances < 1.4) == same), np.mean(distances[~same] < 1.4),
          np.mean(distances[same] >= 1.4)]  # fmt: skip
    text = display.describe()
    assert f"At 1.40 the accuracy is {100 * at[0]:.2f}{NBSP}%" in text
    assert f"false match rate {100 * at[1]:.2f}{NBSP}%" in text
    assert f"non-match rate {100 * at[2]:.2f}{NBSP}%" in text
    top, bottom = display.plot().ax_
    assert bottom.get_yscale() == "log"
    assert np.allclose(top.get_lines()[0].get_ydata(), accuracy)


def test_zero_errors_end_the_logarithmic_curve_instead_of_being_drawn_as_something(scores):
    thresholds = np.arange(0, 4, 0.01)
    accuracy, fmr, fnmr = error_rates(*scores, thresholds)
    bottom = ThresholdDisplay(thresholds, accuracy, fmr, fnmr, 1.4).plot().ax_[1]
    drawn = bottom.get_lines()[0].get_ydata()
    assert np.array_equal(np.isnan(drawn), fmr == 0)


def test_histogram_counts_and_leaves_out_unknown_distances():
    display = ScoreHistogramDisplay(
        np.array([0.2, 1.5, 1.4, 0.1, np.nan]), np.array([True, True, False, False, True]), 1.4
    )
    assert display.counts() == {
        "genuine": 2,
        "impostor": 2,
        "missed": 1,
        "let_in": 1,
        "left_out": 1,
    }
    assert "1 of 2 genuine pairs are missed" in display.describe()
    assert "1 pairs without a distance are left out" in display.describe()


def test_histogram_bars_are_shares_of_each_class(scores):
    ax = ScoreHistogramDisplay(*scores, 1.4).plot().ax_
    assert [sum(patch.get_data().values) for patch in ax.patches] == pytest.approx([1, 1, 1, 1])


def test_fold_display_draws_every_fold_of_every_target():
    accuracy = {"torch-fp32": np.array([1, 0.99, 0.98]), "new": np.array([0.97, 0.99, 1])}
    thresholds = {"torch-fp32": np.array([1.4, 1.41, 1.42]), "new": np.array([1.4, 1.4, 1.4])}
    display = FoldDisplay(accuracy, thresholds).plot()
    lines = display.ax_[0].get_lines()
    assert [list(line.get_ydata()) for line in lines[:2]] == [[1, 0.99, 0.98], [0.97, 0.99, 1]]
    text = display.describe()
    assert "over 3 folds" in text
    assert f"new: accuracy 97.00{NBSP}% to 100.00{NBSP}% (mean 98.67{NBSP}%)" in text
    assert "threshold 1.40 to 1.42" in text
