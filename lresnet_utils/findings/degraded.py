"""Rules about degraded faces: what quality costs, and what low precision costs there."""

from __future__ import annotations

from typing import Any

from lresnet_utils.findings import model
from lresnet_utils.findings.accuracy import apart, threshold
from lresnet_utils.findings.model import FAILS, Cell, Finding, Results
from lresnet_utils.stages.infer import CLEAN
from lresnet_utils.verify.agreement import mcnemar_exact

_ALPHA = 0.05


def _base(results: Results) -> Cell | None:
    """Return the reference's cell at the largest batch size, which has the degraded images."""
    cells = model.largest_batch(model.judged_cells(results))
    name = model.reference(results)
    return next((cell for cell in cells if cell["target"] == name), None)


def _degraded(cell: Cell) -> dict[str, Any]:
    return {name: found for name, found in cell["variants"].items() if name != CLEAN}


def weak_variants(results: Results) -> list[Finding]:
    """Say which kinds of degraded faces are recognised worse than clean ones."""
    base = _base(results)
    if base is None:
        return []
    clean = base["accuracy"]
    items = [
        {"variant": model.label(results, name), "accuracy": model.accuracy(found["accuracy"])}
        for name, found in _degraded(base).items()
        if None not in (clean["low"], found["accuracy"]["high"])
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
        for name, found in _degraded(base).items()
        if apart(found["threshold"], base["threshold"])
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
        told = _more_flips(cell, results)
        items += told
        cells += [cell] if told else []
    if not items:
        return []
    evidence = {
        "targets": model.targets(cells),
        "reference": model.reference(results),
        "items": items,
    }
    return [Finding("degraded-flips", FAILS, evidence, model.names(cells))]


def _more_flips(cell: Cell, results: Results) -> list[dict[str, Any]]:
    """Return, for one cell, the variants on which it flips more pairs than on the clean set."""
    variants = cell["parity"].get("variants") or {}
    if model.precision(cell) == "fp32" or CLEAN not in variants:
        return []
    clean = _flipped(variants[CLEAN])
    others = {name: found for name, found in variants.items() if name != CLEAN}
    items = []
    for name, found in others.items():
        flipped = _flipped(found)
        p = mcnemar_exact(len(flipped - clean), len(clean - flipped))
        if len(flipped) > len(clean) and p < _ALPHA / len(others):
            items.append(
                {
                    "target": cell["target"],
                    "variant": model.label(results, name),
                    "flipped": model.share(len(flipped), found["n_pairs"]),
                    "clean": model.share(len(clean), variants[CLEAN]["n_pairs"]),
                    "p": p,
                    "n_lost": len(found["lost"]),
                    "n_gained": len(found["gained"]),
                    "p_loss": found["mcnemar_p"],
                }
            )
    return items


def _flipped(found: dict[str, Any]) -> set[int]:
    return {*found["lost"], *found["gained"]}
