"""What a careful reader finds in the guide's figures, each computed from them."""

from __future__ import annotations

from lresnet_utils.perf.guide_figures import (
    Finding,
    Guide,
    accuracy_in_counts,
    derived_table,
    load_guide,
)


def findings(guide: Guide | None = None) -> tuple[Finding, ...]:
    """Return the findings, most consequential first.

    Parameters
    ----------
    guide : Guide, optional
        From :func:`lresnet_utils.perf.guide_figures.load_guide`.

    Returns
    -------
    tuple of Finding
        Every number in the texts is computed from the recorded figures.

    Examples
    --------
    >>> for finding in findings()[:2]:
    ...     print(finding.finding)
    Mirrored views are counted as images.
    The rate of a card is the rate of one chip times 4, never measured.
    """
    guide = guide or load_guide()
    parts = (_flips, _extrapolation, _reading, _gpu, _captions, _accuracy, _pass_rule, _threshold)
    return tuple(part(guide) for part in parts)


def _flips(guide: Guide) -> Finding:
    pairs = int(guide.number("lfw_pairs"))
    counts = sorted({block.samples for block in guide.blocks})
    return Finding(
        "Mirrored views are counted as images.",
        f"e2e rate x e2e time = {_list(f'{n:,}' for n in counts)} in all {len(guide.blocks)} "
        f"blocks = {counts[0] // (2 * pairs)} x {2 * pairs:,} images of {pairs:,} pairs.",
        "One embedding with its mirrored view costs two of these images, so faces per second are "
        "half of every rate printed.",
    )


def _extrapolation(guide: Guide) -> Finding:
    exact = [block for block in guide.blocks if block.card_rate == block.caption_product]
    chips = sorted({block.chips for block in guide.blocks})
    cells = [cell for cell in derived_table(guide, "7.3") if cell["derived"] == cell["printed"]]
    return Finding(
        f"The rate of a card is the rate of one chip times {_list(chips)}, never measured.",
        f"{len(exact)} of {len(guide.blocks)} captions and {len(cells)} of "
        f"{len(derived_table(guide, '7.3'))} cells of table 7.3 are the Interface rate of one "
        f"device times {_list(chips)} to the last digit.",
        "Chips of a card share its bus, memory and host; compare one chip, or measure all of them "
        "at once.",
    )


def _reading(guide: Guide) -> Finding:
    bound = [block for block in guide.blocks if block.bound_by_reading]
    before, after = guide.block(16, tuned=False), guide.block(16, tuned=True)
    rates = "; ".join(
        f"{'tuned, ' if block.tuned else ''}batch {block.record.batch_size}: reading "
        f"{block.record.stages['data_read'].rate}, chip {block.record.throughput_ips}, "
        f"end to end {block.record.stages['e2e'].rate}"
        for block in bound
    )
    gain = after.record.throughput_ips / before.record.throughput_ips - 1
    change = after.record.stages["e2e"].rate / before.record.stages["e2e"].rate - 1
    return Finding(
        f"{len(bound)} of {len(guide.blocks)} runs are bound by reading files, not by the chip.",
        f"Images/s: {rates}. Tuning raised the Interface rate at batch 16 by {gain:.2%} and the "
        f"end-to-end rate changed by {change:.2%}.",
        "The Interface rate is what the chip could do; with this way of reading files no user of "
        "the run gets it.",
    )


def _gpu(guide: Guide) -> Finding:
    rows = []
    for gpu, npu in zip(*[iter(derived_table(guide, "7.4"))] * 2, strict=True):
        batch, printed = gpu["batch_size"], gpu["printed"]
        chip = guide.block(batch, tuned=True).rate
        rows.append(
            f"batch {batch}: {npu['printed'] / printed:.3f} with the factor, "
            f"{chip / printed:.3f} for one chip (GPU {1000 * batch / printed:.4f} ms a batch)"
        )
    return Finding(
        "Table 7.4 compares unlike clocks: the GPU's compute alone with an extrapolated NPU rate.",
        f"NPU / GPU, {'; '.join(rows)}. GPU clock: {guide.gpu['clock']}; NPU clock: the tool's "
        "Interface rate.",
        "The table does not show which device is faster; measure both with copies included.",
    )


def _captions(guide: Guide) -> Finding:
    wrong = [b for b in guide.blocks if b.caption_batch_size != b.implied_batch_size]
    shown = "; ".join(
        f"section {b.section}, {b.caption_rate} x {b.chips}: caption {b.caption_batch_size}, "
        f"infer rate / post rate = {b.implied_batch_size}"
        for b in wrong
    )
    headings = all(b.record.batch_size == b.implied_batch_size for b in guide.blocks)
    return Finding(
        f"Captions that name a wrong batch size: {len(wrong)}.",
        f"{shown}. The headings {'are' if headings else 'are not'} all right.",
        "Read the batch size from the heading; tables that copy the captions are wrong.",
    )


def _accuracy(guide: Guide) -> Finding:
    counts = accuracy_in_counts(guide)
    low, high = counts["wilson"]
    exact_low, exact_high = counts["clopper_pearson"]
    inside = max(low, exact_low) <= counts["published"] <= min(high, exact_high)
    return Finding(
        f"The accuracy is {counts['errors']} wrong pairs of {counts['n']:,}.",
        f"{counts['accuracy']!r} x {counts['n']:,}; 95 % interval {low:.3%} to {high:.3%} "
        f"(Wilson), {exact_low:.3%} to {exact_high:.3%} (Clopper-Pearson).",
        f"The published {counts['published']} ({counts['published_errors']} wrong pairs) is "
        f"{'inside' if inside else 'outside'} both: this set "
        f"{'cannot tell' if inside else 'tells'} the two apart.",
    )


def _pass_rule(guide: Guide) -> Finding:
    counts = accuracy_in_counts(guide)
    extra = int(guide.number("allowed_drop") * counts["n"])
    return Finding(
        "The pass rule 'within 1 %' lets a far worse build pass.",
        f"1 % of {counts['n']:,} pairs is {extra} errors more than published, "
        f"{counts['allowed_errors']} in all: {counts['allowed_errors'] / counts['errors']:.1f} "
        f"times the {counts['errors']} observed.",
        "Compare pair by pair with a reference and test the pairs that changed sides.",
    )


def _threshold(guide: Guide) -> Finding:
    mean, step = guide.number("best_thresholds"), guide.number("threshold_step")
    folds = int(guide.number("folds"))
    rounded = round(mean, 6)
    return Finding(
        "The threshold printed is a mean over folds and was used by none of them.",
        f"{mean} lies {'on' if rounded % step == 0 else 'off'} the grid of step {step}; "
        f"{folds} folds x {rounded.normalize()} = {(folds * rounded).normalize()}, a sum of "
        "grid values.",
        "The accuracy belongs to the thresholds of the folds; deploy a threshold only after "
        "evaluating that one.",
    )


def _list(values) -> str:
    return ", ".join(str(value) for value in values)
