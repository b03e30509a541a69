"""Compare two reports: match their cells and put everything known of each match into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
from lresnet_utils.text.language import message, speaking
from lresnet_utils.verify.agreement import embedding_cosines, flipped_pairs, mcnemar_exact
from lresnet_utils.verify.curves import tar_at_far
from lresnet_utils.verify.paired import (
    ALPHA,
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
        return message(
            "Equivalent when the 95 % interval of the accuracy difference (B minus A) lies "
            "within ±{margin_points:g} percentage points; else worse or better when it lies "
            "on one side of zero; else worse or better on these pairs, with other people "
            "left open, when McNemar's exact p is below {alpha:g}; else not enough data. At "
            "each end the wider of the paired bootstrap and Tango's score interval counts.",
            margin_points=self.margin_points,
            alpha=ALPHA,
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
    same, n_genuine = a.same[kept], int(a.same[kept].sum())
    thresholds = [pair_thresholds(cell, len(kept)) for cell in cells]
    flips = flipped_pairs(rows[0], thresholds[0], rows[1], thresholds[1], a.same, kept)
    lost, gained = (
        [
            {
                "pair": int(pair),
                "images": [int(a.left[pair]), int(a.right[pair])],
                "same_person": bool(a.same[pair]),
                "distance": {"a": float(rows[0][pair]), "b": float(rows[1][pair])},
                "threshold": {"a": float(thresholds[0][pair]), "b": float(thresholds[1][pair])},
            }
            for pair in pairs
        ]
        for pairs in (flips.lost, flips.gained)
    )
    # First the pairs that the wrong side misses by most.
    for pairs, wrong in ((lost, "b"), (gained, "a")):
        pairs.sort(
            key=lambda flip, side=wrong: (
                -abs(flip["distance"][side] - flip["threshold"][side]),
                flip["pair"],
            )
        )
    # Operating points: the true accept rate of each side at its own threshold.
    fars = [row["far"] for row in cells[0].get("tar_at_far") or []]
    points = [*zip(*(tar_at_far(row[kept], same, fars) for row in rows), strict=True)]
    folds = [fold_numbers(len(kept), len(cell["threshold"]["folds"])) for cell in cells]
    sides = [
        WeightedScores(row[kept], same, fold[kept]) for row, fold in zip(rows, folds, strict=True)
    ]
    drawn = paired_bootstrap(
        *sides,
        units.only(kept),
        fars=[x["far"] for x, y in points if "refused" not in x and "refused" not in y],
        replicates=settings.replicates,
        seed=settings.seed,
    )
    tar_rows = []
    for x, y in points:
        if "refused" in x or "refused" in y:
            tar_rows.append({"far": x["far"], "refused": x.get("refused") or y["refused"]})
            continue
        before, after = (
            row[kept][same] < point["threshold"] for row, point in zip(rows, (x, y), strict=True)
        )
        less, more = int((before & ~after).sum()), int((~before & after).sum())
        low, high = hull(drawn.tar[x["far"]], tango(more, less, n_genuine))
        difference = {"value": (more - less) / n_genuine, "low": low, "high": high, "n": n_genuine}
        tar_rows.append({"far": x["far"], "a": x, "b": y, "difference": difference})
    low, high = hull(drawn.accuracy, tango(len(flips.gained), len(flips.lost), flips.n))
    cosines, agreement = _embeddings(a, b, cells)
    record = {
        "a": names[0],
        "b": names[1],
        "n_pairs": flips.n,
        "n_left_out": int((~kept).sum()),
        "identical_scores": bool(np.array_equal(rows[0][kept], rows[1][kept])),
        "accuracy": {"a": cells[0]["accuracy"], "b": cells[1]["accuracy"]},
        "difference": {
            "value": (len(gained) - len(lost)) / flips.n,
            "low": low,
            "high": high,
            "n": flips.n,
            "interval": message("{method}; joined with Tango's score interval", method=drawn.words),
            "over": units.words,
        },
        "mcnemar_p": mcnemar_exact(len(lost), len(gained)),
        "lost": lost,
        "gained": gained,
        "tar_at_far": tar_rows,
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


def _embeddings(
    a: Report, b: Report, cells: tuple[dict[str, Any], ...]
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Return the cosines between both sides' embeddings, and their distribution or why none."""
    # Weights are told apart by their hashes, and by their names where a side has no hash.
    own, other = a.network(), b.network()
    told_by = "sha256" if own["sha256"] and other["sha256"] else "weights"
    if any(own[k] and other[k] and own[k] != other[k] for k in ("architecture", told_by)):
        names = [", ".join(filter(None, (n["architecture"], n["weights"]))) for n in (own, other)]
        differ = message(
            "the networks differ (A: {a}; B: {b}), and a cosine between embeddings of two "
            "networks means nothing",
            a=names[0],
            b=names[1],
        )
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


def _speed(reports: tuple[Report, Report], cells: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    rates = [cell.get("throughput_ips") for cell in cells]
    for side, rate, cell in zip("AB", rates, cells, strict=True):
        if not rate:
            return {
                "refused": message(
                    "{side} was not timed: {why}", side=side, why=cell.get("throughput_refused")
                )
            }
    for side, report, cell in zip("AB", reports, cells, strict=True):
        if cell["batch_size"] in busy_loads(report.results):
            return {
                "refused": message(
                    "something else took processor time while {side} was timed", side=side
                )
            }
    if cells[0].get("clock") != cells[1].get("clock"):
        return {"refused": "the two rates were taken by clocks that cover different things"}
    return speed_ratio(*rates) | {"a": rates[0], "b": rates[1]}


def sentence(record: dict[str, Any], word: str, settings: CompareSettings) -> str:
    """Return the verdict on one cell as a sentence that carries its numbers."""
    who = {}
    for side in "ab":
        batch, _, target = record[side].partition("/")
        who[side] = message("{target}, batch size {batch}", target=target, batch=batch)
    d = record["difference"]
    points = [f"{100 * d[key]:+.2f}".replace("-", "\u2212") for key in ("value", "low", "high")]
    points = ["0.00" if text[1:] == "0.00" else text for text in points]
    chance = "< 0.0001" if record["mcnemar_p"] < 1e-4 else f"= {record['mcnemar_p']:.2g}"
    pairs = message("these {n} pairs", n=record["n_pairs"])
    if record["n_left_out"]:
        pairs = message(
            "the {n} pairs that both decided ({left_out} left out, as an image gave no embedding)",
            n=record["n_pairs"],
            left_out=record["n_left_out"],
        )
    start = {
        "equivalent": message("B ({b}) is equivalent to A ({a})", b=who["b"], a=who["a"]),
        "worse": message("B ({b}) is worse than A ({a})", b=who["b"], a=who["a"]),
        "better": message("B ({b}) is better than A ({a})", b=who["b"], a=who["a"]),
        "worse on these pairs": message(
            "B ({b}) decides worse than A ({a})", b=who["b"], a=who["a"]
        ),
        "better on these pairs": message(
            "B ({b}) decides better than A ({a})", b=who["b"], a=who["a"]
        ),
        "not enough data": message(
            "Not enough data to tell B ({b}) from A ({a})", b=who["b"], a=who["a"]
        ),
    }[word]
    n_lost, n_gained = len(record["lost"]), len(record["gained"])
    if word in ("worse on these pairs", "better on these pairs"):
        text = message(
            "{target} on {cell}: {lost} pairs lost and {gained} gained (McNemar's exact p "
            "{p}); for other people that is not sure: accuracy {points} points [{low}, "
            "{high}] over {over}, at a margin of {margin:g}",
            target=start,
            cell=pairs,
            lost=n_lost,
            gained=n_gained,
            p=chance,
            points=points[0],
            low=points[1],
            high=points[2],
            over=d["over"],
            margin=settings.margin_points,
        )
    else:
        text = message(
            "{target} on {cell}: accuracy {points} points [{low}, {high}] at a margin of "
            "{margin:g}, {lost} pairs lost and {gained} gained (McNemar's exact p {p})",
            target=start,
            cell=pairs,
            points=points[0],
            low=points[1],
            high=points[2],
            margin=settings.margin_points,
            lost=n_lost,
            gained=n_gained,
            p=chance,
        )
    speed = record["speed"]
    if "refused" in speed:
        return message("{verdict}; speed not compared.", verdict=text)
    span = "" if speed["low"] is None else f" [{speed['low']:.2f}, {speed['high']:.2f}]"
    return message(
        "{verdict}; speed {ratio:.2f} times A's{interval}.",
        verdict=text,
        ratio=speed["value"],
        interval=span,
    )


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
    for report in (a, b):
        if report.fingerprint is None:
            raise RunError(
                "The report does not say which pairs it scored.",
                where=str(report.path),
                fix="run it again with this version",
            )
    if a.fingerprint != b.fingerprint or not np.array_equal(a.same, b.same):
        sets = [
            f"{report.path} ({report.results['dataset'].get('name', 'unnamed')}, "
            f"{len(report.same)} pairs, {report.fingerprint[:12]})"
            for report in (a, b)
        ]
        raise RunError(
            "The two reports scored different pairs, so they cannot be compared pair by pair.",
            where=" and ".join(sets),
            fix="run both on the same set of faces",
        )
    units = sampling_units(a.left, a.right, a.same)
    where = f"{a.path} or {b.path}"
    compared = []
    for match in matches:
        with _guarded(f"The results of {match[0]} or {match[1]}", where):
            compared.append(compare_cells(a, b, match, units, settings))
    about = {}
    for side, report in (("a", a), ("b", b)):
        with _guarded("The report's results", str(report.path)):
            made = report.results["run"].get("provenance") or {}
            failed = [found for found in preconditions(report.results) if found.kind == FAILS]
            about[side] = {
                "name": report.name,
                "path": str(report.path),
                "started": made.get("started"),
                "commit": made.get("commit"),
                "machine": made.get("machine"),
                "model": report.network(),
                "withheld": [found.to_json() for found in failed],
            }
    with speaking("en"), _guarded("The reports' results", where):
        open_points = withheld(about)
    # Speeds of different machines are told apart.
    cores = [
        f"{machine.get('cpu')}, {machine.get('cores')} cores"
        for machine in (about[side]["machine"] or {} for side in "ab")
    ]
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
        "machines": message("A: {a}; B: {b}", a=cores[0], b=cores[1])
        if cores[0] != cores[1]
        else None,
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
        left_out, of_a, of_b = [], a.cells(), b.cells()
        for name in dict.fromkeys([*of_a, *of_b]):
            if name not in of_a or name not in of_b:
                reason = message("only {side} has it", side="A" if name in of_a else "B")
            elif why := why_not(of_a[name]) or why_not(of_b[name]):
                side = "A" if why_not(of_a[name]) else "B"
                reason = message("in {side} {cell}", side=side, cell=why)
            else:
                continue
            left_out.append({"cell": name, "reason": reason})
        return matches, left_out
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


@contextmanager
def _guarded(what: str, where: str) -> Iterator[None]:
    """Turn what a damaged report causes into an error that names it."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(
            f"{what} are incomplete.", where=where, fix="run the report again, or copy it again"
        ) from error


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
    return message(
        "Of {n} cells, B against A: {verdicts}.", n=len(cells), verdicts=", ".join(parts)
    )
