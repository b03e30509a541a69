"""Rules about what is missing: cells without results, and sets that limit what can be told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lresnet_utils.findings import model
from lresnet_utils.findings.model import FAILS, UNKNOWN, Cell, Finding, Results
from lresnet_utils.findings.preconditions import MOST_LOST
from lresnet_utils.targets.attempts import FAILED, UNAVAILABLE


def stopped_cells(results: Results) -> list[Finding]:
    """Say which cells failed and which this machine cannot run, and why."""
    found = []
    for status, kind in ((FAILED, FAILS), (UNAVAILABLE, UNKNOWN)):
        cells = [cell for cell in results["cells"] if cell["status"] == status]
        if cells:
            items = _by_reason((cell, cell["reason"], cell.get("remedy")) for cell in cells)
            evidence = {
                "n_cells": len(cells),
                "n_all": len(results["cells"]),
                "targets": model.targets(cells),
                "items": items,
            }
            found.append(Finding("stopped-cells", kind, evidence, model.names(cells), status))
    return found


def unjudged_cells(results: Results) -> list[Finding]:
    """Say which cells have results but no accuracy, or no speed, and why."""
    found = []
    for case, key, why in (
        ("accuracy", "accuracy", "accuracy_refused"),
        ("speed", "throughput_ips", "throughput_refused"),
    ):
        cells = [c for c in model.ok_cells(results) if not c.get(key) and c.get(why)]
        if cells:
            items = _by_reason((cell, cell[why], None) for cell in cells)
            evidence = {"targets": model.targets(cells), "items": items}
            found.append(Finding("unjudged-cells", UNKNOWN, evidence, model.names(cells), case))
    return found


def several_faces(results: Results) -> list[Finding]:
    """Say where so many pictures held several faces that the wrong one may have been taken."""
    dataset = results["dataset"]
    n_several = dataset.get("n_several_faces") or 0
    if n_several <= MOST_LOST * dataset.get("n_images", 0):
        return []
    evidence = {
        "n_several_faces": n_several,
        "n_images": dataset["n_images"],
        "several_faces": "; ".join(dataset.get("several_faces", [])),
    }
    cells = model.names(model.judged_cells(results))
    return [Finding("several-faces", UNKNOWN, evidence, cells)]


def _by_reason(stopped: Iterable[tuple[Cell, str, str | None]]) -> list[dict[str, Any]]:
    """Gather cells that were stopped by the same thing."""
    items: dict[tuple[str, str | None], list[Cell]] = {}
    for cell, reason, remedy in stopped:
        items.setdefault((reason, remedy), []).append(cell)
    return [
        {"cells": model.names(cells), "reason": reason, "remedy": remedy}
        for (reason, remedy), cells in items.items()
    ]


def set_health(results: Results) -> list[Finding]:
    """Say what is odd about the set of pairs, and what that does to the numbers."""
    cells = model.names(model.judged_cells(results))
    return [
        Finding(
            "set-health",
            UNKNOWN,
            {key: found[key] for key in ("finding", "evidence", "consequence")},
            cells,
        )
        for found in results.get("set_health", [])
        if not found["harmless"]
    ]
