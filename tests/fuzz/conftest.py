"""Runs of the fuzzing loop in processes of their own."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).parent / "fuzzkit" / "child.py"
ROOT = Path(__file__).parents[2]


def run_child(
    folder: Path, module: str, names: str, count: int, *, first: int = 0, seconds: int = 3600
) -> dict:
    """Return ``{reader: outcome}``; a reader whose process died has a finding that says so."""
    progress = folder / f"{module}.progress"
    progress.write_bytes(b" " * 80)
    done = subprocess.run(
        [sys.executable, str(CHILD), module, names, str(first), str(count), str(progress)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    at = progress.read_text().strip()
    how = signal.Signals(-done.returncode).name if done.returncode < 0 else done.stderr[-800:]
    died = {"inputs": 0, "accepted": 0, "refused": 0, "grown_bytes": 0}
    return {at.split("/")[0]: died | {"findings": [f"{at}: the process died: {how}"]}}


@pytest.fixture(scope="session")
def child(tmp_path_factory):
    """Give :func:`run_child` a folder."""

    def run(module, names, count, **options):
        return run_child(tmp_path_factory.mktemp("fuzz"), module, names, count, **options)

    return run
