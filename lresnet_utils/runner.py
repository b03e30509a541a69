"""Execute the notebooks of a run, publish each, and keep going when one fails."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import papermill
import yaml
from papermill.exceptions import PapermillExecutionError

from lresnet_utils.errors import LResNetError
from lresnet_utils.files import write_json, write_text
from lresnet_utils.kernels import PrivateKernelManager, kernel_log, stop_all_kernels
from lresnet_utils.params import Params
from lresnet_utils.plan import Job, Phase, parameters, phases
from lresnet_utils.provenance import provenance
from lresnet_utils.report.run_pages import write_page
from lresnet_utils.run import RunFolder, prepare_folder, project_root
from lresnet_utils.signing import sign

# Kernels at once in phases that time nothing. Two keep a small machine busy; each holds a whole
# network, so more would ask for memory that it may not have.
SHARED = 2

Listener = Callable[["Outcome"], None]


@dataclass(frozen=True)
class Outcome:
    """How one notebook ended, or that it has started.

    Attributes
    ----------
    stage, batch_size
        The job.
    status : {"running", "ok", "failed", "skipped"}
        "skipped" when an earlier notebook that it needs did not end well.
    seconds : float or None
        Wall time of the execution.
    reason : str or None
        Why it failed or was skipped.
    page : str or None
        The published page, relative to the run's folder.
    """

    stage: str
    batch_size: int | None
    status: str
    seconds: float | None = None
    reason: str | None = None
    page: str | None = None


class Runner:
    """Run every notebook of a params file into one folder.

    Parameters
    ----------
    params : Params
        What to run.
    run : RunFolder
        Where to.
    listener : callable
        Called with each :class:`Outcome` as it changes; may be called from several threads.
    """

    def __init__(self, params: Params, run: RunFolder, listener: Listener = lambda outcome: None):
        self.params = params
        self.run = run
        self.phases = phases(params)
        self.outcomes: dict[Job, Outcome] = {}
        self._listener = listener
        self._provenance: dict[str, Any] = {}

    def execute(self) -> list[Outcome]:
        """Run all notebooks in order and return how each ended.

        Raises
        ------
        RunError
            When the folder cannot be written.
        KeyboardInterrupt
            After every kernel has been stopped; finished notebooks stay.
        """
        # Papermill logs each cell; a user is told per notebook.
        logging.getLogger("papermill").setLevel(logging.ERROR)
        prepare_folder(self.run.folder)
        self._provenance = provenance()
        values = self.params.model_dump()
        write_text(self.run.folder / "params.yaml", yaml.safe_dump(values, sort_keys=False))
        for phase in self.phases:
            self._write_run()
            self._run_phase(phase)
        self._write_run()
        return list(self.outcomes.values())

    def _run_phase(self, phase: Phase) -> None:
        pool = ThreadPoolExecutor(max_workers=1 if phase.exclusive else SHARED)
        futures: list[Future] = [pool.submit(self._run_job, job) for job in phase.jobs]
        try:
            # A plain wait cannot be interrupted on every platform; a short one can.
            while wait(futures, timeout=0.5).not_done:
                pass
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_all_kernels()
            raise
        pool.shutdown()
        for future in futures:
            future.result()

    def _run_job(self, job: Job) -> None:
        blocker = self._blocker(job)
        if blocker:
            reason = f"{blocker.stage} did not finish: {blocker.reason}"
            skipped = Outcome(job.stage, job.batch_size, "skipped", reason=reason)
            self._tell(job, self._published(job, skipped))
            return
        self._tell(job, Outcome(job.stage, job.batch_size, "running"))
        started = time.perf_counter()
        failure = self._execute_notebook(job)
        seconds = round(time.perf_counter() - started, 2)
        status = "failed" if failure else "ok"
        ended = Outcome(job.stage, job.batch_size, status, seconds, failure)
        self._tell(job, self._published(job, ended))

    def _blocker(self, job: Job) -> Outcome | None:
        """Return the earlier notebook that keeps this one from running; none for the summary."""
        if job.stage == "7_summary":
            return None
        for earlier in (
            Job("3_preprocess"),
            *(Job(j.stage, job.batch_size) for j in self.outcomes),
        ):
            outcome = self.outcomes.get(earlier)
            if earlier != job and outcome and outcome.status in ("failed", "skipped"):
                return outcome
        return None

    def _execute_notebook(self, job: Job) -> str | None:
        """Run one notebook into the run's folder; return why it failed, or None."""
        output = self.run.stage(job.stage, job.batch_size, ".ipynb")
        output.parent.mkdir(parents=True, exist_ok=True)
        running = output.with_name(f".{output.name}")
        try:
            values = parameters(job, self.params, self.run)
            with kernel_log(output.with_suffix(".log")):
                return self._papermill(job, running, values)
        except LResNetError as error:
            return error.what
        # A kernel can die or fail to start in many ways; the other notebooks must still run.
        except Exception as error:
            return f"{type(error).__name__}: {_first_line(str(error))}"
        finally:
            if running.is_file():
                sign(running)
                running.replace(output)

    def _papermill(self, job: Job, output: Path, values: dict[str, Any]) -> str | None:
        """Execute a notebook; return the message of the error that stopped it, or None."""
        try:
            papermill.execute_notebook(
                str(job.notebook),
                str(output),
                parameters=values,
                kernel_name="python3",
                cwd=str(project_root()),
                progress_bar=False,
                kernel_manager_class=PrivateKernelManager,
            )
        except PapermillExecutionError as error:
            return _first_line(error.evalue) or error.ename
        return None

    def _published(self, job: Job, ended: Outcome) -> Outcome:
        """Make a notebook's page, however it ended; return the outcome with the page's name."""
        about = self._about({job: ended})
        try:
            page = write_page(self.run, about, job)
        # The numbers are safe in the records; a page that cannot be drawn must not end the run.
        except Exception as error:
            why = f"the page could not be made: {_first_line(str(error))}"
            return replace(ended, status="failed", reason=ended.reason or why)
        return replace(ended, page=page.relative_to(self.run.folder).as_posix())

    def _tell(self, job: Job, outcome: Outcome) -> None:
        self.outcomes[job] = outcome
        self._listener(outcome)

    def _write_run(self) -> None:
        write_json(self.run.folder / "run.json", self._about())

    def _about(self, ended: Mapping[Job, Outcome] | None = None) -> dict[str, Any]:
        """Return what ``run.json`` holds, with outcomes that nobody has been told yet."""
        outcomes = {**self.outcomes, **(ended or {})}
        return {
            "name": self.params.name,
            "params": self.params.model_dump(),
            "provenance": self._provenance,
            "notebooks": [asdict(outcome) for outcome in outcomes.values()],
        }


def _first_line(text: str | None) -> str:
    lines = (text or "").strip().splitlines()
    return lines[0][:300] if lines else ""
