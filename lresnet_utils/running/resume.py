"""For each notebook of a plan: whether what it left is still what it would leave now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from lresnet_utils.data.collection import PAIR_WORDS
from lresnet_utils.data.readers.csv import files_of
from lresnet_utils.ledger.code import below, code_of, imports
from lresnet_utils.ledger.custody import versions
from lresnet_utils.ledger.entries import COMPUTING, Ledger, machine_key
from lresnet_utils.ledger.hashes import Hashes
from lresnet_utils.machine.disk import read_json
from lresnet_utils.params import Params
from lresnet_utils.run import RunFolder, resolve
from lresnet_utils.running.plan import TIMED, Job, needs, parameters, phases
from lresnet_utils.targets import get_target

# Notebooks and pages show results, which later stages read from the other files.
SHOWN = (".ipynb", ".html")
# What makes a page of a notebook, whatever the notebook.
_PUBLISHERS = ("lresnet_utils.running.run_pages",)
PUBLISHING = ("matplotlib", "nbconvert", "nbformat", "papermill", "ipykernel", "jinja2")


@dataclass
class Resume:
    """What is known of a run's notebooks from earlier times.

    Attributes
    ----------
    params : Params
    run : RunFolder
    fresh : str
        Name of this run where it does everything anew; empty otherwise.
    """

    params: Params
    run: RunFolder
    fresh: str = ""

    def __post_init__(self) -> None:
        self.hashes = Hashes(self.run.state / "hashes.json", fresh=bool(self.fresh))
        self._ledger = Ledger(self.run.folder, self.run.state, hashes=self.hashes, fresh=self.fresh)
        self._jobs = [job for phase in phases(self.params) for job in phase.jobs]

    def known(self, job: Job) -> dict[str, Any] | None:
        """Return what was written of a notebook when it last ended well, whatever changed since.

        Returns
        -------
        dict or None
            ``outcome`` and ``shown``; see :meth:`finished`.
        """
        entry = self._ledger.read(self._name(job))
        return entry and entry["told"]

    def why(self, job: Job) -> str | None:
        """Say why a notebook must run now, or return None when all it left is valid."""
        changed = self._ledger.why(self._name(job), self.made_from(job))
        path = self.run.stage(job.stage, job.batch_size)
        if changed or job.stage not in TIMED or not path.is_file():
            return changed
        # A failure may have come from outside, so it is tried again.
        targets = read_json(path).get("targets", {})
        entries = targets.items() if isinstance(targets, dict) else ()
        failed = [name for name, entry in entries if entry.get("status") == "failed"]
        return f"failed last time: {', '.join(failed)}" if failed else None

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
        files = self.run.files(job.stage, job.batch_size)
        told = {"outcome": outcome, "shown": shown}
        self._ledger.write(self._name(job), self.made_from(job), files, told)

    def forget(self, job: Job) -> None:
        """Forget that a notebook ended well, before it runs again."""
        self._ledger.forget(self._name(job))

    def made_from(self, job: Job) -> dict[str, Any]:
        """Return everything that a notebook's results and page depend on, as plain values."""
        values = parameters(job, self.params, self.run)
        values.pop("run_dir", None)
        notebook = self.run.notebook(job.stage)
        inputs = {n: self._ledger.sha256(self.run.folder / n) for n in self.inputs(job)}
        cells = nbformat.read(notebook, as_version=4).cells
        modules = [m for cell in cells if cell.cell_type == "code" for m in imports(cell.source)]
        found = {
            "notebook": self._ledger.sha256(notebook),
            "parameters": values,
            "code": code_of(*modules, *_PUBLISHERS)
            | below("report", python=False)
            | below("text", python=False),
            "versions": versions(COMPUTING + PUBLISHING),
            "sources": {p.as_posix(): self._ledger.sha256(p) for p in sources(values)},
            "inputs": {name: sha256 for name, sha256 in inputs.items() if sha256},
        }
        if job.stage in TIMED:
            found |= {"machine": machine_key(), "offers": offers(self.params)}
        if job.stage == "7_summary":
            found["run"] = self.params.model_dump()
        return found

    def inputs(self, job: Job) -> list[str]:
        """Return the files that a notebook may read of those that others left, below the run."""
        entries = (self._ledger.read(self._name(other)) for other in needs(job, self._jobs))
        return sorted(
            name
            for entry in entries
            for name in (entry["files"] if entry else ())
            if not name.endswith(SHOWN)
        )

    def _name(self, job: Job) -> str:
        own = self.run.state_of(job.stage, job.batch_size)
        return own.relative_to(self.run.state).as_posix()


# What a run depends on outside its folder: files that its params name, tools that are there.

# Values in the place of a file's name.
_WORDS = ("packaged", "seeded", "recorded", "orl", "none", None)


def sources(values: dict[str, Any]) -> list[Path]:
    """Return the files outside the run's folder that a notebook's parameters name.

    Parameters
    ----------
    values : dict
        For the notebook's parameter cell.

    Returns
    -------
    list of Path
        Sorted; they need not exist.
    """
    tools, weights = values.get("tools", {}), values.get("weights")
    further = values.get("more", [])
    sets = [values.get("dataset"), *(given["source"] for given in further)]
    pairs = [values.get("pairs"), *(given["pairs"] for given in further)]
    named = [word for word in (weights, tools.get("aipp_config"), *sets) if word not in _WORDS]
    named += [word for word in pairs if word is not None and word not in PAIR_WORDS]
    named += [given for given in values.get("fixed_thresholds", []) if isinstance(given, str)]
    found = {resolve(word) for word in named}
    if str(weights).endswith(".onnx"):
        from lresnet_utils.graph.reading import external_files  # most runs need no onnx here

        found.update(external_files(resolve(weights)))
    for word in sets:
        if word not in _WORDS and resolve(word).suffix == ".csv":
            found.update(files_of(resolve(word)))
    if tools.get("replay_folder"):
        found.update(p for p in resolve(tools["replay_folder"]).rglob("*") if p.is_file())
    return sorted(found)


def offers(params: Params) -> dict[str, Any]:
    """Return for each target what this machine offers: versions and, behind tools, which are there.

    What is unavailable today may be installed tomorrow, and then its cells run.
    """
    found = {}
    for name in params.targets:
        target = get_target(name, params.tools)
        able = target.available() if target.set_tool else None
        found[name] = {"versions": target.versions()} | (
            {} if able is None else {"ok": able.ok, "reason": able.reason, "note": able.note}
        )
    return found
