import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lresnet_utils.report import style

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
    text = style.fmt_number(value).replace("\u00a0", "")
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
    assert style.fmt_number(value) == text


def test_an_interval_keeps_thousands_and_powers_whole():
    assert style.fmt_interval(18423, 18001, 19002) == ("18\u00a0423 [18\u00a0001, 19\u00a0002]")
    assert style.fmt_interval(3e-7, 2e-7, 4e-7).count("10⁻⁷") == 3
    assert style.fmt_interval(78.75, 77.0, 80.0, style.fmt_rate) == (
        "78.8\u00a0images/s [77.0, 80.0]"
    )


def test_missing_values_are_dashes_everywhere():
    writers = (style.fmt_percent, style.fmt_count, style.fmt_rate, style.fmt_bytes)
    assert {write(None) for write in writers} == {"–"}
