"""The DET display and charts as files of their own."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from scipy.stats import norm

from lresnet_utils.report.charts.error_rates import DetDisplay, RocDisplay
from lresnet_utils.report.show import write_figures
from lresnet_utils.verify.curves import error_rates, roc
from lresnet_utils.verify.uncertainty import Band


@pytest.fixture(scope="module")
def scores():
    generator = np.random.default_rng(3)
    same = np.repeat([True, False], 200)
    distances = np.where(same, generator.normal(0.9, 0.4, 400), generator.normal(1.6, 0.3, 400))
    return np.clip(distances, 0, 4), same


BAND = Band(np.array([0.05, 0.5]), np.array([0.3, 0.6]), np.array([0.5, 0.9]))


def test_the_curve_is_drawn_at_the_normal_quantiles_of_both_errors(scores):
    curve = roc(*scores)
    display = DetDisplay.from_rocs({"torch-fp32": curve}).plot()
    x, y = display.ax_.get_lines()[0].get_data()
    drawn = {(round(a, 9), round(b, 9)) for a, b in zip(x, y, strict=True)}
    cuts = curve.thresholds[(curve.fmr > 0.01) & (curve.fmr < 0.9) & (curve.tmr < 1)]
    _, fmr, fnmr = error_rates(*scores, cuts)
    for point in zip(norm.ppf(fmr).round(9), norm.ppf(fnmr).round(9), strict=True):
        assert point in drawn
    assert f"{100 * curve.eer:.2f}" in display.describe()


def test_the_band_of_the_roc_turned_over_is_that_of_the_det(scores):
    rocs = {"torch-fp32": roc(*scores)}
    det, own = DetDisplay.from_rocs(rocs, BAND), RocDisplay.from_rocs(rocs, BAND)
    assert det.band[1].tolist() == [0.5, pytest.approx(0.1)]
    assert own.band[1].tolist() == [0.3, 0.6]
    assert "people as clusters" in det.reading
    assert "people as clusters" in own.reading


def test_files_are_whole_documents_with_their_description_and_equal_bytes(scores, tmp_path):
    displays = {"det": DetDisplay.from_rocs({"torch-fp32": roc(*scores)}, BAND)}
    (path,) = write_figures(tmp_path, displays)
    first = path.read_bytes()
    root = ET.fromstring(first)  # well-formed, and therefore escaped
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.find("{*}desc").text == displays["det"].describe()
    assert b"var(--" not in first
    write_figures(tmp_path, displays)
    assert path.read_bytes() == first
