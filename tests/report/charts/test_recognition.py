"""Curves, thresholds, folds, hard images and the explorer: drawn and said from their numbers."""

import base64
import json
import re
import xml.etree.ElementTree as ET
import zlib

import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient
from scipy.stats import norm

from lresnet_utils.errors import EvaluationError
from lresnet_utils.report.charts.display import write_figures
from lresnet_utils.report.charts.recognition import (
    DetDisplay,
    FoldDisplay,
    RobustnessDisplay,
    RocDisplay,
    ScoreHistogramDisplay,
    ThresholdDisplay,
    explorer_html,
    packed_scores,
    rates_at,
    slider_thresholds,
    threshold_explorer,
)
from lresnet_utils.report.publish.scripts import page_scripts
from lresnet_utils.verify.curves import error_rates, roc
from lresnet_utils.verify.intervals import wilson
from lresnet_utils.verify.protocol import guide_thresholds
from lresnet_utils.verify.uncertainty import Band

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


@pytest.fixture(scope="module")
def overlapping():
    generator = np.random.default_rng(3)
    same = np.repeat([True, False], 200)
    distances = np.where(same, generator.normal(0.9, 0.4, 400), generator.normal(1.6, 0.3, 400))
    return np.clip(distances, 0, 4), same


BAND = Band(np.array([0.05, 0.5]), np.array([0.3, 0.6]), np.array([0.5, 0.9]))


def test_the_curve_is_drawn_at_the_normal_quantiles_of_both_errors(overlapping):
    curve = roc(*overlapping)
    display = DetDisplay.from_rocs({"torch-fp32": curve}).plot()
    x, y = display.ax_.get_lines()[0].get_data()
    drawn = {(round(a, 9), round(b, 9)) for a, b in zip(x, y, strict=True)}
    cuts = curve.thresholds[(curve.fmr > 0.01) & (curve.fmr < 0.9) & (curve.tmr < 1)]
    _, fmr, fnmr = error_rates(*overlapping, cuts)
    for point in zip(norm.ppf(fmr).round(9), norm.ppf(fnmr).round(9), strict=True):
        assert point in drawn
    assert f"{100 * curve.eer:.2f}" in display.describe()


def test_the_band_of_the_roc_turned_over_is_that_of_the_det(overlapping):
    rocs = {"torch-fp32": roc(*overlapping)}
    det, own = DetDisplay.from_rocs(rocs, BAND), RocDisplay.from_rocs(rocs, BAND)
    assert det.band[1].tolist() == [0.5, pytest.approx(0.1)]
    assert own.band[1].tolist() == [0.3, 0.6]
    assert "people as clusters" in det.reading
    assert "people as clusters" in own.reading


def test_files_are_whole_documents_with_their_description_and_equal_bytes(overlapping, tmp_path):
    displays = {"det": DetDisplay.from_rocs({"torch-fp32": roc(*overlapping)}, BAND)}
    (path,) = write_figures(tmp_path, displays)
    first = path.read_bytes()
    root = ET.fromstring(first)  # well-formed, and therefore escaped
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.find("{*}desc").text == displays["det"].describe()
    assert b"var(--" not in first
    write_figures(tmp_path, displays)
    assert path.read_bytes() == first


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


DISTANCES = np.array([0.2, 0.8, 1.5, 1.2, 1.9, 2.0, np.nan])
SAME = np.array([True, True, True, False, False, False, True])


@pytest.mark.parametrize("threshold", [0.0, 0.8, 1.2, 1.4, 1.5, 1.6, 4.0])
def test_rates_are_the_counts_with_wilsons_interval(threshold):
    rates = rates_at(DISTANCES, SAME, threshold)
    pairs = [(d, s) for d, s in zip(DISTANCES, SAME, strict=True) if not np.isnan(d)]
    right = sum((d < threshold) == s for d, s in pairs)
    let_in = sum(d < threshold for d, s in pairs if not s)
    missed = sum(not d < threshold for d, s in pairs if s)
    for name, k, n in (("accuracy", right, 6), ("fmr", let_in, 3), ("fnmr", missed, 3)):
        low, high = wilson(int(k), n)
        assert rates[name] == {"value": k / n, "low": low, "high": high, "n": n}


def test_a_class_without_pairs_has_no_rate():
    rates = rates_at(np.array([0.5]), np.array([True]), 1.0)
    assert rates["fmr"] == {"refused": "no impostor pairs"}


def test_moving_the_widgets_changes_the_view():
    explorer = threshold_explorer(
        {"torch-fp32": (DISTANCES, SAME), "other": (DISTANCES + 0.3, SAME)}, 1.4
    )
    explorer.threshold.value = 1.0
    assert "threshold 1.00" in explorer.html()
    assert explorer._view.value == explorer.html()
    before = explorer.html()
    explorer.target.value = "other"
    assert explorer._view.value == explorer.html() != before
    # What a page without a kernel shows does not depend on where somebody left the slider.
    assert "threshold 1.40" in explorer.static_html()


def test_executed_without_a_browser_the_cell_keeps_a_static_figure():
    code = (
        "import numpy as np\n"
        "from lresnet_utils.report.charts.recognition import threshold_explorer\n"
        "same = np.arange(20) < 10\n"
        "threshold_explorer({'torch-fp32': (np.linspace(0, 3, 20), same)}, 1.4)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert "application/vnd.jupyter.widget-view+json" in output.data
    assert "<svg" in output.data["text/html"]
    assert "threshold 1.40" in output.data["text/html"]


def unpacked(data):
    """Undo the packing as the script does; returns labels and one row of bins per target."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(data["bins"]), -15), np.uint8)
    planes = raw.reshape(1 + 2 * len(data["targets"]), data["n"]).astype(np.uint16)
    steps = planes[1::2] + 256 * planes[2::2]
    return planes[0].astype(bool), np.cumsum(steps, axis=0, dtype=np.uint16)


def test_the_slider_goes_over_the_guides_thresholds_to_the_last_bit():
    assert np.array_equal(slider_thresholds()[:400], guide_thresholds())
    assert slider_thresholds()[-1] == 4.0


@given(st.integers(0, 2**32 - 1))
def test_every_decision_on_the_slider_survives_the_packing(seed):
    rng = np.random.default_rng(seed)
    n, grid = 40, slider_thresholds()
    same = rng.random(n) < 0.5
    first = rng.uniform(0, 4, n)
    # On a threshold, and one float to either side of it, is where rounding would show.
    at = rng.choice(grid, 20)
    first[:20] = np.clip(np.nextafter(at, at + rng.choice([-1, 0, 1], 20)), 0, 4)
    second = np.clip(first + rng.normal(0, 0.3, n), 0, 4)
    second[rng.random(n) < 0.2] = np.nan
    data = packed_scores({"a": (first, same), "b": (second, same)}, {"a": 1.234, "b": 9.0})
    labels, bins = unpacked(data)
    assert np.array_equal(labels, same)
    for packed, distances in zip(bins, (first, second), strict=True):
        assert np.array_equal(packed == 1023, np.isnan(distances))
        numbers = np.arange(len(grid))
        assert np.array_equal(packed[:, None] <= numbers, distances[:, None] < grid)
    assert data["start"] == [123, 400]


def test_six_thousand_pairs_and_six_targets_fit_in_40_kb_with_the_script():
    rng = np.random.default_rng(0)
    same = np.arange(6000) % 600 < 300
    first = np.clip(rng.normal(np.where(same, 0.6, 1.9), np.where(same, 0.3, 0.15)), 0, 4)
    apart = {"fp32 2": 1e-6, "fp32 3": 1e-6, "bf16": 0.01, "fp16": 1e-3, "int8": 0.03}
    scores = {"fp32": (first, same)} | {
        name: (np.clip(first + rng.normal(0, size, 6000), 0, 4), same)
        for name, size in apart.items()
    }
    html = explorer_html(scores, dict.fromkeys(scores, 1.2), "")
    assert len(html) + len(page_scripts()[0].text) <= 40_000


def test_a_target_of_other_pairs_is_refused_and_no_name_ends_the_data():
    one = np.array([0.5, 1.5])
    with pytest.raises(EvaluationError, match="different pairs"):
        packed_scores(
            {"a": (one, np.array([True, False])), "b": (one, np.array([True, True]))},
            {"a": 1.0, "b": 1.0},
        )
    name = "</script><b>"
    html = explorer_html({name: (one, np.array([True, False]))}, {name: 1.0}, "<p>static</p>")
    (block,) = re.findall(r'<script type="application/json">(.*?)</script>', html)
    assert json.loads(block)["targets"] == [name]
