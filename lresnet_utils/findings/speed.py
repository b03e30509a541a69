"""Rules about speed: the build to ship, batch sizes, reading, and the machine's ceiling."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from lresnet_utils.findings import model
from lresnet_utils.findings.accuracy import budget_share
from lresnet_utils.findings.model import FAILS, HOLDS, UNKNOWN, Cell, Finding, Results
from lresnet_utils.findings.preconditions import unmet
from lresnet_utils.perf.statistics import speed_ratio

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
        return _untimed(results)
    good = [cell for cell in timed if _decides_well(cell, results)]
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


def _untimed(results: Results) -> list[Finding]:
    """Say why no speed is known, where builds were judged."""
    cells = [cell for cell in model.ok_cells(results) if cell.get("throughput_refused")]
    if not cells:
        return []
    evidence = {"reason": cells[0]["throughput_refused"], "targets": model.targets(cells)}
    return [Finding("fastest-accurate", UNKNOWN, evidence, model.names(cells), "untimed")]


def _decides_well(cell: Cell, results: Results) -> bool:
    """Say whether no gate fails and one passes; the reference has only the guide's to pass."""
    if not cell.get("accuracy"):
        return False
    judged = [g for name in ("guide", "paired") if (g := model.gate(cell, name))]
    passed = all(g["passed"] for g in judged)
    return passed and (bool(judged) or cell["target"] == model.reference(results))


def _fastest(good: list[Cell], timed: list[Cell], results: Results) -> Finding:
    best = max(good, key=_value)
    name = model.reference(results)
    base = max((cell for cell in timed if cell["target"] == name), key=_value, default=None)
    near = [c for c in good if c is not best and not _slower(c, best)]
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
        "not_told_apart": model.names(near),
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
        evidence |= _surer(best, good, results)
    return Finding("fastest-accurate", HOLDS, evidence, model.names([best]), case)


def _surer(best: Cell, good: list[Cell], results: Results) -> dict[str, Any]:
    """Return the fastest build whose loss the pairs bound by the budget, where that is another."""
    budget, name = budget_share(results), model.reference(results)
    compared = [cell for cell in good if model.gate(cell, "paired")]
    sure = [cell for cell in compared if model.lost_share(cell)["high"] <= budget]
    sure += [cell for cell in good if cell["target"] == name]
    if best in sure or not sure:
        return {}
    surest = max(sure, key=_value)
    return {
        "surer_target": surest["target"],
        "surer_batch_size": surest["batch_size"],
        "surer_rate": model.rate(surest),
        "budget_points": 100 * budget,
    }


def _value(cell: Cell) -> float:
    return cell["throughput_ips"]["value"]


def _slower(cell: Cell, than: Cell) -> bool:
    high = speed_ratio(than["throughput_ips"], cell["throughput_ips"])["high"]
    return high is not None and high < 1


def _stage(stages: dict[str, Any], part: str) -> dict[str, Any] | None:
    found = stages.get(part)
    if not found or found.get("images_per_second") is None:
        return None
    return {"value": found["images_per_second"], "low": None, "high": None} | {
        "n": found.get("n"),
        "unit": "images/s in the pipeline",
        "interval": "none: a single pass over the set",
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
            drift = _drift(small, large)
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


def _drift(small: Cell, large: Cell) -> float | None:
    """Return how the ceiling of a precision changed between two batch sizes' timings."""
    ceilings = [cell.get("ceiling") for cell in (small, large)]
    if None in ceilings or not all(found.get("tops") for found in ceilings):
        return None
    return ceilings[1]["tops"] / ceilings[0]["tops"]


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
    low = {target: cell for target, cell in best.items() if _upper(cell) < HALF}
    if not low:
        return []
    items = []
    for target, cell in low.items():
        alike = [c for t, c in best.items() if t != target and _precision(c) == _precision(cell)]
        better = max(alike, key=_fraction, default=None)
        better = better if better is not None and _fraction(better) > _upper(cell) else None
        items.append(
            {
                "target": target,
                "batch_size": cell["batch_size"],
                "precision": _precision(cell),
                "fraction": _ceiling(cell),
                "better_target": better and better["target"],
                "better_fraction": better and _ceiling(better),
            }
        )
    cells = [cell for target in low for cell in model.by_target(timed)[target]]
    evidence = {"targets": list(low), "items": items}
    return [Finding("below-half-ceiling", FAILS, evidence, model.names(cells))]


def _fraction(cell: Cell) -> float:
    return cell["ceiling"]["fraction"]


def _upper(cell: Cell) -> float:
    high = cell["ceiling"]["high"]
    return _fraction(cell) if high is None else high


def _precision(cell: Cell) -> str:
    return cell["ceiling"]["precision"]


def _ceiling(cell: Cell) -> dict[str, Any]:
    found, rate = cell["ceiling"], cell["throughput_ips"]
    return {"value": found["fraction"], "low": found["low"], "high": found["high"]} | {
        "n": rate["n"],
        "unit": "share of the ceiling",
        "interval": f"{rate.get('interval')}; the ceiling is taken as exact",
    }


# Rules about how far the timings themselves can be trusted.

WIDE = 0.1
"""Half an interval's width, as a share of the rate, beyond which a rate is called uncertain."""


def wide_intervals(results: Results) -> list[Finding]:
    """Say which rates are uncertain by more than a tenth."""
    cells = [cell for cell in timed_cells(results) if _half_width(cell) > WIDE]
    if not cells:
        return []
    items = [
        {"target": cell["target"], "batch_size": cell["batch_size"], "rate": model.rate(cell)}
        for cell in cells
    ]
    timed = len(timed_cells(results))
    evidence = {"n_cells": len(cells), "n_timed": timed, "limit_share": WIDE, "items": items}
    return [Finding("wide-intervals", UNKNOWN, evidence, model.names(cells))]


def _half_width(cell: model.Cell) -> float:
    rate = cell["throughput_ips"]
    if rate.get("low") is None:
        return 0.0
    return (rate["high"] - rate["low"]) / 2 / rate["value"]
