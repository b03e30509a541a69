"""What a reader may use: a second of processor time, 500 MB, and no code but its own."""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_SECONDS = 1.0
MAX_BYTES = 500 * 10**6
# Far above the limit: it only keeps a bomb from taking the machine down.
_CEILING = 4 * 2**30

_FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
    "subprocess.Popen", "socket.connect", "socket.bind", "socket.getaddrinfo", "pickle.find_class",
    "ctypes.dlopen", "os.remove", "os.rmdir", "shutil.rmtree",
)  # fmt: skip


class TooSlowError(BaseException):
    """The reader used more processor time than it may; no reader can catch it by Exception."""


class CodeWatch:
    """Notes what Python's audit events tell while it is switched on."""

    def __init__(self) -> None:
        self.on = False
        self.folder = ""
        self.seen: list[str] = []
        # Asked for the first time inside the hook, this would open a file and wait for itself.
        self._temporary = tempfile.gettempdir()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self.on:
            return
        # Code made of text is what eval and exec of a file's content would run.
        of_text = event == "exec" and arguments[0].co_filename in ("<string>", "<stdin>")
        of_text = of_text and not _is_importing()
        if event in _FORBIDDEN or of_text or (event == "open" and self._writes(*arguments)):
            self.seen.append(f"{event} {str(arguments)[:120]}")

    def _writes(self, path: object, mode: object, flags: object) -> bool:
        writing = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        return bool(writing) and isinstance(path, (str, bytes)) and not self._is_inside(path)

    def _is_inside(self, path: str | bytes) -> bool:
        # A file without a name, which the system takes away when it is closed, is no trace.
        path = os.path.realpath(os.fsdecode(path))
        return path.startswith(self.folder) or path == self._temporary


def _is_importing() -> bool:
    """Tell whether a module is being loaded, which makes its named tuples of text."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@contextmanager
def memory_ceiling() -> Iterator[None]:
    """Keep the process's address space below a ceiling, above what it has already."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + _CEILING
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def peak_bytes() -> int:
    """Return the largest resident size that the process ever had."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except FileNotFoundError:
        pass
    # On Linux this would begin with the largest size of the process that started this one.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise :class:`TooSlowError` in a block that uses more processor time than it may."""
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_slow(number, frame) -> None:
    raise TooSlowError(f"over {MAX_SECONDS:g} s of processor time")


def arm_timer() -> None:
    """Make the timer's signal raise; Linux and macOS, in the main thread."""
    signal.signal(signal.SIGPROF, _too_slow)
