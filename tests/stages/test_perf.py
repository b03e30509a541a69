"""Which build is timed layer by layer, and what is said where none can be."""

from pathlib import Path

from lresnet_utils.machine.isolation import LimitOptions
from lresnet_utils.stages import perf
from lresnet_utils.targets.openvino import OpenVinoTarget


def here(name):
    return {"limits": LimitOptions(own_process=False), "log": Path(), "doing": "timing"}


def timed(**rates):
    return {name.replace("_", "-"): {"throughput_ips": {"value": r}} for name, r in rates.items()}


def test_the_fastest_openvino_build_is_profiled(monkeypatch):
    def profile(self, artefact, batch, *, seconds):
        return {"batches": 3, "wall_ms": 1.0, "layers": [], "of": artefact}

    monkeypatch.setattr(OpenVinoTarget, "profile", profile)
    entries = timed(torch_fp32=9.0, openvino_fp32=2.0, openvino_bf16=3.0)
    found = perf._layers(entries, {name: f"build of {name}" for name in entries}, None, 0.1, here)
    assert (found["target"], found["precision"]) == ("openvino-bf16", "bf16")
    assert found["of"] == "build of openvino-bf16"


def test_no_openvino_and_a_failing_profile_are_reasons(monkeypatch):
    def profile(self, artefact, batch, *, seconds):
        raise RuntimeError("no counters")

    none = perf._layers(timed(torch_fp32=9.0), {}, None, 0.1, here)
    assert "no OpenVINO target" in none["refused"]
    monkeypatch.setattr(OpenVinoTarget, "profile", profile)
    found = perf._layers(timed(openvino_fp32=2.0), {"openvino-fp32": None}, None, 0.1, here)
    assert found == {
        "refused": "openvino-fp32 could not be timed layer by layer: RuntimeError: no counters"
    }
