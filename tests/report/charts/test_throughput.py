"""Speed: rates, latencies, stages, and layers under their roofs."""

import numpy as np
import pytest

from lresnet_utils.report.charts.throughput import (
    AccuracySpeedDisplay,
    LatencyDisplay,
    RooflineDisplay,
    StageDisplay,
    ThroughputDisplay,
)


def row(target, batch_size, value):
    return {
        "target": target,
        "batch_size": batch_size,
        "value": value,
        "low": value - 1,
        "high": value + 1,
    }


GUIDE = {
    "label": "Ascend 310, four chips",
    "batch_size": [1, 16],
    "values": [331.7228, 596.664],
    "source": "the guide, section 7.1",
}


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_throughput_by_batch_size_starts_at_zero_and_names_the_lines():
    ax = ThroughputDisplay([row("torch-fp32", 16, 30.0), row("torch-fp32", 1, 10.0)]).plot().ax_
    assert ax.get_ylim()[0] == 0
    assert ax.get_yscale() == "linear"
    assert "torch-fp32" in texts(ax)
    assert list(ax.get_lines()[0].get_ydata()) == [10.0, 30.0]


def test_far_references_make_the_axis_logarithmic_and_say_so():
    rows = [row("torch-fp32", 1, 10.0), row("torch-fp32", 16, 12.0)]
    display = ThroughputDisplay(rows, [GUIDE]).plot()
    assert display.ax_.get_yscale() == "log"
    assert "(logarithmic)" in display.ax_.get_title(loc="left")
    assert "Ascend 310, four chips: the guide, section 7.1" in display.reading
    assert "(reference) at batch 16: 597" in display.describe()


def test_one_batch_size_is_a_list_with_values_and_its_own_references_only():
    ax = ThroughputDisplay([row("torch-fp32", 16, 100.0)], [GUIDE]).plot().ax_
    assert [label.get_text() for label in ax.get_yticklabels()] == ["torch-fp32", GUIDE["label"]]
    assert texts(ax) == ["100 [99.0, 101]", "597"]
    assert "batch size 16" in ax.get_xlabel()


def test_a_rate_without_an_interval_is_drawn_and_said_without_one():
    one = row("torch-fp32", 16, 100.0) | {"low": None, "high": None}
    display = ThroughputDisplay([one]).plot()
    assert texts(display.ax_) == ["100"]
    assert display.describe() == "Throughput in images per second. torch-fp32 at batch 16: 100."


def test_error_bars_end_at_the_interval():
    ax = ThroughputDisplay([row("torch-fp32", 16, 100.0)]).plot().ax_
    (bar,) = ax.collections
    assert bar.get_segments()[0][:, 0].tolist() == [99.0, 101.0]


def test_refused_percentiles_are_not_drawn_and_say_why():
    rows = [
        {
            "target": "torch-fp32",
            "batch_size": 4,
            "p50": 20.0,
            "p90": 25.0,
            "p99": None,
            "n": 70,
            "refused": {"p99": "n is below 662"},
        }
    ]
    display = LatencyDisplay(rows).plot()
    assert texts(display.ax_) == ["20.0 (no p99)"]
    assert display.describe() == (
        "Latency percentiles. torch-fp32 at batch 4 (n = 70): p50 20.0 ms, p90 25.0 ms, "
        "no p99 (n is below 662)."
    )
    drawn = [x for line in display.ax_.get_lines() for x in line.get_xdata()]
    assert sorted(set(drawn)) == [20.0, 25.0]


def test_latency_with_everything_refused_still_draws():
    rows = [{"target": "a", "batch_size": 1, "n": 2, "refused": {"p50": "n is below 5"}}]
    assert "no p50 (n is below 5)" in LatencyDisplay(rows).plot().describe()


def test_stage_bars_carry_the_times():
    rates = {
        name: {"ms_per_image": value, "images_per_second": 1000 / value}
        for name, value in {"data_read": 0.5, "infer": 8.0, "e2e": 10.0}.items()
    }
    display = StageDisplay({"torch-fp32": rates}).plot()
    assert [bar.get_width() for bar in display.ax_.patches] == [0.5, 8.0, 10.0]
    assert display.describe() == (
        "Milliseconds per image by pipeline stage. torch-fp32: read 0.500, infer 8.00, "
        "end to end 10.0."
    )
    assert "10.0  (100\u00a0images/s)" in texts(display.ax_)


def test_accuracy_speed_draws_both_intervals_of_every_cell():
    rows = [
        {
            "target": "torch-fp32",
            "batch_size": size,
            "accuracy": {"value": 0.99, "low": 0.98, "high": 0.995},
            "throughput_ips": {"value": rate, "low": rate - 1, "high": rate + 2},
        }
        for size, rate in ((1, 10.0), (16, 20.0))
    ]
    display = AccuracySpeedDisplay(rows).plot()
    segments = [s for c in display.ax_.collections for s in c.get_segments()]
    assert pytest.approx([9.0, 12.0]) in [s[:, 0].tolist() for s in segments]
    assert pytest.approx([0.98, 0.995]) in [s[:, 1].tolist() for s in segments]
    assert texts(display.ax_) == ["1", "16"]
    assert "torch-fp32 at batch 16: accuracy 99.00\u00a0% [98.00, 99.50]" in display.describe()


def test_batch_sizes_of_targets_that_lie_together_stand_on_lines_of_their_own():
    accuracy = {"value": 0.99, "low": 0.98, "high": 0.995}
    rows = [
        {
            "target": target,
            "batch_size": size,
            "accuracy": accuracy,
            "throughput_ips": {"value": rate, "low": rate, "high": rate},
        }
        for target, rates in (
            ("torch-fp32", (60, 100)),
            ("onnxruntime-fp32", (70, 80)),
            ("openvino-fp32", (200, 210)),
        )
        for size, rate in zip((1, 16), rates, strict=True)
    ]
    ax = AccuracySpeedDisplay(rows).plot().ax_
    heights = [text.get_position()[1] for text in ax.texts]
    assert heights[0] == heights[1] == heights[4] == heights[5]
    assert heights[2] == heights[3] > heights[0]
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert box.y1 < ax.get_window_extent().y1


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
