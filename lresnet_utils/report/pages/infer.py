"""The infer page: the guide's five figures, and what could not be embedded."""

from __future__ import annotations

from typing import Any

from lresnet_utils.report.charts.throughput import StageDisplay
from lresnet_utils.report.show import (
    Column,
    note,
    note_problems,
    ok_targets,
    say,
    show,
    table,
    timings,
)
from lresnet_utils.text.language import tr

FIVE_FIGURES = {
    "e2e": "[e2e]",
    "data_read": "[data read]",
    "preprocess": "[preprocess]",
    "infer": "[infer]",
    "post": "[post]",
}
"""The guide's names for the five parts, in its order."""


def figures(record: dict[str, Any]) -> None:
    """Show the five figures per target as a table and a chart; they are measured times."""
    note_problems(record["targets"])
    with timings():
        stages = {name: entry["stages"] for name, entry in ok_targets(record["targets"]).items()}
        rows = [
            {"target": name, "n": parts["e2e"]["n"]}
            | {part: parts[part]["images_per_second"] for part in FIVE_FIGURES}
            for name, parts in stages.items()
        ]
        columns = [
            Column("target", "Target"),
            *(Column(part, label, "images/s", ".1f") for part, label in FIVE_FIGURES.items()),
            Column("n", "n", "network inputs"),
        ]
        caption = tr("The five figures: images per second through each part of the pipeline")
        table(rows, columns, caption)
        # A vendor's tool may not tell all five.
        told = {
            name: {part: rate for part, rate in parts.items() if rate["ms_per_image"] is not None}
            for name, parts in stages.items()
        }
        if any(told.values()):
            show(StageDisplay({name: parts for name, parts in told.items() if parts}))
        views = (
            tr(
                "The mirrored view is embedded as well and counts as an image of its own, as in "
                "the guide."
            )
            if record["flip"]
            else tr("One view per face: the mirrored view is off in this run.")
        )
        say(
            "{views} Each distinct face is embedded once, however many pairs it is in. These "
            "rates come from one pass over the set, so they have no interval; 6_perf repeats and "
            "has one.",
            views=views,
        )


def failures(record: dict[str, Any]) -> None:
    """Say how many images gave no embedding, per target and variant, and which."""
    rows = [
        {"target": name, "variant": variant} | counts
        for name, entry in ok_targets(record["targets"]).items()
        for variant, counts in entry["variants"].items()
    ]
    columns = [
        Column("target", "Target"),
        Column("variant", "Images"),
        Column("n_images", "Distinct faces"),
        Column("n_failed", "Failures to acquire"),
    ]
    table(rows, columns, "Faces embedded, and failures to acquire")
    for row in rows:
        for image, reason in sorted(row["failures"].items(), key=lambda item: int(item[0]))[:5]:
            text = tr(
                "{target}, {variant}: image {image}: {reason}", image=image, reason=reason, **row
            )
            note(text, "warning")
