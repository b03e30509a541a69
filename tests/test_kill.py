"""Whenever a run is killed, the next one goes on, and ends as if nothing had happened."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from lresnet_utils.machine.processes import MARK
from lresnet_utils.run import STAGES, WHOLE_RUN

ROOT = Path(__file__).parents[1]
# A stage of two targets; each part and each file depends on what the stages before it wrote.
BODY = """
import hashlib
from pathlib import Path
from lresnet_utils.machine.disk import write_text
from lresnet_utils.ledger.entries import Ledger
from lresnet_utils.run import RunFolder

run = RunFolder(Path(run_dir).absolute())
needed = [p for stage in {reads} for p in run.files(stage, None if stage[0] in "37" else 4)]
before = [p.read_bytes() for p in needed if p.suffix not in (".html", ".ipynb")]
digest = hashlib.sha256(b"".join(before)).hexdigest()
ledger = Ledger.of_stage(run, "{stage}", batch_size or None, timed=False)
made = {{name: run.folder / "{place}" / f"{{name}}.npz" for name in ("a-1", "b-2")}}

def entry(name):
    write_text(made[name], digest + name + "x" * 10000)
    return {{"status": "ok", "digest": digest}}

targets = {{
    name: ledger.kept(name, {{"from": digest}}, lambda: entry(name), lambda: [made[name]])
    for name in made
}}
run.write_record("{stage}", batch_size or None, {{"targets": targets}})
"""
PLACES = {
    "1_export": "bs4/models",
    "2_compile": "bs4/models/t-1",
    "3_preprocess": "faces",
    "4_infer": "bs4/embeddings",
    "5_evaluate": "bs4/scores",
    "6_perf": "bs4/perf",
    # Beside what it reads: the next try would read what this one wrote.
    "7_summary": "bs4/summary",
}
READS = {
    "2_compile": ["1_export", "3_preprocess"],
    "4_infer": ["2_compile"],
    "5_evaluate": ["4_infer"],
    "6_perf": ["2_compile"],
    "7_summary": ["5_evaluate", "6_perf"],
}


@pytest.fixture
def project(tmp_path):
    """A project of small notebooks, and a process that runs it."""
    # Kernels' sockets lie below it, and the path of a socket has at most 107 characters.
    temporary = Path(tempfile.mkdtemp(prefix="lrk-", dir="/tmp"))
    (tmp_path / "params").mkdir()
    (tmp_path / "notebooks").mkdir()
    for stage in STAGES:
        batch = "batch_size: int = 0  # n" if stage not in WHOLE_RUN else "batch_size = None  # n"
        cell = new_code_cell(f'run_dir: str = ""  # folder\n{batch}')
        cell.metadata["tags"] = ["parameters"]
        body = BODY.format(stage=stage, place=PLACES[stage], reads=READS.get(stage, []))
        node = new_notebook(cells=[new_markdown_cell(f"# {stage}"), cell, new_code_cell(body)])
        node.metadata["kernelspec"] = {"name": "python3", "display_name": "x", "language": "python"}
        nbformat.write(node, tmp_path / "notebooks" / f"{stage}.ipynb")
    server = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "standins" / "kill_server.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
    )
    yield Project(tmp_path, temporary, server)
    server.stdin.close()
    server.wait(120)
    shutil.rmtree(temporary)


class Project:
    def __init__(self, folder, temporary, server):
        self.folder, self.temporary, self.server = folder, temporary, server

    def start(self, run):
        print(self.folder / run, file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def ended(self):
        """Wait for the end of a run; return the signal that killed it, or 0."""
        return os.WTERMSIG(int(self.server.stdout.readline()))

    def run(self, name):
        self.start(name)
        assert self.ended() == 0
        return self.left(name)

    def kill_after(self, name, changes):
        """Kill a run at its so-many-th change of a file; how many were seen when it ended before.

        0 where it was killed.
        """
        before, seen = _files(self.folder / name), set()
        pid = self.start(name)
        while psutil.pid_exists(pid):
            seen |= _files(self.folder / name) - before
            if len(seen) >= changes:
                os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.02)
        return 0 if self.ended() == signal.SIGKILL else len(seen)

    def left(self, name):
        """Return what a finished run left: names of all files, and what the numbers are."""
        run = self.folder / name
        names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
        records = (*run.glob("[1-7]_*.json"), *run.glob("bs4/[1-7]_*.json"))
        kept = {path.name: json.loads(path.read_text())["targets"] for path in records}
        assert len(kept) == len(STAGES)
        notebooks = json.loads((run / "run.json").read_text())["notebooks"]
        assert {outcome["status"] for outcome in notebooks} == {"ok"}
        # Hashes are remembered of files that are a little older, which may be none of them.
        return names - {"resume/hashes.json"}, kept

    def no_trace(self):
        """Whether every process and temporary file of a killed run is gone soon."""
        deadline = time.monotonic() + 120
        while self._left_over() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self._left_over()

    def _left_over(self):
        return [*_marked(self.temporary), *self.temporary.glob("lr-*")]


def _files(run):
    """Return the files of the work itself; a run writes some others before it begins."""
    found = set()
    for path in run.rglob("*"):
        if any(word in path.name for word in ("run.", "params.", "reserve", "clock")):
            continue
        try:
            about = path.stat()
        except FileNotFoundError:
            continue
        found.add((path, about.st_mtime_ns, about.st_size))
    return found


def _marked(folder):
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.Error, OSError):
            continue
        if MARK in environment and str(folder) in environment.get("TMPDIR", ""):
            found.append(process)
    return found


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_like_any_other(project, kills):
    # Up to half of what a run changes: each moment comes, and each life gets on.
    most = project.kill_after("whole", math.inf) // 2
    wanted = project.left("whole")
    killed, life, changes = 0, 0, 0
    while killed < kills:
        life += 1
        name = f"life{life}"
        while killed < kills:
            changes = (changes + 5) % most + 1
            if project.kill_after(name, changes):
                break
            killed += 1
            assert project.no_trace()
        else:
            assert project.run(name) == wanted
        assert project.left(name) == wanted
    assert project.no_trace()
