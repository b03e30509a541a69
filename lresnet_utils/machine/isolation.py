"""A target's work in a process of its own, so that its crash, hang or hunger stays its own.

Processes are forked from a small server that has imported the libraries already and started no
thread, so that each costs a fraction of a second. What passes between parent and child is JSON.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, ClassVar

import psutil
from pydantic import Field

from lresnet_utils import errors
from lresnet_utils.errors import LResNetError, TargetError
from lresnet_utils.machine.disk import from_json, to_json
from lresnet_utils.machine.processes import end_tree
from lresnet_utils.text.language import message
from lresnet_utils.untrusted.settings import Settings

# How often a child's memory is read, seconds: what swells does it by gigabytes per second, while a
# timing must not be disturbed. That of all that it started is far dearer, and read more seldom.
_POLL_S = 0.05
_POLL_TIMED_S = 0.2
_TREE_EVERY = 40
# A child that is told to end gets so long before it is killed, seconds.
_LEAVE_S = 5.0
# Libraries that children find imported. They must start no thread when they are imported.
_PRELOADED = ("numpy", "torch", "lresnet_utils.machine.isolation", "lresnet_utils.targets")
_RAISE = "raise limits.seconds or limits.memory_gib, or leave the target out"
_READ = "read the log; other targets are not concerned"
_CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")

Work = Callable[..., Generator[Any, Any, None]]


class LimitOptions(Settings):
    """What one target may take before it is ended, so that the others get their turn."""

    group: ClassVar[str] = "limits"

    seconds: float = Field(
        3600,
        gt=0,
        description="longest build, timing, or embedding of 1,000 pictures of a target, and "
        "longest adoption of an .onnx file, seconds",
    )
    memory_gib: float = Field(
        0, ge=0, description="most memory of a target, GiB; 0: nine tenths of this machine's"
    )
    own_process: bool = Field(
        True, description="run each target in a process of its own; false only to debug"
    )

    @property
    def memory_bytes(self) -> int:
        """The limit on memory, in bytes."""
        return int(self.memory_gib * 2**30) or int(0.9 * memory_here())


def memory_here() -> int:
    """Return the bytes of memory that this machine, or this container, has."""
    whole = psutil.virtual_memory().total
    try:
        return min(whole, int(_CGROUP_MEMORY.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no cgroup v2 here, or the limit is "max"
        return whole


class Child:
    """A generator that runs in a process of its own: :meth:`ask` gives its next value.

    Parameters
    ----------
    work : callable
        A generator function of an importable module; what it yields must be plain values.
    arguments : tuple
        Its arguments, which are pickled.
    limits : LimitOptions
    log : Path
        Gets what the child writes to standard output and error. It is removed in the end unless
        the child died.
    doing : str
        What it does, for errors: "building".
    """

    def __init__(
        self, work: Work, *arguments: Any, limits: LimitOptions, log: Path, doing: str
    ) -> None:
        self._limits, self._doing, self._log = limits, doing, Path(log)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("forkserver")
        # The server is told once what to import.
        context.set_forkserver_preload(list(_PRELOADED))
        self._connection, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, str(self._log), work, arguments), name=doing
        )
        self._process.start()
        other.close()
        self._asked = False

    def ask(self, message: Any = None, *, seconds: float | None = None, tree: bool = True) -> Any:
        """Return the generator's next value; `message` is what its last ``yield`` gives.

        Parameters
        ----------
        message : plain value
            Not for the first value.
        seconds : float, optional
            Time limit; ``limits.seconds`` when not given.
        tree : bool
            Whether the memory of processes that the child started counts; to read it takes a few
            milliseconds now and then, which a timing must not lose.

        Raises
        ------
        TargetError
            When the child died or passed a limit; says which.
        LResNetError
            The child's own, such as that it found the disk full.
        """
        if self._asked:
            self._connection.send_bytes(to_json(message).encode())
        self._asked = True
        self._watch(self._limits.seconds if seconds is None else seconds, tree)
        try:
            reply = from_json(self._connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            raise self._died() from None
        if "error" in reply:
            kind, what, where, fix = reply["error"]
            raise getattr(errors, kind, TargetError)(what, where=where, fix=fix)
        if "failure" in reply:
            raise TargetError(*reply["failure"][:1], where=reply["failure"][1])
        return reply["value"]

    @property
    def pid(self) -> int:
        """The child's process."""
        return self._process.pid

    def close(self) -> None:
        """End the child: it leaves by itself, or is killed with all that it started."""
        self._connection.close()
        self._process.join(_LEAVE_S)
        self._end()
        if self._process.exitcode == 0:
            self._log.unlink(missing_ok=True)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._end()

    def _end(self) -> None:
        with contextlib.suppress(ValueError):
            end_tree(self._process.pid)
            self._process.join()

    def _watch(self, seconds: float, tree: bool) -> None:
        """Wait until the child has something to say or is gone; end it at a limit."""
        deadline, doing = time.monotonic() + seconds, self._doing
        polls, pause = 0, _POLL_S if tree else _POLL_TIMED_S
        while not wait([self._connection, self._process.sentinel], timeout=pause):
            polls += 1
            used = 0
            with contextlib.suppress(psutil.Error):  # gone since
                child = psutil.Process(self._process.pid)
                below = child.children(recursive=True) if tree and not polls % _TREE_EVERY else ()
                used = sum(process.memory_info().rss for process in (child, *below))
            if used > self._limits.memory_bytes:
                self._end()
                gib = f"{self._limits.memory_bytes / 2**30:.3g}"
                raise self._error(
                    message(
                        "It used more than {gib} GiB of memory while {doing}.", gib=gib, doing=doing
                    ),
                    _RAISE,
                )
            if time.monotonic() > deadline:
                self._end()
                raise self._error(
                    message(
                        "It did not finish within {seconds:g} s while {doing}.",
                        seconds=seconds,
                        doing=doing,
                    ),
                    _RAISE,
                )

    def _died(self) -> TargetError:
        self._process.join(_LEAVE_S)
        code = self._process.exitcode
        self._end()
        if code is None or code >= 0:
            return self._error(
                message(
                    "It ended with exit code {code} while {doing}.", code=code, doing=self._doing
                ),
                _READ,
            )
        name = signal.Signals(-code).name
        # Nobody here sends SIGKILL without saying so.
        if name == "SIGKILL":
            name += ", as by the system when memory runs out,"
        return self._error(
            message("It was killed by {name} while {doing}.", name=name, doing=self._doing), _READ
        )

    def _error(self, what: str, fix: str) -> TargetError:
        # Named as seen from the models' folder: results travel, and paths of a machine do not.
        return TargetError(what, where="/".join(self._log.parts[-2:]), fix=fix)


def apart(
    function: Callable[..., Any],
    *arguments: Any,
    limits: LimitOptions,
    log: Path,
    doing: str,
    seconds: float | None = None,
) -> Any:
    """Return what a function of an importable module gives, computed in a process of its own.

    Parameters and errors are as for :class:`Child`; `seconds` as for :meth:`Child.ask`. With
    ``limits.own_process`` false it is called here.
    """
    if not limits.own_process:
        return function(*arguments)
    with Child(_once, function, *arguments, limits=limits, log=log, doing=doing) as child:
        return child.ask(seconds=seconds)


def _once(function: Callable[..., Any], *arguments: Any) -> Generator[Any, Any, None]:
    yield function(*arguments)


def _serve(connection: Connection, log: str, work: Work, arguments: tuple) -> None:
    """Be the child: run the generator, send what it yields, and leave without ceremony."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.close(handle)
    # A crash then leaves the Python lines that led to it.
    faulthandler.enable()
    # Where memory runs out, this process shall go, and neither the notebook nor the run.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    parent = multiprocessing.parent_process()
    threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()
    running = work(*arguments)
    status = 0
    try:
        reply = {"value": next(running)}
        while True:
            connection.send_bytes(to_json(reply).encode())
            reply = {"value": running.send(from_json(connection.recv_bytes()))}
    except (EOFError, BrokenPipeError, StopIteration):
        running.close()
    except LResNetError as error:
        told = [type(error).__name__, error.what, error.where, error.fix]
        connection.send_bytes(to_json({"error": told}).encode())
    # The generator's own errors are its caller's business, who must hear of them.
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        connection.send_bytes(to_json({"failure": [told, log]}).encode())
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Runtimes take seconds to take themselves down, and some crash on the way.
    os._exit(status)


def _leave_with(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGKILL)
