import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lresnet_utils.report.charts import style
from lresnet_utils.text.numbers import (
    fmt_bytes,
    fmt_count,
    fmt_interval,
    fmt_number,
    fmt_percent,
    fmt_rate,
)

KNOWN = [
    "torch-fp32",
    "torch-compile-fp32",
    "torch-compile-bf16",
    "onnxruntime-fp32",
    "onnxruntime-int8",
    "openvino-fp32",
    "openvino-bf16",
    "openvino-int8",
    "tensorrt-fp16",
    "ascend-fp16",
    "cann-fp16",
    "replay",
]


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
    colour = style.look(target).colour
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
    assert contrast(style.look(target).colour, page) >= 3


def test_known_targets_can_be_told_apart_without_colour():
    assert len({style.look(target).marker for target in KNOWN}) == len(KNOWN)
    assert len({style.look(target).dash for target in KNOWN}) == len(KNOWN)
    assert len({style.look(target).colour for target in KNOWN}) == len(KNOWN)


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
