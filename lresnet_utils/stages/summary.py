"""Stage 7: the records of every batch size become ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lresnet_utils.data.known_sets import licence_of
from lresnet_utils.errors import RunError
from lresnet_utils.findings import find
from lresnet_utils.findings.model import Finding
from lresnet_utils.findings.preconditions import preconditions
from lresnet_utils.findings.sentences import said_json
from lresnet_utils.ledger.custody import files_of, gather
from lresnet_utils.machine.disk import read_json, sha256_file, write_json
from lresnet_utils.results import FAILED, OK, UNAVAILABLE
from lresnet_utils.run import NO_FACES, RunFolder, unplaced

SCHEMA = 1
NO_SET = "no set of faces is named (dataset.source: none)"
NO_CEILING = "the arithmetic ceiling is not measured where a tool or another machine set the clock"
_NEEDED = ("2_compile", "4_infer", "5_evaluate", "6_perf")


@dataclass(frozen=True)
class Results:
    """What ``results.json`` holds.

    Attributes
    ----------
    run : dict
        ``name``, ``params``, ``provenance``, ``notebooks``.
    cells : list of dict
        One per batch size and target, in that order.
    dataset : dict
        The record of ``3_preprocess``, empty when there is none.
    findings : list of Finding
        What the numbers say.
    timing : list of dict
        Per batch size that was timed: ``batch_size``, ``settings``, ``machine`` just before, and
        ``load``, what else ran meanwhile (:func:`lresnet_utils.machine.facts.load`; None where
        only tools timed, on devices of their own).
    custody : list of dict
        The chain of custody; see :mod:`lresnet_utils.ledger.custody`.
    licences : list of dict
        Terms of the weights and sets whose names tell what they are.
    preconditions : list of Finding
        What must hold before a build is recommended, with its state as the kind.
    network : dict or None
        ``architecture``, ``n_parameters``, ``quantised``, the ``input`` that was assumed, and
        ``input_said_by``, who said so: "params", "graph" or the network's "maker".
    """

    run: dict[str, Any]
    cells: list[dict[str, Any]]
    dataset: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)
    timing: list[dict[str, Any]] = field(default_factory=list)
    custody: list[dict[str, Any]] = field(default_factory=list)
    licences: list[dict[str, Any]] = field(default_factory=list)
    preconditions: list[Finding] = field(default_factory=list)
    network: dict[str, Any] | None = None

    def ok(self) -> list[dict[str, Any]]:
        """Return the cells that have results."""
        return [cell for cell in self.cells if cell["status"] == OK]

    def largest(self) -> list[dict[str, Any]]:
        """Return the cells of the largest batch size that have results."""
        sizes = [cell["batch_size"] for cell in self.ok()]
        return [cell for cell in self.ok() if cell["batch_size"] == max(sizes)]


def summarise(run: RunFolder, *, batch_sizes: list[int], targets: list[str]) -> Results:
    """Gather every stage's record into ``results.json``.

    Parameters
    ----------
    run : RunFolder
        Any of its records may be missing: the cells that need them say so.
    batch_sizes, targets
        The cells to report, as declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    Results
        What was written.

    Raises
    ------
    RunError
        When the folder holds no record of these batch sizes at all.
    """
    if not any(run.batch(batch_size).is_dir() for batch_size in batch_sizes):
        raise RunError(
            "This folder holds no results yet.",
            where=str(run.folder),
            fix="run the notebooks 1 to 6 first, or everything with: lresnet run PARAMS",
        )
    about = _read(run.folder / "run.json") or {"name": run.name, "params": None, "notebooks": []}
    results, findings = gathered(run, about, batch_sizes, targets)
    own = ("7_summary", "results.json", "run.json", "resume/")
    files = {path.relative_to(run.folder).as_posix(): path for path in files_of(run, batch_sizes)}
    results["files"] = {n: sha256_file(p) for n, p in files.items() if not n.startswith(own)}
    write_json(run.results, results)
    kept = (results[key] for key in ("timing", "custody", "licences"))
    needed = preconditions(results)
    told = (needed, results["network"])
    return Results(about, results["cells"], results["dataset"], findings, *kept, *told)


def gathered(
    run: RunFolder, about: dict[str, Any], batch_sizes: list[int], targets: list[str]
) -> tuple[dict[str, Any], list[Finding]]:
    """Return what the stages' records give, and its findings; the same records give the same.

    Parameters
    ----------
    run : RunFolder
    about : dict
        The run, as ``run.json`` has it.
    batch_sizes, targets
        As for :func:`summarise`.

    Returns
    -------
    dict
        ``results.json``, without the hashes of the files.
    list of Finding
    """
    cells = [_cell(run, b, t, about) for b in batch_sizes for t in targets]
    dataset = _read(run.stage("3_preprocess")) or {}
    # Like every stage's links it stands in the one list of the run.
    dataset.pop("custody", None)
    # Where the files lay when it ran is nobody's business; run.json and params.yaml keep it.
    about, dataset = unplaced(about), unplaced(dataset)
    results = {"schema": SCHEMA, "run": about, "dataset": dataset, "cells": cells}
    results |= {"set_health": _set_health(run, batch_sizes), "timing": _timing(run, batch_sizes)}
    # The terms of the weights and sets whose origin is known by their names.
    weights = about["params"]["model"]["weights"] if about["params"] else ""
    sets = [dataset, *dataset.get("sets", {}).values()]
    terms = [licence_of(weights), *(own.get("licence") for own in sets)]
    results["licences"] = list({item["file"]: item for item in terms if item}.values())
    results["input_test"] = _input_test(run, batch_sizes)
    results["network"] = _network(run, batch_sizes)
    if quantised := (results["network"] or {}).get("quantised"):
        for cell in cells:
            cell["quantised"] = quantised["what"]
    results["preconditions"] = [said_json(found) for found in preconditions(results)]
    findings = find(results)
    results |= {"findings": [said_json(found) for found in findings]}
    return results | {"custody": gather(run, batch_sizes)}, findings


def _set_health(run: RunFolder, batch_sizes: list[int]) -> list[dict[str, Any]]:
    """Return what the evaluation found odd about the set: the same at every batch size."""
    records = (_read(run.stage("5_evaluate", b)) for b in batch_sizes)
    return next((r["set_health"] for r in records if r and r.get("set_health")), [])


def _input_test(run: RunFolder, batch_sizes: list[int]) -> dict[str, Any] | None:
    """Return what the evaluation found out about channel order and scale of the pixels."""
    records = (_read(run.stage("5_evaluate", b)) for b in batch_sizes)
    return next((r["input_test"] for r in records if r and r.get("input_test")), None)


def _network(run: RunFolder, batch_sizes: list[int]) -> dict[str, Any] | None:
    """Return what the network is, what input was assumed, and who said so."""
    record = next((r for b in batch_sizes if (r := _read(run.stage("1_export", b)))), None)
    if not record or "input" not in record:
        return None
    about = {key: record["network"].get(key) for key in ("architecture", "quantised")}
    about["n_parameters"] = record["network"].get("n_parameters")
    return about | {"input": record["input"], "input_said_by": record.get("input_said_by")}


def _timing(run: RunFolder, batch_sizes: list[int]) -> list[dict[str, Any]]:
    """Return how each batch size was timed, on what, and what else ran meanwhile."""
    records = ((b, _read(run.stage("6_perf", b))) for b in batch_sizes)
    return [
        {"batch_size": b} | {key: record.get(key) for key in ("settings", "machine", "load")}
        for b, record in records
        if record and "machine" in record
    ]


def _read(path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def _cell(run: RunFolder, batch_size: int, target: str, about: dict[str, Any]) -> dict[str, Any]:
    """Merge what the stages say of one cell; the first stage that stopped it gives the reason.

    A target may tell accuracy without speed or speed without accuracy, as recorded results do:
    the half that is unavailable carries its reason, and the cell is ok.
    """
    entries = {}
    head = {"batch_size": batch_size, "target": target}
    for stage in _NEEDED:
        record = _read(run.stage(stage, batch_size))
        entry = record["targets"].get(target) if record else None
        if entry is None and stage in ("4_infer", "5_evaluate") and _no_faces(about):
            entry = {"status": UNAVAILABLE, "reason": NO_SET}
        if entry is None:
            return head | _stopped(FAILED, _why_missing(stage, batch_size, about["notebooks"]))
        if entry["status"] == FAILED:
            return head | _stopped(FAILED, f"{stage}: {entry['reason']}", entry.get("remedy"))
        if stage == "2_compile" and entry["status"] == UNAVAILABLE:
            return head | _stopped(UNAVAILABLE, entry["reason"], entry.get("remedy"))
        entries[stage] = entry
    built, judged, timed = (entries[stage] for stage in ("2_compile", "5_evaluate", "6_perf"))
    if judged["status"] == timed["status"] == UNAVAILABLE:
        return head | _stopped(UNAVAILABLE, judged["reason"], judged.get("remedy"))
    parts = (_about_build(built), _judged(entries), _timed(entries), tuning(built))
    cell = head | _stopped(OK, None)
    for part in parts:
        cell |= part
    return cell


def _no_faces(about: dict[str, Any]) -> bool:
    return bool(about["params"]) and about["params"]["dataset"]["source"] == NO_FACES


def _stopped(status: str, reason: str | None, remedy: str | None = None) -> dict[str, Any]:
    return {"status": status, "reason": reason, "remedy": remedy}


def _why_missing(stage: str, batch_size: int, notebooks: list[dict]) -> str:
    for outcome in notebooks:
        if outcome["batch_size"] in (None, batch_size) and outcome["status"] == FAILED:
            return f"{outcome['stage']}: {outcome['reason']}"
    return f"stage {stage} has no record of this target"


def _about_build(built: dict[str, Any]) -> dict[str, Any]:
    """Return the build with its file named relative to the run, as the results may travel."""
    # bs<B>/models/<target>/<file>, wherever the run's folder was when it was built.
    parts = Path(built["artefact"].get("path", "")).parts[-4:]
    named = {"path": Path(*parts).as_posix()}
    return {"note": built.get("note"), "artefact": built["artefact"] | named}


def _judged(entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    judged, embedded = entries["5_evaluate"], entries["4_infer"]
    done = judged["status"] == OK
    return {
        "accuracy": judged.get("accuracy"),
        "accuracy_refused": judged.get("refused") if done else judged["reason"],
        "threshold": judged.get("threshold"),
        "eer": judged.get("eer"),
        "auc": judged.get("auc"),
        "tar_at_far": judged.get("tar_at_far", []),
        "minimum_cost": judged.get("minimum_cost", []),
        "decidability": judged.get("decidability"),
        "fixed_thresholds": judged.get("fixed_thresholds", []),
        "failures": judged.get("failures"),
        "embeddings": judged.get("embeddings"),
        "variants": judged.get("variants", {}),
        "published": judged.get("published", []),
        "every_pair": judged.get("every_pair"),
        "sets": judged.get("sets", {}),
        "parity": judged["parity"] if done else {"refused": judged["reason"]},
        "gates": judged.get("gates", []),
        "stages": embedded.get("stages") or entries["6_perf"].get("stages"),
    }


def _timed(entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    timed = entries["6_perf"]
    ceiling = timed.get("ceiling") or {"refused": NO_CEILING}
    return {
        "throughput_ips": timed.get("throughput_ips"),
        "throughput_refused": None if timed["status"] == OK else timed["reason"],
        "latency_ms": timed.get("latency_ms"),
        "clock": timed.get("clock"),
        "ceiling_fraction": ceiling.get("fraction"),
        "ceiling_fraction_reason": ceiling.get("refused"),
        "ceiling": None if "refused" in ceiling else ceiling,
    }


# What tuning bought: a build as chosen against the same network as a user would first run it.

NO_SEARCH = "nothing was searched for this target, so there is no before and after"


def tuning(built: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a target's chosen build with the one it started from.

    Parameters
    ----------
    built : mapping
        A target's entry of ``2_compile``.

    Returns
    -------
    dict
        ``tuning``: None, or ``before`` in words, ``before_ips`` and ``after_ips`` (images per
        second) and ``ratio``, each with interval and n and all from one group of measurements
        taken in turns; ``measured_at`` (UTC) and ``reused`` (True when from an earlier run on
        this machine). ``tuning_refused``: None, or why there is none.
    """
    found = built.get("running")
    if found is None:
        return {"tuning": None, "tuning_refused": NO_SEARCH}
    before = found["before"]
    if before["failure"]:
        why = f"{before['what']} could not be timed: {before['failure']}"
        return {"tuning": None, "tuning_refused": why}
    chosen = next(way for way in found["candidates"] if way["chosen"])
    compared = {
        "before": before["what"],
        "before_ips": before["throughput_ips"],
        "after_ips": chosen["throughput_ips"],
        "ratio": found["ratio"],
        "measured_at": found["measured_at"],
        "reused": found["reused"],
    }
    return {"tuning": compared, "tuning_refused": None}
