import base64
import json
import re
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lresnet_utils.errors import EvaluationError
from lresnet_utils.report.charts.explorer import explorer_html, packed_scores, slider_thresholds
from lresnet_utils.report.publish.scripts import page_scripts
from lresnet_utils.verify.protocol import guide_thresholds


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
