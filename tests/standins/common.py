"""What the stand-ins share: their modes, their fake builds, and faults in their dumps.

A stand-in does what its tool's documented contract says, on the CPU: a build is a small JSON file
that points at the ONNX graph, and running it is ONNX Runtime. ``STANDIN_MODE`` chooses how it
ends, ``STANDIN_ARGV`` names a file that gets one JSON line per call.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def start(tool):
    """Note the call, then behave as the mode asks of every tool; return the mode."""
    if os.environ.get("STANDIN_ARGV"):
        with Path(os.environ["STANDIN_ARGV"]).open("a") as file:
            file.write(json.dumps({"tool": tool, "argv": sys.argv[1:]}) + "\n")
    mode = os.environ.get(f"STANDIN_MODE_{tool.upper()}", os.environ.get("STANDIN_MODE", "ok"))
    if mode == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        say("still at it")
        Path(os.environ["STANDIN_PIDS"]).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)
    return mode


def say(text=""):
    print(text, flush=True)


def crash():
    """Die as a C++ tool dies."""
    os.kill(os.getpid(), signal.SIGSEGV)


def write_build(path, onnx, **about):
    Path(path).write_text(json.dumps({"onnx": str(Path(onnx).resolve()), **about}))


class Build:
    """A fake build, run by ONNX Runtime."""

    def __init__(self, path):
        import onnxruntime

        self.about = json.loads(Path(path).read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            self.about["onnx"], options, providers=["CPUExecutionProvider"]
        )
        graph_input = self.session.get_inputs()[0]
        self.name = graph_input.name
        self.shape = self.about.get("shape") or graph_input.shape
        self.as_bytes = bool(self.about.get("aipp"))
        self.input_bytes = int(np.prod(self.shape)) * (1 if self.as_bytes else 4)
        self.times_ms = []

    def run(self, data):
        """Run one batch of raw input bytes."""
        if self.as_bytes:  # what the tests' AIPP file asks for: BGR, (x / 255 - 0.5) / 0.5
            n, c, h, w = self.shape
            pixels = np.frombuffer(data, np.uint8).reshape(n, h, w, c)[..., ::-1]
            batch = ((pixels.transpose(0, 3, 1, 2) / np.float32(255)) - np.float32(0.5)) / 0.5
            batch = np.ascontiguousarray(batch, np.float32)
        else:
            batch = np.frombuffer(data, "<f4").reshape(self.shape)
        started = time.perf_counter()
        output = self.session.run(None, {self.name: batch})[0]
        self.times_ms.append(1000 * (time.perf_counter() - started))
        return output

    def run_zeros(self, rounds):
        data = bytes(self.input_bytes)
        for _ in range(rounds):
            self.run(data)
        return self.times_ms[-rounds:]


def spoil(folder, mode):
    """Leave the dump as a run leaves it that went wrong unnoticed."""
    files = sorted(Path(folder).iterdir(), key=lambda p: (len(p.name), p.name))
    victim = files[2]
    if mode == "missing":
        victim.unlink()
    elif mode == "surplus":
        name = victim.name.replace(victim.name.split("_")[0], "977", 1)
        victim.with_name(name).write_bytes(victim.read_bytes())
    elif mode == "count":
        for path in files[-2:]:
            path.unlink()
    elif mode in ("nan", "short") and victim.suffix == ".txt":
        words = victim.read_text().split()
        words = ["nan", *words[1:]] if mode == "nan" else words[1:]
        victim.write_text(" ".join(words))
    elif mode in ("nan", "short"):
        values = np.fromfile(victim, "<f4")
        values[0] = np.nan
        (values if mode == "nan" else values[1:]).tofile(victim)
