"""The guide's page: its own tables as it recorded them, and what a careful reader finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lresnet_utils.perf import guide_figures
from lresnet_utils.perf.guide_figures import (
    Guide,
    GuideBlock,
    accuracy_in_counts,
    derived_table,
    load_guide,
)
from lresnet_utils.report.show import Column, note, say, table
from lresnet_utils.text.language import tr
from lresnet_utils.text.numbers import fmt_percent, join_words

# Every figure of the guide has fewer digits than this, so all of them are written.
_DIGITS = ".10g"
_CHANGE = "+.2f"
_STAGES = {
    "e2e": "[e2e]",
    "data_read": "[data read]",
    "preprocess": "[preprocess]",
    "infer": "[infer]",
    "post": "[post]",
}


def accuracy(guide: Guide | None = None) -> None:
    """Show the guide's accuracy in counts, with two intervals, beside the published one."""
    guide = guide or load_guide()
    counts = accuracy_in_counts(guide)
    intervals = {
        name: {"value": counts["accuracy"], "low": counts[name][0], "high": counts[name][1]}
        for name in ("wilson", "clopper_pearson")
    }
    measured = {
        "network": tr("Offline model, {device}", device=guide.npu["device"]),
        "accuracy": counts["accuracy"],
        "errors": counts["errors"],
        "n": counts["n"],
        "threshold": float(guide.number("best_thresholds")),
    }
    published = {
        "network": tr("Published"),
        "accuracy": counts["published"],
        "errors": counts["published_errors"],
        "n": counts["n"],
    }
    columns = [
        Column("network", "Network"),
        Column("accuracy", "Accuracy", "", lambda value: f"{value:.5f}".rstrip("0")),
        Column("errors", "Wrong pairs"),
        Column("n", "Pairs"),
        Column("wilson", "Wilson", "95 %", fmt_percent),
        Column("clopper_pearson", "Clopper-Pearson", "95 %", fmt_percent),
        Column("threshold", "Mean best threshold", "squared L2", _DIGITS),
    ]
    _recorded([measured | intervals, published], columns, tr("Accuracy on LFW"), ("6.1", "6.2"))
    say(
        tr(
            "Wrong pairs and intervals are derived from the accuracy and the {n:,} pairs "
            "({source}). Both intervals take the pairs as independent.",
            n=counts["n"],
            source=guide.figures["lfw_pairs"]["source"],
        )
    )
    say(
        tr(
            "Source of the published accuracy: {source}.",
            source=guide.figures["published_accuracy"]["source"],
        )
    )
    _source(guide)


def throughput(guide: Guide | None = None) -> None:
    """Show the five figures of every log block, and what its caption makes of them."""
    guide = guide or load_guide()
    sections = tuple(sorted({block.section for block in guide.blocks}))
    named = [Column("state", "Model"), Column("batch_size", "Batch")]
    stages = guide.blocks[0].record.stages
    rates = [Column(s, label, stages[s].rate_unit, _DIGITS) for s, label in _STAGES.items()]
    times = [
        Column(s, label, tr("ms per {what}", what=stages[s].time_covers), _DIGITS)
        for s, label in _STAGES.items()
    ]
    for title, figure, columns in (
        (tr("The five rates of each run, one chip"), "rate", rates),
        (tr("The five times of each run, one chip"), "time_ms", times),
    ):
        rows = [
            _named(block) | {s: getattr(block.record.stages[s], figure) for s in _STAGES}
            for block in guide.blocks
        ]
        _recorded(rows, named + columns, title, sections)
    columns = [
        Column("rate", "One chip", "Interface, images/s", _DIGITS),
        Column("chips", "Factor"),
        Column("product", "Product", "images/s, as printed", _DIGITS),
        Column("caption", "Batch in the caption"),
        Column("implied", "Batch implied", "infer / post rate"),
        Column("agrees", "Caption right"),
    ]
    rows = [_named(block) | _caption(block) for block in guide.blocks]
    _recorded(rows, named + columns, tr("The Interface rates and their captions"), sections)
    _explain(guide, rows)
    _source(guide)


def _named(block: GuideBlock) -> dict[str, Any]:
    return {
        "state": tr("after tuning") if block.tuned else tr("before tuning"),
        "batch_size": block.record.batch_size,
    }


def _caption(block: GuideBlock) -> dict[str, Any]:
    return {
        "rate": float(block.rate),
        "chips": block.chips,
        "product": float(block.caption_product),
        "caption": block.caption_batch_size,
        "implied": block.implied_batch_size,
        "agrees": block.caption_batch_size == block.implied_batch_size,
    }


def _explain(guide: Guide, rows: Sequence[Mapping[str, Any]]) -> None:
    """Say what the rates count and cover, and where the captions go wrong."""
    inputs = join_words([f"{n:,}" for n in sorted({block.samples for block in guide.blocks})])
    factors = join_words([str(n) for n in sorted({block.chips for block in guide.blocks})])
    clocks = join_words(sorted({block.record.throughput_clock for block in guide.blocks}))
    say(
        tr(
            "Every run processed {inputs} network inputs (e2e rate x e2e time), mirrored views "
            "included. Clock: {clocks}.",
            inputs=inputs,
            clocks=clocks,
        )
    )
    note(
        tr(
            "The products are an extrapolation: one chip was measured and its rate multiplied by "
            "{factors}.",
            factors=factors,
        ),
        "warning",
    )
    wrong = [row for row in rows if not row["agrees"]]
    if wrong:
        told = tr("; ").join(
            tr(
                "{state}, {caption} printed where the run had {implied}",
                state=row["state"],
                caption=row["caption"],
                implied=row["implied"],
            )
            for row in wrong
        )
        note(
            tr("Captions with a wrong batch size: {n} ({told}).", n=len(wrong), told=told),
            "warning",
        )


def tuning(guide: Guide | None = None) -> None:
    """Show table 7.3 with the change in per cent, and the change from end to end."""
    guide = guide or load_guide()
    cells = derived_table(guide, "7.3")
    rows = []
    for batch_size, printed in _by_batch_size(cells).items():
        before, after = printed["before tuning"], printed["after tuning"]
        ends = [
            guide.block(batch_size, tuned=tuned).record.stages["e2e"].rate
            for tuned in (False, True)
        ]
        rows.append(
            {
                "batch_size": batch_size,
                "before": float(before),
                "after": float(after),
                "change": float(100 * (after / before - 1)),
                "e2e_change": 100 * (ends[1] / ends[0] - 1),
            }
        )
    unit = guide.tables["7.3"]["unit"]
    columns = [
        Column("batch_size", "Batch"),
        Column("before", "Before tuning", "images/s", _DIGITS),
        Column("after", "After tuning", "images/s", _DIGITS),
        Column("change", "Change", "%, derived", _CHANGE),
        Column("e2e_change", "Change of the [e2e] rate", "%, derived", _CHANGE),
    ]
    _recorded(rows, columns, tr("Tuning on {device}", device=guide.npu["device"]), ("7.3",))
    say(tr("The rates are {unit}. {told}", unit=unit, told=_reproduced(cells)))
    _source(guide)


def devices(guide: Guide | None = None) -> None:
    """Show table 7.4 with the ratio that it suggests and the ratio for one chip."""
    guide = guide or load_guide()
    cells = derived_table(guide, "7.4")
    rows = []
    for batch_size, printed in _by_batch_size(cells).items():
        chip = guide.block(batch_size, tuned=True).rate
        rows.append(
            {
                "batch_size": batch_size,
                "gpu": float(printed["GPU"]),
                "npu": float(printed["NPU"]),
                "ratio": float(printed["NPU"] / printed["GPU"]),
                "chip": float(chip),
                "chip_ratio": float(chip / printed["GPU"]),
            }
        )
    columns = [
        Column("batch_size", "Batch"),
        Column("gpu", "GPU", tr("{device}, images/s", device=guide.gpu["device"]), _DIGITS),
        Column(
            "npu",
            "NPU",
            tr("{device}, with the factor, images/s", device=guide.npu["device"]),
            _DIGITS,
        ),
        Column("ratio", "NPU / GPU", "derived", ".3f"),
        Column("chip", "NPU, one chip", "images/s", _DIGITS),
        Column("chip_ratio", "One chip / GPU", "derived", ".3f"),
    ]
    _recorded(rows, columns, tr("GPU and NPU"), ("7.4",))
    say(_reproduced(cells))
    npu = guide.block(rows[0]["batch_size"], tuned=True).record
    note(
        tr(
            "Unlike clocks. {device}, {precision_note}: {clock}. {npu}, {npu_note}: {npu_clock}.",
            device=guide.gpu["device"],
            precision_note=guide.gpu["precision_note"],
            clock=guide.gpu["clock"],
            npu=guide.npu["device"],
            npu_note=guide.npu["precision_note"],
            npu_clock=npu.throughput_clock,
        ),
        "warning",
    )
    say(tr("Source of the GPU's clock: {source}.", source=guide.gpu["source"]))
    _source(guide)


def findings(guide: Guide | None = None) -> None:
    """List what follows from the guide's figures: finding, evidence, consequence."""
    guide = guide or load_guide()
    for number, found in enumerate(guide_figures.findings(guide), 1):
        say(
            tr(
                "{number}. {finding} Evidence: {evidence} So: {consequence}",
                number=number,
                finding=found.finding,
                evidence=found.evidence,
                consequence=found.consequence,
            )
        )
    say(tr("Derived from figures that the guide recorded; nothing of it was measured here."))
    _source(guide)


def _by_batch_size(cells: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Gather the printed cells of a table by row and column."""
    rows: dict[int, dict[str, Any]] = {}
    for cell in cells:
        rows.setdefault(cell["batch_size"], {})[cell["column"]] = cell["printed"]
    return rows


def _reproduced(cells: Sequence[Mapping[str, Any]]) -> str:
    derived = [cell for cell in cells if cell["derived"] is not None]
    equal = [cell for cell in derived if cell["derived"] == cell["printed"]]
    return tr(
        "{n} of the {total} NPU figures follow to the last digit from the logs of sections 7.1 "
        "and 7.2.",
        n=len(equal),
        total=len(derived),
    )


def _recorded(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    title: str,
    sections: Sequence[str],
) -> None:
    """Show a table whose caption says that the guide recorded it, and where."""
    names = join_words(list(sections))
    one = len(sections) == 1
    where = tr("section {names}", names=names) if one else tr("sections {names}", names=names)
    table(
        rows,
        columns,
        tr("{title}. Recorded by the guide, {where}; not measured here.", title=title, where=where),
    )


def _source(guide: Guide) -> None:
    say(tr("Source, the guide: {source}.", source=guide.source))
