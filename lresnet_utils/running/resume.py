"""For each notebook of a plan: whether what it left is still what it would leave now."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from lresnet_utils.ledger.cache import machine_key
from lresnet_utils.ledger.code import code_of, data_of, imports
from lresnet_utils.ledger.hashes import Hashes
from lresnet_utils.ledger.keep import COMPUTING
from lresnet_utils.ledger.provenance import versions
from lresnet_utils.ledger.signing import read_sealed, write_sealed
from lresnet_utils.machine.disk import read_json, to_json
from lresnet_utils.params import Params
from lresnet_utils.run import RunFolder
from lresnet_utils.running.difference import difference
from lresnet_utils.running.plan import TIMED, Job, needs, parameters, phases
from lresnet_utils.running.sources import offers, sources

# Notebooks and pages show results, which later stages read from the other files.
_SHOWN = (".ipynb", ".html")
# What makes a page of a notebook, whatever the notebook.
_PUBLISHERS = ("lresnet_utils.running.run_pages",)
PUBLISHING = ("matplotlib", "nbconvert", "nbformat", "papermill", "ipykernel", "jinja2")
NEVER = "it has not ended well before"
NOT_OURS = "what is recorded of it was not written here by this user, or was changed"


@dataclass
class Resume:
    """What is known of a run's notebooks from earlier times.

    Attributes
    ----------
    params : Params
    run : RunFolder
    fresh : bool
        True to find nothing valid.
    """

    params: Params
    run: RunFolder
    fresh: bool = False
    hashes: Hashes = field(init=False)

    def __post_init__(self) -> None:
        self.hashes = Hashes(self.run.state / "hashes.json", fresh=self.fresh)
        self._jobs = [job for phase in phases(self.params) for job in phase.jobs]

    def known(self, job: Job) -> dict[str, Any] | None:
        """Return what was written of a notebook when it last ended well, whatever changed since.

        Returns
        -------
        dict or None
            ``made_from``, ``files``, ``outcome`` and ``shown``; see :meth:`finished`.
        """
        found = read_sealed(self._path(job))
        return found if found and {"made_from", "files", "outcome", "shown"} <= set(found) else None

    def why(self, job: Job) -> str | None:
        """Say why a notebook must run now, or return None when all it left is valid."""
        if self.fresh:
            return "everything is done anew (--fresh)"
        known = self.known(job)
        if known is None:
            return NOT_OURS if self._path(job).exists() else NEVER
        changed = difference(known["made_from"], self.made_from(job))
        if changed:
            return changed
        for name, about in known["files"].items():
            now = self.hashes.of(self.run.folder / name)
            if now != about:
                return f"{name} is {'missing' if now is None else 'not as it was written'}"
        return self._failed(job)

    def plan(self) -> dict[Job, str | None]:
        """Say of every notebook why it would run, in the order of the plan.

        A notebook that reads files of one that runs may turn out to need nothing: these files may
        come out as they were.
        """
        found: dict[Job, str | None] = {}
        for job in self._jobs:
            runs = [other for other in needs(job, self._jobs) if found.get(other)]
            found[job] = self.why(job) or (f"{runs[0]} runs before it" if runs else None)
        return found

    def finished(self, job: Job, outcome: dict[str, Any], shown: dict[str, Any]) -> None:
        """Write down that a notebook ended well and is published.

        Parameters
        ----------
        job : Job
        outcome : dict
            How it ended, for ``run.json``.
        shown : dict
            What its page shows of the run.
        """
        files = self.hashes.all(self.run.files(job.stage, job.batch_size), self.run.folder)
        record = {
            "made_from": self.made_from(job),
            "files": files,
            "outcome": outcome,
            "shown": shown,
        }
        write_sealed(self._path(job), record)

    def forget(self, job: Job) -> None:
        """Forget that a notebook ended well, before it runs again."""
        self._path(job).unlink(missing_ok=True)

    def made_from(self, job: Job) -> dict[str, Any]:
        """Return everything that a notebook's results and page depend on, as plain values."""
        values = parameters(job, self.params, self.run)
        values.pop("run_dir", None)
        notebook = self.run.notebook(job.stage)
        found = {
            "notebook": self.hashes.of(notebook)["sha256"],
            "parameters": values,
            "code": code_of(*_modules(notebook), *_PUBLISHERS)
            | data_of("report")
            | data_of("text"),
            "versions": versions(COMPUTING + PUBLISHING),
            "sources": self._sources(values),
            "inputs": self._inputs(job),
        }
        if job.stage in TIMED:
            found |= {"machine": machine_key(), "offers": offers(self.params)}
        if job.stage == "7_summary":
            found["run"] = self.params.model_dump()
        return read_back(found)

    def inputs(self, job: Job) -> list[str]:
        """Return the files that a notebook may read of those that others left, below the run."""
        return sorted(
            name
            for other in needs(job, self._jobs)
            for name in (self.known(other) or {"files": {}})["files"]
            if not name.endswith(_SHOWN)
        )

    def _inputs(self, job: Job) -> dict[str, str]:
        found = {name: self.hashes.of(self.run.folder / name) for name in self.inputs(job)}
        return {name: about["sha256"] for name, about in found.items() if about}

    def _sources(self, values: dict[str, Any]) -> dict[str, str | None]:
        found = {path: self.hashes.of(path) for path in sources(values)}
        return {path.as_posix(): about and about["sha256"] for path, about in found.items()}

    def _failed(self, job: Job) -> str | None:
        """Say which targets failed: a failure may have come from outside, so it is tried again."""
        path = self.run.stage(job.stage, job.batch_size)
        targets = read_json(path).get("targets", {}) if path.is_file() else {}
        if job.stage not in TIMED or not isinstance(targets, dict):
            return None
        failed = [name for name, entry in targets.items() if entry.get("status") == "failed"]
        return f"failed last time: {', '.join(failed)}" if failed else None

    def _path(self, job: Job) -> Path:
        return self.run.state_of(job.stage, job.batch_size).with_suffix(".json")


def read_back(value: Any) -> Any:
    """Return plain values as JSON gives them back: tuples are lists, keys are words."""
    return json.loads(to_json(value))


def _modules(notebook: Path) -> list[str]:
    cells = nbformat.read(notebook, as_version=4).cells
    return [name for cell in cells if cell.cell_type == "code" for name in imports(cell.source)]
