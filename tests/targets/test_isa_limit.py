"""On a processor with fewer instructions, simulated by oneDNN's own switch."""

import json
import os
import subprocess
import sys

import numpy as np

from lresnet_utils.targets import get_target

SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from lresnet_utils.machine.facts import machine
from lresnet_utils.targets import TARGETS
from lresnet_utils.targets.base import ModelFiles

onnx, folder = Path(sys.argv[1]), Path(sys.argv[2])
batch = np.load(sys.argv[3])
files = ModelFiles("sface", onnx, onnx, len(batch), 8)
told = {"machine": machine()}
for name in ("onnxruntime-fp32", "openvino-fp32", "openvino-bf16", "openvino-int8"):
    target = TARGETS[name]
    able = target.available()
    told[name] = {"ok": able.ok, "text": able.reason or able.note}
    if able.ok:
        with target.load(target.build(files, folder / name, threads=1)) as session:
            told[name]["features"] = session.infer(batch).tolist()
print(json.dumps(told))
"""


def test_every_cpu_target_still_runs_or_says_why_not(model, tmp_path):
    files = model(2)
    batch = np.random.default_rng(0).normal(size=(2, 3, 112, 112)).astype(np.float32)
    np.save(tmp_path / "batch.npy", batch)
    arguments = [files.onnx, tmp_path / "limited", tmp_path / "batch.npy"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    )
    told = json.loads(done.stdout.splitlines()[-1])
    plain = get_target("openvino-fp32")
    with plain.load(plain.build(files, tmp_path / "free", threads=1)) as session:
        expected = session.infer(batch)
    for name in ("onnxruntime-fp32", "openvino-fp32", "openvino-int8"):
        np.testing.assert_allclose(told[name]["features"], expected, rtol=1e-4, atol=1e-4)
    assert not told["openvino-bf16"]["ok"]
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in told["openvino-bf16"]["text"]
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in told["openvino-int8"]["text"]
    assert told["machine"]["isa_limit"] == "ONEDNN_MAX_CPU_ISA=AVX2"
