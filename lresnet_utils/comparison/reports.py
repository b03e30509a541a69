"""Compare two reports: match their cells and put everything known of each match into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lresnet_utils.comparison.cells import CellComparison, Settings, compare_cells
from lresnet_utils.comparison.sources import Report, why_not
from lresnet_utils.errors import DataError, RunError
from lresnet_utils.findings.model import FAILS, Finding
from lresnet_utils.findings.preconditions import preconditions
from lresnet_utils.findings.sentences import say
from lresnet_utils.text.language import speaking
from lresnet_utils.verify.paired import sampling_units

Match = tuple[str, str]


@dataclass(frozen=True)
class Comparison:
    """What came of comparing two reports.

    Attributes
    ----------
    record : dict
        Everything as plain values, as ``lresnet compare --json`` writes it.
    cells : list of CellComparison
        With the arrays behind the numbers, for figures.
    a, b : Report
    """

    record: dict[str, Any]
    cells: list[CellComparison]
    a: Report
    b: Report

    def picture(self, image: int) -> bytes | None:
        """Return a face as a JPEG file from whichever report has it."""
        return self.a.picture(image) or self.b.picture(image)


def compare_reports(
    a: Report, b: Report, *, cells: Match | None = None, settings: Settings | None = None
) -> Comparison:
    """Compare two reports over the same pairs.

    Parameters
    ----------
    a, b : Report
        The old and the new; differences are new minus old, ratios new over old.
    cells : (str, str), optional
        One cell of each. Without it cells of the same batch size and target are matched; two
        reports with one comparable cell each are compared in these.
    settings : Settings, optional

    Returns
    -------
    Comparison

    Raises
    ------
    RunError
        When a cell is missing or decided nothing, the pairs differ, or nothing matches.
    DataError
        When a report contradicts itself.
    """
    settings = settings or Settings()
    if cells is not None:
        matches, left_out = [cells], []
        a.comparable(cells[0])
        b.comparable(cells[1])
    else:
        matches, left_out = _matches(a, b)
    _require_same_pairs(a, b)
    units = sampling_units(a.left, a.right, a.same)
    where = f"{a.path} or {b.path}"
    compared = [
        _guarded(
            f"The results of {match[0]} or {match[1]}",
            where,
            lambda m=match: compare_cells(a, b, m, units, settings),
        )
        for match in matches
    ]
    about = {
        side: _guarded("The report's results", str(report.path), lambda r=report: _about(r))
        for side, report in (("a", a), ("b", b))
    }
    with speaking("en"):
        open_points = _guarded("The reports' results", where, lambda: withheld(about))
    record = {
        "schema": 1,
        **about,
        "pairs": {
            "name": a.results["dataset"].get("name"),
            "credit": a.results["dataset"].get("credit"),
            "sha256": a.fingerprint,
            "n": len(a.same),
            "n_genuine": int(a.same.sum()),
            "n_impostor": int((~a.same).sum()),
        },
        "settings": settings.to_json(),
        "rule": settings.rule(),
        "machines": _machines(about),
        "cells": [cell.record for cell in compared],
        "left_out": left_out,
        "summary": " ".join([*open_points, summary(compared)]),
    }
    return Comparison(record, compared, a, b)


def _matches(a: Report, b: Report) -> tuple[list[Match], list[dict[str, str]]]:
    """Match cells by name; say of every other cell why it is left out."""
    able_a, able_b = (
        [name for name, cell in report.cells().items() if why_not(cell) is None]
        for report in (a, b)
    )
    if len(able_a) == len(able_b) == 1:
        return [(able_a[0], able_b[0])], []
    matches = [(name, name) for name in able_a if name in able_b]
    if matches:
        return matches, _left_out(a, b, {name for name, _ in matches})
    for side, able in ((a, able_a), (b, able_b)):
        if not able:
            name, cell = next(iter(side.cells().items()), ("", None))
            why = f": {name}, {why_not(cell)}" if cell else ""
            raise RunError(f"No cell of the report can be compared{why}.", where=str(side.path))
    raise RunError(
        "The two reports have no cell in common.",
        where=f"{', '.join(able_a)} and {', '.join(able_b)}",
        fix="name one of each: --cells BATCH/TARGET BATCH/TARGET",
    )


def _left_out(a: Report, b: Report, matched: set[str]) -> list[dict[str, str]]:
    rows, of_a, of_b = [], a.cells(), b.cells()
    for name in dict.fromkeys([*of_a, *of_b]):
        if name not in matched:
            if name not in of_a or name not in of_b:
                reason = f"only {'A' if name in of_a else 'B'} has it"
            else:
                side, cell = ("A", of_a[name]) if why_not(of_a[name]) else ("B", of_b[name])
                reason = f"in {side} {why_not(cell)}"
            rows.append({"cell": name, "reason": reason})
    return rows


def _require_same_pairs(a: Report, b: Report) -> None:
    for report in (a, b):
        if report.fingerprint is None:
            raise RunError(
                "The report does not say which pairs it scored.",
                where=str(report.path),
                fix="run it again with this version",
            )
    if a.fingerprint != b.fingerprint or not np.array_equal(a.same, b.same):
        raise RunError(
            "The two reports scored different pairs, so they cannot be compared pair by pair.",
            where=f"{a.path} ({_set(a)}) and {b.path} ({_set(b)})",
            fix="run both on the same set of faces",
        )


def _set(report: Report) -> str:
    data = report.results["dataset"]
    return f"{data.get('name', 'unnamed')}, {len(report.same)} pairs, {report.fingerprint[:12]}"


def _guarded(what: str, where: str, compute: Callable[[], Any]) -> Any:
    """Turn what a damaged report causes into an error that names it."""
    try:
        return compute()
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(
            f"{what} are incomplete.", where=where, fix="run the report again, or copy it again"
        ) from error


def _about(report: Report) -> dict[str, Any]:
    made = report.results["run"].get("provenance") or {}
    failed = [found for found in preconditions(report.results) if found.kind == FAILS]
    return {
        "name": report.name,
        "path": str(report.path),
        "started": made.get("started"),
        "commit": made.get("commit"),
        "machine": made.get("machine"),
        "model": report.network(),
        "withheld": [found.to_json() for found in failed],
    }


def _machines(about: dict[str, dict[str, Any]]) -> str | None:
    """Say that speeds come from different machines, or None."""
    names = [
        f"{machine.get('cpu')}, {machine.get('cores')} cores"
        for machine in (about[side]["machine"] or {} for side in "ab")
    ]
    return f"A: {names[0]}; B: {names[1]}" if names[0] != names[1] else None


def withheld(about: Mapping[str, Any]) -> list[str]:
    """Return, for each side of a record whose report recommends nothing, why, as a sentence."""
    return [
        say(
            Finding(
                "fastest-accurate",
                FAILS,
                {"side": side.upper(), "because": about[side]["withheld"]},
                [],
                "withheld-of",
            )
        ).finding
        for side in "ab"
        if about[side]["withheld"]
    ]


def summary(cells: list[CellComparison]) -> str:
    """Return the verdict in one sentence over all cells."""
    if len(cells) == 1:
        return cells[0].record["verdict"]["sentence"]
    counts = Counter(cell.record["verdict"]["word"] for cell in cells)
    order = (
        "worse",
        "worse on these pairs",
        "not enough data",
        "better on these pairs",
        "better",
        "equivalent",
    )
    parts = [f"{counts[word]} {word}" for word in order if counts[word]]
    return f"Of {len(cells)} cells, B against A: {', '.join(parts)}."
