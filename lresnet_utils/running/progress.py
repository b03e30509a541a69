"""One display of a run's progress, and the words at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from threading import Lock

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from lresnet_utils.errors import one_line, print_line
from lresnet_utils.machine.disk import read_json
from lresnet_utils.machine.locks import run_lock
from lresnet_utils.params import Params
from lresnet_utils.run import RunFolder, prepare_folder
from lresnet_utils.running.executor import Executor, LocalExecutor
from lresnet_utils.running.runner import Outcome, Runner

UP_TO_DATE = "Every notebook is up to date; nothing was run."


def execute_with_progress(
    params: Params,
    folder: RunFolder,
    *,
    check: Callable[[], None],
    fresh: bool = False,
    executor: AbstractContextManager[Executor] | None = None,
) -> int:
    """Execute what of a run must run, show where it is, and say how it ended.

    Parameters
    ----------
    params : Params
        Checked parameters.
    folder : RunFolder
        Where to.
    check : callable
        Refuses what cannot work; called before anything is written or runs.
    fresh : bool
        True to keep nothing of what is there.
    executor : context manager of Executor, optional
        Where notebooks are executed; entered when there is something to execute. On this machine
        by default.

    Returns
    -------
    int
        0 when every cell is ok or unavailable, 1 when a cell or a notebook failed, and where the
        summary did, which is said in place of the cells.

    Raises
    ------
    RunError
        When another run writes into the folder.
    """
    console = Console(stderr=True)
    folder.require_own()
    new = not folder.folder.is_dir()
    if new:
        check()
        prepare_folder(folder.folder)
    with run_lock(folder.folder) as left:
        if left:
            print_line(f"Going on after {left}, which did not end well.", file=sys.stderr)
        display = _Display(console)
        runner = Runner(params, folder, display.update, fresh=fresh)
        outcomes = []
        # A run that was ended before it took its inventory takes it now.
        if folder.inventory.is_file() and not any(runner.plan().values()):
            print_line(UP_TO_DATE, file=sys.stderr)
        else:
            if not new:
                check()
            with executor or nullcontext(LocalExecutor()) as runner.executor, display.progress:
                display.start(runner)
                console.print(Text(one_line(f"Notebooks: {folder.notebooks}")), soft_wrap=True)
                outcomes = runner.execute()
    # What there is to open, and what failed. Results without a summary are an earlier run's.
    if outcomes and (summary := outcomes[-1]).status != "ok":
        print_line(f"The summary failed, which tells of the others: {summary.reason}")
        print_line(f"  where: {folder.folder / (summary.page or '')}")
        print_line("  to do: mend what it says and run the same again: what is finished is kept")
        return 1
    cells = read_json(folder.results)["cells"] if folder.results.is_file() else []
    counts = {s: sum(c["status"] == s for c in cells) for s in ("ok", "unavailable", "failed")}
    told = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    print_line(f"{len(cells)} cells: {told or 'none'}")
    for cell in cells:
        if cell["status"] != "ok":
            print_line(
                f"  {cell['status']} batch {cell['batch_size']} {cell['target']}: {cell['reason']}"
            )
    print_line(f"Report: {folder.index}")
    return 1 if counts["failed"] or any(outcome.status != "ok" for outcome in outcomes) else 0


def print_plan(
    params: Params, folder: RunFolder, *, check: Callable[[], None], fresh: bool = False
) -> None:
    """Print for every notebook whether it would run, and why; refuse what the run would refuse."""
    folder.require_own()
    plan = Runner(params, folder, fresh=fresh).plan()
    if any(plan.values()):
        check()
    width = max(len(str(job)) for job in plan)
    for job, why in plan.items():
        print_line(f"{job!s:<{width}}  {'up to date' if why is None else f'will run: {why}'}")


class _Display:
    """A progress line on a terminal; a line per notebook anywhere else."""

    def __init__(self, console: Console):
        self.console = console
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("notebooks, elapsed"),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._running: list[str] = []
        self._waiting: dict[str, str | None] = {}
        self._lock = Lock()

    def start(self, runner: Runner) -> None:
        jobs = [job for phase in runner.phases for job in phase.jobs]
        self._task = self.progress.add_task("starting", total=len(jobs))

    def update(self, outcome: Outcome) -> None:
        """Take note of a notebook that started or ended; called from the runner's threads."""
        of = "" if outcome.batch_size is None else f" bs{outcome.batch_size}"
        name = f"{outcome.stage}{of}"
        with self._lock:
            told = True
            if outcome.status == "waiting":
                # Say once for whom a notebook waits.
                told = self._waiting.get(name) != outcome.reason
                self._waiting[name] = outcome.reason
            elif outcome.status == "running":
                told = False
                self._running.append(name)
            else:
                if name in self._running:
                    self._running.remove(name)
                self.progress.advance(self._task)
            if told:
                took = "" if outcome.seconds is None else f"  {outcome.seconds:.1f} s"
                why = "" if outcome.reason is None else f"  {outcome.reason}"
                # By the console, which keeps its bar below; nothing in a reason is markup.
                line = Text(one_line(f"{outcome.status:<8}{name}{took}{why}"))
                self.console.print(line, soft_wrap=True)
            self.progress.update(self._task, description=" + ".join(self._running) or "publishing")
