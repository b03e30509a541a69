"""Rules about speed: the build to ship, batch sizes, reading, and the machine's ceiling."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from lresnet_utils.findings import model
from lresnet_utils.findings.accuracy import budget_share
from lresnet_utils.findings.model import FAILS, HOLDS, UNKNOWN, Cell, Finding, Results
from lresnet_utils.findings.preconditions import unmet
from lresnet_utils.perf.statistics import speed_ratio
from lresnet_utils.results import cell_name
from lresnet_utils.text.language import NONE, message

HALF = 0.5
"""Share of the machine's arithmetic below which a target is called far from its ceiling."""


def timed_cells(results: Results) -> list[Cell]:
    """Return the cells that have a throughput."""
    return [cell for cell in model.ok_cells(results) if cell.get("throughput_ips")]


def fastest_accurate(results: Results) -> list[Finding]:
    """Name the fastest build that decides as the reference does, or say why none can be named."""
    timed = timed_cells(results)
    open_points = unmet(results)
    failed = [found.to_json() for found in open_points if found.kind == FAILS]
    if failed:
        cells = list(dict.fromkeys(cell for found in failed for cell in found["cells"]))
        return [Finding("fastest-accurate", FAILS, {"because": failed}, cells, "withheld")]
    if not timed:
        # Why no speed is known, where builds were judged.
        untimed = [cell for cell in model.ok_cells(results) if cell.get("throughput_refused")]
        if not untimed:
            return []
        why = {"reason": untimed[0]["throughput_refused"], "targets": model.targets(untimed)}
        return [Finding("fastest-accurate", UNKNOWN, why, model.names(untimed), "untimed")]
    good = []
    for cell in timed:
        # No gate fails and one passes; the reference has only the guide's to pass.
        judged = [g for name in ("guide", "paired") if (g := model.gate(cell, name))]
        passed = bool(cell.get("accuracy")) and all(g["passed"] for g in judged)
        if passed and (judged or cell["target"] == model.reference(results)):
            good.append(cell)
    if good:
        found = _fastest(good, timed, results)
        # What disturbed the timing concerns a ratio, and is said in its place.
        found.evidence["conditions"] = [
            point.to_json() for point in open_points if point.rule != "timing-quiet"
        ]
        return [found]
    fastest = max(timed, key=_value)
    evidence = {
        "target": fastest["target"],
        "batch_size": fastest["batch_size"],
        "rate": model.rate(fastest),
    }
    if any(model.gate(cell, name) for cell in timed for name in ("guide", "paired")):
        kind, case = FAILS, "none-passes"
    elif any(cell.get("accuracy") for cell in timed):
        evidence["reference"] = model.reference(results)
        kind, case = FAILS, "uncompared"
    else:
        kind, case = UNKNOWN, "unjudged"
    return [Finding("fastest-accurate", kind, evidence, model.names([fastest]), case)]


def _fastest(good: list[Cell], timed: list[Cell], results: Results) -> Finding:
    best = max(good, key=_value)
    name = model.reference(results)
    base = max((cell for cell in timed if cell["target"] == name), key=_value, default=None)
    # How much slower than the best each other may be, at most.
    most = {
        cell_name(cell): speed_ratio(best["throughput_ips"], cell["throughput_ips"])["high"]
        for cell in good
        if cell is not best
    }
    near = [name for name, high in most.items() if high is None or high >= 1]
    stages, latency = best.get("stages") or {}, best.get("latency_ms") or {}
    evidence: dict[str, Any] = {
        "target": best["target"],
        "batch_size": best["batch_size"],
        "rate": model.rate(best),
        "accuracy": model.accuracy(best["accuracy"]),
        "end_to_end": _stage(stages, "e2e"),
        "p50_ms": latency.get("p50") if latency.get("n") else None,
        "n_batches": latency.get("n"),
        "reference": name,
        "not_told_apart": near,
        "quantised": best.get("quantised"),
    }
    case = "reference"
    if base is not None and best["target"] != name and model.gate(best, "paired"):
        disturbed = {base["batch_size"], best["batch_size"]} & model.busy_loads(results).keys()
        case = "disturbed" if disturbed else "faster"
        ratio = speed_ratio(base["throughput_ips"], best["throughput_ips"])
        n = [cell["throughput_ips"]["n"] for cell in (base, best)]
        evidence |= {
            "ratio": ratio | {"n": min(n), "unit": "ratio"},
            "reference_cell": model.names([base])[0],
            "lost": model.lost_share(best),
        }
        # The fastest build whose loss the pairs bound by the budget, where that is another.
        budget = budget_share(results)
        compared = [cell for cell in good if model.gate(cell, "paired")]
        sure = [cell for cell in compared if model.lost_share(cell)["high"] <= budget]
        sure += [cell for cell in good if cell["target"] == name]
        if sure and best not in sure:
            surest = max(sure, key=_value)
            evidence |= {
                "surer_target": surest["target"],
                "surer_batch_size": surest["batch_size"],
                "surer_rate": model.rate(surest),
                "budget_points": 100 * budget,
            }
    return Finding("fastest-accurate", HOLDS, evidence, model.names([best]), case)


def _value(cell: Cell) -> float:
    return cell["throughput_ips"]["value"]


def _stage(stages: dict[str, Any], part: str) -> dict[str, Any] | None:
    found = stages.get(part)
    if not found or found.get("images_per_second") is None:
        return None
    return {"value": found["images_per_second"], "low": None, "high": None} | {
        "n": found.get("n"),
        "unit": "images/s in the pipeline",
        "interval": message(NONE, why="a single pass over the set"),
    }


def falling_throughput(results: Results) -> list[Finding]:
    """Say where a larger batch is slower, beyond the intervals and beyond the machine's drift.

    Each batch size is compared with the next smaller one. Both were timed minutes apart, so what
    the machine's own ceiling, measured beside each, fell by is allowed for.
    """
    items, cells = [], []
    for target, row in model.by_target(timed_cells(results)).items():
        for small, large in pairwise(row):
            ratio = speed_ratio(small["throughput_ips"], large["throughput_ips"])
            # How the ceiling of this precision changed between the two timings.
            tops = [(cell.get("ceiling") or {}).get("tops") for cell in (small, large)]
            drift = tops[1] / tops[0] if all(tops) else None
            if ratio["high"] is None or ratio["high"] >= min(1.0, drift or 1.0):
                continue
            cells += [small, large]
            repeats = min(cell["throughput_ips"]["n"] for cell in (small, large))
            items.append(
                {
                    "target": target,
                    "small": small["batch_size"],
                    "large": large["batch_size"],
                    "before": model.rate(small),
                    "after": model.rate(large),
                    "ratio": ratio | {"n": repeats, "unit": "ratio"},
                    "ceiling_ratio": drift,
                }
            )
    if not items:
        return []
    evidence = {"targets": list(dict.fromkeys(item["target"] for item in items)), "items": items}
    return [Finding("falling-throughput", FAILS, evidence, model.names(cells))]


def bound_by_reading(results: Results) -> list[Finding]:
    """Say where faces are read or prepared more slowly than the network takes them."""
    items, cells = [], []
    for cell in model.ok_cells(results):
        stages = cell.get("stages") or {}
        rates = {part: _stage(stages, part) for part in ("data_read", "preprocess", "infer")}
        if rates["infer"] is None:
            continue
        known = {part: found for part, found in rates.items() if found}
        slowest = min(known, key=lambda part: known[part]["value"])
        if slowest != "infer":
            cells.append(cell)
            items.append(
                {
                    "target": cell["target"],
                    "batch_size": cell["batch_size"],
                    "part": slowest,
                    "slowest": known[slowest],
                    "infer": known["infer"],
                    "end_to_end": _stage(stages, "e2e"),
                }
            )
    if not items:
        return []
    evidence = {"n_cells": len(items), "targets": model.targets(cells), "items": items}
    return [Finding("bound-by-reading", FAILS, evidence, model.names(cells))]


def far_below_ceiling(results: Results) -> list[Finding]:
    """Say which targets stay below half of the machine's arithmetic at every batch size."""
    timed = [cell for cell in timed_cells(results) if cell.get("ceiling")]
    best = {target: max(row, key=_fraction) for target, row in model.by_target(timed).items()}
    items, cells = [], []
    for target, cell in best.items():
        found = cell["ceiling"]
        upper = found["fraction"] if found["high"] is None else found["high"]
        if upper >= HALF:
            continue
        alike = [c for c in best.values() if c["ceiling"]["precision"] == found["precision"]]
        better = max(alike, key=_fraction)
        better = better if _fraction(better) > upper else None
        cells += model.by_target(timed)[target]
        items.append(
            {
                "target": target,
                "batch_size": cell["batch_size"],
                "precision": found["precision"],
                "fraction": _ceiling(cell),
                "better_target": better and better["target"],
                "better_fraction": better and _ceiling(better),
            }
        )
    if not items:
        return []
    evidence = {"targets": [item["target"] for item in items], "items": items}
    return [Finding("below-half-ceiling", FAILS, evidence, model.names(cells))]


def _fraction(cell: Cell) -> float:
    return cell["ceiling"]["fraction"]


def _ceiling(cell: Cell) -> dict[str, Any]:
    found, rate = cell["ceiling"], cell["throughput_ips"]
    return {
        "value": found["fraction"],
        "low": found["low"],
        "high": found["high"],
        "n": rate["n"],
        "unit": "share of the ceiling",
        "interval": message("{method}; the ceiling is taken as exact", method=rate.get("interval")),
    }


# Rules about how far the timings themselves can be trusted.

WIDE = 0.1
"""Half an interval's width, as a share of the rate, beyond which a rate is called uncertain."""


def wide_intervals(results: Results) -> list[Finding]:
    """Say which rates are uncertain by more than a tenth."""
    timed = timed_cells(results)
    cells = []
    for cell in timed:
        rate = cell["throughput_ips"]
        if rate.get("low") is None:
            continue
        if (rate["high"] - rate["low"]) / 2 / rate["value"] > WIDE:
            cells.append(cell)
    if not cells:
        return []
    items = [
        {"target": cell["target"], "batch_size": cell["batch_size"], "rate": model.rate(cell)}
        for cell in cells
    ]
    evidence = {
        "n_cells": len(cells),
        "n_timed": len(timed),
        "limit_share": WIDE,
        "items": items,
    }
    return [Finding("wide-intervals", UNKNOWN, evidence, model.names(cells))]
