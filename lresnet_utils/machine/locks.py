"""One run per folder: a lock that names its owner and outlives no process."""

from __future__ import annotations

import errno
import fcntl
import getpass
import os
import platform
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from lresnet_utils.errors import DataError, RunError, StorageError
from lresnet_utils.machine.disk import cannot_write, to_json
from lresnet_utils.untrusted.json import parse_json

NAME = "run.lock"
# An owner touches its lock this often; another machine's that was not touched for so long is
# stale. Seconds, by the clock of the file system.
BEAT_S = 15.0
STALE_S = 60.0


def owner() -> dict[str, Any]:
    """Describe this process, for whoever finds its lock."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = f"user {os.getuid()}"
    return {
        "user": user,
        "host": platform.node(),
        "pid": os.getpid(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv),
    }


def told(found: dict[str, Any]) -> str:
    """Say who an owner is.

    Examples
    --------
    >>> told({"user": "ann", "host": "m1", "pid": 7, "started": "2026-01-01T00:00:00+00:00"})
    'ann on m1, process 7, since 2026-01-01T00:00:00+00:00'
    """
    return f"{found['user']} on {found['host']}, process {found['pid']}, since {found['started']}"


@contextmanager
def run_lock(folder: Path) -> Iterator[str | None]:
    """Hold a run's folder alone, from the first file that is written to the last.

    The system frees the lock with the process, even one that is killed. Where folders are shared
    between machines whose locks do not reach each other, the owner's heartbeat speaks for it.

    Parameters
    ----------
    folder : Path
        Of the run; must exist.

    Yields
    ------
    str or None
        Who left a lock behind that was taken over.

    Raises
    ------
    RunError
        When another run holds it, and names its owner; or when something else has the lock's name,
        which is not followed, waited for or written.
    StorageError
        When the lock cannot be written.
    """
    path = Path(folder) / NAME
    handle = _locked(path)
    try:
        left = _read(handle)
        if left and left["host"] != platform.node():
            # Its owner may live on another machine. By the clock that stamps this folder's files:
            with tempfile.TemporaryFile(dir=path.parent) as probe:
                untouched = os.fstat(probe.fileno()).st_mtime - os.fstat(handle).st_mtime
            if untouched < STALE_S:
                raise _refusal(path, f"{told(left)}, seen {untouched:.0f} s ago")
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, to_json(owner()).encode(), 0)
            os.fsync(handle)
        except OSError as error:
            raise cannot_write(path, error) from error
        done = threading.Event()
        threading.Thread(target=_beat, args=(path, done), daemon=True).start()
        try:
            yield left and told(left)
        finally:
            done.set()
            # Removed while it is held: whoever opened it meanwhile sees that and opens anew. On a
            # disk that takes nothing any more it stays, and the next run goes on after it.
            with suppress(OSError):
                path.unlink()
    finally:
        os.close(handle)


def _locked(path: Path) -> int:
    """Open and lock the file that has this name, or refuse."""
    while True:
        try:
            # A pipe must not make this wait, nor a link lead elsewhere.
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise _not_a_lock(path) from error
            if not isinstance(error, PermissionError):
                raise cannot_write(path, error) from error
            # The lock, or the folder, is another user's.
            try:
                whose = path.lstat().st_uid
                with suppress(KeyError):  # of a user without a name
                    whose = path.owner()
            except OSError:  # there is no lock: the folder cannot be written
                raise cannot_write(path, error) from error
            raise StorageError(
                f"The lock is user {whose}'s and cannot be written: {error.strerror}.",
                where=str(path),
                fix="ask them to remove it once no run is at work, or choose another folder with "
                "--output",
            ) from error
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
            os.close(handle)
            raise _not_a_lock(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its owner may have removed it since it was opened, or be just about to.
            with suppress(FileNotFoundError):
                if os.path.samestat(about, path.lstat()):
                    return handle
            os.close(handle)
        except BlockingIOError:
            found = _read(handle, patience=10)
            os.close(handle)
            raise _refusal(path, told(found) if found else None) from None
        except OSError as error:
            os.close(handle)
            raise RunError(
                f"Files cannot be locked here: {error.strerror}.",
                where=str(path.parent),
                fix="choose a folder on another file system with --output",
            ) from error


def _refusal(path: Path, who: str | None) -> RunError:
    return RunError(
        f"Another run is writing here: {who or 'its owner is not known yet'}.",
        where=str(path.parent),
        fix="wait until it ends, or choose another folder with --output",
    )


def _not_a_lock(path: Path) -> RunError:
    return RunError(
        "A link, a pipe or a folder has the name of a run's lock.",
        where=str(path),
        fix="remove it, as no run made it, or choose another folder with --output",
    )


def _read(handle: int, patience: int = 0) -> dict[str, Any] | None:
    """Return the owner that a lock names, which may be about to write its name."""
    try:
        found = parse_json(os.pread(handle, 65536, 0), where=NAME)
        told(found)
        return found
    except (DataError, KeyError, TypeError):  # cut short, or not ours
        if not patience:
            return None
    time.sleep(0.05)
    return _read(handle, patience - 1)


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(BEAT_S):
        try:
            os.utime(path, follow_symlinks=False)
        except OSError:  # gone with its folder, or a full disk: the lock itself still holds
            return


# Whoever times something has the machine to itself, among all work of this project on it.

HELD = "LRESNET_MACHINE"
"""Environment variable of processes whose parent holds the machine for them; 0 is as unset."""
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
def hold_machine(
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
    if os.environ.get(HELD, "0") not in ("", "0"):
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
                        process = psutil.Process(int(words[4]))
                        since = datetime.fromtimestamp(process.create_time(), UTC)
                        named = {
                            "user": process.username(),
                            "host": platform.node(),
                            "pid": int(words[4]),
                            "started": since.isoformat(timespec="seconds"),
                        }
                        found.append((process.uids().real, told(named)))
        if found:
            break
    found.sort(key=lambda one: one[0] == os.getuid())
    return found[0] if found else (None, _OTHERS)
