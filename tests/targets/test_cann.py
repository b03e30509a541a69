"""ONNX Runtime's CANN provider, which this machine has not got."""

import numpy as np
import onnxruntime
import pytest

from lresnet_utils.errors import TargetError
from lresnet_utils.targets import ascend
from lresnet_utils.targets.ascend import PROVIDER, CannTarget
from lresnet_utils.targets.embed import embed
from lresnet_utils.untrusted.settings import ToolOptions

HOW = {"channel_order": "bgr", "normalisation": "minus1_1"}


@pytest.fixture
def with_provider(tools, monkeypatch):
    """Let ONNX Runtime claim the provider; what is asked of it goes to the CPU."""
    asked = []

    def on_the_cpu(graph, provider, settings):
        asked.append((provider, settings))
        return onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDER])
    monkeypatch.setattr(ascend, "provider_only", on_the_cpu)
    return asked


def test_without_the_provider_it_says_how_to_get_it():
    able = CannTarget().available()
    assert not able.ok
    assert "CANNExecutionProvider" in able.reason
    assert "pip install onnxruntime-cann" in able.remedy


def test_it_never_runs_on_the_cpu_instead(model, tmp_path):
    with pytest.raises(TargetError, match="built without"):
        CannTarget().build(model(1), tmp_path / "m")
    with pytest.raises(TargetError, match="built without"):
        ascend.provider_only(model(1).onnx, PROVIDER, {})


def test_it_embeds_as_any_session(with_provider, tools, model, faces, wanted, tmp_path):
    target = CannTarget().configured(ToolOptions(device=2))
    artefact = target.build(model(3), tmp_path / "models/cann-fp16", threads=2)
    assert artefact.target == "cann-fp16"
    assert "threads" not in artefact.options
    with target.load(artefact) as session:
        result = embed(faces, session, flip=True, **HOW)
    np.testing.assert_allclose(result.vectors, wanted(mirrored=True), atol=2e-6)
    ((provider, settings),) = with_provider
    assert provider == PROVIDER
    assert settings["device_id"] == 2
    assert settings["precision_mode"] == "force_fp16"


def test_a_changed_graph_is_refused(with_provider, model, tmp_path):
    target = CannTarget()
    files = model(1)
    artefact = target.build(files, tmp_path / "m")
    files.onnx.write_bytes(b"another")
    with pytest.raises(TargetError, match="changed"):
        target.load(artefact)


def test_versions_name_cann(tools):
    tools.cann()
    assert CannTarget().versions()["CANN"] == "7.0.RC1"
