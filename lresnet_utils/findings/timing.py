"""Rules about how far the timings themselves can be trusted."""

from __future__ import annotations

from lresnet_utils.findings import model
from lresnet_utils.findings.model import UNKNOWN, Finding, Results
from lresnet_utils.findings.speed import timed_cells

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
