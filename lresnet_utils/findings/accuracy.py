"""Rules about decisions: gates, what they rest on, and thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy import special

from lresnet_utils.findings import model
from lresnet_utils.findings.model import FAILS, HOLDS, UNKNOWN, Cell, Finding, Results
from lresnet_utils.results import CLEAN
from lresnet_utils.untrusted.settings import BuildOptions
from lresnet_utils.verify.agreement import (
    GUIDE_TOLERANCE,
    mcnemar_exact,
    smallest_detectable_loss,
)

# More pairs than this are no advice.
_MOST_PAIRS = 10_000_000


def gates(results: Results) -> list[Finding]:
    """Say which builds pass and which fail: against the published accuracy, and pair by pair."""
    published = model.param(results, "published_accuracy", None)
    found = []
    for passed, kind, case in ((False, FAILS, "guide-failed"), (True, HOLDS, "guide-passed")):
        cells = _judged(results, "guide", passed)
        if cells and published is not None:
            least = min(cells, key=lambda cell: cell["accuracy"]["value"])
            evidence = {
                "targets": model.targets(cells),
                "published": published,
                "tolerance_points": 100 * GUIDE_TOLERANCE,
                "lowest": model.accuracy(least["accuracy"]),
                "lowest_cell": model.names([least])[0],
            }
            found.append(Finding("gate", kind, evidence, model.names(cells), case))
    for passed, kind, case in ((False, FAILS, "paired-failed"), (True, HOLDS, "paired-passed")):
        cells = _judged(results, "paired", passed)
        if cells:
            worst = max(cells, key=lambda cell: len(cell["parity"]["lost"]))
            evidence = {
                "targets": model.targets(cells),
                "reference": model.reference(results),
                "worst_cell": model.names([worst])[0],
                "lost": model.lost_share(worst),
                "n_gained": len(worst["parity"]["gained"]),
                "p": worst["parity"]["mcnemar_p"],
            }
            found.append(Finding("gate", kind, evidence, model.names(cells), case))
    return found


def _judged(results: Results, name: str, passed: bool) -> list[Cell]:
    cells = model.judged_cells(results)
    return [c for c in cells if (found := model.gate(c, name)) and found["passed"] is passed]


def published_values(results: Results) -> list[Finding]:
    """Say whether the accuracy reaches what others publish for the network on the same set."""
    groups: dict[tuple[str, str, float, bool], list[Cell]] = {}
    for cell in model.largest_batch(model.judged_cells(results)):
        for row in cell.get("published") or []:
            if "measured" in row:
                below = not row["inside"] and row["measured"] < row["published"]
                key = (row["network"], row["set"], row["published"], below)
                groups.setdefault(key, []).append(cell)
    found = []
    for (network, tested, value, below), cells in groups.items():
        least = min(cells, key=lambda cell: cell["accuracy"]["value"])
        evidence = {
            "network": network,
            "set": tested,
            "published": value,
            "targets": model.targets(cells),
            "lowest": model.accuracy(least["accuracy"]),
            "lowest_cell": model.names([least])[0],
        }
        kind, case = (FAILS, "below") if below else (HOLDS, "reached")
        found.append(Finding("published-value", kind, evidence, model.names(cells), case))
    return found


def passed_for_few_pairs(results: Results) -> list[Finding]:
    """Say where a gate is passed although the pairs cannot exclude more loss than it allows."""
    budget = budget_share(results)
    cells = [c for c in _judged(results, "paired", True) if model.lost_share(c)["high"] > budget]
    found = []
    if cells:
        worst = max(cells, key=lambda cell: model.lost_share(cell)["high"])
        lost = model.lost_share(worst)
        evidence = {
            "targets": model.targets(cells),
            "budget_points": 100 * budget,
            "bound_points": 100 * lost["high"],
            "lost": lost,
            "worst_cell": model.names([worst])[0],
            "pairs_needed": pairs_needed(lost["value"], budget),
        }
        case = "paired" if evidence["pairs_needed"] else "paired-lossy"
        found.append(Finding("few-pairs", UNKNOWN, evidence, model.names(cells), case))
    published = model.param(results, "published_accuracy", None)
    if published is None:
        return found
    # By the guide's rule the value alone counts, wherever its interval ends.
    limit = published - GUIDE_TOLERANCE
    cells = [
        cell
        for cell in _judged(results, "guide", True)
        if cell["accuracy"]["low"] is not None and cell["accuracy"]["low"] < limit
    ]
    if cells:
        least = min(cells, key=lambda cell: cell["accuracy"]["low"])
        evidence = {
            "targets": model.targets(cells),
            "limit": limit,
            "lowest": model.accuracy(least["accuracy"]),
            "lowest_cell": model.names([least])[0],
        }
        found.append(Finding("few-pairs", UNKNOWN, evidence, model.names(cells), "guide"))
    return found


def budget_share(results: Results) -> float:
    """Return the loss of accuracy that the run's builds may have, as a share of pairs."""
    default = BuildOptions.model_fields["budget_points"].default
    return model.param(results, "build.budget_points", default) / 100


def pairs_needed(lost: float, budget: float) -> int | None:
    """Return how many pairs would exclude a loss above the budget, were the share lost the same.

    Returns
    -------
    int or None
        To two significant digits, upwards; None where no number of pairs would.

    Examples
    --------
    >>> pairs_needed(0.0, 0.002), pairs_needed(0.003, 0.002)
    (1900, None)
    """
    if lost >= budget:
        return None
    low, high = 1, _MOST_PAIRS
    while low < high:
        n = (low + high) // 2
        # Clopper and Pearson's upper end, for a count that need not be whole.
        upper = special.betaincinv(lost * n + 1, n - lost * n, 0.975)
        low, high = (low, n) if upper <= budget else (n + 1, high)
    step = 10 ** max(0, len(str(low)) - 2)
    return -(-low // step) * step if low < _MOST_PAIRS else None


def saturated(results: Results) -> list[Finding]:
    """Say where the clean set is decided so well that no better network could be told apart."""
    cells = model.largest_batch(model.judged_cells(results))
    name = model.reference(results)
    cells = [cell for cell in cells if cell["target"] == name] or cells
    if not cells:
        return []
    best = min(cells, key=lambda cell: cell["accuracy"]["errors"])
    least = smallest_detectable_loss()
    if best["accuracy"]["errors"] >= least:
        return []
    evidence = {
        "accuracy": model.accuracy(best["accuracy"]),
        "cell": model.names([best])[0],
        "smallest_difference": least,
    }
    case = "with-variants" if len(best.get("variants") or {}) > 1 else ""
    return [Finding("saturated", UNKNOWN, evidence, model.names([best]), case)]


def moved_thresholds(results: Results) -> list[Finding]:
    """Say whose best threshold lies beyond the reference's spread, and the reference's beyond its.

    The spread is the bootstrap's interval where there is one, widened to the folds' thresholds.
    """
    base = _base(results)
    if base is None:
        return []
    cells = model.largest_batch(model.judged_cells(results))
    moved = [cell for cell in cells if apart(cell["threshold"], base["threshold"])]
    if not moved:
        return []
    evidence = {
        "targets": model.targets(moved),
        "reference": base["target"],
        "reference_threshold": threshold(base["threshold"]),
        "items": [
            {"target": cell["target"], "threshold": threshold(cell["threshold"])} for cell in moved
        ],
    }
    return [Finding("moved-threshold", FAILS, evidence, model.names(moved))]


def threshold(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return a threshold as evidence: its value and its spread."""
    ends = [*found["folds"], found.get("low"), found.get("high")]
    known = [end for end in ends if end is not None]
    return {
        "value": found["value"],
        "low": min(known),
        "high": max(known),
        "n": len(found["folds"]),
        "unit": "squared L2 distance",
        "interval": "spread: the folds' thresholds, and the bootstrap's interval where it has one",
    }


def apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Say whether each of two thresholds lies outside the other's spread."""
    a, b = threshold(one), threshold(other)
    inside = a["low"] <= b["value"] <= a["high"] or b["low"] <= a["value"] <= b["high"]
    return not inside


# Rules about degraded faces: what quality costs, and what low precision costs there.

_ALPHA = 0.05


def _base(results: Results) -> Cell | None:
    """Return the reference's cell at the largest batch size, which has the degraded images."""
    cells = model.largest_batch(model.judged_cells(results))
    name = model.reference(results)
    return next((cell for cell in cells if cell["target"] == name), None)


def weak_variants(results: Results) -> list[Finding]:
    """Say which kinds of degraded faces are recognised worse than clean ones."""
    base = _base(results)
    if base is None:
        return []
    clean = base["accuracy"]
    items = [
        {"variant": model.label(results, name), "accuracy": model.accuracy(found["accuracy"])}
        for name, found in base["variants"].items()
        if name != CLEAN
        and None not in (clean["low"], found["accuracy"]["high"])
        and found["accuracy"]["high"] < clean["low"]
    ]
    if not items:
        return []
    items.sort(key=lambda item: item["accuracy"]["value"])
    evidence = {
        "cell": model.names([base])[0],
        "clean": model.accuracy(clean),
        "worst_variant": items[0]["variant"],
        "worst": items[0]["accuracy"],
        "items": items,
    }
    return [Finding("weak-variants", FAILS, evidence, model.names([base]))]


def moved_by_quality(results: Results) -> list[Finding]:
    """Say on which degraded faces the best threshold lies beyond the clean one's spread."""
    base = _base(results)
    if base is None:
        return []
    items = [
        {"variant": model.label(results, name), "threshold": threshold(found["threshold"])}
        for name, found in base["variants"].items()
        if name != CLEAN and apart(found["threshold"], base["threshold"])
    ]
    if not items:
        return []
    clean = threshold(base["threshold"])
    furthest = max(items, key=lambda item: abs(item["threshold"]["value"] - clean["value"]))
    evidence = {
        "cell": model.names([base])[0],
        "clean": clean,
        "furthest_variant": furthest["variant"],
        "furthest": furthest["threshold"],
        "items": items,
    }
    return [Finding("threshold-by-quality", FAILS, evidence, model.names([base]))]


def flips_on_degraded(results: Results) -> list[Finding]:
    """Say which low precisions change more decisions on degraded faces than on clean ones.

    The same pairs are decided on both, so the pairs that flip on one kind only are compared by
    McNemar's exact test, at a level divided by the number of kinds.
    """
    items, cells = [], []
    for cell in model.judged_cells(results):
        variants = dict(cell["parity"].get("variants") or {})
        if model.precision(cell) == "fp32" or CLEAN not in variants:
            continue
        clean_variant = variants.pop(CLEAN)
        clean = {*clean_variant["lost"], *clean_variant["gained"]}
        for name, found in variants.items():
            flipped = {*found["lost"], *found["gained"]}
            p = mcnemar_exact(len(flipped - clean), len(clean - flipped))
            if len(flipped) > len(clean) and p < _ALPHA / len(variants):
                cells.append(cell)
                items.append(
                    {
                        "target": cell["target"],
                        "variant": model.label(results, name),
                        "flipped": model.share(len(flipped), found["n_pairs"]),
                        "clean": model.share(len(clean), clean_variant["n_pairs"]),
                        "p": p,
                        "n_lost": len(found["lost"]),
                        "n_gained": len(found["gained"]),
                        "p_loss": found["mcnemar_p"],
                    }
                )
    if not items:
        return []
    evidence = {
        "targets": model.targets(cells),
        "reference": model.reference(results),
        "items": items,
    }
    affected = list(dict.fromkeys(model.names(cells)))
    return [Finding("degraded-flips", FAILS, evidence, affected)]
