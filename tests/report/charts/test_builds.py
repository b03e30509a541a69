"""What lies between builds: the numbers drawn are the record's, and all are said."""

import base64
import re

import cv2
import numpy as np
import pytest

from lresnet_utils.errors import DataError
from lresnet_utils.report.charts.builds import (
    CosineDisplay,
    DifferenceDisplay,
    FaceSheetDisplay,
    OperatorDisplay,
    PairSheetDisplay,
    ParityDisplay,
    RewriteDisplay,
    TradeOffDisplay,
    data_uri,
)


def rate(value, half=2.0):
    return {"value": value, "low": value - half, "high": value + half, "n": 3}


def step(rewrite, value, ratio=None, *, kept=True, failure=None, applied=4):
    return {
        "rewrite": rewrite,
        "applied": applied,
        "throughput_ips": None if failure else rate(value),
        "ratio": ratio and {"value": ratio, "low": ratio - 0.1, "high": ratio + 0.1, "n": 3},
        "failure": failure,
        "kept": kept,
    }


STEPS = [
    step("as simplified", 100.0, applied=None),
    step("prelu-slope", 120.0, 1.2),
    step("norm-forward", 90.0, 0.75, kept=False, applied=1),
]


def tried(rate_ips, loss, within, *, p=0.5, kept=(), chosen=False):
    return {
        "title": f"{len(kept)} kept",
        "recipe": {"activations": "symmetric", "rest": "fp32", "kept": list(kept)},
        "worst_loss_points": loss,
        "worst_p": p,
        "within_budget": within,
        "throughput_ips": rate(rate_ips),
        "chosen": chosen,
    }


TRIED = [
    tried(300.0, 0.9, False, p=0.001),
    tried(280.0, 0.05, False, p=0.01, kept="a"),
    tried(250.0, 0.1, True, kept="ab", chosen=True),
]


def marks(ax):
    """Return (x, y, marker, filled) of every single mark, rings left out."""
    found = []
    for line in ax.get_lines():
        if (
            len(line.get_xdata()) == 1
            and line.get_marker() in "^oDX"
            and line.get_markersize() < 10
        ):
            filled = line.get_markerfacecolor() == line.get_color()
            found.append((line.get_xdata()[0], line.get_ydata()[0], line.get_marker(), filled))
    return found


def texts(ax):
    return [text.get_text() for text in ax.texts]


def segments(ax):
    return [s[:, 0].tolist() for c in ax.collections for s in c.get_segments()]


def test_the_waterfall_draws_each_rate_its_interval_and_its_change():
    ax = RewriteDisplay(STEPS, "openvino-fp32", 16).plot().ax_
    assert [(x, filled) for x, _, _, filled in marks(ax)] == [
        (100.0, True),
        (120.0, True),
        (90.0, False),
    ]
    assert segments(ax) == [[98.0, 102.0], [118.0, 122.0], [88.0, 92.0]]
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(100.0, 20.0), (120.0, -30.0)]
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "as simplified",
        "prelu-slope\n4 places, kept",
        "norm-forward\n1 place, dropped",
    ]
    assert texts(ax)[1] == "120 [118, 122]\n× 1.20 [1.10, 1.30]"


def test_the_waterfall_says_every_number():
    assert RewriteDisplay(STEPS, "openvino-fp32", 16).describe() == (
        "Throughput of openvino-fp32 at batch 16 in images per second, rewrites added one after "
        "the other. as simplified: 100 [98.0, 102]; prelu-slope: 120 [118, 122], ratio 1.20 "
        "[1.10, 1.30], kept; norm-forward: 90.0 [88.0, 92.0], ratio 0.75 [0.65, 0.85], dropped."
    )


def test_a_step_that_failed_has_no_mark_and_the_next_bar_starts_at_the_last_that_worked():
    steps = [STEPS[0], step("broken", 0, kept=False, failure="no kernel"), step("b", 130.0, 1.3)]
    display = RewriteDisplay(steps, "openvino-fp32", 1).plot()
    assert [x for x, *_ in marks(display.ax_)] == [100.0, 130.0]
    assert [(b.get_x(), b.get_width()) for b in display.ax_.patches] == [(100.0, 30.0)]
    assert "broken: dropped, not measured (no kernel)" in display.describe()


def test_a_rate_without_an_interval_is_drawn_without_one():
    alone = step("as simplified", 100.0, applied=None)
    alone["throughput_ips"] |= {"low": None, "high": None}
    ax = RewriteDisplay([alone], "openvino-fp32", 1).plot().ax_
    assert segments(ax) == []
    assert texts(ax) == ["100"]


def test_no_steps_is_empty():
    assert RewriteDisplay([], "openvino-fp32", 1).is_empty


def test_the_trade_off_tells_verdicts_by_shape_and_rings_the_chosen():
    ax = TradeOffDisplay(TRIED, "openvino-int8", 16, 0.2).plot().ax_
    assert marks(ax) == [
        (300.0, 0.9, "X", False),
        (280.0, 0.05, "D", False),
        (250.0, 0.1, "o", True),
    ]
    rings = [line for line in ax.get_lines() if line.get_markersize() > 10]
    assert [(r.get_xdata()[0], r.get_ydata()[0]) for r in rings] == [(250.0, 0.1)]
    assert segments(ax) == [[298.0, 302.0], [278.0, 282.0], [248.0, 252.0]]
    assert set(ax.get_lines()[0].get_ydata()) == {0.2}  # the budget
    assert texts(ax) == ["1", "2", "3"]
    low, high = ax.get_ylim()
    assert low > 0.9 and high < 0.05  # less loss is up
    # One family: a curve through ever more layers in higher precision.
    assert list(ax.get_lines()[1].get_xdata()) == [300.0, 280.0, 250.0]


def test_the_trade_off_says_every_number():
    said = TradeOffDisplay(TRIED, "openvino-int8", 16, 0.2).describe()
    assert "the budget is 0.2 percentage points" in said
    assert "1. 0 kept: loses 0.900 points at worst, 300 [298, 302] images per second" in said
    assert "2. 1 kept: loses 0.0500 points" in said and "decides significantly otherwise" in said
    assert said.endswith("250 [248, 252] images per second, within the budget, chosen.")


def test_recipes_at_one_place_share_a_label():
    twins = [tried(300.0, 0.1, True, chosen=True), tried(300.01, 0.1, True), TRIED[0]]
    ax = TradeOffDisplay(twins, "openvino-int8", 16, 0.2).plot().ax_
    assert texts(ax) == ["1, 2", "3"]


@pytest.mark.parametrize("loss", [0.2, 0.2 + 1e-12, -0.5])
def test_the_budget_itself_is_no_loss_over_it(loss):
    entry = tried(300.0, loss, False, p=0.01)
    said = TradeOffDisplay([entry], "openvino-int8", 16, 0.2).describe()
    assert "decides significantly otherwise" in said


def test_operators_are_ordered_by_frequency_and_changes_are_said():
    display = OperatorDisplay({"Conv": 3, "Add": 1, "BN": 3}, {"Conv": 3, "Add": 1}).plot()
    assert display.counts() == [("BN", 3, 0), ("Conv", 3, 3), ("Add", 1, 1)]
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


def test_data_uri_holds_the_picture_in_rgb_order():
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 200
    head, _, payload = data_uri(image).partition(",")
    assert head == "data:image/jpeg;base64"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(payload), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded[..., ::-1].astype(int) - image).max() < 6


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_refused(image):
    with pytest.raises(DataError, match="must be uint8"):
        data_uri(image)


@pytest.fixture
def faces():
    return np.random.default_rng(0).integers(0, 255, (4, 112, 112, 3)).astype(np.uint8)


def test_pair_sheet_shows_both_faces_and_the_verdict_of_every_pair(faces):
    sheet = PairSheetDisplay(
        faces, np.array([0, 2, 0, 1]), np.array([1, 3, 2, 3]), np.array([1.7, 1.4, 1.2, 1.0]),
        np.array([True, False, False, True]), threshold=1.4,
    )  # fmt: skip
    html = sheet.html()
    sources = re.findall(r'src="([^"]+)"', html)
    assert sources == [data_uri(faces[i]) for i in (0, 1, 2, 3, 0, 2, 1, 3)]
    assert html.count("<img ") == html.count(" alt=") == 8
    # A distance equal to the threshold is not below it.
    assert [sheet.verdict(i) for i in range(4)] == [
        "same person, missed",
        "different people, told apart",
        "different people, let in",
        "same person, found",
    ]
    assert "4 pairs of faces with distances 1.000 to 1.700; 2 of them" in sheet.describe()


def test_a_sheet_without_pairs_says_so(faces):
    none = np.array([], int)
    sheet = PairSheetDisplay(faces, none, none, none.astype(float), none.astype(bool), 1.4)
    assert sheet.describe() == "No pairs to show."


def test_face_sheet_has_one_described_strip_per_variant(faces):
    sheet = FaceSheetDisplay({"aligned": faces[:3], "<b>": faces[1:]})
    html = sheet.html()
    assert 'alt="3 faces, aligned"' in html
    assert "<b>" not in html
    assert "&lt;b&gt;" in html
    assert sheet.describe() == "3 face images in 2 variants: aligned and <b>."
