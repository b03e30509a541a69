"""Ending processes with everything they started, and clearing up after one that was killed."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import psutil

from lresnet_utils.errors import RunError

MARK = "LRESNET_MARK"
"""Environment variable by which everything that a run started can be found."""
# A Unix socket's path has fewer than 108 bytes on Linux and 104 on macOS. Below the folder the
# longest is the fork server's, then a kernel's ("/k-12345678/k-1").
_LONGEST = 103 - len("/pymp-12345678/listener-12345678")
# Every POSIX system has it, and its name is short.
_SHORT = "/tmp"  # noqa: S108 (a folder of mode 700 with a random name is made there)
# Lists of folders in which the system and Python look for what they run.
_SEARCHED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
# What processes get to be gone after they were killed, seconds: one may hang in the kernel.
_GONE_S = 5.0


def safe_environment() -> dict[str, str]:
    """Return variables with which a program that is started runs nothing of the current folder.

    A Python that is given ``-c`` or ``-m`` looks there first, and in each of these lists an entry
    that is empty or relative names it. Where this package was found through this process's module
    path, its folder stands first on the path of what is started, which then is of one version.
    """
    kept = {
        name: [entry for entry in os.environ.get(name, "").split(os.pathsep) if entry[:1] == "/"]
        for name in _SEARCHED
    }
    home = str(Path(__file__).parents[2])
    if home in set(sys.path) - {*site.getsitepackages(), site.getusersitepackages()}:
        kept["PYTHONPATH"] = list(dict.fromkeys([home, *kept["PYTHONPATH"]]))
    # An empty PATH would mean the current folder; without other variables nothing is looked for.
    kept["PATH"] = kept["PATH"] or [os.defpath]
    return {"PYTHONSAFEPATH": "1"} | {name: os.pathsep.join(kept[name]) for name in _SEARCHED}


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
        self.folder = folder_for_sockets(f"lr-{self.mark}")
        # Started first: from here on nothing that this process makes can be left behind.
        self._process = subprocess.Popen(  # noqa: S603 (this Python, a list of arguments)
            [sys.executable, "-m", __name__, self.mark, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | safe_environment(),
        )
        self.folder.mkdir(mode=0o700)

    def environment(self) -> dict[str, str]:
        """Return the variables for whatever this process starts."""
        return {MARK: self.mark, "TMPDIR": str(self.folder)} | safe_environment()

    def end(self) -> None:
        """Let it clear up now, and wait until it has."""
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2 * _GONE_S)


def folder_for_sockets(name: str) -> Path:
    """Return where a folder of that name can hold sockets: not too deep, and writable.

    Parameters
    ----------
    name : str
        Name of the folder, which is not made here.

    Returns
    -------
    Path
        Below the temporary folder, or below ``/tmp`` where the path of a socket would get longer
        than the system allows.

    Raises
    ------
    RunError
        Neither will do.
    """
    temporary = tempfile.gettempdir()
    for parent in (temporary, _SHORT):
        folder = Path(parent) / name
        if len(os.fsencode(folder)) <= _LONGEST and os.access(parent, os.W_OK | os.X_OK):
            return folder
    raise RunError(
        "no folder for the kernels' sockets: their paths would be too long",
        where=f"the temporary folder {temporary}",
        fix="set TMPDIR to a folder with a short path, such as /tmp",
    )


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
    while time.monotonic() < deadline:
        found = []
        for process in psutil.process_iter():
            # Other users' processes do not show their environment, and are none of ours.
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                    found.append(process)
        if not found:
            return
        _kill(found)


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=_GONE_S)


def stand_guard(mark: str, folder: str) -> None:
    """Be the process of a :class:`Guard`: wait until standard input closes, then clear up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_marked(mark)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    stand_guard(*sys.argv[1:])
