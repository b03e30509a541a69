"""The evaluate page: accuracy, thresholds, errors, and agreement with the reference."""

from __future__ import annotations

import numpy as np

from lresnet_utils.report.displays import (
    FoldDisplay,
    PairSheetDisplay,
    ParityDisplay,
    RobustnessDisplay,
    RocDisplay,
    ScoreHistogramDisplay,
    ThresholdDisplay,
)
from lresnet_utils.report.explorer import ThresholdExplorer, threshold_explorer
from lresnet_utils.report.pages.common import note_problems, ok_targets, verdict
from lresnet_utils.report.show import Column, note, say, show, table
from lresnet_utils.report.style import fmt_percent
from lresnet_utils.stages.evaluate import Evaluation
from lresnet_utils.verify.curves import error_rates
from lresnet_utils.verify.protocol import guide_thresholds
from lresnet_utils.verify.worst import worst_pairs


def accuracy(evaluation: Evaluation) -> None:
    """Show the guide's two numbers per target, with intervals, or why there are none."""
    record = evaluation.record
    if not record["trained"]:
        note("The weights are random (seeded): accuracy is neither evaluated nor shown.", "warning")
    rows = [
        {
            "target": name,
            "accuracy": entry["accuracy"],
            "n": entry["accuracy"]["n"],
            "errors": entry["accuracy"]["errors"],
            "error": entry["accuracy"]["standard_error"],
            "threshold": entry["threshold"]["value"],
            "eer": entry["eer"],
            "auc": entry["auc"],
        }
        for name, entry in _judged(evaluation).items()
    ]
    columns = [
        Column("target", "Target"),
        Column("accuracy", "Accuracy", "mean of folds, 95 % interval", fmt_percent),
        Column("errors", "Wrong pairs"),
        Column("n", "Pairs"),
        Column("error", "Standard error", "of the fold mean", lambda v: fmt_percent(v, 3)),
        Column("threshold", "Best threshold", "mean of folds, squared L2", ".4f"),
        Column("eer", "EER", "", fmt_percent),
        Column("auc", "AUC", "", ".6f"),
    ]
    if rows:
        table(rows, columns, f"Accuracy by the guide's protocol, {record['folds']} folds")
        say(
            "The interval is Wilson's over all pairs, taken as independent; pairs that share a "
            "face are not, so the truth is somewhat wider. EER and AUC have no interval here: "
            "they follow from thresholds chosen on the same pairs."
        )
    note_problems(record["targets"])


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
        caption = "Gates: the guide's rule (accuracy within 1 point of the published) and, "
        table(rows, columns, caption + "pair by pair, McNemar's exact test against the reference")


def operating_points(evaluation: Evaluation) -> None:
    """Show the true accept rate at each false accept rate, or why it cannot be given."""
    rows = [
        {
            "target": name,
            "far": point["far"],
            "tar": {"refused": point["refused"]}
            if "refused" in point
            else {"value": point["tar"], "low": point["low"], "high": point["high"]},
            "achieved": point.get("achieved_far"),
            "threshold": point.get("threshold"),
        }
        for name, entry in _judged(evaluation).items()
        for point in entry["tar_at_far"]
    ]
    columns = [
        Column("target", "Target"),
        Column("far", "FAR at most", "", lambda far: f"{far:g}"),
        Column("tar", "TAR", "95 % interval", fmt_percent),
        Column("achieved", "FAR reached", "", lambda far: f"{far:.2g}"),
        Column("threshold", "Threshold", "squared L2", ".4f"),
    ]
    if rows:
        table(rows, columns, "True accept rate at a false accept rate (TAR@FAR)")


def roc(evaluation: Evaluation) -> None:
    """Chart every target's ROC."""
    curves = {name: s.curve for name, s in evaluation.clean().items() if s.curve is not None}
    if curves:
        show(RocDisplay.from_rocs(curves))


def folds(evaluation: Evaluation) -> None:
    """Chart accuracy and threshold of every fold."""
    judged = _judged(evaluation)
    if judged:
        show(
            FoldDisplay(
                {n: np.array(e["accuracy"]["folds"]) for n, e in judged.items()},
                {n: np.array(e["threshold"]["folds"]) for n, e in judged.items()},
            )
        )


def threshold(evaluation: Evaluation) -> None:
    """Chart accuracy and errors against the threshold, and the distances, of the reference."""
    name = _shown(evaluation)
    if name is None:
        return
    scored = evaluation.clean()[name]
    same = evaluation.faces.same
    grid = guide_thresholds()
    rates = error_rates(scored.distances[scored.acquired], same[scored.acquired], grid)
    chosen = scored.protocol.mean_threshold
    show(ThresholdDisplay(grid, *rates, chosen=chosen, target=name))
    show(ScoreHistogramDisplay(scored.distances, same, chosen, target=name))


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
            caption=f"Distances of {name}.",
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
    display = RocDisplay.from_rocs(curves)
    words = f"ROC on the hardest images ({evaluation.faces.labels()[hardest]}). {display.reading}"
    show(display, caption=words)


def robustness(evaluation: Evaluation) -> None:
    """Chart accuracy on the degraded variants, where this batch size has them."""
    rows = [
        {"target": name, "variant": variant}
        | {"accuracy": numbers["accuracy"]["value"]}
        | {end: numbers["accuracy"][end] for end in ("low", "high")}
        for name, entry in _judged(evaluation).items()
        for variant, numbers in entry["variants"].items()
    ]
    if len({row["variant"] for row in rows}) > 1:
        show(RobustnessDisplay(rows, labels=evaluation.faces.labels()))
    elif rows:
        say("The degraded variants are evaluated at the largest batch size of a run.")


def parity(evaluation: Evaluation) -> None:
    """Show how far each target is from the reference: embeddings, and pairs that changed sides."""
    reference = evaluation.record["reference"]
    rows = [
        {"target": name, "pair": f"{name} and {reference}"} | entry["parity"]
        for name, entry in ok_targets(evaluation.record["targets"]).items()
        if name != reference and "min_cosine" in entry["parity"]
    ]
    if not rows:
        say(f"No other target has embeddings to compare with {reference}.")
        return
    columns = [
        Column("target", "Target"),
        Column("min_cosine", "Least cosine", "", ".6f"),
        Column("mean_cosine", "Mean cosine", "", ".6f"),
        Column("n", "Faces"),
        Column("flipped_pairs", "Pairs that changed sides"),
        Column("mcnemar_p", "McNemar's p", "exact", ".2f"),
    ]
    table(rows, columns, f"Agreement with {reference}, pair by pair")
    show(ParityDisplay(rows))


def explorer(evaluation: Evaluation) -> ThresholdExplorer | None:
    """Return the threshold explorer; on a page without a kernel it shows its starting figure."""
    same = evaluation.faces.same
    scores = {name: (s.distances, same) for name, s in evaluation.clean().items()}
    start = {name: s.protocol.mean_threshold for name, s in evaluation.clean().items()}
    return threshold_explorer(scores, start) if scores else None


def _judged(evaluation: Evaluation) -> dict:
    entries = ok_targets(evaluation.record["targets"])
    return {name: entry for name, entry in entries.items() if entry["accuracy"] is not None}


def _shown(evaluation: Evaluation) -> str | None:
    """Return the target whose charts stand for all: the reference, or the first that works."""
    clean = evaluation.clean()
    reference = evaluation.record["reference"]
    return reference if reference in clean else next(iter(clean), None)
