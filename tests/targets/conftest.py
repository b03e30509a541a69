"""A tiny network, a few faces, and stand-ins of the vendors' tools on the PATH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from builders import write_onnx
from onnx import helper

from lresnet_utils.data.network_input import flip, to_network_input
from lresnet_utils.targets.base import ModelFiles
from lresnet_utils.verify.scores import unit_rows

SIZE = 8
STANDINS = Path(__file__).parents[1] / "standins"
PROGRAMS = {
    "atc": "atc",
    "trtexec": "trtexec",
    "ais_bench": "ais_bench",
    "msame": "msame",
    "benchmark": f"benchmark.{os.uname().machine}",
}
VENDOR_VARIABLES = (
    *("ASCEND_TOOLKIT_HOME", "ASCEND_OPP_PATH", "LD_LIBRARY_PATH", "ASCEND_AICPU_PATH"),
    *(f"LRESNET_{name}" for name in ("ATC", "TRTEXEC", "AIS_BENCH", "MSAME", "BENCHMARK")),
)


def write_network(path, batch):
    """Write a network of average pooling and a matrix; `batch` may be a symbol."""
    matrix = np.random.default_rng(7).normal(size=(SIZE, 147)).astype(np.float32)
    nodes = [
        helper.make_node("AveragePool", ["image"], ["a"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["a"], ["b"]),
        helper.make_node("Gemm", ["b", "matrix"], ["features"], transB=1),
    ]
    ends = {"image": [batch, 3, 112, 112]}, {"features": [batch, SIZE]}
    write_onnx(path, nodes, *ends, {"matrix": matrix})


@pytest.fixture
def model(tmp_path):
    """Return a function that gives the exported network of a batch size."""

    def make(batch_size, *, dynamic=False):
        path = tmp_path / f"model_bs{batch_size}_sim.onnx"
        write_network(path, str(batch_size) if dynamic else batch_size)
        return ModelFiles("sface", tmp_path / "network.pt", path, batch_size, SIZE)

    return make


@pytest.fixture(scope="session")
def faces():
    """Seven pictures that differ from each other and from their mirror image."""
    return np.random.default_rng(5).integers(0, 256, (7, 112, 112, 3), np.uint8)


@pytest.fixture(scope="session")
def wanted(tmp_path_factory, faces):
    """Return a function that gives the embeddings that every road must arrive at."""
    path = tmp_path_factory.mktemp("wanted") / "any.onnx"
    write_network(path, "n")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def make(*, mirrored, channel_order="bgr", normalisation="minus1_1"):
        plain = to_network_input(faces, channel_order=channel_order, normalisation=normalisation)
        views = [plain, flip(plain)] if mirrored else [plain]
        outputs = [session.run(None, {"image": view})[0] for view in views]
        return unit_rows(sum(unit_rows(output) for output in outputs))

    return make


@dataclass
class Tools:
    """Stand-ins in a folder that is the whole PATH."""

    folder: Path
    patch: pytest.MonkeyPatch

    def install(self, *names):
        for name in names:
            self.script(PROGRAMS[name], f'exec "{sys.executable}" "{STANDINS / name}.py" "$@"')

    def install_module(self, name):
        """Install as ``python3 -m name`` only."""
        package = self.folder / "site" / name
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        source = STANDINS / f"{name}.py"
        (package / "__main__.py").write_text(
            f"import runpy, sys\nsys.path.insert(0, {str(STANDINS)!r})\n"
            f"runpy.run_path({str(source)!r}, run_name='__main__')\n"
        )
        self.script("python3", f'PYTHONPATH="{package.parent}" exec "{sys.executable}" "$@"')

    def script(self, name, line):
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
        return path

    def mode(self, mode, tool=None):
        self.patch.setenv(f"STANDIN_MODE_{tool.upper()}" if tool else "STANDIN_MODE", mode)

    def calls(self, tool):
        """Return the argument lists with which a tool was started."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [call["argv"] for call in map(json.loads, lines) if call["tool"] == tool]

    def hangs_first(self, pids):
        """Let the time limit of a tool begin when it has written the processes that hang."""

        class Patient(subprocess.Popen):
            def wait(self, timeout=None):
                deadline = time.monotonic() + 120
                while not (pids.exists() and len(pids.read_text().split()) == 2):
                    if self.poll() is not None or time.monotonic() > deadline:
                        break
                    time.sleep(0.02)
                return super().wait(timeout)

        self.patch.setattr(subprocess, "Popen", Patient)

    def ended(self, pids):
        """Whether the processes that a file lists end soon: they are gone or wait to be reaped."""
        deadline = time.monotonic() + 120
        left = pids.read_text().split()
        while left and time.monotonic() < deadline:
            time.sleep(0.02)
            left = [pid for pid in left if not _gone(pid)]
        return not left

    def cann(self, *, by_hand=False):
        """Set up CANN's folders and variables, as set_env.sh or as the guide's section 3.2."""
        home = self.folder / "Ascend/ascend-toolkit/latest"
        for name in ("opp", "atc/lib64", "lib64"):
            (home / name).mkdir(parents=True, exist_ok=True)
        (home / "version.cfg").write_text("toolkit_running_version=[1.84.15:7.0.RC1]\n")
        if by_hand:
            self.patch.setenv("LD_LIBRARY_PATH", f"{home}/atc/lib64:{home}/acllib/lib64:")
        else:
            self.patch.setenv("ASCEND_TOOLKIT_HOME", str(home))
            self.patch.setenv("LD_LIBRARY_PATH", f"{home}/lib64:/usr/lib")
        self.patch.setenv("ASCEND_OPP_PATH", f"{home}/opp")
        return home


def _gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def tools(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for variable in VENDOR_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("STANDIN_ARGV", str(folder / "calls"))
    monkeypatch.setenv("STANDIN_PIDS", str(folder / "pids"))
    return Tools(folder, monkeypatch)
