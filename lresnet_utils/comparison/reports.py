"""Compare two reports: match their cells and put everything known of each match into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lresnet_utils.comparison.page_data import pair_thresholds
from lresnet_utils.comparison.sources import Report, why_not
from lresnet_utils.errors import DataError, EvaluationError, RunError
from lresnet_utils.findings.model import FAILS, Finding, busy_loads
from lresnet_utils.findings.preconditions import preconditions
from lresnet_utils.findings.sentences import say
from lresnet_utils.perf.statistics import speed_ratio
from lresnet_utils.results import ROUNDING
from lresnet_utils.text.language import speaking
from lresnet_utils.verify.agreement import embedding_cosines, flipped_pairs, mcnemar_exact
from lresnet_utils.verify.curves import tar_at_far
from lresnet_utils.verify.paired import (
    ALPHA,
    PairedReplicates,
    Units,
    WeightedScores,
    hull,
    paired_bootstrap,
    sampling_units,
    tango,
    verdict,
)
from lresnet_utils.verify.protocol import fold_numbers, guide_protocol

# Compare one cell with another: decisions, operating points, embeddings, speed, verdict.

NO_EMBEDDINGS = "the embeddings are in the runs' folders; give these on both sides"
_QUANTILES = {"min": 0.0, "p1": 0.01, "p5": 0.05, "median": 0.5}


@dataclass(frozen=True)
class CompareSettings:
    """How a comparison is made.

    Attributes
    ----------
    margin_points : float
        Differences of accuracy below this do not matter, percentage points.
    replicates, seed : int
        Of the bootstrap.
    """

    margin_points: float = 0.2
    replicates: int = 2000
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return asdict(self)

    def rule(self) -> str:
        """Return the verdict's rule in words."""
        return (
            f"Equivalent when the 95 % interval of the accuracy difference (B minus A) lies within "
            f"±{self.margin_points:g} percentage points; else worse or better when it lies on one "
            "side of zero; else worse or better on these pairs, with other people left open, when "
            f"McNemar's exact p is below {ALPHA:g}; else not enough data. At each end the wider of "
            "the paired bootstrap and Tango's score interval counts."
        )


@dataclass(frozen=True)
class CellComparison:
    """One cell against another.

    Attributes
    ----------
    record : dict
        Plain values.
    cosines : ndarray of float64 or None
        Of the embeddings, image by image.
    """

    record: dict[str, Any]
    cosines: np.ndarray | None


@dataclass(frozen=True)
class _Scores:
    """What one side knows of the pairs that both sides decided."""

    distances: np.ndarray
    fold: np.ndarray


def compare_cells(
    a: Report, b: Report, names: tuple[str, str], units: Units, settings: CompareSettings
) -> CellComparison:
    """Compare a cell of one report with a cell of another, over the same pairs.

    Parameters
    ----------
    a, b : Report
    names : (str, str)
        A cell of each.
    units : Units
        Of all pairs.
    settings : Settings

    Raises
    ------
    DataError
        When a cell's stored scores do not give the accuracy that its report states.
    """
    cells = a.comparable(names[0]), b.comparable(names[1])
    rows = [_distances(report, cell) for report, cell in zip((a, b), cells, strict=True)]
    kept = ~(np.isnan(rows[0]) | np.isnan(rows[1]))
    sides = [_kept(row, cell, kept) for row, cell in zip(rows, cells, strict=True)]
    thresholds = [pair_thresholds(cell, len(kept)) for cell in cells]
    flips = flipped_pairs(rows[0], thresholds[0], rows[1], thresholds[1], a.same, kept)
    same = a.same[kept]
    fars = [row["far"] for row in cells[0].get("tar_at_far") or []]
    points = [tar_at_far(side.distances, same, fars) for side in sides]
    drawn = _bootstrap(sides, same, units.only(kept), points, settings)
    low, high = hull(drawn.accuracy, tango(len(flips.gained), len(flips.lost), flips.n))
    cosines, agreement = _embeddings(a, b, cells)
    lost, gained = (
        [_flip(a, rows, thresholds, pair) for pair in pairs] for pairs in (flips.lost, flips.gained)
    )
    record = {
        "a": names[0],
        "b": names[1],
        "n_pairs": flips.n,
        "n_left_out": int((~kept).sum()),
        "identical_scores": bool(np.array_equal(sides[0].distances, sides[1].distances)),
        "accuracy": {"a": cells[0]["accuracy"], "b": cells[1]["accuracy"]},
        "difference": {
            "value": (len(gained) - len(lost)) / flips.n,
            "low": low,
            "high": high,
            "n": flips.n,
            "interval": f"{drawn.words}; joined with Tango's score interval",
            "over": units.words,
        },
        "mcnemar_p": mcnemar_exact(len(lost), len(gained)),
        "lost": _clearest(lost, "b"),
        "gained": _clearest(gained, "a"),
        "tar_at_far": _tar_rows(points, sides, same, drawn),
        "embeddings": agreement,
        "speed": _speed((a, b), cells),
    }
    margin = settings.margin_points / 100
    word = verdict(low, high, margin, lost=len(lost), gained=len(gained))
    return CellComparison(
        record | {"verdict": {"word": word, "sentence": sentence(record, word, settings)}}, cosines
    )


def _distances(report: Report, cell: dict[str, Any]) -> np.ndarray:
    """Return a cell's distances after seeing that they give its stated accuracy and thresholds."""
    distances = np.asarray(report.distances(cell), np.float64)
    if distances.shape != report.same.shape:
        raise ValueError("a cell has other pairs than its report")
    stated, folds = cell["accuracy"], cell["threshold"]["folds"]
    try:
        given = guide_protocol(
            distances, report.same, folds=len(folds), acquired=~np.isnan(distances)
        )
        agrees = (
            given.errors == stated["errors"]
            and abs(given.mean_accuracy - stated["value"]) < ROUNDING
            and bool(np.all(np.abs(given.best_thresholds - folds) < ROUNDING))
        )
    except EvaluationError:
        agrees = False
    if not agrees:
        raise DataError(
            f"The scores of {cell['target']}, batch size {cell['batch_size']}, do not give the "
            "accuracy that the report states.",
            where=str(report.path),
            fix="run the evaluation and the summary again",
        )
    return distances


def _kept(distances: np.ndarray, cell: dict[str, Any], kept: np.ndarray) -> _Scores:
    fold = fold_numbers(len(distances), len(cell["threshold"]["folds"]))
    return _Scores(distances[kept], fold[kept])


def _bootstrap(
    sides: list[_Scores],
    same: np.ndarray,
    units: Units,
    points: list[list[dict[str, Any]]],
    settings: CompareSettings,
) -> PairedReplicates:
    scores = [WeightedScores(side.distances, same, side.fold) for side in sides]
    given = [
        x["far"] for x, y in zip(*points, strict=True) if "refused" not in x and "refused" not in y
    ]
    return paired_bootstrap(
        *scores, units, fars=given, replicates=settings.replicates, seed=settings.seed
    )


def _tar_rows(
    points: list[list[dict[str, Any]]],
    sides: list[_Scores],
    same: np.ndarray,
    drawn: PairedReplicates,
) -> list[dict[str, Any]]:
    """Return the true accept rates of both sides and their difference, each at own thresholds."""
    rows = []
    for x, y in zip(*points, strict=True):
        if "refused" in x or "refused" in y:
            rows.append({"far": x["far"], "refused": x.get("refused") or y["refused"]})
            continue
        accepted = [
            side.distances[same] < row["threshold"] for side, row in zip(sides, (x, y), strict=True)
        ]
        lost = int((accepted[0] & ~accepted[1]).sum())
        gained = int((~accepted[0] & accepted[1]).sum())
        n = int(same.sum())
        low, high = hull(drawn.tar[x["far"]], tango(gained, lost, n))
        difference = {"value": (gained - lost) / n, "low": low, "high": high, "n": n}
        rows.append({"far": x["far"], "a": x, "b": y, "difference": difference})
    return rows


def _flip(
    a: Report, rows: list[np.ndarray], thresholds: list[np.ndarray], pair: int
) -> dict[str, Any]:
    """Return all that is known of a pair that changed sides; numbers count from 0."""
    return {
        "pair": int(pair),
        "images": [int(a.left[pair]), int(a.right[pair])],
        "same_person": bool(a.same[pair]),
        "distance": {"a": float(rows[0][pair]), "b": float(rows[1][pair])},
        "threshold": {"a": float(thresholds[0][pair]), "b": float(thresholds[1][pair])},
    }


def _clearest(flips: list[dict[str, Any]], wrong: str) -> list[dict[str, Any]]:
    """Put the pairs first that the wrong side misses by most."""
    return sorted(
        flips,
        key=lambda flip: (-abs(flip["distance"][wrong] - flip["threshold"][wrong]), flip["pair"]),
    )


def _embeddings(
    a: Report, b: Report, cells: tuple[dict[str, Any], ...]
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Return the cosines between both sides' embeddings, and their distribution or why none."""
    differ = _networks_differ(a.network(), b.network())
    if differ:
        return None, {"refused": differ}
    x, y = a.embeddings(cells[0]), b.embeddings(cells[1])
    if x is None or y is None:
        return None, {"refused": NO_EMBEDDINGS}
    if x["vectors"].shape != y["vectors"].shape:
        return None, {"refused": "the embeddings have different lengths"}
    if not (np.array_equal(a.left, b.left) and np.array_equal(a.right, b.right)):
        return None, {"refused": "the two stores number their images differently"}
    usable = ~(x["failed"] | y["failed"])
    cosines = embedding_cosines(x["vectors"][usable], y["vectors"][usable])
    told = {name: float(np.quantile(cosines, share)) for name, share in _QUANTILES.items()}
    return cosines, told | {"mean": float(cosines.mean()), "n": len(cosines)}


def _networks_differ(a: dict[str, Any], b: dict[str, Any]) -> str | None:
    """Say that two embeddings share no space, or None where nothing tells their networks apart.

    Weights are told apart by their hashes, and by their names where a side has no hash.
    """
    told_by = "sha256" if a["sha256"] and b["sha256"] else "weights"
    if not any(a[key] and b[key] and a[key] != b[key] for key in ("architecture", told_by)):
        return None
    names = [", ".join(filter(None, (n["architecture"], n["weights"]))) for n in (a, b)]
    return (
        f"the networks differ (A: {names[0]}; B: {names[1]}), and a cosine between embeddings of "
        "two networks means nothing"
    )


def _speed(reports: tuple[Report, Report], cells: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    rates = [cell.get("throughput_ips") for cell in cells]
    for side, rate, cell in zip("AB", rates, cells, strict=True):
        if not rate:
            return {"refused": f"{side} was not timed: {cell.get('throughput_refused')}"}
    for side, report, cell in zip("AB", reports, cells, strict=True):
        if cell["batch_size"] in busy_loads(report.results):
            return {"refused": f"something else took processor time while {side} was timed"}
    if cells[0].get("clock") != cells[1].get("clock"):
        return {"refused": "the two rates were taken by clocks that cover different things"}
    return speed_ratio(*rates) | {"a": rates[0], "b": rates[1]}


def sentence(record: dict[str, Any], word: str, settings: CompareSettings) -> str:
    """Return the verdict on one cell as a sentence that carries its numbers."""
    who = {side: _named(record[side]) for side in "ab"}
    d = record["difference"]
    points = [_points(d[key]) for key in ("value", "low", "high")]
    start = {
        "equivalent": f"B ({who['b']}) is equivalent to A ({who['a']})",
        "worse": f"B ({who['b']}) is worse than A ({who['a']})",
        "better": f"B ({who['b']}) is better than A ({who['a']})",
        "worse on these pairs": f"B ({who['b']}) decides worse than A ({who['a']})",
        "better on these pairs": f"B ({who['b']}) decides better than A ({who['a']})",
        "not enough data": f"Not enough data to tell B ({who['b']}) from A ({who['a']})",
    }[word]
    n_lost, n_gained = len(record["lost"]), len(record["gained"])
    if word.endswith("on these pairs"):
        text = (
            f"{start} on {_pairs(record)}: {n_lost} pairs lost and {n_gained} gained (McNemar's "
            f"exact p {_chance(record['mcnemar_p'])}); for other people that is not sure: accuracy "
            f"{points[0]} points [{points[1]}, {points[2]}] over {d['over']}, at a margin of "
            f"{settings.margin_points:g}"
        )
    else:
        text = (
            f"{start} on {_pairs(record)}: accuracy {points[0]} points "
            f"[{points[1]}, {points[2]}] at a margin of {settings.margin_points:g}, "
            f"{n_lost} pairs lost and {n_gained} gained "
            f"(McNemar's exact p {_chance(record['mcnemar_p'])})"
        )
    speed = record["speed"]
    if "refused" in speed:
        return f"{text}; speed not compared."
    span = "" if speed["low"] is None else f" [{speed['low']:.2f}, {speed['high']:.2f}]"
    return f"{text}; speed {speed['value']:.2f} times A's{span}."


def _pairs(record: dict[str, Any]) -> str:
    if not record["n_left_out"]:
        return f"these {record['n_pairs']} pairs"
    return (
        f"the {record['n_pairs']} pairs that both decided ({record['n_left_out']} left out, as an "
        "image gave no embedding)"
    )


def _chance(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"


def _points(share: float) -> str:
    text = f"{100 * share:+.2f}".replace("-", "\u2212")
    return "0.00" if text[1:] == "0.00" else text


def _named(cell: str) -> str:
    batch, _, target = cell.partition("/")
    return f"{target}, batch size {batch}"


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
    a: Report, b: Report, *, cells: Match | None = None, settings: CompareSettings | None = None
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
    settings = settings or CompareSettings()
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
