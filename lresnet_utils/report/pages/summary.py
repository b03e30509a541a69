"""The index: charts and tables of every batch size and target beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lresnet_utils.perf.guide_figures import Guide, load_guide, reference_throughput
from lresnet_utils.report.charts.recognition import RobustnessDisplay, RocDisplay
from lresnet_utils.report.charts.throughput import (
    AccuracySpeedDisplay,
    LatencyDisplay,
    ThroughputDisplay,
)
from lresnet_utils.report.pages import guide as guide_page
from lresnet_utils.report.pages.common import note_problems, properties, verdict
from lresnet_utils.report.pages.compile import CHOSEN_BY
from lresnet_utils.report.show import Column, filtered_table, note, say, show, table
from lresnet_utils.results import CLEAN
from lresnet_utils.run import SINGLE, RunFolder
from lresnet_utils.stages.evaluate import SEEDED, stored_curve
from lresnet_utils.stages.summary import NO_SEARCH, Results
from lresnet_utils.text.language import recorded, tr
from lresnet_utils.text.numbers import fmt_number, fmt_percent


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


# The table of all cells: what was measured, which gates it passes and why, or why it stopped.


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


# The part of the index about tuning: before and after on this machine, and the guide's own.


def tuning(results: Results, baselines: list[str]) -> None:
    """Show every build before and after tuning, and the guide's figures as published ones."""
    compared = [cell for cell in results.ok() if cell["tuning"]]
    if compared:
        _measured(compared)
    else:
        say(tr("No build of this run was chosen by measurement, so there is no before and after."))
    refused = [cell for cell in results.ok() if cell["tuning_refused"] not in (None, NO_SEARCH)]
    for cell in refused:
        note(
            tr(
                "{cell}: no before and after, {why}.",
                cell=_name(cell),
                why=cell["tuning_refused"],
            )
        )
    if "guide" in baselines:
        _published(load_guide())


def _name(cell: Mapping[str, Any]) -> str:
    return tr(
        "{name} at batch size {batch_size}", name=cell["target"], batch_size=cell["batch_size"]
    )


def _measured(cells: list[dict[str, Any]]) -> None:
    rows = [
        {"target": cell["target"], "batch_size": cell["batch_size"]}
        | {key: cell["tuning"][key] for key in ("before_ips", "after_ips", "ratio")}
        | {"n": cell["tuning"]["ratio"]["n"]}
        for cell in cells
    ]
    columns = [
        Column("target", "Target"),
        Column("batch_size", "Batch"),
        Column("before_ips", "Before", "images/s, 95 % interval", ".1f"),
        Column("after_ips", "After", "images/s, 95 % interval", ".1f"),
        Column("ratio", "Ratio", "95 % interval", ".2f"),
        Column("n", "Repeats"),
    ]
    table(
        rows, columns, tr("Before and after tuning, on this machine, measured by the Compile pages")
    )
    _explain(cells)


def _explain(cells: list[dict[str, Any]]) -> None:
    say(
        tr(
            "Before: the graph as simplified, run the default way; for int8 the fp32 build of "
            "the same runtime. After: the graph and the way of running that were chosen. Both "
            "were timed in turns; the ratio is the repeats' geometric mean, its interval "
            "Student's t on their logarithms."
        )
    )
    say(_when([cell["tuning"] for cell in cells]) + tr(" ") + tr(CHOSEN_BY))


def _when(tunings: list[dict[str, Any]]) -> str:
    times = sorted({found["measured_at"][:16] for found in tunings})
    first, last = (time.replace("T", " ") for time in (times[0], times[-1]))
    text = (
        tr("Measured {first} UTC", first=first)
        if first == last
        else tr("Measured from {first} to {last} UTC", first=first, last=last)
    )
    earlier = sum(found["reused"] for found in tunings)
    if earlier:
        text += tr(
            ", for {earlier} of the {n} rows by an earlier search on this machine",
            earlier=earlier,
            n=len(tunings),
        )
    return text + tr(".")


def _published(guide: Guide) -> None:
    """Show section 7.3's comparison for the one chip that the guide measured."""
    blocks = {(block.record.batch_size, block.tuned): float(block.rate) for block in guide.blocks}
    rows = [
        {
            "batch_size": size,
            "before": blocks[size, False],
            "after": after,
            "ratio": after / blocks[size, False],
        }
        for (size, tuned), after in sorted(blocks.items())
        if tuned
    ]
    columns = [
        Column("batch_size", "Batch"),
        Column("before", "Before tuning", "images/s", ".10g"),
        Column("after", "After tuning", "images/s", ".10g"),
        Column("ratio", "Ratio", "derived", ".2f"),
    ]
    table(
        rows,
        columns,
        tr(
            "Published by the guide, sections 7.1 to 7.3, for IR-SE100 on {device}, one chip; "
            "not measured here",
            device=guide.npu["device"],
        ),
    )
    say(
        tr(
            "The guide's table 7.3 prints four times these rates; one chip was measured. It "
            "reports one run each, so there is no interval. Its clock: {clock}. "
            "Source, the guide: {source}.",
            clock=guide.blocks[0].record.throughput_clock,
            source=guide.source,
        )
    )
