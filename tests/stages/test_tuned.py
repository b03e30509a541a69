"""Before and after come from one group of measurements, or there is a reason."""

from lresnet_utils.stages.summary import NO_SEARCH, tuning


def rate(value):
    return {"value": value, "low": value - 2, "high": value + 2, "n": 5, "interval": "t"}


def entry(failure=None):
    told = None if failure else rate(100.0)
    return {
        "running": {
            "before": {"what": "as simplified", "throughput_ips": told, "failure": failure},
            "candidates": [
                {"throughput_ips": rate(118.0), "chosen": False},
                {"throughput_ips": rate(150.0), "chosen": True},
            ],
            "ratio": None if failure else {"value": 1.49, "low": 1.4, "high": 1.6, "n": 5},
            "measured_at": "2026-01-02T00:00:00+00:00",
            "reused": True,
        }
    }


def test_before_after_and_their_paired_ratio():
    found = tuning(entry())["tuning"]
    assert found["before_ips"] == rate(100.0) and found["after_ips"] == rate(150.0)
    # The paired ratio, which is not the quotient of the two mean rates.
    assert found["ratio"]["value"] == 1.49
    assert found["reused"] and found["measured_at"].startswith("2026-01-02")


def test_what_was_not_measured_is_refused_with_its_reason():
    assert tuning({})["tuning_refused"] == NO_SEARCH
    refused = tuning(entry(failure="operator not known"))
    assert refused["tuning"] is None and "operator not known" in refused["tuning_refused"]
