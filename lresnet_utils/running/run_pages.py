"""The pages of a run, made from what lies in its folder and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lresnet_utils.comparison.page_data import page_data
from lresnet_utils.errors import DataError, LResNetError
from lresnet_utils.ledger.custody import broken
from lresnet_utils.ledger.entries import plain
from lresnet_utils.machine.disk import read_json, sha256_file, write_text
from lresnet_utils.params import Params
from lresnet_utils.report.publish.page import Link, Trouble, render, render_not_run
from lresnet_utils.report.publish.single import single_text
from lresnet_utils.run import RunFolder
from lresnet_utils.running.plan import Job, phases, read_run
from lresnet_utils.stages.summary import gathered
from lresnet_utils.text.language import speaking, tr, translatable

TITLES = {
    "1_export": translatable("Export"),
    "2_compile": translatable("Compile"),
    "3_preprocess": translatable("Preprocess"),
    "4_infer": translatable("Infer"),
    "5_evaluate": translatable("Evaluate"),
    "6_perf": translatable("Performance"),
    "7_summary": translatable("Summary"),
}
# Where measured times are shown; every other page is the same for the same inputs.
TIMED = ("6_perf", "7_summary")
FAILED, SKIPPED = "failed", "skipped"


@dataclass(frozen=True)
class Checked:
    """A published page against what its inputs give, or a file against its recorded hash.

    Attributes
    ----------
    name : str
        Its path in the run's folder.
    problem : str or None
        What is wrong with it; None when it is as it should be.
    """

    name: str
    problem: str | None

    @property
    def is_page(self) -> bool:
        """Whether it is a page rather than another file."""
        return self.name.endswith(".html")


def write_page(run: RunFolder, about: Mapping[str, Any], job: Job) -> Path:
    """Write the page of one notebook of a run; see :func:`page_text`.

    The summary's page is the last: with it the whole report is written into one file as well.

    Returns
    -------
    pathlib.Path
        The page.
    """
    page = write_text(run.stage(job.stage, job.batch_size, ".html"), page_text(run, about, job))
    if job.stage == "7_summary":
        write_text(run.single, single_text(run, _published(about).values()))
    return page


def page_text(run: RunFolder, about: Mapping[str, Any], job: Job) -> str:
    """Return the page of one notebook of a run.

    Parameters
    ----------
    run : RunFolder
        Holds the executed notebook; for the summary, ``results.json`` and the scores too.
    about : mapping
        What ``run.json`` holds: ``name``, ``params``, ``provenance``, and ``notebooks`` with how
        those before this one ended.
    job : Job
        The notebook. One that was skipped gets a page that says so.

    Raises
    ------
    DataError
        When the folder's files are not what a run writes, so that no page can be made of them.
    """
    params = Params.model_validate(about["params"])
    try:
        with speaking(params.language):
            outcomes = {Job(o["stage"], o["batch_size"]): o for o in about["notebooks"]}
            own = outcomes.get(job, {})
            page = run.stage(job.stage, job.batch_size, ".html")
            is_index = job.stage == "7_summary"
            troubled = {
                other: outcome
                for other, outcome in outcomes.items()
                # Only the last page can know how the others ended.
                if is_index and other != job and outcome["status"] in (FAILED, SKIPPED)
            }
            links = []
            jobs = [other for phase in phases(params) for other in phase.jobs]
            # One row per batch size, the whole run's first.
            jobs.sort(key=lambda o: (o.batch_size or 0, o.stage != "7_summary", o.stage))
            for other in jobs:
                group = "" if other.batch_size is None else tr("batch size {n}", n=other.batch_size)
                status = troubled.get(other, {}).get("status", "")
                href = _href(run, other, page)
                links.append(Link(tr(TITLES[other.stage]), href, other == job, group, status))
            shared = {
                "title": tr("{run}: {stage}", run=params.name, stage=_label(job)),
                "language": params.language,
                "links": links,
                "meta": _meta(about),
            }
            notebook = run.stage(job.stage, job.batch_size, ".ipynb")
            if own.get("status") == SKIPPED or (own.get("reason") and not notebook.is_file()):
                heading = tr(TITLES[job.stage])
                return render_not_run(heading, reason=tr(own["reason"]), **shared)
            perf = Job("6_perf", job.batch_size or max(params.batch_sizes))
            return render(
                notebook,
                **shared,
                failure=own["reason"] if own.get("status") == FAILED else None,
                data=page_data(run) if is_index else None,
                timings=None if job.stage in TIMED else _href(run, perf, page),
                troubles=[
                    Trouble(_label(other), _href(run, other, page), o["status"], tr(o["reason"]))
                    for other, o in troubled.items()
                ],
            )
    except LResNetError:
        raise
    # The files may be anybody's, and so may be what is wrong with them.
    except Exception as error:
        raise DataError(
            f"No page can be made of this notebook ({type(error).__name__}: {error}).",
            where=str(run.stage(job.stage, job.batch_size, ".ipynb")),
            fix="run its stage again, or copy the folder again",
        ) from error


def render_run(run: RunFolder) -> list[Path]:
    """Write every page of a finished run again.

    Raises
    ------
    RunError
        When the folder holds no run.
    """
    about = read_run(run)
    return [write_page(run, about, job) for job in _published(about)]


def check_run(run: RunFolder, against: str | None = None) -> list[Checked]:
    """Say of every published page, and of every file, whether it is what the run left.

    A page must be what its notebook and the run's record give; a file must have the hash that
    every record of it states; ``results.json`` must be what the stages' records give.

    Parameters
    ----------
    run : RunFolder
        A finished run. Nothing in it is changed.
    against : str, optional
        The SHA-256 of the run's inventory, ``resume/run.json``, as it was kept elsewhere. Without
        it, whoever rewrote the inventory and all that it states is not noticed.

    Returns
    -------
    list of Checked
        Pages first, in the order in which they were made.

    Raises
    ------
    RunError
        When the folder holds no run.
    """
    about = read_run(run)
    published = _published(about)
    makers = {page: partial(page_text, run, about, job) for job, page in published.items()}
    makers[run.single.name] = partial(single_text, run, published.values())
    pages = []
    for name, make in makers.items():
        page = run.folder / name
        problem: str | None = "the page is missing"
        if page.is_file():
            try:
                text = make().encode()
                same = page.stat().st_size == len(text) and page.read_bytes() == text
                problem = None if same else "the page is not what its inputs give"
            except LResNetError as error:
                problem = f"its inputs give no page: {error.what}"
            # The other pages may be anybody's.
            except Exception as error:
                problem = f"its inputs give no page ({type(error).__name__}: {error})"
        pages.append(Checked(name, problem))
    files = broken(run, about["params"]["batch_sizes"])
    if not files.get(run.results.name):
        try:
            results = read_json(run.results)
            cells = about["params"]["batch_sizes"], about["params"]["targets"]
            given = plain(gathered(run, results["run"], *cells)[0])
            differs = [key for key, value in given.items() if results.get(key) != value]
            if differs:
                why = f"its {differs[0]} are not what the stages' records give"
                files[run.results.name] = why
        # The records may be anybody's, and so may be what is wrong with them.
        except Exception as error:
            why = f"the stages' records give no results ({type(error).__name__}: {error})"
            files[run.results.name] = why
    if against and run.inventory.is_file() and sha256_file(run.inventory) != against.lower():
        files[run.inventory.relative_to(run.folder).as_posix()] = "its SHA-256 is not the one given"
    return pages + [Checked(name, problem) for name, problem in files.items()]


def _published(about: Mapping[str, Any]) -> dict[Job, str]:
    """Return the notebooks that have a page, in the order in which they ended, and its name."""
    ended = about["notebooks"]
    return {Job(o["stage"], o["batch_size"]): o["page"] for o in ended if o["page"] is not None}


def _label(job: Job) -> str:
    stage = tr(TITLES[job.stage])
    if job.batch_size is None:
        return stage
    return tr("{stage}, batch size {n}", stage=stage, n=job.batch_size)


def _href(run: RunFolder, job: Job, page: Path) -> str:
    target = run.stage(job.stage, job.batch_size, ".html")
    return Path(os.path.relpath(target, page.parent)).as_posix()


def _meta(about: Mapping[str, Any]) -> dict[str, str]:
    """Return what stands at the foot of every page."""
    made = about["provenance"]
    machine = made["machine"]
    commit = (made["commit"] or tr("unknown"))[:12]
    text = tr(
        "lresnet_utils {version}, commit {commit}", version=made["lresnet_utils"], commit=commit
    )
    return {
        tr("Run"): about["name"],
        tr("Code"): (
            tr("{what} ({where})", what=text, where=made["commit_note"])
            if made["commit_note"]
            else text
        ),
        "Python": made["python"],
        tr("Packages"): ", ".join(f"{name} {v}" for name, v in made["packages"].items() if v),
        tr("Machine"): tr(
            "{cpu}, {cores} cores, {memory} GiB, {os}",
            cpu=machine["cpu"],
            cores=machine["cores"],
            memory=machine["memory_gib"],
            os=machine["os"],
        ),
    }
