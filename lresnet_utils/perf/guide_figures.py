"""The guide's published figures, read from its own logs, and what follows from them.

The seven log blocks of the guide (sections 7.1 and 7.2) are kept verbatim in ``recorded/`` and
go through the same reader as any other log; its other printed figures are in
``recorded/guide.json`` with section and source. Everything else here is computed.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import read_json
from lresnet_utils.targets.ascend.npu_logs import read_benchmark_vision
from lresnet_utils.targets.tool_log import PerfRecord
from lresnet_utils.text.language import clauses, message
from lresnet_utils.verify.intervals import clopper_pearson, wilson

RECORDED = Path(__file__).parent / "recorded"

_CAPTION = re.compile(r"batch_size=(\d+) \S+：([\d.]+)\*(\d+)=([\d.]+) fps")


@dataclass(frozen=True)
class GuideBlock:
    """One log block of the guide with the caption printed under it.

    Attributes
    ----------
    record : PerfRecord
        The block, read as the log that it is; its batch size is the heading's.
    section : str
        ``'7.1'`` or ``'7.2'``.
    tuned : bool
        Whether the model was tuned (section 7.2).
    caption_batch_size, chips : int
        The batch size and the factor that the caption prints.
    caption_rate, caption_product : Decimal
        The two rates that the caption prints, digit by digit.
    """

    record: PerfRecord
    section: str
    tuned: bool
    caption_batch_size: int
    chips: int
    caption_rate: Decimal
    caption_product: Decimal

    @property
    def rate(self) -> Decimal:
        """Interface rate of one chip, images/s, with exactly the digits of the log."""
        return Decimal(repr(self.record.throughput_ips))

    @property
    def card_rate(self) -> Decimal:
        """Interface rate times the caption's number of chips: an extrapolation of the guide's."""
        return self.rate * self.chips

    @property
    def samples(self) -> int:
        """Network inputs that the run processed: e2e rate x e2e time."""
        return round(self.record.samples)

    @property
    def implied_batch_size(self) -> int:
        """Infer rate / post rate, as a whole number."""
        return round(self.record.implied_batch_size)

    @property
    def bound_by_reading(self) -> bool:
        """Whether the chip takes images faster than the run can read them from files."""
        return self.record.throughput_ips > self.record.stages["data_read"].rate


@dataclass(frozen=True)
class Guide:
    """The guide's blocks in its order, and the figures of ``guide.json`` as printed."""

    blocks: tuple[GuideBlock, ...]
    figures: dict[str, dict[str, Any]]
    tables: dict[str, dict[str, Any]]
    gpu: dict[str, str]
    npu: dict[str, str]
    source: str

    def number(self, name: str) -> Decimal:
        """Return a printed figure with exactly its digits."""
        return Decimal(self.figures[name]["printed"])

    def block(self, batch_size: int, *, tuned: bool) -> GuideBlock:
        """Return the block of a heading's batch size."""
        for block in self.blocks:
            if block.record.batch_size == batch_size and block.tuned == tuned:
                return block
        raise DataError(
            f"The guide has no block of batch size {batch_size}, tuned={tuned}.", where=self.source
        )


@dataclass(frozen=True)
class Remark:
    """What the figures show: the finding, the numbers it rests on, what follows for a reader."""

    finding: str
    evidence: str
    consequence: str


def load_guide(folder: Path | str = RECORDED) -> Guide:
    """Read the recorded guide.

    Parameters
    ----------
    folder : path, optional
        Where ``guide.json`` and its blocks are; the packaged ones by default.

    Raises
    ------
    DataError
        When a block is missing or damaged, or a caption is not of the guide's form.

    Examples
    --------
    >>> guide = load_guide()
    >>> [(b.record.batch_size, b.caption_batch_size) for b in guide.blocks if not b.tuned]
    [(1, 1), (4, 4), (8, 16), (16, 16), (32, 16)]
    """
    folder = Path(folder)
    recorded = read_json(folder / "guide.json")
    blocks = []
    for entry in recorded["blocks"]:
        heading = entry["heading_batch_size"]
        record = read_benchmark_vision(folder / entry["file"], batch_size=heading)
        caption = _CAPTION.fullmatch(entry["caption"])
        if not caption:
            raise DataError("The caption is not of the guide's form.", where=entry["caption"])
        # The file's place on this machine says nothing; its place in the guide does.
        source = f"the guide, section {entry['section']}, batch_size={heading}"
        blocks.append(
            GuideBlock(
                record=dataclasses.replace(record, source=source),
                section=entry["section"],
                tuned=entry["tuned"],
                caption_batch_size=int(caption[1]),
                chips=int(caption[3]),
                caption_rate=Decimal(caption[2]),
                caption_product=Decimal(caption[4]),
            )
        )
    return Guide(
        blocks=tuple(blocks),
        figures={figure["name"]: figure for figure in recorded["figures"]},
        tables=recorded["tables"],
        gpu=recorded["gpu"],
        npu=recorded["npu"],
        source=recorded["guide"]["source"],
    )


def derived_table(guide: Guide, number: str) -> list[dict[str, Any]]:
    """Compute the NPU figures of the guide's table 7.3 or 7.4 beside the printed ones.

    Parameters
    ----------
    guide : Guide
        From :func:`load_guide`.
    number : {'7.3', '7.4'}
        Which table. Of 7.4 the GPU column is recorded, not derived: the guide prints no GPU log.

    Returns
    -------
    list of dict
        ``batch_size``, ``column``, ``printed`` and ``derived`` (Decimal; None where recorded).

    Examples
    --------
    >>> row = derived_table(load_guide(), "7.3")[-1]
    >>> row["batch_size"], row["column"], str(row["printed"]), str(row["derived"])
    (16, 'after tuning', '746.128', '746.128')
    """
    table = guide.tables[number]
    tuned = {"before tuning": False, "after tuning": True, "NPU": True}
    cells = []
    for row in table["rows"]:
        for column, printed in zip(table["columns"][1:], row[1:], strict=True):
            derived = None
            if column in tuned:
                derived = guide.block(int(row[0]), tuned=tuned[column]).card_rate
            cells.append(
                {
                    "batch_size": int(row[0]),
                    "column": column,
                    "printed": Decimal(printed),
                    "derived": derived,
                }
            )
    return cells


def accuracy_in_counts(guide: Guide) -> dict[str, Any]:
    """Turn the guide's accuracy into wrong pairs and say how sure it is.

    Returns
    -------
    dict
        ``accuracy``, ``n`` (pairs), ``errors``, ``wilson`` and ``clopper_pearson`` (95 %
        intervals of the accuracy), ``published`` and ``published_errors``, ``allowed_errors``
        (the most errors that the guide's rule "within 1 % of the published" lets pass).

    Examples
    --------
    >>> counts = accuracy_in_counts(load_guide())
    >>> counts["errors"], counts["n"], counts["published_errors"], counts["allowed_errors"]
    (14, 6000, 12, 72)
    """
    n = int(guide.number("lfw_pairs"))
    accuracy = guide.number("accuracy")
    right = round(accuracy * n)
    published, drop = guide.number("published_accuracy"), guide.number("allowed_drop")
    return {
        "accuracy": float(accuracy),
        "n": n,
        "errors": n - right,
        "wilson": wilson(right, n),
        "clopper_pearson": clopper_pearson(right, n),
        "published": float(published),
        "published_errors": int((1 - published) * n),
        "allowed_errors": int((1 - published + drop) * n),
    }


def reference_throughput(guide: Guide | None = None) -> list[dict[str, Any]]:
    """Return the guide's rates as labelled reference rows for a chart.

    The Ascend figures are the Interface rate of the *one* chip that was measured, never the
    guide's four-fold. The two devices were timed with different clocks (key ``clock``).

    Returns
    -------
    list of dict
        ``label``, ``source``, ``device``, ``precision_note``, ``clock``, ``batch_size``,
        ``throughput_ips``.

    Examples
    --------
    >>> [r["throughput_ips"] for r in reference_throughput() if "T4" in r["device"]]
    [241.5686, 678.984]
    """
    guide = guide or load_guide()
    rows = []
    for block in guide.blocks:
        state = "after tuning" if block.tuned else "before tuning"
        rows.append(
            {
                "label": message(
                    "{device}, one chip, {state} (guide)", device=guide.npu["device"], state=state
                ),
                "source": message(
                    "the guide, section {section}, Interface throughputRate", section=block.section
                ),
                "device": guide.npu["device"],
                "precision_note": guide.npu["precision_note"],
                "clock": block.record.throughput_clock,
                "batch_size": block.record.batch_size,
                "throughput_ips": block.record.throughput_ips,
            }
        )
    for cell in derived_table(guide, "7.4"):
        if cell["column"] == "GPU":
            rows.append(
                {
                    "label": message("{device} (guide)", device=guide.gpu["device"]),
                    "source": message(
                        "the guide, section 7.4; {source}", source=guide.gpu["source"]
                    ),
                    "device": guide.gpu["device"],
                    "precision_note": guide.gpu["precision_note"],
                    "clock": guide.gpu["clock"],
                    "batch_size": cell["batch_size"],
                    "throughput_ips": float(cell["printed"]),
                }
            )
    return rows


# What a careful reader finds in the guide's figures, each computed from them.


def findings(guide: Guide | None = None) -> tuple[Remark, ...]:
    """Return the findings, most consequential first.

    Every number in the texts is computed from the recorded figures, those of :func:`load_guide`
    by default.

    Examples
    --------
    >>> for finding in findings()[:2]:
    ...     print(finding.finding)
    Mirrored views are counted as images.
    The rate of a card is the rate of one chip times 4, never measured.
    """
    guide = guide or load_guide()
    blocks, pairs = guide.blocks, int(guide.number("lfw_pairs"))

    counts = sorted({block.samples for block in blocks})
    flips = Remark(
        "Mirrored views are counted as images.",
        message(
            "e2e rate x e2e time = {images} in all {n_blocks} blocks = {n_counted} x "
            "{per_pair:,} images of {n_pairs:,} pairs.",
            images=", ".join(f"{n:,}" for n in counts),
            n_blocks=len(blocks),
            n_counted=counts[0] // (2 * pairs),
            per_pair=2 * pairs,
            n_pairs=pairs,
        ),
        "One embedding with its mirrored view costs two of these images, so faces per second are "
        "half of every rate printed.",
    )

    exact = [block for block in blocks if block.card_rate == block.caption_product]
    chips = ", ".join(map(str, sorted({block.chips for block in blocks})))
    table = derived_table(guide, "7.3")
    cells = [cell for cell in table if cell["derived"] == cell["printed"]]
    extrapolation = Remark(
        message(
            "The rate of a card is the rate of one chip times {chips}, never measured.", chips=chips
        ),
        message(
            "{n_exact} of {n_blocks} captions and {n_cells} of {n_guide} cells of table "
            "7.3 are the Interface rate of one device times {chips} to the last digit.",
            n_exact=len(exact),
            n_blocks=len(blocks),
            n_cells=len(cells),
            n_guide=len(table),
            chips=chips,
        ),
        "Chips of a card share its bus, memory and host; compare one chip, or measure all of them "
        "at once.",
    )

    bound = [block for block in blocks if block.bound_by_reading]
    before, after = guide.block(16, tuned=False).record, guide.block(16, tuned=True).record
    rates = (
        message(
            "{state}batch {batch_size}: reading {reading}, chip {chip}, end to end {end_to_end}",
            state="tuned, " if block.tuned else "",
            batch_size=block.record.batch_size,
            reading=block.record.stages["data_read"].rate,
            chip=block.record.throughput_ips,
            end_to_end=block.record.stages["e2e"].rate,
        )
        for block in bound
    )
    gain = after.throughput_ips / before.throughput_ips - 1
    change = after.stages["e2e"].rate / before.stages["e2e"].rate - 1
    reading = Remark(
        message(
            "{n_bound} of {n_blocks} runs are bound by reading files, not by the chip.",
            n_bound=len(bound),
            n_blocks=len(blocks),
        ),
        message(
            "Images/s: {rates}. Tuning raised the Interface rate at batch 16 by "
            "{gain:.2%} and the end-to-end rate changed by {change:.2%}.",
            rates=clauses(*rates),
            gain=float(gain),
            change=float(change),
        ),
        "The Interface rate is what the chip could do; with this way of reading files no user of "
        "the run gets it.",
    )

    rows = []
    for gpu, npu in zip(*[iter(derived_table(guide, "7.4"))] * 2, strict=True):
        batch, printed = gpu["batch_size"], gpu["printed"]
        chip = guide.block(batch, tuned=True).rate
        rows.append(
            message(
                "batch {batch}: {factor:.3f} with the factor, {chip:.3f} for one chip (GPU "
                "{ms:.4f} ms a batch)",
                batch=batch,
                factor=float(npu["printed"] / printed),
                chip=float(chip / printed),
                ms=float(1000 * batch / printed),
            )
        )
    clocks = Remark(
        "Table 7.4 compares unlike clocks: the GPU's compute alone with an extrapolated NPU rate.",
        message(
            "NPU / GPU, {ratios}. GPU clock: {gpu}; NPU clock: the tool's Interface rate.",
            ratios=clauses(*rows),
            gpu=guide.gpu["clock"],
        ),
        "The table does not show which device is faster; measure both with copies included.",
    )

    wrong = [b for b in blocks if b.caption_batch_size != b.implied_batch_size]
    shown = (
        message(
            "section {section}, {rate} x {chips}: caption {caption}, infer rate / post "
            "rate = {implied}",
            section=b.section,
            rate=b.caption_rate,
            chips=b.chips,
            caption=b.caption_batch_size,
            implied=b.implied_batch_size,
        )
        for b in wrong
    )
    headings = all(b.record.batch_size == b.implied_batch_size for b in blocks)
    captions = Remark(
        message("Captions that name a wrong batch size: {n_wrong}.", n_wrong=len(wrong)),
        message(
            "{captions}. The headings {are} all right.",
            captions=clauses(*shown),
            are="are" if headings else "are not",
        ),
        "Read the batch size from the heading; tables that copy the captions are wrong.",
    )

    right = accuracy_in_counts(guide)
    low, high = right["wilson"]
    exact_low, exact_high = right["clopper_pearson"]
    inside = max(low, exact_low) <= right["published"] <= min(high, exact_high)
    accuracy = Remark(
        message(
            "The accuracy is {errors} wrong pairs of {n:,}.", errors=right["errors"], n=right["n"]
        ),
        message(
            "{accuracy!r} x {n:,}; 95 % interval {low:.3%} to {high:.3%} (Wilson), "
            "{exact_low:.3%} to {exact_high:.3%} (Clopper-Pearson).",
            accuracy=right["accuracy"],
            n=right["n"],
            low=low,
            high=high,
            exact_low=exact_low,
            exact_high=exact_high,
        ),
        message(
            "The published {published} ({errors} wrong pairs) is {where} both: this set "
            "{tells} the two apart.",
            published=right["published"],
            errors=right["published_errors"],
            where="inside" if inside else "outside",
            tells="cannot tell" if inside else "tells",
        ),
    )

    extra = int(guide.number("allowed_drop") * right["n"])
    pass_rule = Remark(
        "The pass rule 'within 1 %' lets a far worse build pass.",
        message(
            "1 % of {n:,} pairs is {extra} errors more than published, {allowed} in all: "
            "{times:.1f} times the {errors} observed.",
            n=right["n"],
            extra=extra,
            allowed=right["allowed_errors"],
            times=right["allowed_errors"] / right["errors"],
            errors=right["errors"],
        ),
        "Compare pair by pair with a reference and test the pairs that changed sides.",
    )

    mean, step = guide.number("best_thresholds"), guide.number("threshold_step")
    folds, rounded = int(guide.number("folds")), round(mean, 6)
    threshold = Remark(
        "The threshold printed is a mean over folds and was used by none of them.",
        message(
            "{mean} lies {on} the grid of step {step}; {n_folds} folds x {fold_mean} = "
            "{total}, a sum of grid values.",
            mean=mean,
            on="on" if rounded % step == 0 else "off",
            step=step,
            n_folds=folds,
            fold_mean=rounded.normalize(),
            total=(folds * rounded).normalize(),
        ),
        "The accuracy belongs to the thresholds of the folds; deploy a threshold only after "
        "evaluating that one.",
    )
    return flips, extrapolation, reading, clocks, captions, accuracy, pass_rule, threshold
