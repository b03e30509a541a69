"""Whoever times something has the machine to itself, among all work of this project on it."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lresnet_utils.errors import RunError
from lresnet_utils.files import to_json
from lresnet_utils.lock import owner, told

HELD = "LRESNET_MACHINE"
"""Environment variable of processes whose parent holds the machine for them."""
_POLL_S = 0.2
_OTHERS = "other work of this project"


@contextmanager
def machine(
    *, alone: bool, waiting: Callable[[str], None] = lambda holder: None
) -> Iterator[float]:
    """Hold this machine alone, or share it with other work that times nothing.

    Two files in the system's folder for temporary files are locked: one by everybody in turn on
    the way in, so that work that comes later does not overtake who waits to be alone; the other
    for as long as the work lasts. Both are freed with the process. Within a process that was
    started by a holder (:data:`HELD`) nothing is locked again.

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
    """
    if os.environ.get(HELD):
        yield 0.0
        return
    started = time.monotonic()
    folder = Path(tempfile.gettempdir())
    turn, held = (_open(folder / f"lresnet-utils.{name}") for name in ("turn", "machine"))
    try:
        _lock(turn, fcntl.LOCK_EX, lambda: waiting(_holder(held)))
        _lock(held, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, lambda: waiting(_holder(held)))
        _name(held, to_json(owner()) if alone else "")
        fcntl.flock(turn, fcntl.LOCK_UN)
        try:
            yield time.monotonic() - started
        finally:
            if alone:
                _name(held, "")
    finally:
        os.close(held)
        os.close(turn)


def _open(path: Path) -> int:
    """Open a lock that every user of the machine may take; never another file through a link."""
    flags = os.O_RDWR | os.O_NOFOLLOW
    try:
        with suppress(FileNotFoundError):
            return os.open(path, flags)
        handle = os.open(path, flags | os.O_CREAT, 0o666)
        # The mask of this process must not keep other users out.
        with suppress(PermissionError):  # another user made it a moment earlier
            os.fchmod(handle, 0o666)
        return handle
    except OSError as error:
        raise RunError(
            f"The lock that keeps timings apart cannot be opened: {error.strerror}.",
            where=str(path),
            fix="see who owns it, or point TMPDIR at a folder that can be written",
        ) from error


def _lock(handle: int, kind: int, wait: Callable[[], None]) -> None:
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            wait()
            time.sleep(_POLL_S)


def _name(handle: int, text: str) -> None:
    """Say who holds the machine; on a full disk it stays unsaid."""
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)


def _holder(handle: int) -> str:
    try:
        return told(json.loads(os.pread(handle, 65536, 0)))
    except (ValueError, KeyError, TypeError):
        return _OTHERS
