"""Findings in words: the sentences of every rule, with their numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lresnet_utils.findings.model import Finding
from lresnet_utils.text.language import part, speaking, tr, translatable
from lresnet_utils.text.numbers import (
    fmt_count,
    fmt_interval,
    fmt_number,
    fmt_percent,
    fmt_points,
    fmt_rate,
    join_words,
)

# Numbers that are shares of one, and numbers that are probabilities, by their names.
_SHARES = ("published", "limit")
_PROBABILITIES = ("p", "p_loss")
# What the n of an estimate counts.
_COUNTED = {
    "images/s": translatable("n = {n} repeats"),
    "images/s in the pipeline": translatable("n = {n} images"),
    "share of the ceiling": translatable("n = {n} repeats"),
    "squared L2 distance": translatable("n = {n} folds"),
    "ratio": translatable("n = {n} repeats each"),
    "area under the ROC": translatable("n = {n} pairs"),
    "difference of shares": translatable("n = {n} pairs"),
}
_PARTS = {"data_read": translatable("reading"), "preprocess": translatable("preprocessing")}


class Said(NamedTuple):
    """A finding as a reader sees it.

    Attributes
    ----------
    finding, evidence, to_do : str
        Plain text; `to_do` is empty where nothing is.
    """

    finding: str
    evidence: str
    to_do: str


def say(finding: Finding) -> Said:
    """Put a finding into words, every number with its unit, its n and its interval.

    Examples
    --------
    >>> found = {"finding": "Balance", "evidence": "9 of 10.", "consequence": "Odd."}
    >>> say(Finding("set-health", "cannot tell", found, ["4/torch-fp32"]))
    Said(finding='Balance: 9 of 10.', evidence='Odd.', to_do='')
    """
    words = WORDS[finding.rule, finding.case]
    values = _texts(finding.evidence)
    if words.item:
        parts = (
            "".join(tr(part, **_texts(item)) for part in [words.item, *_also(words, "item", item)])
            for item in finding.evidence["items"]
        )
        values["items"] = tr("; ").join(parts)
    told = [words.finding, *_also(words, "finding", finding.evidence)]
    evidence = [words.evidence, *_also(words, "evidence", finding.evidence)]
    to_do = [words.to_do, *_also(words, "to_do", finding.evidence)]
    return Said(
        tr(" ").join(tr(part, **values) for part in told),
        tr(" ").join(tr(part, **values) for part in evidence),
        tr(" ").join(tr(part, **values) for part in to_do if part),
    )


def said_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as ``results.json`` holds it: its numbers, and the sentences in English."""
    with speaking("en"):
        said = say(finding)
    return finding.to_json() | {
        "finding": said.finding,
        "evidence_text": said.evidence,
        "to_do": said.to_do,
    }


def _also(words: Words, where: str, evidence: Mapping[str, Any]) -> list[str]:
    return [text for name, place, text in words.also if place == where and evidence.get(name)]


def _texts(evidence: Mapping[str, Any]) -> dict[str, str]:
    """Write every piece of evidence.

    Estimates are also written without n, as ``..._range``, and without interval, as
    ``..._short``; findings that another one rests on become its clauses.
    """
    texts = {}
    for name, value in evidence.items():
        if name in ("because", "conditions"):
            # Write findings as parts of another's sentences.
            said = [say(Finding(**found)) for found in value]
            clauses = (text.finding[:1].lower() + text.finding[1:].rstrip(".。") for text in said)
            texts |= {
                name: tr("; ").join(clauses),
                f"{name}_evidence": tr(" ").join(text.evidence for text in said),
                f"{name}_to_do": tr(" ").join(text.to_do for text in said),
            }
        elif isinstance(value, Mapping):
            texts[name] = _estimate(value)
            texts[f"{name}_range"] = fmt_interval(
                *(value[key] for key in ("value", "low", "high")), _form(value)
            )
            texts[f"{name}_short"] = _form(value)(value["value"])
        else:
            texts[name] = _plain(name, value)
    return texts


def _plain(name: str, value: Any) -> str:
    if isinstance(value, str):
        return tr(_PARTS[value]) if name == "part" else tr(value)
    if isinstance(value, (list, tuple)):
        return join_words([str(part) for part in value]) if value else ""
    if value is None:
        return ""
    if name in _SHARES:
        return fmt_percent(value)
    if name in _PROBABILITIES:
        return fmt_number(value, 2)
    if name == "limit_share":
        return fmt_percent(value, 0)
    if name.endswith("_points"):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return fmt_count(value) if isinstance(value, int) else fmt_number(value)


def _form(estimate: Mapping[str, Any]) -> Callable[[float], str]:
    return {
        "images/s": fmt_rate,
        "images/s in the pipeline": fmt_rate,
        "share of pairs": fmt_percent,
        "share of the ceiling": lambda value: fmt_percent(value, 0),
        "squared L2 distance": lambda value: f"{value:.3f}",
        "ratio": lambda value: f"{value:.2f}",
        "area under the ROC": lambda value: f"{value:.3f}",
        "difference of shares": fmt_points,
    }[estimate["unit"]]


def _estimate(estimate: Mapping[str, Any]) -> str:
    """Write an estimate with its interval and its n, or with the reason why it has none."""
    low, high, form = estimate["low"], estimate["high"], _form(estimate)
    if "errors" in estimate:
        text = fmt_interval(estimate["value"], low, high, form)
        return tr("{text}, {errors} of {n}", text=text, errors=estimate["errors"], n=estimate["n"])
    if estimate["unit"] == "squared L2 distance":
        text = tr(
            "{value}, spread {low} to {high}",
            value=form(estimate["value"]),
            low=form(low),
            high=form(high),
        )
    else:
        text = fmt_interval(estimate["value"], low, high, form)
    counted = tr(_COUNTED[estimate["unit"]], n=estimate["n"])
    if low is None or high is None:
        why = part(estimate.get("interval") or "not given", "why")
        return tr("{text} ({counted}; no interval: {why})", text=text, counted=counted, why=why)
    return tr("{text} ({counted})", text=text, counted=counted)


# The sentences of every rule, with a place for each number.


class Words(NamedTuple):
    """What a rule says in one of its cases.

    Attributes
    ----------
    finding, evidence, to_do : str
        Sentences; their placeholders are the finding's evidence. ``{items}`` stands for all
        items, and ``{name_short}`` for an estimate without its interval.
    item : str
        How one item is written.
    also : tuple of (str, str, str)
        Further sentences for where there is something to say: the name of the evidence that
        must be there, to which of ``"finding"``, ``"evidence"``, ``"to_do"`` and ``"item"`` it is
        added, and the sentence.
    """

    finding: str
    evidence: str
    to_do: str = ""
    item: str = ""
    also: tuple[tuple[str, str, str], ...] = ()


_CONDITIONS = ("conditions", "finding", "On condition that this is meant: {conditions}.")
_FASTEST_ALSO = (
    _CONDITIONS,
    (
        "quantised",
        "evidence",
        "The network came quantised ({quantised}): the precision in a build's name is how its "
        "runtime was asked to run it.",
    ),
    ("end_to_end", "evidence", "With reading and preparing of faces: {end_to_end}."),
    (
        "p50_ms",
        "evidence",
        "Half of the {n_batches} timed batches took at most {p50_ms} ms.",
    ),
    (
        "not_told_apart",
        "to_do",
        "As fast, as far as the intervals can tell: {not_told_apart}.",
    ),
)

_FASTEST = {
    ("fastest-accurate", "faster"): Words(
        "The fastest build with no loss found against {reference} is {target} at batch size "
        "{batch_size}: {rate_short}, {ratio_range} times {reference} at its best.",
        "{rate}; {ratio} times {reference_cell}. Accuracy {accuracy} wrong. Right with {reference} "
        "and wrong here: {lost}.",
        "Ship {target} at batch size {batch_size}.",
        also=(
            *_FASTEST_ALSO,
            (
                "surer_target",
                "to_do",
                "Where it must be shown that no more than {budget_points} points are lost, ship "
                "{surer_target} at batch size {surer_batch_size}: {surer_rate_short}.",
            ),
        ),
    ),
    ("fastest-accurate", "withheld"): Words(
        "No build can be recommended: {because}.", "{because_evidence}", "{because_to_do}"
    ),
    ("fastest-accurate", "withheld-of"): Words(
        "No build of {side} can be recommended: {because}.", "{because_evidence}"
    ),
    ("fastest-accurate", "disturbed"): Words(
        "No loss was found against {reference} with {target} at batch size {batch_size}; by how "
        "much it is faster cannot be told, for want of quiet while builds were timed.",
        "{rate}, beside other work. Accuracy {accuracy} wrong. Right with {reference} and wrong "
        "here: {lost}.",
        "Time again with nothing else running.",
        also=_FASTEST_ALSO,
    ),
    ("fastest-accurate", "reference"): Words(
        "The fastest build that passes is {target} at batch size {batch_size}: {rate_short}.",
        "{rate}. Accuracy {accuracy} wrong.",
        "Ship {target} at batch size {batch_size}.",
        also=_FASTEST_ALSO,
    ),
    ("fastest-accurate", "none-passes"): Words(
        "No build that was timed passes its gates.",
        "The fastest of them is {target} at batch size {batch_size}: {rate}.",
        "Ship none of them before the failed gates are understood.",
    ),
    ("fastest-accurate", "uncompared"): Words(
        "No build can be recommended: {reference}, with which the others are compared, has no "
        "accuracy.",
        "The fastest is {target} at batch size {batch_size}: {rate}.",
        "See why it has none, or name another as reference.",
    ),
    ("fastest-accurate", "untimed"): Words(
        "Which build is fastest cannot be told, since no speed is known: {reason}.",
        "Judged without a speed: {targets}.",
    ),
    ("fastest-accurate", "unjudged"): Words(
        "Which build is fast and accurate cannot be told, since no accuracy was judged.",
        "The fastest is {target} at batch size {batch_size}: {rate}.",
        "Take the rates for what they are: speed alone.",
    ),
}

_GATES = {
    ("gate", "guide-failed"): Words(
        "More than {tolerance_points} point below the published accuracy: {targets}.",
        "Published {published}; lowest, {lowest_cell}: {lowest} wrong.",
        "Check weights, channel order and faces first, then these builds.",
    ),
    ("gate", "guide-passed"): Words(
        "Not more than {tolerance_points} point below the published accuracy: {targets}.",
        "Published {published}; lowest, {lowest_cell}: {lowest} wrong.",
    ),
    ("gate", "paired-failed"): Words(
        "More pairs lost against {reference} than chance explains: {targets}.",
        "Worst, {worst_cell}: {lost} lost and {n_gained} gained, McNemar's exact p = {p}.",
        "Do not ship these builds; look at their pairs on the Evaluate pages.",
    ),
    ("gate", "paired-passed"): Words(
        "No loss found against {reference}: {targets}.",
        "Most changed, {worst_cell}: {lost} lost and {n_gained} gained, McNemar's exact p = {p}.",
    ),
    ("published-value", "below"): Words(
        "Below the accuracy that {network} is published with on {set}: {targets}.",
        "Published {published}; lowest, {lowest_cell}: {lowest} wrong.",
        "Check weights, channel order and faces first, then these builds.",
    ),
    ("published-value", "reached"): Words(
        "Not below the accuracy that {network} is published with on {set}, as far as the interval "
        "can tell: {targets}.",
        "Published {published}; lowest, {lowest_cell}: {lowest} wrong.",
    ),
    ("few-pairs", "paired"): Words(
        "No loss was found, but up to {bound_points} points may be lost: {targets}.",
        "{worst_cell}: {lost} lost; at most {budget_points} points are meant to be.",
        "If the share lost stays the same, about {pairs_needed} pairs would exclude it.",
    ),
    ("few-pairs", "paired-lossy"): Words(
        "No loss was found, but up to {bound_points} points may be lost: {targets}.",
        "{worst_cell}: {lost} lost; at most {budget_points} points are meant to be.",
        "Judge on many more pairs before relying on the pass.",
    ),
    ("few-pairs", "guide"): Words(
        "Passed by the published accuracy, but the interval reaches below its limit: {targets}.",
        "Limit {limit}; {lowest_cell}: {lowest} wrong.",
        "Judge on more pairs before relying on the pass.",
    ),
    ("saturated", ""): Words(
        "The clean set is too easy to tell networks apart.",
        "{cell}: {accuracy} wrong. A difference of fewer than {smallest_difference} pairs cannot "
        "be shown, so not even a network without an error could be shown to be better.",
        "Use a larger or a harder set to choose between networks.",
    ),
    ("saturated", "with-variants"): Words(
        "The clean set is too easy to tell networks apart.",
        "{cell}: {accuracy} wrong. A difference of fewer than {smallest_difference} pairs cannot "
        "be shown, so not even a network without an error could be shown to be better.",
        "Compare on the degraded faces, which are harder.",
    ),
    ("moved-threshold", ""): Words(
        "The best threshold moves with the build, beyond the spread of {reference}: {targets}.",
        "{reference}: {reference_threshold}; {items}.",
        "Choose the threshold on the build that is shipped; fixed_thresholds measures another.",
        "{target}: {threshold}",
    ),
}

_DEGRADED = {
    ("weak-variants", ""): Words(
        "Degraded faces are recognised worse: {worst_short} on {worst_variant}, {clean_short} "
        "on clean ones.",
        "{cell}, clean: {clean} wrong; {items}.",
        "Judge on faces of the quality that you will meet, and refuse worse ones.",
        "{variant}: {accuracy} wrong",
    ),
    ("degraded-flips", ""): Words(
        "More decisions change on degraded faces than on clean ones: {targets}.",
        "Against {reference}: {items}. The p are of McNemar's exact test: of pairs changed on one "
        "kind of faces only, and of pairs lost against gained.",
        "Where faces are poor, ship {reference} or judge these builds on such faces.",
        "{target} on {variant}: {flipped} changed, clean {clean}, p = {p}; {n_lost} lost and "
        "{n_gained} gained, p = {p_loss}",
    ),
    ("threshold-by-quality", ""): Words(
        "The best threshold moves with the quality of the faces: {clean_short} on clean ones, "
        "{furthest_short} on {furthest_variant}.",
        "{cell}, clean: {clean}; {items}.",
        "Choose the threshold on faces of the quality that you will meet.",
        "{variant}: {threshold}",
    ),
}

_SPEED = {
    ("falling-throughput", ""): Words(
        "A larger batch is slower: {targets}.",
        "{items}. What the machine itself slowed down between the two timings, by its ceiling, "
        "is allowed for.",
        "Keep to the smaller batch size with these targets.",
        "{target}: {before} at batch size {small}, {after} at {large}, ratio {ratio}",
    ),
    ("bound-by-reading", ""): Words(
        "End to end is bound by reading and preparing of faces, not by the network: {targets}.",
        "{items}.",
        "Prepare the faces beforehand or in more processes; a faster build gains nothing here.",
        "{target} at batch size {batch_size}: {part} {slowest}, network {infer}",
        also=(("end_to_end", "item", ", end to end {end_to_end}"),),
    ),
    ("below-half-ceiling", ""): Words(
        "Less than half of what this machine can do at that precision: {targets}.",
        "{items}. The ceiling is the fastest plain matrix product, measured beside the rates.",
        "Use a runtime that does better at the same precision where there is one.",
        "{target}: {fraction} at best, at batch size {batch_size}",
        also=(("better_target", "item", ", where {better_target} reaches {better_fraction}"),),
    ),
    ("wide-intervals", ""): Words(
        "Rates uncertain by more than {limit_share}: {n_cells} of {n_timed}.",
        "{items}.",
        "Raise perf.repeats and perf.seconds, with nothing else running.",
        "{target} at batch size {batch_size}: {rate}",
    ),
}

_STATE = {
    ("stopped-cells", "failed"): Words(
        "Failed: {n_cells} of {n_all} cells, {targets}.",
        "{items}",
        "Open the pages of these cells; the other cells stand.",
        "{cells}: {reason}",
        also=(("remedy", "item", " To do: {remedy}"),),
    ),
    ("stopped-cells", "unavailable"): Words(
        "Not available on this machine: {n_cells} of {n_all} cells, {targets}.",
        "{items}",
        "",
        "{cells}: {reason}",
        also=(("remedy", "item", " To do: {remedy}"),),
    ),
    ("unjudged-cells", "accuracy"): Words(
        "Accuracy cannot be told: {targets}.", "{items}.", "", "{cells}: {reason}"
    ),
    ("unjudged-cells", "speed"): Words(
        "Speed cannot be told: {targets}.", "{items}.", "", "{cells}: {reason}"
    ),
    ("several-faces", ""): Words(
        "Many pictures hold several faces, of which another person's may have been taken: "
        "{n_several_faces} of {n_images}.",
        "Of a picture of LFW the face in the middle is taken, elsewhere the largest, weighed "
        "against its distance from the middle.",
        "Look at the faces on the Preprocess page, or crop the pictures around whom they are of.",
        also=(("several_faces", "evidence", "Such pictures: {several_faces}."),),
    ),
    ("set-health", ""): Words("{finding}: {evidence}", "{consequence}"),
}

_PASSED_OVER = (
    ("n_passed_over", "finding", "Files passed over: {n_passed_over}."),
    ("passed_over", "evidence", "Passed over: {passed_over}."),
)

_READY_MADE = (
    "ready_made",
    "to_do",
    "Make the set anew of aligned faces, or give the photographs as a folder, unless the network "
    "was trained on such crops.",
)

# The first word of a finding is written small after a colon, so none begins with a name.
_PRECONDITIONS = {
    ("build-ran", "fails"): Words(
        "No build went through every stage: {reason}.",
        "{items}",
        "Open the page of the stage that failed, mend what it says, and run again.",
        "{cells}: {reason}",
        also=(("remedy", "to_do", "{remedy}"),),
    ),
    ("accuracy-judged", "fails"): Words(
        "No accuracy could be judged: {reason}.",
        "A build is recommended for what it decides, and nothing was decided here.",
        "See the Evaluate page, and mend the set or the network.",
    ),
    ("finite-embeddings", "fails"): Words(
        "The network gives no usable embeddings: of {n_images} images {n_not_finite} give numbers "
        "that are not finite and {n_zero} give zeros only; different embeddings: {n_distinct}.",
        "{target}, of the faces as they are.",
        "Find the first layer whose output is not finite or constant, with fewer bits suspected "
        "first.",
        also=(("layer", "evidence", "The first such output in the graph: {layer}."),),
    ),
    ("finite-embeddings", "part"): Words(
        "Some embeddings cannot be used: of {n_images} images {n_not_finite} give numbers that "
        "are not finite, and {n_zero} give zeros only.",
        "{target}, of the faces as they are.",
        "Look at these images on the Evaluate page, and at the range of the build's numbers.",
    ),
    ("both-classes", "fails"): Words(
        "Not both classes are there to be told apart: {n_genuine} genuine and {n_impostor} "
        "impostor pairs.",
        "A threshold can be chosen and tested only where pairs of one person and of two stand in "
        "each fold.",
        "Mix the pairs so that each fold has both, or give pairs of both classes.",
        also=(
            (
                "n_folds_one_class",
                "finding",
                "Folds with one class only: {n_folds_one_class}.",
            ),
        ),
    ),
    ("people-apart", "several"): Words(
        "The faces are probably not those that the labels are of: {n_several_faces} of {n_images} "
        "pictures hold several faces, and people are hardly told apart, area under the ROC "
        "{auc_range}.",
        "{target}: {auc}; guessing gives 0.5.",
        "Look at the faces on the Preprocess page, and crop the pictures around whom they are of.",
        also=(("several_faces", "evidence", "Such pictures: {several_faces}."),),
    ),
    ("people-apart", "fails"): Words(
        "People are hardly told apart, by whatever threshold: area under the ROC {auc_range}.",
        "{target}: {auc}; guessing gives 0.5, and a trained network reaches far more on faces "
        "that it is meant for.",
        "See on the Preprocess page whether the crops show the people that the labels name, and "
        "not one person under many names; then check channel order, scale of the pixels and "
        "weights.",
    ),
    ("better-than-chance", "fails"): Words(
        "Recognition is not better than guessing, as far as these pairs can tell: area under the "
        "ROC {auc_range}.",
        "{target}: {auc}; guessing gives 0.5.",
        "See whether the crops show the people that the labels name; check weights, channel order "
        "and scale of the pixels.",
    ),
    ("grid-resolves", "fails"): Words(
        "The guide's thresholds are too coarse for these distances: {accuracy_short} right by "
        "them, {exact_short} by exact ones.",
        "{target}: half of the distances lie within {steps} steps of 0.01. By the guide: "
        "{accuracy} wrong; by thresholds between the distances: {exact} wrong, the best over all "
        "pairs at {exact_threshold}. McNemar's exact p = {p}.",
        "Use the exact threshold, or embeddings that are centred or normalised as in training.",
    ),
    ("input-as-trained", "fails"): Words(
        "The pixels are not what the network was trained with: {best} instead of {used} changes "
        "accuracy by {difference_range} points.",
        "{target}, on a sample of the pairs: {difference}.",
        "Set {set_to}, or find out why the maker's own input does worse.",
    ),
    ("input-as-trained", "part"): Words(
        "The sample is too small to exclude that another order or scale of the pixels is better: "
        "it may be, by {difference_range} points.",
        "{target}, with {used}: {difference}.",
        "Judge on more pairs, or make sure of model.channel_order and model.normalisation.",
    ),
    ("faces-aligned", "fails"): Words(
        "The faces were given as aligned and are not: aligning them changes accuracy by "
        "{difference_range} points.",
        "Of {n} faces {n_off} are more than {limit_px} pixels off the template, half of them by "
        "{median_px} pixels and {median_degrees} degrees. On a sample: {difference}.",
        also=(("photographs", "to_do", "Set dataset.align to always."), _READY_MADE),
    ),
    ("faces-aligned", "part"): Words(
        "The faces lie off the template, by {median_px} pixels and {median_degrees} degrees.",
        "Medians over {n} faces, of which {n_off} are more than {limit_px} pixels off; "
        "{n_no_face} pictures showed no face.",
        also=(
            (
                "photographs",
                "to_do",
                "Set dataset.align to always unless the network was trained on such crops.",
            ),
            _READY_MADE,
            (
                "difference",
                "finding",
                "Aligned anew, accuracy changes by {difference_range} points.",
            ),
            ("difference", "evidence", "Aligned anew, accuracy changes by {difference}."),
        ),
    ),
    ("faces-aligned", "none"): Words(
        "Whether the faces are aligned cannot be told: no face is found in {n_no_face} of the "
        "pictures that were looked at.",
        "In {n} others there is one.",
        "Look at the pictures on the Preprocess page.",
    ),
    ("set-complete", "fails"): Words(
        "Much of the set was not tested: {lost_short} of the pairs have no distance.",
        "Pairs without a distance: {lost}. Pictures that cannot be used: {n_unusable} of "
        "{n_images}.",
        "See the Preprocess page for each file's reason, and mend the set.",
        also=_PASSED_OVER,
    ),
    ("set-complete", "part"): Words(
        "Not all of the set was tested: {lost_short} of the pairs have no distance.",
        "Pairs without a distance: {lost}. Pictures that cannot be used: {n_unusable} of "
        "{n_images}.",
        "See the Preprocess page for each file's reason.",
        also=_PASSED_OVER,
    ),
    ("timing-quiet", "part"): Words(
        "Something else ran while builds were timed, at batch size {batch_sizes}.",
        "{items}.",
        "Time again with nothing else running; the rates may be too low.",
        "batch size {batch_size}: other processes took {other_cores} and the host {stolen_cores} "
        "of {cores} processors, means over {seconds} s",
    ),
}

_HOLDING = {
    ("finite-embeddings", "holds"): Words(
        "Every embedding is finite, and they differ.",
        "{target}: {n_distinct} different embeddings of {n_images} images.",
    ),
    ("both-classes", "holds"): Words(
        "Each fold has genuine and impostor pairs.",
        "{n_genuine} genuine and {n_impostor} impostor pairs.",
    ),
    ("people-apart", "holds"): Words(
        "People are told apart clearly.",
        "{target}: area under the ROC {auc}; guessing gives 0.5.",
    ),
    ("better-than-chance", "holds"): Words(
        "Recognition is better than guessing.",
        "{target}: area under the ROC {auc}; guessing gives 0.5.",
    ),
    ("grid-resolves", "holds"): Words(
        "The guide's thresholds resolve the distances.",
        "{target}: half of the distances lie within {steps} steps of 0.01; by exact thresholds "
        "{exact} wrong.",
    ),
    ("input-as-trained", "holds"): Words(
        "No other channel order or scale of the pixels is better, as far as the sample can tell.",
        "{target}, with {used}.",
    ),
    ("faces-aligned", "holds"): Words(
        "The faces lie on the template.",
        "Landmarks are {median_px} pixels from it and turned by {median_degrees} degrees, medians "
        "over {n} faces.",
    ),
    ("set-complete", "holds"): Words(
        "Every pair of the set was scored.", "{n_images} images, none passed over."
    ),
    ("timing-quiet", "holds"): Words(
        "Nothing else took processor time while builds were timed.",
        "So it was beside all {n_cells} timings that can tell.",
    ),
}

ASKED = frozenset(rule for rule, _ in _HOLDING | _PRECONDITIONS)
"""The rules of :mod:`lresnet_utils.findings.preconditions`."""

WORDS: dict[tuple[str, str], Words] = (
    _HOLDING | _PRECONDITIONS | _FASTEST | _GATES | _DEGRADED | _SPEED | _STATE
)
"""Rule and case to what is said."""
