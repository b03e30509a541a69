"""Run a plan: keep what is valid, have the rest executed, publish each, go on when one fails."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

import yaml

from lresnet_utils.errors import StorageError
from lresnet_utils.ledger import FRESH
from lresnet_utils.ledger.custody import files_of, provenance
from lresnet_utils.ledger.entries import plain
from lresnet_utils.machine.disk import WHEN_FULL, Reserve, write_json, write_text
from lresnet_utils.params import Params
from lresnet_utils.run import RunFolder, prepare_folder
from lresnet_utils.running.executor import Done, Executor, LocalExecutor, NotebookTask, first_line
from lresnet_utils.running.plan import TIMED, Job, Outcome, needs, parameters, phases, startable
from lresnet_utils.running.resume import Resume
from lresnet_utils.running.run_pages import write_page
from lresnet_utils.text.language import message

# What pages show of a run's provenance.
_AT_THE_FOOT = ("lresnet_utils", "commit", "commit_note", "python", "packages")
_OF_THE_MACHINE = ("cpu", "cores", "memory_gib", "os")

Listener = Callable[[Outcome], None]


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
    executor : Executor, optional
        Where notebooks are executed; on this machine by default.
    fresh : bool
        True to keep nothing of what is there.
    """

    def __init__(
        self,
        params: Params,
        run: RunFolder,
        listener: Listener = lambda outcome: None,
        *,
        executor: Executor | None = None,
        fresh: bool = False,
    ):
        self.params = params
        self.run = run
        self.phases = phases(params)
        self.outcomes: dict[Job, Outcome] = {}
        self.full: StorageError | None = None
        self._jobs = [job for phase in self.phases for job in phase.jobs]
        pages = [str(job) for job in self._jobs]
        self._links = {"name": params.name, "language": params.language, "pages": pages}
        self._resume = Resume(params, run, secrets.token_hex(8) if fresh else "")
        self.executor = executor or LocalExecutor()
        self._listener = listener
        self._stopped = Event()
        self._executed = False
        self._provenance: dict[str, Any] = {}

    def plan(self) -> dict[Job, str | None]:
        """Say of every notebook why it would run, or None where it is valid as it is."""
        found = self._resume.plan()
        for job, why in found.items():
            known = None if why else self._resume.known(job)
            if known and known["shown"]["links"] != self._links:
                found[job] = "its page links to other pages now"
        return found

    def execute(self) -> list[Outcome]:
        """Run all notebooks that must run, in order, and return how each ended.

        Raises
        ------
        RunError
            When the folder holds something other than a run.
        StorageError
            When the disk takes no more; what is finished is kept, and told by the report.
        KeyboardInterrupt
            After everything that was started has ended; finished notebooks stay.
        """
        self.run.require_own()
        prepare_folder(self.run.folder)
        self.run.sweep()
        self.run.inventory.unlink(missing_ok=True)
        self._provenance = provenance(self.run.notebooks)
        values = self.params.model_dump()
        with Reserve(self.run.folder) as self._reserve:
            # First, as it is what marks the folder as a run's.
            self._write_run()
            write_text(self.run.folder / "params.yaml", yaml.safe_dump(values, sort_keys=False))
            pool = ThreadPoolExecutor(max_workers=self.executor.slots)
            running: dict[Future, Job] = {}
            try:
                while len(self.outcomes) < len(self._jobs):
                    started = running.values()
                    one_machine = self.executor.one_machine
                    ended = self.outcomes.keys() - set(started)
                    for job in startable(self.phases, ended, started, one_machine=one_machine):
                        self._write_run()
                        running[pool.submit(self._run_job, job)] = job
                    # A wait without end cannot be interrupted on every platform.
                    for future in wait(running, timeout=0.5, return_when=FIRST_COMPLETED).done:
                        running.pop(future)
                        future.result()
            except BaseException:
                self._stopped.set()
                self.executor.stop()
                raise
            finally:
                pool.shutdown(cancel_futures=True)
            self._write_run()
            # The hash of every file as the run leaves it, that of the hashes' memory last.
            hashes, folder = self._resume.hashes, self.run.folder
            files = hashes.all(files_of(self.run, self.params.batch_sizes), folder)
            hashes.keep()
            files |= hashes.all([self.run.state / "hashes.json"], folder)
            write_json(self.run.inventory, {"files": files})
        if self.full:
            raise self.full
        return [self.outcomes[job] for job in self._jobs]

    def _run_job(self, job: Job) -> None:
        """Skip a notebook, keep it, or have it executed."""
        try:
            blocker = None
            # The summary tells of whatever there is.
            if self.full and job.stage != "7_summary":
                blocker = Outcome("the run", None, "failed", reason=self.full.what)
            elif job.stage != "7_summary":
                ended = (self.outcomes[other] for other in needs(job, self._jobs))
                blocker = next((outcome for outcome in ended if outcome.status != "ok"), None)
            if blocker:
                reason = message(
                    "{stage} did not finish: {reason}", stage=blocker.stage, reason=blocker.reason
                )
                skipped = Outcome(job.stage, job.batch_size, "skipped", reason=reason)
                self._tell(job, self._published(job, skipped))
                return
            why = self._resume.why(job)
            # The summary tells how all others ended, although its inputs may have come out as
            # they were.
            if why is None and job.stage == "7_summary" and self._executed:
                why = "other notebooks ran"
            if why is None:
                # Take it as it is; make its page anew where its foot or links differ.
                known = self._resume.known(job)
                outcome = Outcome(**known["outcome"])
                if known["shown"] != self._shown():
                    outcome = self._published(job, outcome)
                    if outcome.status == "ok":
                        self._resume.finished(job, asdict(outcome), self._shown())
                kept = replace(outcome, status="kept") if outcome.status == "ok" else outcome
                self._tell(job, outcome, heard=kept)
                return
            self._executed = True
            self._listener(Outcome(job.stage, job.batch_size, "running", reason=why))
            self._resume.forget(job)
            done = self._execute_notebook(job)
            if done.no_room:
                self._fill(done.failure)
            status = "failed" if done.failure else "ok"
            finished = datetime.now(UTC).isoformat(timespec="seconds")
            outcome = Outcome(
                job.stage, job.batch_size, status, done.seconds, done.failure, finished=finished
            )
            outcome = self._published(job, outcome)
            if outcome.status == "ok":
                self._resume.finished(job, asdict(outcome), self._shown())
            self._tell(job, outcome)
        except StorageError as error:
            self._fill(error.what)
            self._tell(job, Outcome(job.stage, job.batch_size, "failed", reason=error.what))

    def _shown(self) -> dict[str, Any]:
        """Return what every page shows of the run, beside its notebook."""
        about = {name: self._provenance[name] for name in _AT_THE_FOOT}
        machine = {name: self._provenance["machine"][name] for name in _OF_THE_MACHINE}
        return plain(about | {"machine": machine, "links": self._links})

    def _execute_notebook(self, job: Job) -> Done:
        environment = {FRESH: self._resume.fresh} if self._resume.fresh else {}
        task = NotebookTask(
            job,
            self.run.notebook(job.stage),
            self.run.stage(job.stage, job.batch_size, ".ipynb"),
            parameters(job, self.params, self.run),
            job.stage in TIMED,
            environment,
            self.params.limits.seconds,
        )

        def waiting(holder: str) -> None:
            if self._stopped.is_set():
                raise KeyboardInterrupt
            self._listener(Outcome(job.stage, job.batch_size, "waiting", reason=holder))

        done = self.executor.run(task, waiting)
        if self._stopped.is_set():
            # It ended because it was ended: nothing of it is to be shown.
            raise KeyboardInterrupt
        return done

    def _fill(self, what: str) -> None:
        """Take note that the disk takes no more, and free what was kept for the report."""
        self.full = self.full or StorageError(
            what,
            where=str(self.run.folder),
            fix=WHEN_FULL,
        )
        self._reserve.free()

    def _published(self, job: Job, ended: Outcome) -> Outcome:
        """Make a notebook's page, however it ended; return the outcome with the page's name."""
        about = self._about({job: ended})
        try:
            page = write_page(self.run, about, job)
        except StorageError:
            raise
        # The numbers are safe in the records; a page that cannot be drawn must not end the run.
        except Exception as error:
            why = f"the page could not be made: {first_line(str(error))}"
            return replace(ended, status="failed", reason=ended.reason or why)
        return replace(ended, page=page.relative_to(self.run.folder).as_posix())

    def _tell(self, job: Job, outcome: Outcome, heard: Outcome | None = None) -> None:
        self.outcomes[job] = outcome
        self._listener(heard or outcome)

    def _write_run(self) -> None:
        path = self.run.folder / "run.json"
        try:
            write_json(path, self._about())
        except StorageError as error:
            self._fill(error.what)
            write_json(path, self._about())

    def _about(self, ended: Mapping[Job, Outcome] | None = None) -> dict[str, Any]:
        """Return what ``run.json`` holds, with outcomes that nobody has been told yet."""
        outcomes = {**self.outcomes, **(ended or {})}
        return {
            "name": self.params.name,
            "params": self.params.model_dump(),
            "provenance": self._provenance,
            "notebooks": [asdict(outcomes[job]) for job in self._jobs if job in outcomes],
        }
