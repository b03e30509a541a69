"""Which notebook runs when, with which parameters."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import papermill
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from lresnet_utils.errors import RunError
from lresnet_utils.machine.disk import read_json, to_json
from lresnet_utils.params import Params, flat_names, value_at
from lresnet_utils.run import NO_FACES, WHOLE_RUN, RunFolder

_NEED_FACES = frozenset({"3_preprocess", "4_infer", "5_evaluate"})
# Stages whose files a stage reads; the summary reads all.
_READS = {
    "1_export": (),
    "3_preprocess": (),
    "2_compile": ("3_preprocess", "1_export"),
    "4_infer": ("3_preprocess", "1_export", "2_compile"),
    "5_evaluate": ("3_preprocess", "1_export", "4_infer"),
    "6_perf": ("3_preprocess", "1_export", "2_compile"),
}
TIMED = frozenset({"2_compile", "4_infer", "6_perf"})
"""Stages that time something and have the machine to themselves."""
# Jobs at once on one machine in phases that time nothing. Two keep a small machine busy; each
# holds a whole network, so more would ask for memory that it may not have.
SHARED = 2


@dataclass(frozen=True)
class Job:
    """One notebook for one batch size, or for the whole run.

    Attributes
    ----------
    stage : str
        Such as ``4_infer``; the notebook has the same name.
    batch_size : int or None
        None for stages of the whole run.
    """

    stage: str
    batch_size: int | None = None

    def __str__(self) -> str:
        return self.stage if self.batch_size is None else f"{self.stage} (batch {self.batch_size})"


@dataclass(frozen=True)
class Phase:
    """Jobs that do not need each other.

    Attributes
    ----------
    jobs : tuple of Job
        In order of batch size.
    exclusive : bool
        True where the notebook times something: then its jobs run one by one.
    """

    jobs: tuple[Job, ...]
    exclusive: bool


@dataclass(frozen=True)
class Outcome:
    """How one notebook ended, or that it has started.

    Attributes
    ----------
    stage, batch_size
        The job.
    status : {"running", "waiting", "kept", "ok", "failed", "skipped"}
        "skipped" when an earlier notebook that it needs did not end well. A listener alone hears
        "waiting", while others have the machine, and "kept", of one that is valid as it is.
    seconds : float or None
        Wall time of the execution.
    reason : str or None
        Why it failed or was skipped; why it runs, or what it waits for.
    page : str or None
        The published page, relative to the run's folder.
    finished : str or None
        When it ended (UTC, ISO 8601), which may be before this run.
    """

    stage: str
    batch_size: int | None
    status: Literal["running", "waiting", "kept", "ok", "failed", "skipped"]
    seconds: float | None = None
    reason: str | None = None
    page: str | None = None
    finished: str | None = None


class _Recorded(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


class _Machine(_Recorded):
    cpu: str | None
    cores: int | None
    memory_gib: float | None
    os: str | None


class _Provenance(_Recorded):
    lresnet_utils: str
    commit: str | None
    commit_note: str | None
    python: str
    packages: dict[str, str | None]
    machine: _Machine


class RunRecord(_Recorded):
    """What ``run.json`` holds, as its readers need it: the folder may come from anybody."""

    name: str
    params: Params
    provenance: _Provenance
    notebooks: list[Outcome]

    @model_validator(mode="after")
    def _notebooks_are_of_the_plan(self) -> RunRecord:
        """See that every notebook is one of these params, once, with the page that it has."""
        jobs = [Job(outcome.stage, outcome.batch_size) for outcome in self.notebooks]
        planned = {job for phase in phases(self.params) for job in phase.jobs}
        if len(set(jobs)) != len(jobs) or not planned.issuperset(jobs):
            raise ValueError("a notebook is not one of these params, or stands twice")
        for job, outcome in zip(jobs, self.notebooks, strict=True):
            own = RunFolder(Path()).stage(job.stage, job.batch_size, ".html").as_posix()
            if outcome.page not in (None, own):
                raise ValueError("a page has another name than its notebook's")
        return self


def read_run(run: RunFolder) -> dict[str, Any]:
    """Read ``run.json``, as :class:`RunRecord` declares it.

    Raises
    ------
    RunError
        When there is none, or it is damaged.
    """
    path = run.folder / "run.json"
    if not path.is_file():
        raise RunError(
            "There is no run here.",
            where=str(run.folder),
            fix="give a folder that lresnet run made",
        )
    about = read_json(path)
    try:
        # As JSON, from which alone pydantic takes a dataclass without converting what is in it.
        RunRecord.model_validate_json(to_json(about))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"The run's record is damaged ({key or 'it'}: {first['msg']}).",
            where=str(path),
            fix="run it again",
        ) from error
    return about


def phases(params: Params) -> list[Phase]:
    """Return the run's phases in order.

    Faces come first, since the export is checked on them. Timed stages have the machine to
    themselves; the others may share it.

    Examples
    --------
    >>> for phase in phases(Params(name="x", batch_sizes=[1, 16])):
    ...     print([str(job) for job in phase.jobs], phase.exclusive)
    ['3_preprocess'] False
    ['1_export (batch 1)', '1_export (batch 16)'] False
    ['2_compile (batch 1)', '2_compile (batch 16)'] True
    ['4_infer (batch 1)', '4_infer (batch 16)'] True
    ['5_evaluate (batch 1)', '5_evaluate (batch 16)'] False
    ['6_perf (batch 1)', '6_perf (batch 16)'] True
    ['7_summary'] False
    """
    order = ("3_preprocess", "1_export", "2_compile", "4_infer", "5_evaluate", "6_perf")
    found = []
    for stage in (*order, "7_summary"):
        sizes = [None] if stage in WHOLE_RUN else params.batch_sizes
        jobs = tuple(Job(stage, batch_size) for batch_size in sizes)
        if params.dataset.source != NO_FACES or stage not in _NEED_FACES:
            found.append(Phase(jobs, exclusive=stage in TIMED))
    return found


def needs(job: Job, jobs: Collection[Job]) -> list[Job]:
    """Return those of a plan's jobs whose files a job reads.

    Examples
    --------
    >>> plan = [job for phase in phases(Params(name="x", batch_sizes=[4])) for job in phase.jobs]
    >>> [str(job) for job in needs(Job("4_infer", 4), plan)]
    ['3_preprocess', '1_export (batch 4)', '2_compile (batch 4)']
    >>> len(needs(Job("7_summary"), plan))
    6
    """
    if job.stage == "7_summary":
        return [other for other in jobs if other != job]
    read = (Job(s, None if s in WHOLE_RUN else job.batch_size) for s in _READS[job.stage])
    return [other for other in read if other in jobs]


def startable(
    plan: Sequence[Phase],
    ended: Collection[Job],
    running: Collection[Job],
    *,
    one_machine: bool = True,
) -> list[Job]:
    """Return the jobs that may start now, in order.

    Parameters
    ----------
    plan : sequence of Phase
    ended, running : collection of Job
        Jobs that ended, well or not, and jobs that were started and did not.
    one_machine : bool
        True where all jobs share one machine: they then go phase by phase, those that time
        something alone, the others :data:`SHARED` at a time. False where every job finds a place
        of its own: a job then only waits for those whose files it reads.

    Examples
    --------
    >>> plan = phases(Params(name="x", batch_sizes=[1, 4, 16]))
    >>> faces, exports = Job("3_preprocess"), [Job("1_export", b) for b in (1, 4, 16)]
    >>> startable(plan, [], []) == [faces]
    True
    >>> startable(plan, [faces], [exports[0]]) == [exports[1]]
    True
    >>> [str(job) for job in startable(plan, [faces, *exports], [])]
    ['2_compile (batch 1)']
    >>> len(startable(plan, [faces], [], one_machine=False))
    3
    """
    jobs = [job for phase in plan for job in phase.jobs]
    ready = [
        job
        for job in jobs
        if job not in ended
        and job not in running
        and all(needed in ended for needed in needs(job, jobs))
    ]
    if not one_machine:
        return ready
    left = (phase for phase in plan if any(job not in ended for job in phase.jobs))
    phase = next(left, Phase((), exclusive=False))
    room = (1 if phase.exclusive else SHARED) - len(running)
    return [job for job in ready if job in phase.jobs][: max(0, room)]


def parameters(job: Job, params: Params, run: RunFolder) -> dict[str, Any]:
    """Return the values for a notebook's parameter cell.

    Parameters
    ----------
    job : Job
        The notebook to run.
    params : Params
        The run's parameters.
    run : RunFolder
        Where its files are.

    Raises
    ------
    RunError
        When the notebook is missing or asks for a parameter that is not declared.
    """
    # Degraded copies, further sets and the other channel order do not depend on the batch size.
    extra = job.batch_size in (None, max(params.batch_sizes))
    special = {
        "run_dir": run.shown(),
        "batch_size": job.batch_size,
        "variants": params.dataset.variants if extra else [],
        "more": [item.model_dump() for item in params.dataset.more] if extra else [],
        "channel_test": params.model.channel_test and extra,
    }
    flat = flat_names()
    values = {}
    notebook = run.notebook(job.stage)
    for name in parameter_names(notebook):
        if name in special:
            values[name] = special[name]
        elif name in flat:
            value = value_at(params, flat[name])
            whole = isinstance(value, BaseModel)
            values[name] = value.model_dump(exclude_defaults=True) if whole else value
        else:
            raise RunError(
                f"The notebook asks for a parameter {name!r} that is not declared.",
                where=str(notebook),
                fix="declare it in lresnet_utils/params.py or rename it",
            )
    return values


def parameter_names(notebook: Path) -> list[str]:
    """Return the names in a notebook's parameter cell, in order.

    Raises
    ------
    RunError
        When the notebook is missing or has no parameters.
    """
    if not notebook.is_file():
        raise RunError(
            "The notebook is missing.",
            where=str(notebook),
            fix="name the folder of a checkout's notebooks with --notebooks",
        )
    names = list(papermill.inspect_notebook(literal(notebook)))
    if not names:
        raise RunError("The notebook has no cell tagged 'parameters'.", where=str(notebook))
    return names


def literal(path: Path) -> str:
    """Return a path as papermill takes it, which fills parameters in where it finds braces.

    Examples
    --------
    >>> literal(Path("runs/{a}/n.ipynb"))
    'runs/{{a}}/n.ipynb'
    """
    return str(path).replace("{", "{{").replace("}", "}}")
