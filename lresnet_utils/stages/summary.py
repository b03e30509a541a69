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
from lresnet_utils.text.language import message

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
    # What the evaluation found odd about the set, and of order and scale of the pixels, is the same
    # at every batch size.
    judged = [r for b in batch_sizes if (r := _read(run.stage("5_evaluate", b)))]
    results["set_health"] = next((r["set_health"] for r in judged if r.get("set_health")), [])
    timed = ((b, _read(run.stage("6_perf", b))) for b in batch_sizes)
    results["timing"] = [
        {"batch_size": b} | {key: record.get(key) for key in ("settings", "machine", "load")}
        for b, record in timed
        if record and "machine" in record
    ]
    # The terms of the weights and sets whose origin is known by their names.
    weights = about["params"]["model"]["weights"] if about["params"] else ""
    sets = [dataset, *dataset.get("sets", {}).values()]
    terms = [licence_of(weights), *(own.get("licence") for own in sets)]
    results["licences"] = list({item["file"]: item for item in terms if item}.values())
    results["input_test"] = next((r["input_test"] for r in judged if r.get("input_test")), None)
    results["network"] = None
    exported = next((r for b in batch_sizes if (r := _read(run.stage("1_export", b)))), None)
    if exported and "input" in exported:
        keys = ("architecture", "quantised", "n_parameters")
        results["network"] = {key: exported["network"].get(key) for key in keys} | {
            "input": exported["input"],
            "input_said_by": exported.get("input_said_by"),
        }
        if quantised := results["network"]["quantised"]:
            for cell in cells:
                cell["quantised"] = quantised["what"]
    results["preconditions"] = [said_json(found) for found in preconditions(results)]
    findings = find(results)
    results |= {"findings": [said_json(found) for found in findings]}
    return results | {"custody": gather(run, batch_sizes)}, findings


def _read(path) -> dict[str, Any] | None:
    return read_json(path) if path.is_file() else None


def _cell(run: RunFolder, batch_size: int, target: str, about: dict[str, Any]) -> dict[str, Any]:
    """Merge what the stages say of one cell; the first stage that stopped it gives the reason.

    A target may tell accuracy without speed or speed without accuracy, as recorded results do:
    the half that is unavailable carries its reason, and the cell is ok.
    """
    entries = {}
    head = {"batch_size": batch_size, "target": target}
    no_faces = about["params"] and about["params"]["dataset"]["source"] == NO_FACES
    for stage in _NEEDED:
        record = _read(run.stage(stage, batch_size))
        entry = record["targets"].get(target) if record else None
        if entry is None and stage in ("4_infer", "5_evaluate") and no_faces:
            entry = {"status": UNAVAILABLE, "reason": NO_SET}
        if entry is None:
            failed = [
                message("{what}: {why}", what=outcome["stage"], why=outcome["reason"])
                for outcome in about["notebooks"]
                if outcome["batch_size"] in (None, batch_size) and outcome["status"] == FAILED
            ]
            missing = message("stage {stage} has no record of this target", stage=stage)
            return head | _stopped(FAILED, failed[0] if failed else missing)
        if entry["status"] == FAILED:
            why = message("{what}: {why}", what=stage, why=entry["reason"])
            return head | _stopped(FAILED, why, entry.get("remedy"))
        if stage == "2_compile" and entry["status"] == UNAVAILABLE:
            return head | _stopped(UNAVAILABLE, entry["reason"], entry.get("remedy"))
        entries[stage] = entry
    built, embedded, judged, timed = (entries[stage] for stage in _NEEDED)
    if judged["status"] == timed["status"] == UNAVAILABLE:
        return head | _stopped(UNAVAILABLE, judged["reason"], judged.get("remedy"))
    # bs<B>/models/<target>/<file>, wherever the run's folder was when it was built: the results
    # may travel.
    path = Path(*Path(built["artefact"].get("path", "")).parts[-4:]).as_posix()
    done = judged["status"] == OK
    ceiling = timed.get("ceiling") or {"refused": NO_CEILING}
    return (
        head
        | _stopped(OK, None)
        | {
            "note": built.get("note"),
            "artefact": built["artefact"] | {"path": path},
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
            "stages": embedded.get("stages") or timed.get("stages"),
            "throughput_ips": timed.get("throughput_ips"),
            "throughput_refused": None if timed["status"] == OK else timed["reason"],
            "latency_ms": timed.get("latency_ms"),
            "clock": timed.get("clock"),
            "ceiling_fraction": ceiling.get("fraction"),
            "ceiling_fraction_reason": ceiling.get("refused"),
            "ceiling": None if "refused" in ceiling else ceiling,
        }
        | tuning(built)
    )


def _stopped(status: str, reason: str | None, remedy: str | None = None) -> dict[str, Any]:
    return {"status": status, "reason": reason, "remedy": remedy}


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
        why = message(
            "{what} could not be timed: {why}", what=before["what"], why=before["failure"]
        )
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
