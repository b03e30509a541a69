"""Embedding ends in time, whatever does it: a runtime in our process, or an external tool."""

import multiprocessing

import numpy as np
import psutil
import pytest

from lresnet_utils.data.images import encode_png
from lresnet_utils.data.readers.bin import write_bin
from lresnet_utils.machine import isolation
from lresnet_utils.machine.disk import sha256_file, write_json
from lresnet_utils.machine.isolation import LimitOptions
from lresnet_utils.run import RunFolder
from lresnet_utils.stages import compile as compiling
from lresnet_utils.stages import perf
from lresnet_utils.stages.infer import infer
from lresnet_utils.stages.preprocess import preprocess
from lresnet_utils.targets import get_target
from lresnet_utils.targets.base import Artefact

# It loads every graph on every provider, and then does not come back.
HANGING_RUNTIME = """
import time
class SessionOptions:
    def add_session_config_entry(self, *_):
        pass
class InferenceSession:
    def __init__(self, graph, options, providers, **_):
        self.provider = providers[0][0]
    def get_providers(self):
        return [self.provider]
    def get_inputs(self):
        return [SessionOptions]
    def run(self, *_):
        time.sleep(60)
        raise RuntimeError("nothing ended it")
SessionOptions.name = "image"
def get_available_providers():
    return ["TensorrtExecutionProvider", "CANNExecutionProvider"]
"""
HANGING_TOOL = '#!/bin/sh\necho $$ >> "{pids}"\nsleep 60\necho "nothing ended it"\nexit 1\n'
TARGETS = ("tensorrt-fp16", "cann-fp16", "ascend-fp16")


@pytest.fixture
def hanging(tmp_path, monkeypatch):
    """Let child processes find runtimes and tools that never end; return the tools' process."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "onnxruntime.py").write_text(HANGING_RUNTIME)
    monkeypatch.syspath_prepend(tmp_path / "site")
    tool, pids = tmp_path / "msame", tmp_path / "pids"
    tool.write_text(HANGING_TOOL.format(pids=pids))
    tool.chmod(0o755)
    monkeypatch.setenv("LRESNET_MSAME", str(tool))
    # Children of the usual server have the environment that it was started in.
    spawn = multiprocessing.get_context("spawn")
    monkeypatch.setattr(isolation.multiprocessing, "get_context", lambda _: spawn)
    return pids


def prepared(tmp_path):
    """Return a run over ten pairs, with a build for each target that every check accepts."""
    pictures = np.random.default_rng(0).integers(0, 256, (20, 112, 112, 3), np.uint8)
    same = [True, False] * 5
    write_bin(tmp_path / "set.bin", [encode_png(picture) for picture in pictures], same)
    run = RunFolder(tmp_path / "run")
    preprocess(run, dataset=str(tmp_path / "set.bin"))
    spec = {"channel_order": "rgb", "normalisation": "raw", "size": 112}
    run.write_record("1_export", 1, {"network": {"trained": True}, "input": spec})
    run.write_record("2_compile", 1, {"targets": {name: _built(run, name) for name in TARGETS}})
    return run


def _built(run, name):
    folder = run.engine(1, name)
    folder.mkdir(parents=True)
    (folder / "graph.onnx").write_bytes(b"graph")
    graph = {"onnx": "graph.onnx", "onnx_sha256": sha256_file(folder / "graph.onnx")}
    build = write_json(folder / f"build{get_target(name).suffix}", graph)
    options = {"batch_size": 1, "embedding_size": 8, "device": 0, "dynamic_batch": False} | graph
    options |= {"precision_mode": "force_fp16", "runner": "msame", "timeout_s": 3600.0}
    artefact = Artefact(name, build, options, 0.1, build.stat().st_size, sha256_file(build))
    return {"status": "ok", "reason": None, "remedy": None, "artefact": artefact.to_json()}


def test_whatever_hangs_ends_at_the_limit(hanging, tmp_path):
    run = prepared(tmp_path)
    record = infer(run, batch_size=1, targets=list(TARGETS), limits={"seconds": 6})
    reasons = {name: entry["reason"] for name, entry in record["targets"].items()}
    assert reasons == {
        name: f"It did not finish within 6 s while embedding. ({name}/infer.log)"
        for name in TARGETS
    }
    started = hanging.read_text().split() if hanging.exists() else []
    assert not any(psutil.pid_exists(int(pid)) for pid in started)


@pytest.mark.parametrize("name", TARGETS)
def test_builds_and_timings_have_a_limit_too(tmp_path, monkeypatch, name):
    given = []
    for stage in (compiling, perf):
        monkeypatch.setattr(stage, "attempt_apart", lambda *_, **how: given.append(how) or {})
    target, limits = get_target(name), LimitOptions(seconds=7)
    work = compiling._Work(RunFolder(tmp_path), 1, 0, None)
    monkeypatch.setattr(type(target), "recorded", True)
    compiling._kept(target, work, None, limits)
    times = {"warmup": 0, "seconds": 2.0, "repeats": 3}
    perf._Work(RunFolder(tmp_path), 1, times, limits)._by_tool(target, None)
    assert [how["limits"].seconds for how in given] == [7, 7]
    # A repeat of a timing may take as long as a build, and there is one to try it out.
    assert [how.get("seconds") for how in given] == [None, 4 * (7 + 2)]
