"""The evaluate page: accuracy, thresholds, errors, and agreement with the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from lresnet_utils.report.charts.comparisons import ParityDisplay, RobustnessDisplay
from lresnet_utils.report.charts.det import DetDisplay
from lresnet_utils.report.charts.distributions import FoldDisplay, ScoreHistogramDisplay
from lresnet_utils.report.charts.error_rates import RocDisplay, ThresholdDisplay
from lresnet_utils.report.charts.explorer import ThresholdExplorer, threshold_explorer
from lresnet_utils.report.charts.pictures import PairSheetDisplay
from lresnet_utils.report.charts.style import fmt_interval, fmt_number, fmt_percent, join_words
from lresnet_utils.report.figure_files import write_figures
from lresnet_utils.report.pages.common import judged_targets, note_problems, ok_targets, verdict
from lresnet_utils.report.show import Column, note, say, show, table
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import Evaluation
from lresnet_utils.text.language import tr
from lresnet_utils.verify.curves import error_rates
from lresnet_utils.verify.protocol import guide_thresholds
from lresnet_utils.verify.uncertainty import Band
from lresnet_utils.verify.worst import worst_pairs

# With fewer people in wrong pairs the design effect rests on almost nothing.
FEW_PEOPLE = 10


def accuracy(evaluation: Evaluation) -> None:
    """Show the guide's two numbers per target, with intervals, or why there are none."""
    record = evaluation.record
    if not record["trained"]:
        note(
            tr("The weights are random (seeded): accuracy is neither evaluated nor shown."),
            "warning",
        )
    rows = [
        {
            "target": name,
            "accuracy": entry["accuracy"],
            "errors": _wrong(entry["accuracy"]),
            "error": entry["accuracy"]["standard_error"],
            "threshold": entry["threshold"],
            "effect": entry["accuracy"].get("design_effect"),
            "eer": entry["eer"],
        }
        for name, entry in judged_targets(evaluation.record["targets"]).items()
    ]
    columns = [
        Column("target", "Target"),
        Column("accuracy", "Accuracy", "mean of folds, 95 %", fmt_percent),
        Column("errors", "Wrong pairs"),
        Column("error", "Standard error", "s/√k", lambda v: fmt_percent(v, 3)),
        Column("effect", "Design effect", "", ".2f"),
        Column("threshold", "Best threshold", "mean of folds", ".3f"),
        Column("eer", "EER", "", fmt_percent),
    ]
    if rows:
        table(
            rows,
            columns,
            tr("Accuracy by the guide's protocol, {folds} folds", folds=record["folds"]),
        )
        if any(row["threshold"].get("low") is None for row in rows):
            say(
                tr(
                    "A threshold without an interval is one that no bootstrap draw moves: the "
                    "classes hardly overlap, and other thresholds would do as well."
                )
            )
        say(
            _about_intervals(
                next(iter(judged_targets(evaluation.record["targets"]).values()))["accuracy"]
            )
        )
        _exact(rows)
    note_problems(record["targets"])


def _exact(rows: list[dict[str, Any]]) -> None:
    """Say what thresholds between the distances give, where the guide's grid is too coarse."""
    for row in rows:
        exact = row["accuracy"]["exact"]
        if exact["errors"] < row["accuracy"]["errors"] and exact["mcnemar_p"] < 0.05:
            text = tr(
                "{target}: the guide's steps of 0.01 are too coarse for these distances, half of "
                "which lie within {steps} steps. Thresholds between the distances give {accuracy}, "
                "{wrong} pairs wrong (McNemar's exact p = {p}); the best over all pairs is "
                "{threshold}.",
                target=row["target"],
                steps=fmt_number(exact["steps"]),
                accuracy=fmt_interval(
                    *(exact[key] for key in ("value", "low", "high")), fmt_percent
                ),
                wrong=_wrong(exact),
                p=fmt_number(exact["mcnemar_p"], 2),
                threshold=fmt_number(exact["threshold"], 4),
            )
            note(text, "warning")


def _wrong(accuracy: dict) -> str:
    """Say how many pairs are wrong, on one line."""
    text = tr("{n} of {total}", n=accuracy["errors"], total=accuracy["n"])
    return text.replace(" ", "\u00a0")


def gates(evaluation: Evaluation) -> None:
    """Show whether each target passes the guide's rule and the stricter paired one, and why."""
    rows = [
        {"target": name, "gate": gate["name"], "verdict": verdict(gate)}
        | {"basis": gate["evidence"] or gate["reason"]}
        for name, entry in ok_targets(evaluation.record["targets"]).items()
        for gate in entry["gates"]
    ]
    columns = [
        Column("target", "Target"),
        Column("gate", "Gate"),
        Column("verdict", "Verdict"),
        Column("basis", "Why"),
    ]
    if rows:
        caption = tr(
            "Gates: the guide's rule (accuracy within 1 point of the published) and, pair by pair, "
            "McNemar's exact test against the reference"
        )
        table(rows, columns, caption)


def figures(evaluation: Evaluation, run: RunFolder) -> None:
    """Write the charts of the clean set as SVG files and say where they and the scores are."""
    curves = _curves(evaluation)
    if not curves:
        return
    band = _band(evaluation)
    batch = run.batch(evaluation.record["batch_size"])
    displays = {"roc": RocDisplay.from_rocs(curves, band)}
    displays |= {"det": DetDisplay.from_rocs(curves, band), "folds": _folds(evaluation)}
    displays |= dict(zip(("threshold", "distances"), _threshold(evaluation), strict=True))
    paths = write_figures(batch / "figures", displays)
    names = join_words([path.name for path in paths])
    say(
        tr(
            "In {name}/figures: {names}. In {name}/scores, per target and kind of image: the "
            "scores as .npz, as .csv (label, score, images, identities, fold) and as .txt, the "
            "four columns that bob reads.",
            name=batch.name,
            names=names,
        )
    )


def roc(evaluation: Evaluation) -> None:
    """Chart every target's ROC and DET, with the first one's band."""
    curves = _curves(evaluation)
    if curves:
        show(RocDisplay.from_rocs(curves, _band(evaluation)))
        show(DetDisplay.from_rocs(curves, _band(evaluation)))


def folds(evaluation: Evaluation) -> None:
    """Chart accuracy and threshold of every fold."""
    if judged_targets(evaluation.record["targets"]):
        show(_folds(evaluation))


def threshold(evaluation: Evaluation) -> None:
    """Chart accuracy and errors against the threshold, and the distances, of the reference."""
    if _shown(evaluation) is not None:
        for display in _threshold(evaluation):
            show(display)


def _curves(evaluation: Evaluation) -> dict:
    return {name: s.curve for name, s in evaluation.clean().items() if s.curve is not None}


def _band(evaluation: Evaluation) -> Band | None:
    first = evaluation.clean()[next(iter(_curves(evaluation)))]
    return first.intervals and first.intervals.band


def _folds(evaluation: Evaluation) -> FoldDisplay:
    judged = judged_targets(evaluation.record["targets"])
    return FoldDisplay(
        {n: np.array(e["accuracy"]["folds"]) for n, e in judged.items()},
        {n: np.array(e["threshold"]["folds"]) for n, e in judged.items()},
    )


def _threshold(evaluation: Evaluation) -> tuple[ThresholdDisplay, ScoreHistogramDisplay]:
    name = _shown(evaluation)
    scored = evaluation.clean()[name]
    same = evaluation.faces.same
    grid = guide_thresholds()
    rates = error_rates(scored.distances[scored.acquired], same[scored.acquired], grid)
    chosen = scored.protocol.mean_threshold
    return (
        ThresholdDisplay(grid, *rates, chosen=chosen, target=name),
        ScoreHistogramDisplay(scored.distances, same, chosen, target=name),
    )


def _about_intervals(accuracy: dict) -> str:
    naive = accuracy["naive"]
    plain = tr("{low} to {high}", low=fmt_percent(naive["low"]), high=fmt_percent(naive["high"]))
    if "people" not in accuracy:
        return tr("The interval is {interval}.", interval=accuracy["interval"])
    text = tr(
        "Intervals: {interval}; pairs that share a person are not independent, and the "
        "design effect is the variance over that of independent pairs. Taken as independent, "
        "the first target's accuracy would get {plain} (Wilson).",
        interval=accuracy["interval"],
        plain=plain,
    )
    few = accuracy["people_wrong"]
    return text + (
        tr(
            " People in wrong pairs: {few}. That is too few to see how errors gather on people, "
            "so the interval may be too narrow.",
            few=few,
        )
        if few < FEW_PEOPLE
        else ""
    )


def hardest_pairs(evaluation: Evaluation, count: int = 4) -> None:
    """Show the genuine pairs furthest apart and the impostor pairs nearest, as pictures."""
    name = _shown(evaluation)
    if name is None:
        return
    scored, faces = evaluation.clean()[name], evaluation.faces
    chosen = scored.protocol.mean_threshold
    worst = worst_pairs(scored.distances, faces.same, chosen, count, acquired=scored.acquired)
    pairs = np.concatenate([worst.genuine, worst.impostor])
    show(
        PairSheetDisplay(
            faces.images(),
            faces.left[pairs],
            faces.right[pairs],
            scored.distances[pairs],
            faces.same[pairs],
            chosen,
            caption=tr("Distances of {name}.", name=name),
        )
    )


def hardest_roc(evaluation: Evaluation) -> None:
    """Chart the ROC on the variant with the lowest accuracy, where differences can show."""
    reference = _shown(evaluation)
    variants = {v: s for (t, v), s in evaluation.scored.items() if t == reference}
    if len(variants) < 2:
        return
    hardest = min(variants, key=lambda v: variants[v].protocol.mean_accuracy)
    curves = {
        target: s.curve
        for (target, variant), s in evaluation.scored.items()
        if variant == hardest and s.curve is not None
    }
    first = evaluation.scored[next(iter(curves)), hardest].intervals
    display = RocDisplay.from_rocs(curves, first and first.band)
    words = tr(
        "ROC on the hardest images ({images}). {reading}",
        images=evaluation.faces.labels()[hardest],
        reading=display.reading,
    )
    show(display, caption=words)


def robustness(evaluation: Evaluation) -> None:
    """Chart accuracy on the degraded variants, where this batch size has them."""
    rows = [
        {"target": name, "variant": variant}
        | {"accuracy": numbers["accuracy"]["value"]}
        | {end: numbers["accuracy"][end] for end in ("low", "high")}
        for name, entry in judged_targets(evaluation.record["targets"]).items()
        for variant, numbers in entry["variants"].items()
    ]
    if len({row["variant"] for row in rows}) > 1:
        show(RobustnessDisplay(rows, labels=evaluation.faces.labels()))
    elif rows:
        say(tr("The degraded variants are evaluated at the largest batch size of a run."))


def parity(evaluation: Evaluation) -> None:
    """Show how far each target is from the reference: embeddings, and pairs that changed sides."""
    reference = evaluation.record["reference"]
    rows = [
        {"target": name, "pair": tr("{name} and {reference}", name=name, reference=reference)}
        | entry["parity"]
        for name, entry in ok_targets(evaluation.record["targets"]).items()
        if name != reference and "min_cosine" in entry["parity"]
    ]
    if not rows:
        say(tr("No other target has embeddings to compare with {reference}.", reference=reference))
        return
    columns = [
        Column("target", "Target"),
        Column("min_cosine", "Least cosine", "", ".6f"),
        Column("mean_cosine", "Mean cosine", "", ".6f"),
        Column("n", "Faces"),
        Column("flipped_pairs", "Pairs that changed sides"),
        Column("mcnemar_p", "McNemar's p", "exact", ".2f"),
    ]
    table(rows, columns, tr("Agreement with {reference}, pair by pair", reference=reference))
    show(ParityDisplay(rows))


def explorer(evaluation: Evaluation) -> ThresholdExplorer | None:
    """Return the threshold explorer; on a page without a kernel it shows its starting figure."""
    same = evaluation.faces.same
    scores = {name: (s.distances, same) for name, s in evaluation.clean().items()}
    start = {name: s.protocol.mean_threshold for name, s in evaluation.clean().items()}
    return threshold_explorer(scores, start) if scores else None


def _shown(evaluation: Evaluation) -> str | None:
    """Return the target whose charts stand for all: the reference, or the first that works."""
    clean = evaluation.clean()
    reference = evaluation.record["reference"]
    return reference if reference in clean else next(iter(clean), None)
