"""The performance page: throughput and latency, with what n allows to say."""

from __future__ import annotations

from typing import Any

from lresnet_utils.report.displays import LatencyDisplay, ThroughputDisplay
from lresnet_utils.report.pages.common import note_problems, ok_targets
from lresnet_utils.report.show import Column, note, say, show, table

_PERCENTILES = ("p50", "p90", "p99")


def speed(record: dict[str, Any]) -> None:
    """Show throughput and latency of every target at this batch size."""
    rows = rate_rows(record)
    columns = [
        Column("target", "Target"),
        Column("throughput_ips", "Throughput", "images/s, 95 % interval", ".1f"),
        Column("repeats", "Repeats"),
        *(Column(p, f"Latency {p}", "ms per batch", ".2f") for p in _PERCENTILES),
        Column("n", "Batches timed"),
    ]
    table(rows, columns, f"Speed at batch size {record['batch_size']}")
    note_problems(record["targets"])
    refused = {why for row in rows for why in row["refused"].values()}
    for why in sorted(refused):
        note(f"A percentile is missing: {why}.")
    for name, entry in ok_targets(record["targets"]).items():
        if "tool" in entry:
            clock = f"{name} was timed by {entry['tool']}, whose clock covers {entry['clock']}."
            note(" ".join([clock, *entry["notes"]]))


def charts(record: dict[str, Any]) -> None:
    """Chart throughput and latency."""
    rows = rate_rows(record)
    if rows:
        show(ThroughputDisplay([row | row["throughput_ips"] for row in rows]))
    told = [row for row in rows if row["p50"] is not None]
    if told:
        show(LatencyDisplay(told))


def method(record: dict[str, Any]) -> None:
    """Say what the clock covers and whether the machine was quiet."""
    settings, machine = record["settings"], record["machine"]
    say(
        f"The clock covers {record['clock']}. After {settings['warmup']} warm-up batches each "
        f"target ran {settings['repeats']} repeats of at least {settings['seconds']} s, the "
        "targets taking turns so that a drift of the machine meets all alike. The interval is "
        "Student's t over the repeats."
    )
    say(
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB. Its "
        f"load average over the minute before timing was {machine['load_average']}; this run's "
        "own earlier stages count in it."
    )


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
