"""What several test modules share: one small run of the demo, made once."""

import subprocess
import sys
from pathlib import Path

import pytest

from lresnet_utils.run import RunFolder

ROOT = Path(__file__).parent.parent
SMALL = (
    "batch_sizes=[2, 16]",
    "targets=[torch-fp32, onnxruntime-fp32, openvino-fp32]",
    "dataset.variants=[noise40]",
    "perf.seconds=0.05",
    "perf.repeats=2",
    "flip=true",
)


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory) -> RunFolder:
    """Run the demo with fewer cells through the command line."""
    folder = tmp_path_factory.mktemp("demo") / "small"
    sets = [part for override in SMALL for part in ("--set", override)]
    command = [sys.executable, "-m", "lresnet_utils", "run", "params/demo.yaml"]
    done = subprocess.run(
        [*command, "--output", str(folder), *sets],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 cells: 6 ok" in done.stdout
    return RunFolder(folder)
