"""A process of its own takes a crash, a hang or a hunger for memory with it, and says which."""

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from lresnet_utils.errors import StorageError, TargetError
from lresnet_utils.machine import isolation
from lresnet_utils.machine.isolation import LimitOptions, apart
from lresnet_utils.targets.attempts import attempt_apart


@pytest.fixture(autouse=True)
def light(monkeypatch):
    """Children of these tests need no library."""
    monkeypatch.setattr(isolation, "_PRELOADED", ("lresnet_utils.machine.isolation",))


def run(code, tmp_path, **limits):
    """Execute Python code apart."""
    how = {"limits": LimitOptions(**limits), "log": tmp_path / "t" / "b.log", "doing": "building"}
    return apart(exec, code, **how)


def test_the_result_comes_back_and_no_log_is_left(tmp_path):
    how = {"limits": LimitOptions(), "log": tmp_path / "t" / "b.log", "doing": "building"}
    assert apart(divmod, 7, 2, **how) == [3, 1]
    assert apart(os.getpid, **how) != os.getpid()
    assert list((tmp_path / "t").iterdir()) == []
    here = how | {"limits": LimitOptions(own_process=False)}
    assert apart(os.getpid, **here) == os.getpid()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "when memory runs out"),
        ("import os; print('last words', flush=True); os._exit(3)", "exit code 3"),
    ],
)
def test_how_it_died_is_said_and_its_last_words_are_kept(tmp_path, code, words):
    with pytest.raises(TargetError, match=f"{words}.* while building") as stopped:
        run(code, tmp_path)
    assert stopped.value.where == "t/b.log"
    assert ("last words" in (tmp_path / "t" / "b.log").read_text()) == ("exit code" in words)


def test_a_hang_ends_at_its_limit_with_all_that_it_started(tmp_path, monkeypatch):
    pids = tmp_path / "pids"
    # Time stands still until the child hangs.
    hangs = lambda: pids.exists() and pids.read_text().endswith(".")  # noqa: E731
    monkeypatch.setattr(isolation, "time", SimpleNamespace(monotonic=lambda: 60.0 * hangs()))
    code = (
        "import pathlib, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{child.pid}}.')\n"
        "time.sleep(600)"
    )
    with pytest.raises(TargetError, match=r"did not finish within 3 s while building"):
        run(code, tmp_path, seconds=3)
    pid = int(pids.read_text().rstrip("."))
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_hunger_for_memory_ends_at_its_limit(tmp_path):
    code = "import time; x = b'x' * 2**28; time.sleep(600)"
    with pytest.raises(TargetError, match=r"used more than 0.2 GiB of memory while building"):
        run(code, tmp_path, memory_gib=0.2)


def test_a_full_disk_is_no_targets_fault(tmp_path):
    code = "from lresnet_utils.errors import StorageError\nraise StorageError('full', where='x')"
    with pytest.raises(StorageError, match="full"):
        run(code, tmp_path)


def test_an_entry_says_what_happened_and_an_error_of_its_own_is_told_as_ever(tmp_path):
    how = {"limits": LimitOptions(), "log": tmp_path / "t" / "b.log", "doing": "building"}
    entry = attempt_apart(exec, "1 / 0", **how)
    assert (entry["status"], entry["reason"]) == ("failed", "ZeroDivisionError: division by zero")
    entry = attempt_apart(exec, "import os; os.abort()", **how)
    assert entry["reason"] == "It was killed by SIGABRT while building. (t/b.log)"
    assert "other targets" in entry["remedy"]


def test_it_ends_with_the_process_that_started_it(tmp_path):
    pids = tmp_path / "pids"
    child = f"import os, time; open({str(pids)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    parent = (
        "from pathlib import Path\nfrom lresnet_utils.machine import isolation\n"
        "isolation._PRELOADED = ()\n"
        f"log, limits = Path({str(tmp_path / 'log')!r}), isolation.LimitOptions()\n"
        f"isolation.apart(exec, {child!r}, limits=limits, log=log, doing='x')"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 120
    while not (pids.exists() and pids.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    pid = int(pids.read_text())
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(pid)
