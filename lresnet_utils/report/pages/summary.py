"""The index: charts and tables of every batch size and target beside each other."""

from __future__ import annotations

from typing import Any

from lresnet_utils.perf.guide_figures import reference_throughput
from lresnet_utils.report.charts.comparisons import RobustnessDisplay
from lresnet_utils.report.charts.error_rates import RocDisplay
from lresnet_utils.report.charts.pipeline import AccuracySpeedDisplay
from lresnet_utils.report.charts.throughput import LatencyDisplay, ThroughputDisplay
from lresnet_utils.report.pages import guide as guide_page
from lresnet_utils.report.pages.common import properties
from lresnet_utils.report.show import Column, note, say, show, table
from lresnet_utils.run import SINGLE, RunFolder
from lresnet_utils.stages.evaluate import stored_curve
from lresnet_utils.stages.infer import CLEAN
from lresnet_utils.stages.summary import Results
from lresnet_utils.text.language import recorded, tr


def accuracy_and_speed(results: Results) -> None:
    """Chart accuracy against throughput for every cell that has both."""
    rows = [cell for cell in results.ok() if cell["accuracy"] and cell["throughput_ips"]]
    if rows:
        show(AccuracySpeedDisplay(rows))
    else:
        say(tr("No cell has both an accuracy and a speed."))


def speed(results: Results, baselines: list[str]) -> None:
    """Chart throughput over batch sizes with published references, and latency."""
    working = [cell for cell in results.ok() if cell["throughput_ips"]]
    if not working:
        return
    references = _guide_lines() if "guide" in baselines else []
    show(ThroughputDisplay([_keys(cell) | cell["throughput_ips"] for cell in working], references))
    if references:
        say(
            tr(
                "The dashed lines are published figures of the guide, for IR-SE100 on the devices "
                "they name; they were not measured in this run, and this run may use another "
                "network."
            )
        )
    told = [cell for cell in working if cell["latency_ms"].get("p50") is not None]
    if told:
        show(LatencyDisplay([_keys(cell) | cell["latency_ms"] for cell in told]))


def _guide_lines() -> list[dict[str, Any]]:
    """Return the guide's published rates, one line per device and state of tuning."""
    lines: dict[str, dict[str, Any]] = {}
    for row in sorted(reference_throughput(), key=lambda row: row["batch_size"]):
        line = lines.setdefault(
            row["label"], {"label": row["label"], "batch_size": [], "values": []}
        )
        line["batch_size"].append(row["batch_size"])
        line["values"].append(row["throughput_ips"])
        line["source"] = row["source"]
    return list(lines.values())


def _keys(cell: dict[str, Any]) -> dict[str, Any]:
    return {"target": cell["target"], "batch_size": cell["batch_size"]}


def roc(run: RunFolder, results: Results) -> None:
    """Overlay the ROC of every target at the largest batch size: on the clean set."""
    display = _rocs(run, results, CLEAN)
    if display:
        show(display)
    else:
        say(tr("No pair was scored in this run, so there is no curve."))


def hardest_roc(run: RunFolder, results: Results) -> None:
    """Overlay the ROC on the degraded images that cost most accuracy, where targets may part."""
    worst: dict[str, float] = {}
    for cell in results.largest():
        for variant, numbers in cell["variants"].items():
            value = numbers["accuracy"]["value"]
            worst[variant] = min(value, worst.get(variant, 1.0))
    if len(worst) < 2:
        return
    hardest = min(worst, key=lambda variant: worst[variant])
    display = _rocs(run, results, hardest)
    words = tr(
        "ROC on the hardest images ({images}). {reading}",
        images=_labels(results).get(hardest, hardest),
        reading=display.reading,
    )
    show(display, caption=words)


def _rocs(run: RunFolder, results: Results, variant: str) -> RocDisplay | None:
    curves = {
        cell["target"]: stored_curve(run, cell["batch_size"], cell["target"], variant)
        for cell in results.largest()
    }
    curves = {target: curve for target, curve in curves.items() if curve is not None}
    return RocDisplay.from_rocs(curves) if curves else None


def robustness(results: Results) -> None:
    """Chart accuracy on the degraded variants at the largest batch size."""
    rows = [
        {"target": cell["target"], "variant": variant}
        | {"accuracy": numbers["accuracy"]["value"]}
        | {end: numbers["accuracy"][end] for end in ("low", "high")}
        for cell in results.largest()
        for variant, numbers in cell["variants"].items()
    ]
    if len({row["variant"] for row in rows}) > 1:
        show(RobustnessDisplay(rows, labels=_labels(results)))


def _labels(results: Results) -> dict[str, str]:
    return {v["name"]: v["label"] for v in results.dataset.get("variants", [])}


def guide(results: Results, baselines: list[str]) -> None:
    """Show the guide's own tables where this run is about the guide's network."""
    params = results.run["params"] or {"model": {"architecture": None}}
    if "guide" not in baselines or params["model"]["architecture"] != "ir_se100":
        say(tr("Left out here: the guide's tables are about IR-SE100, and this run is not."))
        return
    guide_page.accuracy()
    guide_page.throughput()
    guide_page.tuning()
    guide_page.devices()
    guide_page.findings()


def pages(results: Results) -> None:
    """Link every notebook's page, with how it ended and how long it took."""
    rows = [
        {
            "notebook": outcome["stage"],
            "batch_size": outcome["batch_size"],
            "status": "ok" if outcome["status"] == "ok" else "failed",
            "seconds": outcome["seconds"],
            "reason": outcome["reason"],
            "page": outcome["page"],
        }
        for outcome in results.run["notebooks"]
        if outcome["status"] != "running"
    ]
    columns = [
        Column("notebook", "Notebook"),
        Column("batch_size", "Batch"),
        Column("status", "Status", "", "status"),
        Column("seconds", "Took", "s", ".1f"),
        Column("page", "Page", "", "link"),
    ]
    if any(row["reason"] for row in rows):
        columns.append(Column("reason", "Reason"))
    if rows:
        rows.append({"notebook": tr("All pages in one file"), "page": SINGLE})
        table(rows, columns, tr("The notebooks of this run"))


def provenance(results: Results) -> None:
    """Show code and packages; the machine has a section of its own."""
    about = results.run.get("provenance")
    if not about:
        note(tr("The notebooks were run one by one, so no provenance was recorded."))
        return
    rows = [
        (tr("Started"), about["started"]),
        (tr("Code"), f"lresnet_utils {about['lresnet_utils']}{tr(', ')}{_commit(about)}"),
        ("Python", about["python"]),
    ]
    # A run of an older version does not tell.
    if "notebooks" in about:
        rows.insert(2, (tr("Notebooks"), about["notebooks"]["from"]))
    properties([*rows, *about["packages"].items()], tr("What made this report"))


def _commit(about: dict[str, Any]) -> str:
    if not about["commit"]:
        return recorded(about["commit_note"])
    told = tr("commit {commit}", commit=about["commit"][:12])
    return told + (tr(", ") + recorded(about["commit_note"]) if about["commit_note"] else "")
