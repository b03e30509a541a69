"""Whoever times something has the machine to itself, among all work of this project on it."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from lresnet_utils.errors import RunError
from lresnet_utils.machine.locks import told

HELD = "LRESNET_MACHINE"
"""Environment variable of processes whose parent holds the machine for them."""
# What is locked: in turn on the way in, and for as long as the work lasts. The kernel makes both;
# all users can open them, whatever TMPDIR and private folders for temporary files they have, and
# nobody can put a link, a pipe or a file of their own in the place. The second pair is for systems
# without the first.
_PLACES = (("/sys/devices/system/cpu", "/sys/devices/system"), ("/usr", "/"))
_POLL_S = 0.2
_LOOKS = 3
# No work of this project holds the machine for so long at once.
_PATIENCE_S = 6 * 3600
_OTHERS = "other work of this project"


@contextmanager
def machine(
    *, alone: bool, waiting: Callable[[str], None] = lambda holder: None
) -> Iterator[float]:
    """Hold this machine alone, or share it with other work that times nothing.

    Two folders that every process of this machine sees are locked, never written: one by everybody
    in turn on the way in, so that work that comes later does not overtake who waits to be alone;
    the other for as long as the work lasts. Both are freed with the process. Within a process that
    was started by a holder (:data:`HELD`) nothing is locked again. Containers with a ``/sys`` of
    their own are machines of their own here.

    Parameters
    ----------
    alone : bool
        True for work that times something.
    waiting : callable
        Called with the holder's description while this waits, several times a second; may raise
        to give up.

    Yields
    ------
    float
        For how long this waited, seconds.

    Raises
    ------
    RunError
        When another user's process keeps the machine for hours, or nothing can be locked.
    """
    if os.environ.get(HELD):
        yield 0.0
        return
    started = time.monotonic()
    places = next(pair for pair in _PLACES if all(map(os.path.isdir, pair)))
    turn, held = (os.open(place, os.O_RDONLY) for place in places)

    def wait(handle: int) -> None:
        user, holder = _holder(handle)
        waiting(holder)
        if user != os.getuid() and time.monotonic() - started > _PATIENCE_S:
            raise RunError(
                f"The machine was not free in {_PATIENCE_S / 3600:g} hours: {holder} keeps it.",
                where="the lock that keeps timings apart",
                fix=f"ask its owner to end it, or time beside it with {HELD}=1 in the environment",
            )

    try:
        _lock(turn, fcntl.LOCK_EX, wait)
        _lock(held, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, wait)
        fcntl.flock(turn, fcntl.LOCK_UN)
        yield time.monotonic() - started
    finally:
        os.close(held)
        os.close(turn)


def _lock(handle: int, kind: int, wait: Callable[[int], None]) -> None:
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            wait(handle)
            time.sleep(_POLL_S)
        except OSError as error:
            raise RunError(
                f"The lock that keeps timings apart cannot be had: {error.strerror}.",
                fix=f"do without it where nothing else runs: {HELD}=1 in the environment",
            ) from error


def _holder(handle: int) -> tuple[int | None, str]:
    """Return whose process has the lock, and which, by the kernel's word; others' go first."""
    about = os.fstat(handle)
    file = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    found: list[tuple[int | None, str]] = []
    # The kernel's list may lack an entry where others come and go while it is read.
    for _ in range(_LOOKS):
        with suppress(OSError):
            for line in Path("/proc/locks").read_text("ascii").splitlines():
                words = line.split()
                if words[1] == "FLOCK" and words[5] == file:
                    # It may have ended meanwhile, or be hidden from us.
                    with suppress(psutil.Error):
                        found.append(_process(int(words[4])))
        if found:
            break
    found.sort(key=lambda one: one[0] == os.getuid())
    return found[0] if found else (None, _OTHERS)


def _process(pid: int) -> tuple[int, str]:
    process = psutil.Process(pid)
    since = datetime.fromtimestamp(process.create_time(), UTC).isoformat(timespec="seconds")
    named = {"user": process.username(), "host": platform.node(), "pid": pid, "started": since}
    return process.uids().real, told(named)
