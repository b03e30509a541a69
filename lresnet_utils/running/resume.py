"""For each notebook of a plan: whether what it left is still what it would leave now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from lresnet_utils.data.collection import PAIR_WORDS
from lresnet_utils.data.readers.csv import files_of
from lresnet_utils.ledger.code import code_of, data_of, imports
from lresnet_utils.ledger.custody import versions
from lresnet_utils.ledger.hashes import Hashes, read_sealed, write_sealed
from lresnet_utils.ledger.keep import COMPUTING, machine_key
from lresnet_utils.machine.disk import read_json, to_json
from lresnet_utils.params import Params
from lresnet_utils.run import RunFolder, resolve
from lresnet_utils.running.plan import TIMED, Job, needs, parameters, phases
from lresnet_utils.targets import get_target

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
    return sorted(set(_named(values)))


def _named(values: dict[str, Any]) -> Iterator[Path]:
    tools = values.get("tools", {})
    sets = [values.get("dataset"), *(given["source"] for given in values.get("more", []))]
    pairs = [values.get("pairs"), *(given["pairs"] for given in values.get("more", []))]
    for word in (values.get("weights"), tools.get("aipp_config"), *sets):
        if word not in _WORDS:
            yield resolve(word)
    if str(values.get("weights", "")).endswith(".onnx"):
        from lresnet_utils.graph.reading import external_files  # most runs need no onnx here

        yield from external_files(resolve(values["weights"]))
    for word in sets:
        if word not in _WORDS and resolve(word).suffix == ".csv":
            yield from files_of(resolve(word))
    for word in pairs:
        if word is not None and word not in PAIR_WORDS:
            yield resolve(word)
    for given in values.get("fixed_thresholds", []):
        if isinstance(given, str):
            yield resolve(given)
    if tools.get("replay_folder"):
        yield from (path for path in resolve(tools["replay_folder"]).rglob("*") if path.is_file())


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


# The first difference between what something was made from and what it would be made from.

_WHAT = {
    "parameters": "parameter {} is now {}",
    "versions": "{} is now {}",
    "code": "{} was edited",
    "sources": "{} has other contents",
    "inputs": "{} has other contents",
    "machine": "another machine: {} is {}",
    "offers": "{} is offered otherwise here",
    "run": "parameter {} is now {}",
}
_OTHER = {"notebook": "the notebook was edited"}


def difference(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Say in words what changed first, or return None when nothing did.

    Examples
    --------
    >>> before = {"notebook": "a", "parameters": {"flip": True, "seed": 0}}
    >>> difference(before, before) is None
    True
    >>> difference(before, {"notebook": "a", "parameters": {"flip": False, "seed": 0}})
    'parameter flip is now false'
    >>> difference(before, {"notebook": "b", "parameters": before["parameters"]})
    'the notebook was edited'
    """
    for group in sorted(set(before) | set(now), key=_order):
        old, new = before.get(group), now.get(group)
        if old == new:
            continue
        if not (isinstance(old, dict) and isinstance(new, dict) and group in _WHAT):
            return _OTHER.get(group, f"what is recorded of its {group} is of another kind")
        name = next(n for n in sorted(set(old) | set(new)) if old.get(n) != new.get(n))
        return _WHAT[group].format(name, _short(new.get(name)))
    return None


def _order(group: str) -> int:
    known = [*_OTHER, *_WHAT]
    return known.index(group) if group in known else len(known)


def _short(value: Any) -> str:
    if value is None:
        return "absent"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
