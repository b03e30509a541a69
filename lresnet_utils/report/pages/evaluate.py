"""The evaluate page: accuracy, thresholds, errors, and agreement with the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from lresnet_utils.report.charts.builds import PairSheetDisplay, ParityDisplay
from lresnet_utils.report.charts.recognition import (
    DetDisplay,
    FoldDisplay,
    RobustnessDisplay,
    RocDisplay,
    ScoreHistogramDisplay,
    ThresholdDisplay,
    ThresholdExplorer,
    threshold_explorer,
)
from lresnet_utils.report.pages.common import judged_targets, note_problems, ok_targets, verdict
from lresnet_utils.report.show import Column, note, say, show, table, write_figures
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import Evaluation, input_name
from lresnet_utils.text.language import tr
from lresnet_utils.text.numbers import fmt_interval, fmt_number, fmt_percent, fmt_points, join_words
from lresnet_utils.verify.curves import error_rates
from lresnet_utils.verify.protocol import guide_thresholds
from lresnet_utils.verify.scores import worst_pairs
from lresnet_utils.verify.uncertainty import Band

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


# The part of the evaluate page that says which channel order and scale the network wants.


def channel_order(evaluation: Evaluation) -> None:
    """Show what other orders and scales of the pixels do to accuracy, or why it cannot be told."""
    _inputs(evaluation.record.get("input_test"))
    test = evaluation.record["channel_test"]
    if test is None:
        say(tr("The channel order is tested at the largest batch size of a run, if at all."))
        return
    if "refused" in test:
        say(tr("The channel order cannot be told: {refused}.", refused=test["refused"]))
        return
    used, other = test["used_order"].upper(), test["other_order"].upper()
    rows = [
        {"order": tr("{order}, as in this run", order=used)} | test["used"],
        {"order": tr("{order}, red and blue exchanged", order=other)} | test["other"],
    ]
    columns = [
        Column("order", "Channel order"),
        Column("value", "Accuracy", "mean of folds", fmt_percent),
        Column("errors", "Wrong pairs"),
        Column("n", "Pairs"),
    ]
    table(rows, columns, tr("Both channel orders through {target}", target=test["target"]))
    note(sentence(test), "warning" if test["right"] == "other" else "info")
    say(
        tr(
            "Interval of the difference: {interval}. Both accuracies rest on the same pairs, so "
            "the difference carries the interval and not each of them.",
            interval=test["difference"]["interval"],
        )
    )


def _inputs(test: dict[str, Any] | None) -> None:
    """Show a sample's accuracy with every channel order and scale."""
    if test is None or "refused" in test or not test.get("ways"):
        return
    first = test["ways"][0]
    rows = [{"way": tr("{way}, as in this run", way=test["used"])} | first["used"]]
    rows += [{"way": input_name(found["way"])} | found["other"] for found in test["ways"]]
    columns = [
        Column("way", "Pixels"),
        Column("value", "Accuracy", "mean of folds", fmt_percent),
        Column("errors", "Wrong pairs"),
        Column("n", "Pairs"),
    ]
    title = tr(
        "Channel order and scale, on a sample of {n} images through {target}",
        n=test["n_images"],
        target=test["target"],
    )
    table(rows, columns, title)
    d = test["difference"]
    points = fmt_interval(d["value"], d["low"], d["high"], fmt_points)
    if test["right"] == "other":
        text = tr(
            "{best} instead of {used} changes accuracy by {points} points: set {set_to}.",
            points=points,
            **{key: test[key] for key in ("best", "used", "set_to")},
        )
        note(text, "warning")
    else:
        say(
            tr(
                "No other way is better than {used}, as far as the sample can tell.",
                used=test["used"],
            )
        )


def sentence(test: dict[str, Any]) -> str:
    """Return the verdict in words, with the difference and its interval.

    Examples
    --------
    >>> difference = {"value": -0.021, "low": -0.03, "high": -0.012, "n": 600}
    >>> test = {"difference": difference, "used_order": "rgb", "other_order": "bgr"}
    >>> sentence(test | {"right": "used"})
    'The network was trained on RGB, as set: BGR changes accuracy by −2.10 points [−3.00, −1.20].'
    """
    d = test["difference"]
    points = [f"{100 * d[key]:+.2f}".replace("-", "−") for key in ("value", "low", "high")]
    words = {
        "used": test["used_order"].upper(),
        "other": test["other_order"].upper(),
        "points": f"{points[0]}",
        "span": f"[{points[1]}, {points[2]}]",
    }
    if test["right"] is None:
        return tr(
            "These faces cannot tell the channel order: {other} instead of {used} changes accuracy "
            "by {points} points {span}, an interval that covers 0.",
            **words,
        )
    if test["right"] == "used":
        return tr(
            "The network was trained on {used}, as set: {other} changes accuracy by {points} "
            "points {span}.",
            **words,
        )
    return tr(
        "The network was trained on {other}, not on {used}: {other} changes accuracy by {points} "
        "points {span}. Set model.channel_order to {order}.",
        order=test["other_order"],
        **words,
    )


# The evaluate page's points: rates at single thresholds, failures, and the set itself.


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
        for name, entry in judged_targets(evaluation.record["targets"]).items()
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
        table(rows, columns, tr("True accept rate at a false accept rate (TAR@FAR)"))
        fold = next(iter(judged_targets(evaluation.record["targets"]).values()))["fold_resolution"]
        say(
            tr(
                "A TAR without an interval rests on so few impostor pairs that the true threshold "
                "may lie below all of them. The smallest fold has {n_impostor} impostor pairs",
                n_impostor=fold["n_impostor"],
            )
            + (tr(" and resolves no FAR below {far:.2g}", far=fold["far"]) if fold["far"] else "")
            + tr(", so no TAR is given per fold.")
        )


def costs(evaluation: Evaluation) -> None:
    """Show the least detection cost for stated shares of genuine attempts, and d-prime."""
    rows = [
        {"target": name, "auc": entry["auc"], "separation": entry["decidability"]} | cost
        for name, entry in judged_targets(evaluation.record["targets"]).items()
        for cost in entry["minimum_cost"]
    ]
    columns = [
        Column("target", "Target"),
        Column("auc", "AUC", "95 % interval", ".4f"),
        Column("separation", "d′", "", ".2f"),
        Column("prior", "Genuine attempts", "share", lambda share: f"{share:g}"),
        Column("value", "Least cost", "1: without looking", ".4f"),
        Column("threshold", "at threshold", "squared L2", ".4f"),
        Column("fmr", "FMR there", "", lambda rate: fmt_percent(rate, 3)),
        Column("fnmr", "FNMR there", "", fmt_percent),
    ]
    if rows:
        caption = tr("AUC, d′, and the least cost when a miss and a false accept cost the same")
        table(rows, columns, caption)
        say(
            tr(
                "The cost has no interval: its threshold is the best one for these very pairs, "
                "so it is a lower bound. d′ only describes these scores."
            )
        )


def transfer(evaluation: Evaluation) -> None:
    """Show what thresholds that were fixed beforehand do on these pairs."""
    rows = [
        {"target": name} | ({"accuracy": given} if "refused" in given else {}) | given
        for name, entry in judged_targets(evaluation.record["targets"]).items()
        for given in entry["fixed_thresholds"]
    ]
    columns = [
        Column("target", "Target"),
        Column("source", "Threshold from"),
        Column("threshold", "Threshold", "squared L2", ".4f"),
        Column("accuracy", "Accuracy", "95 % interval", fmt_percent),
        Column("fmr", "FMR", "95 % interval", fmt_percent),
        Column("fnmr", "FNMR", "95 % interval", fmt_percent),
    ]
    if rows:
        table(rows, columns, tr("At a threshold that these pairs had no part in choosing"))
    elif judged_targets(evaluation.record["targets"]):
        say(tr("No threshold was fixed beforehand (fixed_thresholds), so none is judged here."))


def failures(evaluation: Evaluation) -> None:
    """Show the images that gave no embedding, and the error rates that count them."""
    judged = judged_targets(evaluation.record["targets"])
    rows = [{"target": name} | entry["failures"] for name, entry in judged.items()]
    columns = [
        Column("target", "Target"),
        Column("n_failed_images", "Images failed"),
        Column("n_images", "of"),
        Column("fta", "FTA", "pairs lost", fmt_percent),
        Column("fmr", "FMR", "", fmt_percent),
        Column("fnmr", "FNMR", "", fmt_percent),
        Column("far", "FAR", "FMR (1 − FTA)", fmt_percent),
        Column("frr", "FRR", "FTA + FNMR (1 − FTA)", fmt_percent),
    ]
    if not rows:
        return
    table(rows, columns, tr("Failures to acquire and generalised rates, ISO/IEC 19795-1"))
    lost = [
        {
            "target": name,
            "image": tr("image {image}", image=image["image"]),
            "reason": image["reason"],
        }
        | {"pairs": len(image["pairs"])}
        for name, entry in judged.items()
        for image in entry["failures"]["images"][:20]
    ]
    if lost:
        columns = [Column("target", "Target"), Column("image", "Image"), Column("reason", "Why")]
        table(lost, [*columns, Column("pairs", "Pairs lost")], tr("Images without an embedding"))
    say(
        tr("Rates at each target's mean threshold, chosen on these pairs: no interval. ")
        + (
            tr("At most 20 images are listed per target.")
            if lost
            else tr("Every image was embedded.")
        )
    )


def set_health(evaluation: Evaluation) -> None:
    """Show what is odd about the pairs, and what that does to the numbers."""
    columns = [
        Column("finding", "Question"),
        Column("evidence", "Found"),
        Column("consequence", "Consequence"),
    ]
    if evaluation.record["set_health"]:
        table(evaluation.record["set_health"], columns, tr("The set of pairs itself"))
