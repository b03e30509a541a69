"""Ending processes with everything they started, and clearing up after one that was killed."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import psutil

MARK = "LRESNET_MARK"
"""Environment variable by which everything that a run started can be found."""
# What processes get to be gone after they were killed, seconds: one may hang in the kernel.
_GONE_S = 5.0


class Guard:
    """A small process that clears up when this one ends, however it ends.

    It waits at the end of a pipe that closes with this process, then kills whatever carries the
    mark and removes the folder. No signal that ends this process reaches it: it has a session of
    its own.

    Attributes
    ----------
    mark : str
        Value of :data:`MARK` for whatever is started on behalf of this process.
    folder : Path
        A private folder for sockets and temporary files.
    """

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)
        # Unix socket paths are short (108 bytes on Linux, 104 on macOS), so no long names here.
        self.folder = Path(tempfile.gettempdir()) / f"lr-{self.mark}"
        # Started first: from here on nothing that this process makes can be left behind.
        self._process = subprocess.Popen(  # noqa: S603 (this Python, a list of arguments)
            [sys.executable, "-m", "lresnet_utils.guard", self.mark, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.folder.mkdir(mode=0o700)

    def environment(self) -> dict[str, str]:
        """Return the variables for whatever this process starts."""
        return {MARK: self.mark, "TMPDIR": str(self.folder)}

    def end(self) -> None:
        """Let it clear up now, and wait until it has."""
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2 * _GONE_S)


@cache
def guard() -> Guard:
    """Return this process's guard, started when it is first asked for."""
    made = Guard()
    atexit.register(made.end)
    return made


def end_tree(pid: int) -> None:
    """Kill a process and all that descend from it, and wait until they are gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        _kill([process, *process.children(recursive=True)])


def end_marked(mark: str) -> None:
    """Kill every process that carries a mark, but not this one, until there is none."""
    deadline = time.monotonic() + _GONE_S
    while (found := _marked(mark)) and time.monotonic() < deadline:
        _kill(found)


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        # Other users' processes do not show their environment, and are none of ours.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=_GONE_S)
