"""The evaluate page's points: rates at single thresholds, failures, and the set itself."""

from __future__ import annotations

from lresnet_utils.report.charts.style import fmt_percent
from lresnet_utils.report.pages.common import judged_targets
from lresnet_utils.report.show import Column, say, table
from lresnet_utils.stages.evaluate import Evaluation
from lresnet_utils.text.language import tr


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
