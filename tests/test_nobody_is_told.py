"""No library that a run uses reports it: nothing is looked up, and no id is left in the home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lresnet_utils.machine.disk import read_json

ROOT = Path(__file__).parent.parent

# What Jupyter and Matplotlib keep for themselves.
OWN_CACHES = (
    *(".cache/matplotlib", ".config/matplotlib"),
    *(".ipython", ".jupyter", ".local/share/jupyter"),
)

# The libraries as the stages use them, in a process that is not pytest, which NNCF keeps quiet in.
WORK = """
import sys
from pathlib import Path

import numpy as np

import lresnet_utils
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.compile import compile_targets
from lresnet_utils.stages.export import export
from lresnet_utils.stages.perf import measure_speed
from lresnet_utils.targets.openvino import NncfQuantiser
from lresnet_utils.targets.base import Recipe

if __name__ == "__main__":  # what the children of a fork server import is no main module
    run = RunFolder(Path(sys.argv[1]))
    targets = ["onnxruntime-fp32", "openvino-fp32", "openvino-int8"]
    how = {"batch_size": 2, "targets": targets}
    export(run, architecture="sface", weights="packaged", dataset="none", batch_size=2)
    compile_targets(run, **how, build={"search_seconds": 0, "prepare": "none"})
    measure_speed(run, **how, warmup=1, seconds=0.01, repeats=2)
    graph, faces = run.onnx(2, simplified=True), np.zeros((2, 3, 112, 112), np.float32)
    recipe = Recipe("symmetric", bias="fast")
    NncfQuantiser().quantise(graph, run.folder / "int8.xml", faces, recipe)
"""


def run(watched, folder, code, *arguments):
    """Run Python code watched; return what was heard and the names in its home."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, **watched(folder)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    return done, (folder / "heard").read_text(), names(folder)


def names(folder):
    home = folder / "home"
    return sorted(path.relative_to(home).as_posix() for path in home.rglob("*"))


def test_the_watch_notices_look_ups_connections_and_files(watched, tmp_path):
    code = (
        "import pathlib, socket, subprocess, sys\n"
        "(pathlib.Path.home() / 'id').touch()\n"
        "ask = 'import socket; socket.getaddrinfo(\"telemetry.invalid\", 443)'\n"
        "subprocess.run([sys.executable, '-c', ask])\n"
        "socket.socket(type=socket.SOCK_DGRAM).connect(('192.0.2.1', 9))\n"
    )
    _, heard, home = run(watched, tmp_path / "w", code)
    assert "telemetry.invalid" in heard and "192.0.2.1" in heard
    assert home == ["id"]


@pytest.fixture(scope="module")
def speed_only(watched, tmp_path_factory):
    """Export, compile and time without a set of faces, and quantise with NNCF."""
    folder = tmp_path_factory.mktemp("speed")
    script = folder / "work.py"
    script.write_text(WORK)
    code = "import runpy, sys; runpy.run_path(sys.argv[2], run_name='__main__')"
    done, heard, home = run(watched, folder / "w", code, str(folder / "run"), str(script))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run", heard, home


def test_exporting_compiling_quantising_and_timing_tell_nobody(speed_only):
    folder, heard, home = speed_only
    assert (folder / "int8.xml").is_file()
    assert heard == ""
    # The key of the seals is Jupyter's own.
    key = ".local/share/jupyter/notebook_secret"
    assert set(home) <= {key, *map(str, Path(key).parents)}


def test_speed_needs_no_faces(speed_only):
    folder = speed_only[0]
    built, timed = (read_json(folder / "bs2" / f"{s}.json") for s in ("2_compile", "6_perf"))
    status = {"onnxruntime-fp32": "ok", "openvino-fp32": "ok", "openvino-int8": "unavailable"}
    for record in (built, timed):
        assert {name: entry["status"] for name, entry in record["targets"].items()} == status
    assert "takes its ranges from faces" in built["targets"]["openvino-int8"]["reason"]
    assert timed["targets"]["openvino-fp32"]["throughput_ips"]["value"] > 0
    exported = read_json(folder / "bs2" / "1_export.json")
    assert exported["parity"][0]["min_cosine"] > 0.999


def test_a_whole_run_tells_nobody(demo_run):
    folder = demo_run.folder.parent
    assert (folder / "heard").read_text() == ""
    parents = {str(p) for cache in OWN_CACHES for p in Path(cache).parents}
    others = [n for n in names(folder) if n not in parents and not n.startswith(OWN_CACHES)]
    assert others == []
