"""The performance page: throughput and latency, and how near they are to what is possible."""

from __future__ import annotations

from typing import Any

from lresnet_utils.perf.statistics import MINIMUM_N, by_kind, roofline_points
from lresnet_utils.report.charts.throughput import (
    LatencyDisplay,
    RooflineDisplay,
    ThroughputDisplay,
)
from lresnet_utils.report.pages import chain, compile, infer
from lresnet_utils.report.pages.common import note_problems, ok_targets
from lresnet_utils.report.show import Column, note, say, show, table
from lresnet_utils.run import RunFolder
from lresnet_utils.text.language import recorded, tr
from lresnet_utils.text.numbers import fmt_bytes, fmt_number, fmt_percent, join_words

_PERCENTILES = ("p50", "p90", "p99")


def speed(record: dict[str, Any]) -> None:
    """Show throughput and latency of every target at this batch size."""
    rows = rate_rows(record)
    columns = [
        Column("target", "Target"),
        Column("throughput_ips", "Throughput", "images/s, 95 % interval", ".1f"),
        Column("repeats", "Repeats"),
        *(Column(p, tr("Latency {p}", p=p), "ms per batch", ".2f") for p in _PERCENTILES),
        Column("n", "Batches timed"),
    ]
    table(rows, columns, tr("Speed at batch size {batch_size}", batch_size=record["batch_size"]))
    note_problems(record["targets"])
    _note_missing(rows)
    for name, entry in ok_targets(record["targets"]).items():
        if "tool" in entry:
            clock = tr(
                "{name} was timed by {tool}, whose clock covers {clock}.",
                name=name,
                tool=entry["tool"],
                clock=entry["clock"],
            )
            note(tr(" ").join([clock, *map(recorded, entry["notes"])]))


def _note_missing(rows: list[dict[str, Any]]) -> None:
    """Say once what too few batches are for; anything else is said as it is."""
    reasons = {why for row in rows for why in row["refused"].values()}
    counted = {why for why in reasons if why.startswith("needs ")}
    if counted:
        needs = tr(", ").join(
            tr("{p} needs {n}", p=p, n=MINIMUM_N[int(p[1:])]) for p in _PERCENTILES
        )
        note(tr("Percentiles are missing where too few batches were timed: {needs}.", needs=needs))
    for why in sorted(reasons - counted):
        note(tr("A percentile is missing: {why}.", why=why))


def charts(record: dict[str, Any]) -> None:
    """Chart throughput and latency."""
    rows = rate_rows(record)
    if rows:
        show(ThroughputDisplay([row | row["throughput_ips"] for row in rows]))
    told = [row for row in rows if row["p50"] is not None]
    if told:
        show(LatencyDisplay(told))


def ceiling(record: dict[str, Any]) -> None:
    """Show what share of the machine's arithmetic each target uses, and what that is taken of."""
    if "ceilings" not in record:
        none = tr("No target ran in this process, so the machine's ceilings are not measured.")
        refused = record.get("limits_refused")
        note(recorded(refused) if refused else none)
        return
    rows = [_ceiling_row(name, entry) for name, entry in ok_targets(record["targets"]).items()]
    columns = [
        Column("target", "Target"),
        Column("share", "Share of the ceiling", "%, interval of the rate", ".1f"),
        Column("tops", "Ceiling", "10¹² operations/s", ".3f"),
        Column("by", "Fastest matrix product"),
    ]
    table(
        rows,
        columns,
        tr(
            "Share of this machine's arithmetic at batch {batch_size}",
            batch_size=record["batch_size"],
        ),
    )
    for precision, found in record["ceilings"].items():
        if "refused" in found:
            note(
                tr(
                    "There is no {precision} ceiling: {refused}.",
                    precision=precision,
                    refused=found["refused"],
                )
            )
    beyond = [row["target"] for row in rows if "value" in row["share"] and _beyond(row)]
    if beyond:
        note(
            tr(
                "{beyond}: above 100 %, since the runtime's own kernels are faster than every "
                "plain matrix product that was tried.",
                beyond=join_words(beyond),
            )
        )
    say(_about_ceilings(record))


def _ceiling_row(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    found = entry.get("ceiling", {"refused": "timed by a tool on a device of its own"})
    if "refused" in found:
        return {"target": name, "share": found}
    ends = {"value": "fraction", "low": "low", "high": "high"}
    percent = {e: None if found[key] is None else 100 * found[key] for e, key in ends.items()}
    return {"target": name, "share": percent, "tops": found["tops"], "by": found["by"]}


def _beyond(row: dict[str, Any]) -> bool:
    return row["share"]["value"] > 100


def _about_ceilings(record: dict[str, Any]) -> str:
    sizes = tr("; ").join(
        tr(
            "{precision} {size} × {size}, best of {n}",
            precision=precision,
            size=found["size"],
            n=found["n"],
        )
        for precision, found in record["ceilings"].items()
        if "tops" in found
    )
    memory = record["memory_bandwidth"]
    return tr(
        "A ceiling is the best repeat of a plain matrix product ({sizes}), by the fastest "
        "library at hand, measured right after the targets. The network has "
        "{flops_per_image} × 10⁹ operations per image (convolutions and matrix products of "
        "the simplified graph). Memory moves {gb_per_s} × 10⁹ bytes per second (best of {n} "
        "triads over three arrays of {array_bytes}).",
        sizes=sizes,
        flops_per_image=fmt_number(record["flops_per_image"] / 1e9, 4),
        gb_per_s=fmt_number(memory["gb_per_s"]),
        n=memory["n"],
        array_bytes=fmt_bytes(memory["array_bytes"]),
    )


def roofline(record: dict[str, Any]) -> None:
    """Chart the layers of the fastest OpenVINO build under this machine's roofs."""
    layers = record.get("layers", {"refused": "no target ran in this process"})
    if "refused" in layers:
        note(tr("No layers to show: {refused}.", refused=layers["refused"]))
        return
    roofs = {name: found["tops"] for name, found in record["ceilings"].items() if "tops" in found}
    show(
        RooflineDisplay(
            roofline_points(layers["layers"]),
            roofs,
            record["memory_bandwidth"]["gb_per_s"],
            layers["target"],
            layers["precision"],
        )
    )


def where_time_goes(record: dict[str, Any]) -> None:
    """Show the time of that build by kind of layer."""
    layers = record.get("layers", {})
    if "layers" not in layers:
        return
    rows = by_kind(layers["layers"])
    columns = [
        Column("kind", "Layers"),
        Column("n", "n"),
        Column("ms", "Time", "ms per batch", ".2f"),
        Column("share", "Share of time", "", fmt_percent),
        Column("flops_share", "Share of arithmetic", "", fmt_percent),
        Column("tops", "Speed", "10¹² operations/s", ".3f"),
    ]
    table(
        rows, columns, tr("Where the time goes: {target}, layer by layer", target=layers["target"])
    )
    say(
        tr(
            "Means over {batches} batches on one stream of all cores, without intervals, since "
            "OpenVINO tells means alone. The layers add up to {total:.1f} of {wall_ms:.1f} ms per "
            "batch. Activations that OpenVINO fused into a convolution are in its time.",
            batches=layers["batches"],
            total=sum(r["ms"] for r in rows),
            wall_ms=layers["wall_ms"],
        )
    )


def method(record: dict[str, Any]) -> None:
    """Say what the clock covers and whether the machine was quiet."""
    settings, machine = record["settings"], record["machine"]
    say(
        tr(
            "The clock covers {clock}. After {warmup} warm-up batches each target ran {repeats} "
            "repeats of at least {seconds} s, the targets taking turns so that a drift of the "
            "machine meets all alike. The interval is Student's t over the repeats.",
            clock=record["clock"],
            warmup=settings["warmup"],
            repeats=settings["repeats"],
            seconds=settings["seconds"],
        )
    )
    say(
        tr(
            "Machine: {cpu}, {cores} cores, {memory_gib} GiB. Its load average over the minute "
            "before timing was {load_average}; this run's own earlier stages count in it.",
            cpu=machine["cpu"],
            cores=machine["cores"],
            memory_gib=machine["memory_gib"],
            load_average=machine["load_average"],
        )
    )
    if record.get("load"):
        chain.disturbance(record["load"], record["batch_size"])


def pipeline(run: RunFolder, batch_size: int) -> None:
    """Show the five figures that ``4_infer`` measured."""
    record = _earlier(run, "4_infer", batch_size)
    if record:
        infer.figures(record)


def search(run: RunFolder, batch_size: int) -> None:
    """Show what ``2_compile`` measured to choose the builds, and how long they took to make."""
    record = _earlier(run, "2_compile", batch_size)
    if record:
        compile.build_times(record)
        chain.builds(record)
        compile.rewrite_times(record)
        compile.ways(record)
        compile.recipe_times(record)


def _earlier(run: RunFolder, stage: str, batch_size: int) -> dict[str, Any] | None:
    if run.stage(stage, batch_size).is_file():
        return run.record(stage, batch_size)
    say(tr("Stage {stage} was not run for this batch size.", stage=stage))
    return None


def rate_rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row per target that was timed, as tables and charts want it."""
    rows = []
    for name, entry in ok_targets(record["targets"]).items():
        latency = entry["latency_ms"]
        rows.append(
            {
                "target": name,
                "batch_size": record["batch_size"],
                "throughput_ips": entry["throughput_ips"],
                "repeats": entry["throughput_ips"]["n"],
                "refused": latency.get("refused", {}),
                "n": latency["n"],
            }
            | {p: latency.get(p) for p in _PERCENTILES}
        )
    return rows
