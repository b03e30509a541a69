"""What tuning bought is a chain of two measured ratios, or a reason why it cannot be told."""

import pytest

from lresnet_utils.perf.ratio import chained_ratio, speed_ratio
from lresnet_utils.stages.tuned import FP32, NO_SEARCH, tuning


def rate(value, half=2.0):
    return {"value": value, "low": value - half, "high": value + half, "n": 5, "interval": "t"}


def ratio(value, factor=1.05):
    return {"value": value, "low": value / factor, "high": value * factor, "n": 5, "interval": "t"}


def step(rewrite, value, kept=True, failure=None):
    told = None if failure else rate(value)
    return {"rewrite": rewrite, "throughput_ips": told, "kept": kept, "failure": failure}


def way(value, gain=None, chosen=False, failure=None):
    told = None if failure else rate(value)
    return {"throughput_ips": told, "ratio": gain, "chosen": chosen, "failure": failure}


def entry(rewrites, steps, ways):
    graph = {"rewrites": rewrites, "steps": steps, "measured_at": "2026-01-01T00:00:00+00:00"}
    running = {"candidates": ways, "measured_at": "2026-01-02T00:00:00+00:00"}
    return {"graph": graph | {"reused": True}, "running": running | {"reused": False}}


STEPS = [step("as simplified", 100.0), step("a", 110.0), step("b", 120.0)]
BOTH_WAYS = [way(118.0), way(150.0, ratio(1.3), chosen=True)]


def test_both_factors_are_chained_and_kept_apart():
    found = tuning(entry(["a", "b"], STEPS, BOTH_WAYS), 16)["tuning"]
    graph = speed_ratio(rate(100.0), rate(120.0))
    assert found["before_ips"] == rate(100.0)
    assert found["after_ips"] == rate(150.0)
    assert found["build_ratio"] == graph | {"n": 5}
    assert found["running_ratio"] == ratio(1.3)
    assert found["ratio"] == chained_ratio(graph, ratio(1.3)) | {"n": 5}
    assert found["ratio"]["value"] == pytest.approx(1.2 * 1.3)
    # Not the quotient of two rates that were measured at different times.
    assert found["ratio"]["value"] != pytest.approx(150 / 100)
    assert found["reused"] is True
    assert found["measured_at"] == ["2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"]


def test_a_dropped_last_rewrite_does_not_count():
    steps = [*STEPS[:2], step("b", 90.0, kept=False)]
    found = tuning(entry(["a"], steps, [way(108.0, chosen=True)]), 16)["tuning"]
    assert (
        found["ratio"] == found["build_ratio"] == speed_ratio(rate(100.0), rate(110.0)) | {"n": 5}
    )
    assert found["running_ratio"] is None


def test_without_a_kept_rewrite_only_the_way_of_running_counts():
    found = tuning(entry([], STEPS[:1], BOTH_WAYS), 16)["tuning"]
    assert found["before_ips"] == rate(118.0)
    assert (found["build_ratio"], found["ratio"]) == (None, ratio(1.3))


def test_nothing_changed_is_exactly_one_and_says_why_it_has_no_interval():
    found = tuning(entry([], STEPS[:1], [way(118.0, chosen=True)]), 16)["tuning"]
    assert found["ratio"]["value"] == 1.0
    assert found["ratio"]["low"] is None
    assert "same build" in found["ratio"]["interval"]


@pytest.mark.parametrize(
    ("built", "why"),
    [
        ({}, NO_SEARCH),
        (entry(["b"], [*STEPS[:1], step("a", 80.0, kept=False), STEPS[2]], BOTH_WAYS), "dropped"),
        (entry(["a"], [], BOTH_WAYS), "without timing"),
        (entry(["a"], [step("as simplified", 0, failure="boom"), STEPS[1]], BOTH_WAYS), "boom"),
        (entry([], [], [way(0, failure="no pin"), way(9.0, chosen=True)]), "no pin"),
    ],
)
def test_what_was_not_measured_together_is_refused(built, why):
    found = tuning(built, 16)
    assert found["tuning"] is None
    assert why in found["tuning_refused"]


def test_int8_is_compared_with_fp32_at_the_batch_size_it_was_searched_at():
    tried = [{"chosen": False, "ratio": ratio(3.0)}, {"chosen": True, "ratio": ratio(2.0)}]
    built = {
        "int8": {"batch_size": 16, "tried": tried, "measured_at": "2026-01-01T00:00:00+00:00"},
        "running": {"candidates": BOTH_WAYS, "measured_at": "2026-01-01T00:00:00+00:00"},
    }
    found = tuning(built, 16)["tuning"]
    assert found["before"] == FP32
    assert found["before_ips"] is None and "fp32" in found["before_refused"]
    assert found["ratio"] == chained_ratio(ratio(2.0), ratio(1.3)) | {"n": 5}
    assert "16" in tuning(built, 1)["tuning_refused"]
