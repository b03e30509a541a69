"""What holds for every chart: colours, units on its axes, words beside it, room for Chinese."""

import ast
import inspect
import itertools
import math
import re
import textwrap
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import font_manager

from lresnet_utils.report.charts import builds, recognition, throughput
from lresnet_utils.report.charts.display import (
    NAME,
    Display,
    inline_svg,
    look_of,
    spread,
    wide_font,
)
from lresnet_utils.report.charts.throughput import ThroughputDisplay
from lresnet_utils.targets import TARGETS
from lresnet_utils.text.language import speaking
from lresnet_utils.text.numbers import (
    fmt_bytes,
    fmt_count,
    fmt_interval,
    fmt_number,
    fmt_percent,
    fmt_rate,
)

MODULES = (recognition, builds, throughput)
CHARTS = sorted(
    {
        chart
        for module in MODULES
        for chart in vars(module).values()
        if inspect.isclass(chart) and issubclass(chart, Display) and chart is not Display
    },
    key=lambda chart: chart.__name__,
)
# A quantity in brackets, a rate, or a count that names what it counts.
UNIT = re.compile(r"\(.+\)| per |^nodes|^fold$")


def calls(chart):
    """Return the functions that a chart's methods call, with the text each names an axis by."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(chart)))
    named = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    return [(getattr(n.func, "id", getattr(n.func, "attr", "")), n) for n in named]


def axis_texts(chart):
    for name, call in calls(chart):
        if name in ("name_x", "name_y"):
            said = call.args[1]
            assert isinstance(said, ast.Call) and said.func.id == "tr", ast.unparse(call)
            yield said.args[0].value


def test_there_are_charts():
    assert len(CHARTS) >= 15


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
def test_every_axis_of_numbers_is_named_with_its_unit(chart):
    texts = list(axis_texts(chart))
    assert [text for text in texts if not UNIT.search(text)] == []
    functions = {name for name, _ in calls(chart)}
    assert "name_x" in functions
    # Rows have names instead of numbers.
    assert functions & {"name_y", "rows_axis", "set_yticks"}


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
def test_a_targets_look_comes_from_one_place(chart):
    """No chart has colours of its own; what it draws of a target it draws as all others do."""
    source = inspect.getsource(inspect.getmodule(chart))
    assert re.findall(r"#[0-9a-fA-F]{6}\b|\"C\d\"", source) == []


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
def test_every_chart_describes_itself_from_its_numbers(chart):
    assert chart.describe is not Display.describe
    assert "self." in inspect.getsource(chart.describe)


def test_spread_keeps_the_order_and_the_gap():
    moved = spread([0.5, 0.5, 0.51, 0.9], 0.1)
    assert moved.tolist() == sorted(moved)
    assert min(b - a for a, b in pairwise(moved)) >= 0.1 - 1e-9
    assert moved[3] == 0.9


KNOWN = list(TARGETS)


def luminance(colour):
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
DEMO = ["torch-fp32", "onnxruntime-fp32", "openvino-fp32", "openvino-bf16", "openvino-int8"]
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(target, vision="normal"):
    """Return a target's colour in CIE L*a*b* (D65), as someone with that vision sees it."""
    colour = look_of(target).colour
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISIONS[vision]) @ linear, 0, 1)
    xyz = TO_XYZ @ seen / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISIONS)
def test_colours_can_be_told_apart_with_every_vision(vision):
    """In CIE 1976 a difference of 2.3 is just noticeable; marks are small, so several are asked."""
    for targets, least in ((KNOWN, 7), (DEMO, 14)):
        for one, other in itertools.combinations(targets, 2):
            assert np.linalg.norm(lab(one, vision) - lab(other, vision)) >= least, (one, other)


def test_the_demos_targets_can_be_told_apart_in_grey():
    for one, other in itertools.combinations(DEMO, 2):
        assert abs(lab(one)[0] - lab(other)[0]) >= 3.5, (one, other)


@pytest.mark.parametrize("target", [*KNOWN, "something-new", "another", "x", "ünïcode"])
@pytest.mark.parametrize("page", ["#ffffff", "#14171a"])
def test_every_colour_can_be_seen_on_light_and_dark_pages(target, page):
    assert contrast(look_of(target).colour, page) >= 3


def test_known_targets_can_be_told_apart_without_colour():
    assert len({look_of(target).marker for target in KNOWN}) == len(KNOWN)
    assert len({look_of(target).dash for target in KNOWN}) == len(KNOWN)
    assert len({look_of(target).colour for target in KNOWN}) == len(KNOWN)


@given(st.floats(min_value=1e-12, max_value=1e12))
def test_numbers_are_written_within_half_a_unit_of_the_third_digit(value):
    text = fmt_number(value).replace("\u00a0", "")
    mantissa, _, power = text.partition("×10")
    exponent = int(power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))) if power else 0
    assert math.isclose(float(mantissa) * 10.0**exponent, value, rel_tol=0.0051)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (9.996, "10.0"),
        (999.6, "1000"),
        (1739.13, "1739"),
        (12345.6, "12\u00a0346"),
        (-0.5, "\u22120.500"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "inf"),
    ],
)
def test_numbers(value, text):
    assert fmt_number(value) == text


def test_an_interval_keeps_thousands_and_powers_whole():
    assert fmt_interval(18423, 18001, 19002) == ("18\u00a0423 [18\u00a0001, 19\u00a0002]")
    assert fmt_interval(3e-7, 2e-7, 4e-7).count("10⁻⁷") == 3
    assert fmt_interval(78.75, 77.0, 80.0, fmt_rate) == ("78.8\u00a0images/s [77.0, 80.0]")


def test_missing_values_are_dashes_everywhere():
    writers = (fmt_percent, fmt_count, fmt_rate, fmt_bytes)
    assert {write(None) for write in writers} == {"–"}


ROWS = [{"target": "torch-fp32", "batch_size": 4, "value": 10.0, "low": 9.0, "high": 11.0}]


@pytest.mark.parametrize("text", ["准确率", "（对数）", "吞吐量，张", "、。？"])
def test_every_chinese_character_is_one_em_wide(text):
    path = font_manager.findfont(font_manager.FontProperties(family=wide_font()))
    font = font_manager.get_font(path)
    font.set_size(10, 72)
    font.set_text(text)
    assert font.get_width_height()[0] / 64 == 10 * len(text)


def test_a_chinese_chart_is_text_in_the_readers_fonts_and_complains_of_no_glyph():
    display = ThroughputDisplay(ROWS)
    with speaking("zh"), warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = inline_svg(display.plot().figure_, display.describe())
    assert ">张/秒，批大小 4</text>" in svg
    assert 'aria-label="吞吐量，张/秒。' in svg
    assert NAME not in svg and "DejaVu" not in svg and "@font-face" not in svg
    families = set(re.findall(r"font-family: ?([^;\"]+)", svg))
    assert families == {"system-ui,sans-serif"}


def test_english_charts_do_not_need_the_font():
    svg = inline_svg(ThroughputDisplay(ROWS).plot().figure_, "")
    assert ">images per second at batch size 4</text>" in svg
