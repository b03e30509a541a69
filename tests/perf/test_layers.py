"""What single layers add up to."""

import pytest

from lresnet_utils.perf.statistics import by_kind, roofline_points

LAYERS = [
    {"name": "a", "kind": "convolution", "ms": 4.0, "flops": 8 * 10**9, "bytes": 10**8},
    {"name": "b", "kind": "reorder", "ms": 5.0, "flops": 0, "bytes": 10**6},
    {"name": "c", "kind": "convolution", "ms": 1.0, "flops": 2 * 10**9, "bytes": None},
    {"name": "d", "kind": "convolution", "ms": 0.0, "flops": 10, "bytes": 10},
]


def test_kinds_add_up_to_everything():
    rows = by_kind(LAYERS)
    assert [(row["kind"], row["n"]) for row in rows] == [("convolution", 3), ("reorder", 1)]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert rows[0]["share"] == pytest.approx(0.5) and rows[0]["flops_share"] == 1
    assert rows[0]["tops"] == pytest.approx(2.0)
    assert by_kind([]) == []


def test_only_layers_with_arithmetic_bytes_and_time_are_points():
    (point,) = roofline_points(LAYERS)
    assert point == {"name": "a", "kind": "convolution", "ms": 4.0, "intensity": 80, "tops": 2}
