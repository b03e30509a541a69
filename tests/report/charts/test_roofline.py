import numpy as np
import pytest

from lresnet_utils.report.charts.throughput import RooflineDisplay

POINTS = [
    {"name": "one", "kind": "convolution", "intensity": 100.0, "tops": 0.15, "ms": 4.0},
    {"name": "two", "kind": "depthwise convolution", "intensity": 2.0, "tops": 0.01, "ms": 1.0},
    {"name": "three", "kind": "something else", "intensity": 0.5, "tops": 0.005, "ms": 0.5},
]


@pytest.fixture
def display():
    return RooflineDisplay(POINTS, {"fp32": 0.1, "bf16": 0.4}, 20.0, "openvino-bf16", "bf16")


def test_roofs_bend_where_memory_meets_arithmetic(display):
    ax = display.plot().ax_
    for line, tops in zip(ax.get_lines(), (0.1, 0.4), strict=True):
        x, y = line.get_xdata(), line.get_ydata()
        assert x[1] == pytest.approx(tops * 1e12 / 20e9) and y[1] == y[2] == tops
        assert y[0] / x[0] == pytest.approx(20e9 / 1e12)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert {text.get_text() for text in ax.texts} == {"fp32 0.100", "bf16 0.400"}


def test_every_layer_is_a_mark_inside_the_chart_with_its_time_as_area(display):
    ax = display.plot().ax_
    places = [tuple(mark.get_offsets()[0]) for mark in ax.collections]
    assert places == [(p["intensity"], p["tops"]) for p in POINTS]
    areas = [mark.get_sizes()[0] for mark in ax.collections]
    assert areas[0] / areas[1] == pytest.approx(4.0)
    for limits, values in ((ax.get_xlim(), np.array(places)[:, 0]), (ax.get_ylim(), (0.005, 0.4))):
        assert limits[0] < min(values) and max(values) < limits[1]


def test_it_says_its_roofs_and_its_longest_layers(display):
    text = display.describe()
    assert "fp32 0.100, bf16 0.400" in text and "memory 20.0 GB/s" in text
    assert text.index("one") < text.index("two")
    assert RooflineDisplay([], {}, 1.0, "openvino-bf16", "bf16").is_empty
