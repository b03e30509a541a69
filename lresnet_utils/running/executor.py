"""How one notebook is executed, wherever it is: the machine's share, a kernel, papermill."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import papermill
from papermill.exceptions import PapermillExecutionError

from lresnet_utils.errors import LResNetError, StorageError
from lresnet_utils.ledger.hashes import sign
from lresnet_utils.machine.disk import HALF_MADE, require_room
from lresnet_utils.machine.isolation import LimitOptions
from lresnet_utils.machine.locks import HELD, hold_machine
from lresnet_utils.machine.processes import end_marked, guard
from lresnet_utils.run import project_root
from lresnet_utils.running.kernels import PrivateKernelManager, kernel_settings
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
        failure, no_room = _attempted(task)
        if failure and not no_room:
            # Runtimes seldom say that they failed for want of room.
            try:
                require_room(task.output.parent)
            except StorageError as error:
                failure, no_room = error.what, True
        return Done(round(time.perf_counter() - started, 2), failure, no_room)


def _attempted(task: NotebookTask) -> tuple[str | None, bool]:
    """Run one notebook; return why it failed, and whether for want of room."""
    running = task.output.with_name(f"{HALF_MADE}{task.output.name}")
    try:
        task.output.parent.mkdir(parents=True, exist_ok=True)
        manners = {} if task.alone else _SHARING
        environment = guard().environment() | {HELD: "held"} | manners | task.environment
        try:
            log = task.output.with_suffix(".log")
            with kernel_settings(log, environment, task.stopped_s):
                return _papermill(task, running)
        finally:
            if running.is_file():
                # As Jupyter ends a notebook: one that is saved unchanged stays what it was.
                with running.open("a") as file:
                    file.write("\n")
                sign(running)
                running.replace(task.output)
    except LResNetError as error:
        return error.what, isinstance(error, StorageError)
    except Exception as error:
        return f"{type(error).__name__}: {first_line(str(error))}", False


def _papermill(task: NotebookTask, output: Path) -> tuple[str | None, bool]:
    # It would log each cell, and a kernel that was ended; a user is told per notebook.
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        papermill.execute_notebook(
            literal(task.notebook),
            literal(output),
            parameters=task.parameters,
            kernel_name="python3",
            cwd=str(task.root),
            progress_bar=False,
            kernel_manager_class=PrivateKernelManager,
            # Asked to leave, a kernel waits seconds for multiprocessing's helpers, which ignore it.
            shutdown_kernel="immediate",
        )
    except PapermillExecutionError as error:
        return first_line(error.evalue) or error.ename, error.ename == StorageError.__name__
    return None, False


def first_line(text: str | None) -> str:
    """Return the first line of a message, cut where it is very long."""
    lines = (text or "").strip().splitlines()
    return lines[0][:300] if lines else ""
