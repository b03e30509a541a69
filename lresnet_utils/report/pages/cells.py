"""The table of all cells: what was measured, which gates it passes and why, or why it stopped."""

from __future__ import annotations

from typing import Any

from lresnet_utils.report.charts.style import fmt_number, fmt_percent
from lresnet_utils.report.pages.common import note_problems, verdict
from lresnet_utils.report.show import Column, filtered_table, note
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import SEEDED
from lresnet_utils.stages.summary import Results
from lresnet_utils.text.language import recorded, tr


def cells(run: RunFolder, results: Results) -> None:
    """Show the table of all cells, and why the ones without results have none."""
    rows = [_row(run, cell) for cell in results.cells]
    columns = [
        Column("target", "Target"),
        Column("batch_size", "Batch"),
        Column("status", "Status", "", "status"),
        Column("accuracy", "Accuracy", "95 % interval", fmt_percent),
        Column("threshold", "Threshold", "squared L2", ".3f"),
        Column("gates", "Gates", "pairs lost and gained"),
        Column("throughput", "Throughput", "images/s, 95 %", ".1f"),
        Column("p50", "Latency", "p50, ms", ".1f"),
        Column("e2e", "End to end", "images/s", ".1f"),
    ]
    filters = ["target", "batch_size", "status", "gates"]
    filtered_table(rows, columns, tr("Every batch size and target"), filters)
    if any(cell.get("accuracy_refused") == SEEDED for cell in results.cells):
        note(
            tr("The weights are random (seeded): accuracy is neither evaluated nor shown."),
            "warning",
        )
    remarks = {(c["target"], c["note"]) for c in results.ok() if c["note"]}
    for target, remark in sorted(remarks):
        note(tr("{name}: {value}", name=target, value=remark))
    problem = tr("{target}, batch size {batch_size},")
    note_problems({problem.format_map(c): c for c in results.cells})


def _row(run: RunFolder, cell: dict[str, Any]) -> dict[str, Any]:
    row = {"batch_size": cell["batch_size"], "status": cell["status"]}
    row["target"] = _linked(run, cell)
    if cell["status"] != "ok":
        return row
    threshold = cell["threshold"]
    return row | {
        "accuracy": cell["accuracy"] or _refusal(cell["accuracy_refused"]),
        "threshold": threshold and threshold["value"],
        "gates": _gates(cell),
        "throughput": cell["throughput_ips"] or _refusal(cell["throughput_refused"]),
        "p50": cell["latency_ms"] and cell["latency_ms"].get("p50"),
        "e2e": cell["stages"] and cell["stages"]["e2e"]["images_per_second"],
    }


def _linked(run: RunFolder, cell: dict[str, Any]) -> str | dict[str, str]:
    """Return a target with the page that explains its gates, where there is one."""
    name = cell["target"]
    if cell.get("quantised"):
        name = tr("{target} (quantised graph)", target=name)
    page = run.stage("5_evaluate", cell["batch_size"], ".html")
    # The page is published when its notebook has run; one that is run by hand leaves none.
    if not page.is_file():
        return name
    return {"text": name, "href": page.relative_to(run.folder).as_posix()}


def _gates(cell: dict[str, Any]) -> dict[str, str] | None:
    """Return one verdict for all gates, and what each rests on in a few words."""
    if not cell["gates"]:
        return None
    judged = [gate for gate in cell["gates"] if gate["passed"] is not None]
    if not judged:
        return {"verdict": "not judged", "why": cell["gates"][-1]["reason"]}
    failed = [gate for gate in judged if not gate["passed"]]
    why = tr("; ").join(_why(cell, gate) for gate in failed or judged)
    return {"verdict": verdict((failed or judged)[0]), "why": why}


def _why(cell: dict[str, Any], gate: dict[str, Any]) -> str:
    if gate["name"] == "guide":
        return recorded(gate["evidence"].partition(";")[0])
    parity = cell["parity"]
    return tr(
        "{lost} lost, {gained} gained, p = {p}",
        lost=len(parity["lost"]),
        gained=len(parity["gained"]),
        p=fmt_number(parity["mcnemar_p"], 2),
    )


def _refusal(reason: str | None) -> dict[str, str] | None:
    return {"refused": reason} if reason else None
