"""The performance page: throughput and latency, and how near they are to what is possible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lresnet_utils.ledger import custody
from lresnet_utils.perf.statistics import MINIMUM_N, by_kind, roofline_points
from lresnet_utils.report.charts.throughput import (
    LatencyDisplay,
    RooflineDisplay,
    ThroughputDisplay,
)
from lresnet_utils.report.pages import compile, infer
from lresnet_utils.report.show import (
    Column,
    chain,
    note,
    note_problems,
    ok_targets,
    say,
    show,
    table,
)
from lresnet_utils.run import RunFolder
from lresnet_utils.text.language import tr
from lresnet_utils.text.numbers import fmt_bytes, fmt_number, fmt_percent, join_words

_PERCENTILES = ("p50", "p90", "p99")


def speed(record: dict[str, Any]) -> None:
    """Show and chart throughput and latency of every target at this batch size."""
    rows = [
        {
            "target": name,
            "batch_size": record["batch_size"],
            "throughput_ips": entry["throughput_ips"],
            "repeats": entry["throughput_ips"]["n"],
            "refused": entry["latency_ms"].get("refused", {}),
            "n": entry["latency_ms"]["n"],
        }
        | {p: entry["latency_ms"].get(p) for p in _PERCENTILES}
        for name, entry in ok_targets(record["targets"]).items()
    ]
    columns = [
        Column("target", "Target"),
        Column("throughput_ips", "Throughput", "images/s, 95 % interval", ".1f"),
        Column("repeats", "Repeats"),
        *(Column(p, tr("Latency {p}", p=p), "ms per batch", ".2f") for p in _PERCENTILES),
        Column("n", "Batches timed"),
    ]
    table(rows, columns, "Speed at batch size {batch_size}", batch_size=record["batch_size"])
    note_problems(record["targets"])
    # Say once what too few batches are for; anything else is said as it is. Tools do not say of
    # how many batches their percentiles are.
    reasons = {why for row in rows if row["n"] is None for why in row["refused"].values()}
    counted = any(row["refused"] for row in rows if row["n"] is not None)
    if counted:
        needs = tr(", ").join(
            tr("{p} needs {n}", p=p, n=MINIMUM_N[int(p[1:])]) for p in _PERCENTILES
        )
        note("Percentiles are missing where too few batches were timed: {needs}.", needs=needs)
    for why in sorted(reasons):
        note("A percentile is missing: {why}.", why=why)
    for name, entry in ok_targets(record["targets"]).items():
        if "tool" in entry:
            clock = tr(
                "{name} was timed by {tool}, whose clock covers {clock}.", name=name, **entry
            )
            note(tr(" ").join([clock, *map(tr, entry["notes"])]))
    if rows:
        show(ThroughputDisplay([row | row["throughput_ips"] for row in rows]))
    told = [row for row in rows if row["p50"] is not None]
    if told:
        show(LatencyDisplay(told))


def ceiling(record: dict[str, Any]) -> None:
    """Show what share of the machine's arithmetic each target uses, and what that is taken of."""
    if "ceilings" not in record:
        if record.get("limits_refused"):
            note(tr(record["limits_refused"]))
        else:
            note("No target ran in this process, so the machine's ceilings are not measured.")
        return
    rows, beyond = [], []
    for name, entry in ok_targets(record["targets"]).items():
        found = entry.get("ceiling", {"refused": "timed by a tool on a device of its own"})
        if "refused" in found:
            rows.append({"target": name, "share": found})
            continue
        ends = (found["fraction"], found["low"], found["high"])
        value, low, high = (None if end is None else 100 * end for end in ends)
        share = {"value": value, "low": low, "high": high}
        rows.append({"target": name, "share": share, "tops": found["tops"], "by": found["by"]})
        if value > 100:
            beyond.append(name)
    columns = [
        Column("target", "Target"),
        Column("share", "Share of the ceiling", "%, interval of the rate", ".1f"),
        Column("tops", "Ceiling", "10¹² operations/s", ".3f"),
        Column("by", "Fastest matrix product"),
    ]
    batch_size = record["batch_size"]
    caption = tr("Share of this machine's arithmetic at batch {batch_size}", batch_size=batch_size)
    table(rows, columns, caption)
    sizes = []
    for precision, found in record["ceilings"].items():
        if "refused" in found:
            note("There is no {precision} ceiling: {refused}.", precision=precision, **found)
        if "tops" in found:
            size = tr("{precision} {size} × {size}, best of {n}", precision=precision, **found)
            sizes.append(size)
    if beyond:
        note(
            "{beyond}: above 100 %, since the runtime's own kernels are faster than every "
            "plain matrix product that was tried.",
            beyond=join_words(beyond),
        )
    memory = record["memory_bandwidth"]
    say(
        "A ceiling is the best repeat of a plain matrix product ({sizes}), by the fastest "
        "library at hand, measured right after the targets. The network has "
        "{flops_per_image} × 10⁹ operations per image (convolutions and matrix products of "
        "the simplified graph). Memory moves {gb_per_s} × 10⁹ bytes per second (best of {n} "
        "triads over three arrays of {array_bytes}).",
        sizes=tr("; ").join(sizes),
        flops_per_image=fmt_number(record["flops_per_image"] / 1e9, 4),
        gb_per_s=fmt_number(memory["gb_per_s"]),
        n=memory["n"],
        array_bytes=fmt_bytes(memory["array_bytes"]),
    )


def layers(record: dict[str, Any]) -> None:
    """Chart the layers of the fastest OpenVINO build under the roofs; tell its time by kind."""
    found = record.get("layers", {"refused": "no target ran in this process"})
    if "refused" in found:
        note("No layers to show: {refused}.", refused=found["refused"])
        return
    target, points = found["target"], roofline_points(found["layers"])
    roofs = {name: own["tops"] for name, own in record["ceilings"].items() if "tops" in own}
    memory = record["memory_bandwidth"]["gb_per_s"]
    show(RooflineDisplay(points, roofs, memory, target, found["precision"]))
    rows = by_kind(found["layers"])
    columns = [
        Column("kind", "Layers"),
        Column("n", "n"),
        Column("ms", "Time", "ms per batch", ".2f"),
        Column("share", "Share of time", "", fmt_percent),
        Column("flops_share", "Share of arithmetic", "", fmt_percent),
        Column("tops", "Speed", "10¹² operations/s", ".3f"),
    ]
    table(rows, columns, "Where the time goes: {target}, layer by layer", target=target)
    say(
        "Means over {batches} batches on one stream of all cores, without intervals, since "
        "OpenVINO tells means alone. The layers add up to {total:.1f} of {wall_ms:.1f} ms per "
        "batch. Activations that OpenVINO fused into a convolution are in its time.",
        batches=found["batches"],
        total=sum(row["ms"] for row in rows),
        wall_ms=found["wall_ms"],
    )


def method(record: dict[str, Any]) -> None:
    """Say what the clock covers and whether the machine was quiet."""
    say(
        "The clock covers {clock}. After {warmup} warm-up batches each target ran {repeats} "
        "repeats of at least {seconds} s, the targets taking turns so that a drift of the "
        "machine meets all alike. The interval is Student's t over the repeats.",
        clock=record["clock"],
        **record["settings"],
    )
    say(
        "Machine: {cpu}, {cores} cores, {memory_gib} GiB. Its load average over the minute "
        "before timing was {load_average}; this run's own earlier stages count in it.",
        **record["machine"],
    )
    if record.get("load"):
        disturbance(record["load"], record["batch_size"])


def disturbance(load: Mapping[str, Any], batch_size: int) -> None:
    """Say what share of the machine others had while a batch size was timed; warn if much."""
    if "refused" in load:
        say(
            "What else ran while batch size {batch_size} was timed is not known: {reason}.",
            batch_size=batch_size,
            reason=load["refused"],
        )
        return
    text = tr(
        "While batch size {batch_size} was timed ({seconds} s), of {cores} cores this process kept "
        "{own} busy, other processes {other}, and a host withheld {stolen}. One reading, without "
        "interval.",
        batch_size=batch_size,
        seconds=load["seconds"],
        cores=load["cores"],
        own=f"{load['own_cores']:.2f}",
        other=f"{load['other_cores']:.2f}",
        stolen=f"{load['stolen_cores']:.2f}",
    )
    if load["busy"]:
        busy = tr(
            "The machine was busy, so rates may be too low and latencies too high: measure again "
            "with nothing else running. "
        )
        text = busy + text
        note(text, "warning")
    else:
        say(text)


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
        # The hashes of files that no two builds give alike; other pages leave them to this.
        links = [link for link in custody.recorded(record) if not link["repeatable"]]
        if links:
            chain(tr("Builds, by their hashes"), links, every=True)
        compile.rewrite_times(record)
        compile.ways(record)
        compile.recipe_times(record)


def _earlier(run: RunFolder, stage: str, batch_size: int) -> dict[str, Any] | None:
    if run.stage(stage, batch_size).is_file():
        return run.record(stage, batch_size)
    say("Stage {stage} was not run for this batch size.", stage=stage)
    return None
