"""How one notebook is executed, wherever it is: the machine's share, a kernel, papermill."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import papermill
import psutil
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from traitlets import Unicode, default

from lresnet_utils.errors import LResNetError, RunError, StorageError
from lresnet_utils.ledger.hashes import sign
from lresnet_utils.machine.disk import HALF_MADE, require_room
from lresnet_utils.machine.isolation import LimitOptions
from lresnet_utils.machine.locks import HELD, hold_machine
from lresnet_utils.machine.processes import end_marked, guard
from lresnet_utils.run import project_root
from lresnet_utils.running.plan import Job, literal

Waiting = Callable[[str], None]
# OpenMP's threads, PyTorch's among them, spin while they wait; beside another notebook they would
# spin on the cores that it needs.
_SHARING = {"OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True)
class NotebookTask:
    """A notebook to execute; plain values, so that it can be sent elsewhere.

    Attributes
    ----------
    job : Job
        Which notebook.
    notebook : Path
        Its source.
    output : Path
        Where the executed notebook goes.
    parameters : dict
        For its parameter cell; ``run_dir`` names the run's folder.
    alone : bool
        True when it times something.
    environment : dict of str to str
        Variables for its kernel.
    stopped_s : float
        For how long a kernel that somebody stopped is waited for, seconds.
    root : Path
        The project's folder, from which relative paths count.
    """

    job: Job
    notebook: Path
    output: Path
    parameters: dict[str, Any]
    alone: bool
    environment: dict[str, str] = field(default_factory=dict)
    stopped_s: float = LimitOptions().seconds
    root: Path = field(default_factory=project_root)


@dataclass(frozen=True)
class Done:
    """How a notebook's execution ended.

    Attributes
    ----------
    seconds : float
        Wall-clock time, without waiting for the machine.
    failure : str or None
        Why it stopped early.
    no_room : bool
        True when it stopped because the disk took no more, which ends the whole run.
    """

    seconds: float
    failure: str | None = None
    no_room: bool = False


class Executor(Protocol):
    """Where a run's notebooks are executed.

    Attributes
    ----------
    one_machine : bool
        As for :func:`lresnet_utils.running.plan.startable`.
    slots : int
        Jobs that it takes at the same time.
    """

    one_machine: bool
    slots: int

    def run(self, task: NotebookTask, waiting: Waiting) -> Done:
        """Execute a notebook and return when it has ended and its files are in the run's folder.

        Called from a thread per slot. `waiting` takes a description of what it waits for, again
        and again, and may raise to give up.
        """
        ...

    def stop(self) -> None:
        """End everything at once; :meth:`run` may then return or raise anything."""
        ...


class LocalExecutor:
    """Executes on this machine, in kernels that end with this process."""

    one_machine = True
    slots = 2

    def run(self, task: NotebookTask, waiting: Waiting) -> Done:
        """Execute a notebook here."""
        return execute(task, waiting)

    def stop(self) -> None:
        """Kill the kernels and whatever they started."""
        end_marked(guard().mark)


def execute(task: NotebookTask, waiting: Waiting = lambda holder: None) -> Done:
    """Execute a notebook on this machine, alone on it where it times something.

    Returns
    -------
    Done
        A kernel can die or fail to start in many ways: nothing but what `waiting` raises, and
        interruption, passes.
    """
    with hold_machine(alone=task.alone, waiting=waiting):
        started = time.perf_counter()
        try:
            failure, no_room = _papermill(task)
        except LResNetError as error:
            failure, no_room = error.what, isinstance(error, StorageError)
        except Exception as error:
            failure, no_room = f"{type(error).__name__}: {first_line(str(error))}", False
        if failure and not no_room:
            # Runtimes seldom say that they failed for want of room.
            try:
                require_room(task.output.parent)
            except StorageError as error:
                failure, no_room = error.what, True
        return Done(round(time.perf_counter() - started, 2), failure, no_room)


def _papermill(task: NotebookTask) -> tuple[str | None, bool]:
    """Run one notebook; return why a cell of it failed, and whether for want of room."""
    # It would log each cell, and a kernel that was ended; a user is told per notebook.
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    running = task.output.with_name(f"{HALF_MADE}{task.output.name}")
    task.output.parent.mkdir(parents=True, exist_ok=True)
    manners = {} if task.alone else _SHARING
    environment = guard().environment() | {HELD: "held"} | manners | task.environment
    try:
        with kernel_settings(task.output.with_suffix(".log"), environment, task.stopped_s):
            try:
                papermill.execute_notebook(
                    literal(task.notebook),
                    literal(running),
                    parameters=task.parameters,
                    kernel_name="python3",
                    cwd=str(task.root),
                    progress_bar=False,
                    kernel_manager_class=PrivateKernelManager,
                    # Asked to leave, a kernel waits seconds for multiprocessing's helpers, which
                    # ignore it.
                    shutdown_kernel="immediate",
                )
            except PapermillExecutionError as error:
                return first_line(error.evalue) or error.ename, error.ename == StorageError.__name__
            return None, False
    finally:
        if running.is_file():
            # As Jupyter ends a notebook: one that is saved unchanged stays what it was.
            with running.open("a") as file:
                file.write("\n")
            sign(running)
            running.replace(task.output)


def first_line(text: str | None) -> str:
    """Return the first line of a message, cut where it is very long."""
    lines = (text or "").strip().splitlines()
    return lines[0][:300] if lines else ""


# Kernels that cannot collide, keep their noise to themselves, and stop at once.

_thread = threading.local()
# Looks at a kernel are a second apart. What lies longer between two of them is no time in which the
# kernel alone was stopped: then this process slept too.
_LOOK_S = 10.0


@contextmanager
def kernel_settings(log: Path, environment: Mapping[str, str], stopped_s: float) -> Iterator[Path]:
    """Give kernels started by this thread variables, and send what they write to stderr to `log`.

    A kernel that somebody stopped (SIGSTOP) is waited for `stopped_s` seconds; then the block's
    error says so.

    A runtime's C++ code writes there without asking, and so does a kernel that is told to stop.
    The file is kept only when the block raises: then it may hold a crashed kernel's last words.
    """
    with log.open("wb") as file:
        _thread.settings = {"stderr": file, "env": environment, "stopped_s": stopped_s}
        try:
            yield log
        except Exception as error:
            if "why" in _thread.settings:
                raise RunError(_thread.settings["why"]) from error
            raise
        finally:
            _thread.settings = None
    log.unlink()


class PrivateKernelManager(AsyncKernelManager):
    """A kernel manager whose kernel listens on Unix sockets in a folder of its own.

    TCP ports are chosen before the kernel binds them, so two kernels started together can get the
    same one (papermill issue 511). A private folder rules that out, and nobody else on the
    machine can listen in.
    """

    transport = Unicode("ipc").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        # Below the guard's folder, which is removed however this process ends.
        self._folder = Path(tempfile.mkdtemp(prefix="k-", dir=guard().folder))
        self._settings = {"stderr": None, "env": {}, "stopped_s": float("inf")}
        self._stopped, self._looked = 0.0, time.monotonic()
        super().__init__(connection_file=str(self._folder / "kernel.json"), **kwargs)

    @default("ip")
    def _private_socket(self) -> str:
        return str(self._folder / "k")

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        self._settings = settings = getattr(_thread, "settings", None) or self._settings
        environment = {**kw.get("env", {}), **settings["env"]}
        kw |= {"stderr": settings["stderr"], "env": environment}
        await super()._async_launch_kernel(kernel_cmd, **kw)

    async def _async_is_alive(self) -> bool:
        """Tell whether the kernel lives; whoever waits for it asks that every second.

        One that was stopped, and not continued in time, is killed.
        """
        alive = await super()._async_is_alive()
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, _LOOK_S), now
        with suppress(psutil.Error):
            kernel = psutil.Process(self.provisioner.pid) if alive else None
            stopped = kernel is not None and kernel.status() == psutil.STATUS_STOPPED
            self._stopped = self._stopped + passed if stopped else 0.0
            limit = self._settings["stopped_s"]
            if self._stopped > limit:
                self._settings["why"] = (
                    "The notebook's kernel was stopped (SIGSTOP), and nobody continued it in "
                    f"{limit:g} s."
                )
                kernel.kill()
        return alive

    async def cleanup_resources(self, restart: bool = False) -> None:
        """Remove the sockets' folder with the kernel's other files."""
        await super().cleanup_resources(restart=restart)
        if not restart:
            shutil.rmtree(self._folder, ignore_errors=True)
