"""The performance page: shares of the ceiling, layers, and what is said where there is none."""

import pytest

from lresnet_utils.report.pages import perf as page
from lresnet_utils.report.show import collected

OK = {"status": "ok", "reason": None}
FOUND = {"fraction": 1.25, "low": 1.2, "high": 1.3, "precision": "bf16", "tops": 0.4, "by": "A"}
LAYER = {"name": "c", "kind": "convolution", "ms": 2.0, "flops": 10**9, "bytes": 10**7}


@pytest.fixture
def record():
    return {
        "batch_size": 16,
        "flops_per_image": 24_150_000_000,
        "targets": {
            "openvino-bf16": OK | {"ceiling": FOUND},
            "onnxruntime-fp32": OK | {"ceiling": {"refused": "no fp32 here"}},
            "replay": OK,
        },
        "ceilings": {
            "bf16": {"tops": 0.4, "by": "A", "n": 5, "size": 2048},
            "int8": {"refused": "A: it cannot", "size": 2048},
        },
        "memory_bandwidth": {"gb_per_s": 20.0, "n": 7, "array_bytes": 10**8},
        "layers": {
            "target": "openvino-bf16",
            "precision": "bf16",
            "batches": 3,
            "wall_ms": 4.0,
            "layers": [LAYER, LAYER | {"kind": "reorder", "flops": 0, "ms": 1.0}],
        },
    }


def shown(*parts):
    """Return the HTML that parts of the page leave in a cell."""
    with collected() as html:
        for part, record in parts:
            part(record)
    return "".join(html).replace("\N{NO-BREAK SPACE}", " ")


def test_shares_come_with_their_ceiling_or_the_reason(record):
    html = shown((page.ceiling, record))
    assert "125.0 [120.0, 130.0]" in html and "0.400" in html
    assert "not given: no fp32 here" in html and "not given: timed by a tool" in html
    assert "There is no int8 ceiling: A: it cannot." in html
    assert "openvino-bf16: above 100 %" in html
    assert "24.15 × 10⁹ operations per image" in html and "bf16 2048 × 2048, best of 5" in html


def test_layers_are_drawn_and_added_up(record):
    html = shown((page.layers, record))
    assert "<svg" in html and "Roofline of 1 layers" in html
    assert "66.67 %" in html and "33.33 %" in html
    assert "add up to 3.0 of 4.0 ms per batch" in html


def test_a_run_without_layers_or_ceilings_says_why(record):
    record["layers"] = {"refused": "no OpenVINO target has run"}
    html = shown((page.layers, record))
    assert "No layers to show: no OpenVINO target has run." in html and "<table" not in html
    html = shown((page.ceiling, {"targets": {}}), (page.layers, {"targets": {}}))
    assert "are not measured" in html and "no target ran in this process" in html
