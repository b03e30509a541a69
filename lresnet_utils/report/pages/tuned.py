"""The part of the index about tuning: before and after on this machine, and the guide's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lresnet_utils.perf.guide_figures import Guide, load_guide
from lresnet_utils.report.pages.compile import CHOSEN_BY
from lresnet_utils.report.show import Column, note, say, table
from lresnet_utils.stages.summary import Results
from lresnet_utils.stages.tuned import NO_SEARCH
from lresnet_utils.text.language import tr


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
