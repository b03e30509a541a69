"""The evaluate page: accuracy, thresholds, errors, and agreement with the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lresnet_utils.ledger.custody import chain as chain_of
from lresnet_utils.ledger.custody import gather, name_of
from lresnet_utils.report.charts.builds import PairSheetDisplay, ParityDisplay
from lresnet_utils.report.charts.display import ends_of, write_figures
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
from lresnet_utils.report.show import (
    Column,
    Entries,
    chain,
    note,
    note_problems,
    ok_targets,
    say,
    show,
    table,
)
from lresnet_utils.results import CLEAN, OK
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import Evaluation, input_name
from lresnet_utils.text.language import tr, translatable
from lresnet_utils.text.numbers import (
    fmt_count,
    fmt_interval,
    fmt_number,
    fmt_percent,
    fmt_points,
    join_words,
)
from lresnet_utils.verify.curves import Roc, error_rates
from lresnet_utils.verify.protocol import guide_thresholds
from lresnet_utils.verify.scores import worst_pairs
from lresnet_utils.verify.uncertainty import Band

# With fewer people in wrong pairs the design effect rests on almost nothing.
FEW_PEOPLE = 10


def judged_targets(evaluation: Evaluation) -> dict[str, Mapping[str, Any]]:
    """Return the entries of the targets whose accuracy was evaluated, in order."""
    entries = ok_targets(evaluation.record["targets"])
    return {name: entry for name, entry in entries.items() if entry["accuracy"] is not None}


def accuracy(evaluation: Evaluation) -> None:
    """Show the guide's two numbers per target, with intervals, or why there are none; the gates."""
    record, judged = evaluation.record, judged_targets(evaluation)
    if not record["trained"]:
        note("The weights are random (seeded): accuracy is neither evaluated nor shown.", "warning")
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
        for name, entry in judged.items()
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
        caption = tr("Accuracy by the guide's protocol, {folds} folds", folds=record["folds"])
        table(rows, columns, caption)
        if any(row["threshold"].get("low") is None for row in rows):
            say(
                "A threshold without an interval is one that no bootstrap draw moves: the "
                "classes hardly overlap, and other thresholds would do as well."
            )
        say(_about_intervals(rows[0]["accuracy"]))
        # What thresholds between the distances give, where the guide's grid is too coarse.
        for row in rows:
            exact = row["accuracy"]["exact"]
            if exact["errors"] < row["accuracy"]["errors"] and exact["mcnemar_p"] < 0.05:
                note(
                    "{target}: the guide's steps of 0.01 are too coarse for these distances, half "
                    "of which lie within {steps} steps. Thresholds between the distances give "
                    "{accuracy}, {wrong} pairs wrong (McNemar's exact p = {p}); the best over all "
                    "pairs is {threshold}.",
                    "warning",
                    target=row["target"],
                    steps=fmt_number(exact["steps"]),
                    accuracy=fmt_interval(*ends_of(exact), fmt_percent),
                    wrong=_wrong(exact),
                    p=fmt_number(exact["mcnemar_p"], 2),
                    threshold=fmt_number(exact["threshold"], 4),
                )
    note_problems(record["targets"])
    rows = [
        {"target": name, "gate": gate["name"], "verdict": verdict(gate)}
        | {"basis": gate["evidence"] or gate["reason"]}
        for name, entry in ok_targets(record["targets"]).items()
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
    if accuracy["people_wrong"] < FEW_PEOPLE:
        text += tr(
            " People in wrong pairs: {few}. That is too few to see how errors gather on people, "
            "so the interval may be too narrow.",
            few=accuracy["people_wrong"],
        )
    return text


def _wrong(accuracy: dict) -> str:
    """Say how many pairs are wrong, on one line."""
    text = tr("{n} of {total}", n=accuracy["errors"], total=accuracy["n"])
    return text.replace(" ", "\u00a0")


def verdict(gate: Mapping[str, Any]) -> str:
    """Return a gate's verdict in a word, in English; it is put into the language when shown.

    Examples
    --------
    >>> verdict({"passed": None}), verdict({"passed": True})
    ('not judged', 'passed')
    """
    return {None: "not judged", True: "passed", False: "failed"}[gate["passed"]]


def figures(evaluation: Evaluation, run: RunFolder) -> None:
    """Write the charts of the clean set as SVG files and say where they and the scores are."""
    found, band = _curves(evaluation)
    if not found:
        return
    batch = run.batch(evaluation.record["batch_size"])
    rates, distances = _threshold(evaluation)
    displays = {
        "roc": RocDisplay.from_rocs(found, band),
        "det": DetDisplay.from_rocs(found, band),
        "folds": _folds(evaluation),
        "threshold": rates,
        "distances": distances,
    }
    paths = write_figures(batch / "figures", displays)
    names = join_words([path.name for path in paths])
    say(
        "In {name}/figures: {names}. In {name}/scores, per target and kind of image: the "
        "scores as .npz, as .csv (label, score, images, identities, fold) and as .txt, the "
        "four columns that bob reads.",
        name=batch.name,
        names=names,
    )


def curves(evaluation: Evaluation) -> None:
    """Chart every target's ROC and DET, with the first one's band, and show rates at points."""
    found, band = _curves(evaluation)
    if found:
        show(RocDisplay.from_rocs(found, band))
        show(DetDisplay.from_rocs(found, band))
    operating_points(evaluation)
    costs(evaluation)
    every_pair(evaluation)


def operating_points(evaluation: Evaluation) -> None:
    """Show the true accept rate at each false accept rate, or why it cannot be given."""
    rows = [
        {
            "target": name,
            "far": point["far"],
            "tar": point if "refused" in point else point | {"value": point["tar"]},
            "achieved": point.get("achieved_far"),
            "threshold": point.get("threshold"),
        }
        for name, entry in judged_targets(evaluation).items()
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
        fold = next(iter(judged_targets(evaluation).values()))["fold_resolution"]
        text = tr(
            "A TAR without an interval rests on so few impostor pairs that the true threshold "
            "may lie below all of them. The smallest fold has {n_impostor} impostor pairs",
            n_impostor=fold["n_impostor"],
        )
        if fold["far"]:
            text += tr(" and resolves no FAR below {far:.2g}", far=fold["far"])
        text += tr(", so no TAR is given per fold.")
        say(text)


def costs(evaluation: Evaluation) -> None:
    """Show the least detection cost for stated shares of genuine attempts, and d-prime."""
    rows = [
        {"target": name, "auc": entry["auc"], "separation": entry["decidability"]} | cost
        for name, entry in judged_targets(evaluation).items()
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
            "The cost has no interval: its threshold is the best one for these very pairs, "
            "so it is a lower bound. d′ only describes these scores."
        )


def every_pair(evaluation: Evaluation) -> None:
    """Show the rates over every pair of images, where the set asks for them."""
    targets = judged_targets(evaluation)
    found = {name: entry["every_pair"] for name, entry in targets.items() if entry["every_pair"]}
    if not found:
        return
    rows = [
        {"target": name, "eer": own["eer"]["value"], "far": point["far"]}
        | {"tar": point.get("tar", point), "achieved": point.get("achieved_far")}
        for name, own in found.items()
        for point in own["tar_at_far"]
    ]
    first = next(iter(found.values()))
    columns = [
        Column("target", "Target"),
        Column("eer", "EER", "", fmt_percent),
        Column("far", "FAR at most", "", lambda far: f"{far:g}"),
        Column("tar", "TAR", "", fmt_percent),
        Column("achieved", "FAR reached", "", lambda far: f"{far:.2g}"),
    ]
    caption = tr(
        "Every pair of {images} images: {genuine} genuine, {impostor} impostor",
        images=fmt_count(first["n_images"]),
        genuine=fmt_count(first["n_genuine"]),
        impostor=fmt_count(first["n_impostor"]),
    )
    table(rows, columns, caption)
    say("Interval: {why}.", why=first["eer"]["interval_reason"])


def folds(evaluation: Evaluation) -> None:
    """Chart accuracy and threshold of every fold."""
    if judged_targets(evaluation):
        show(_folds(evaluation))


def threshold(evaluation: Evaluation) -> None:
    """Chart accuracy and errors against the threshold, and the distances, of the reference."""
    if _shown(evaluation) is not None:
        for display in _threshold(evaluation):
            show(display)


def _curves(evaluation: Evaluation) -> tuple[dict[str, Roc], Band | None]:
    """Return the curve of every target that has one, and the band of the first."""
    scored = {name: s for name, s in evaluation.clean().items() if s.curve is not None}
    first = next(iter(scored.values()), None)
    band = first and first.intervals and first.intervals.band
    return {name: s.curve for name, s in scored.items()}, band


def _folds(evaluation: Evaluation) -> FoldDisplay:
    judged = judged_targets(evaluation)
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


def robustness(evaluation: Evaluation) -> None:
    """Chart accuracy on the degraded variants, and the ROC on the hardest of them."""
    labels, reference = evaluation.faces.labels(), _shown(evaluation)
    display = RobustnessDisplay.from_entries(judged_targets(evaluation), labels)
    if len(display.variants) > 1:
        show(display)
    elif display.rows:
        say("The degraded variants are evaluated at the largest batch size of a run.")
    variants = {v: s for (t, v), s in evaluation.scored.items() if t == reference}
    if len(variants) < 2:
        return
    # The variant with the lowest accuracy is where differences can show.
    hardest = min(variants, key=lambda v: variants[v].protocol.mean_accuracy)
    found = {
        target: s.curve
        for (target, variant), s in evaluation.scored.items()
        if variant == hardest and s.curve is not None
    }
    first = evaluation.scored[next(iter(found)), hardest].intervals
    hardest_roc(RocDisplay.from_rocs(found, first and first.band), labels[hardest])


def hardest_roc(display: RocDisplay, images: str) -> None:
    """Show the ROC on the images that cost most accuracy."""
    words = tr(
        "ROC on the hardest images ({images}). {reading}", images=images, reading=display.reading
    )
    show(display, caption=words)


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
        say("No other target has embeddings to compare with {reference}.", reference=reference)
        return
    columns = [
        Column("target", "Target"),
        Column("min_cosine", "Least cosine", "", ".6f"),
        Column("mean_cosine", "Mean cosine", "", ".6f"),
        Column("n", "Faces"),
        Column("flipped_pairs", "Pairs that changed sides"),
        Column("mcnemar_p", "McNemar's p", "exact", ".2f"),
    ]
    table(rows, columns, "Agreement with {reference}, pair by pair", reference=reference)
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
    # A sample's accuracy with every channel order and scale.
    sample = evaluation.record.get("input_test")
    if sample is not None and "refused" not in sample and sample.get("ways"):
        first = sample["ways"][0]
        rows = [{"way": tr("{way}, as in this run", way=sample["used"])} | first["used"]]
        rows += [{"way": input_name(found["way"])} | found["other"] for found in sample["ways"]]
        columns = [
            Column("way", "Pixels"),
            Column("value", "Accuracy", "mean of folds", fmt_percent),
            Column("errors", "Wrong pairs"),
            Column("n", "Pairs"),
        ]
        title = tr(
            "Channel order and scale, on a sample of {n} images through {target}",
            n=sample["n_images"],
            target=sample["target"],
        )
        table(rows, columns, title)
        if sample["right"] == "other":
            points = fmt_interval(*ends_of(sample["difference"]), fmt_points)
            note(
                "{best} instead of {used} changes accuracy by {points} points: set {set_to}.",
                "warning",
                points=points,
                **sample,
            )
        else:
            say("No other way is better than {used}, as far as the sample can tell.", **sample)
    test = evaluation.record["channel_test"]
    if test is None:
        say("The channel order is tested at the largest batch size of a run, if at all.")
        return
    if "refused" in test:
        say("The channel order cannot be told: {refused}.", refused=test["refused"])
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
    table(rows, columns, "Both channel orders through {target}", target=test["target"])
    note(sentence(test), "warning" if test["right"] == "other" else "info")
    say(
        "Interval of the difference: {interval}. Both accuracies rest on the same pairs, so "
        "the difference carries the interval and not each of them.",
        interval=test["difference"]["interval"],
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
    points = [f"{100 * end:+.2f}".replace("-", "−") for end in ends_of(test["difference"])]
    words = {
        "used": test["used_order"].upper(),
        "other": test["other_order"].upper(),
        "points": points[0],
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


def transfer(evaluation: Evaluation) -> None:
    """Show what thresholds that were fixed beforehand do on these pairs."""
    rows = [
        {"target": name, "accuracy": given} | given
        for name, entry in judged_targets(evaluation).items()
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
        table(rows, columns, "At a threshold that these pairs had no part in choosing")
    elif judged_targets(evaluation):
        say("No threshold was fixed beforehand (fixed_thresholds), so none is judged here.")


def failures(evaluation: Evaluation) -> None:
    """Show the images that gave no embedding, and the error rates that count them."""
    judged = judged_targets(evaluation)
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
    table(rows, columns, "Failures to acquire and generalised rates, ISO/IEC 19795-1")
    lost = [
        {"target": name, "image": tr("image {image}", image=image["image"])}
        | {"reason": image["reason"], "pairs": len(image["pairs"])}
        for name, entry in judged.items()
        for image in entry["failures"]["images"][:20]
    ]
    columns = [
        Column("target", "Target"),
        Column("image", "Image"),
        Column("reason", "Why"),
        Column("pairs", "Pairs lost"),
    ]
    listed = tr("Every image was embedded.")
    if lost:
        table(lost, columns, "Images without an embedding")
        listed = tr("At most 20 images are listed per target.")
    text = tr("Rates at each target's mean threshold, chosen on these pairs: no interval. ")
    text += listed
    say(text)


_ODDITIES = (
    Column("finding", "Question"),
    Column("evidence", "Found"),
    Column("consequence", "Consequence"),
)


def set_health(evaluation: Evaluation) -> None:
    """Show what is odd about the pairs, and what that does to the numbers."""
    if evaluation.record["set_health"]:
        table(evaluation.record["set_health"], _ODDITIES, "The set of pairs itself")


# What others published, and further sets.


def published(evaluation: Evaluation) -> None:
    """Say how each published accuracy of this network and set compares with the measured one."""
    rows = say_published(judged_targets(evaluation))
    if not rows:
        say("Nothing published is known of this network on these sets.")
        return
    sources = dict.fromkeys(f"{r['network']} ({r['trained_on']}): {r['source']}" for r in rows)
    say(
        "Published figures were not measured here and belong to the weights of their authors, "
        "with the training set in brackets. {sources}.",
        sources="; ".join(sources),
    )


def further_sets(evaluation: Evaluation) -> None:
    """Show accuracy, errors and agreement on every further set."""
    known = evaluation.record["sets"]
    if not known:
        say("No further set here; they are evaluated at the largest batch size of a run.")
        return
    targets = judged_targets(evaluation)
    table(list(set_rows(targets, known)), SET_COLUMNS, "Further sets")
    for name, entry in targets.items():
        note_problems({f"{name}, {known[key]['name']},": own for key, own in entry["sets"].items()})
    odd = [
        {"set": about["name"]} | finding
        for about in known.values()
        for finding in about["set_health"]
        if not finding["harmless"]
    ]
    if odd:
        table(odd, [Column("set", "Set"), *_ODDITIES], "What is odd about these sets")


def say_published(entries: Entries) -> list[dict[str, Any]]:
    """Say how what others published on the sets of a run compares; return what they published."""
    found = [
        (target, row)
        for target, entry in entries.items()
        for own in (entry, *(e for e in entry["sets"].values() if e["status"] == OK))
        for row in own["published"]
    ]
    for target, row in found:
        what = {"target": target, "network": row["network"], "name": row["set"]}
        what["published"] = fmt_percent(row["published"])
        if "refused" in row:
            text = translatable(
                "{target}: {network} on {name}, published {published}; not compared, as {refused}."
            )
            what["refused"] = row["refused"]
        else:
            inside = translatable(
                "{target}: {network} on {name}, published {published}, measured {measured} "
                "[{low}, {high}], n = {n} pairs; the published value lies inside the 95 % interval."
            )
            outside = translatable(
                "{target}: {network} on {name}, published {published}, measured {measured} [{low}, "
                "{high}], n = {n} pairs; the published value lies outside the 95 % interval."
            )
            text = inside if row["inside"] else outside
            what |= {end: fmt_percent(row[end]) for end in ("measured", "low", "high")}
            what["n"] = fmt_count(row["n"])
        say(text, **what)
    return [row for _, row in found]


def set_rows(entries: Entries, known: Entries) -> Iterator[dict[str, Any]]:
    """Return what was found on every further set, target by target, for :data:`SET_COLUMNS`."""
    for target, entry in entries.items():
        for key, own in entry["sets"].items():
            row = {"target": target, "set": known[key]["name"]}
            if own["status"] != OK:
                yield row | {"accuracy": {"refused": own["reason"]}}
                continue
            accuracy = own["accuracy"]
            yield row | {
                "accuracy": accuracy,
                "errors": f"{accuracy['errors']}\u00a0/\u00a0{accuracy['n']}",
                "threshold": own["threshold"],
                "eer": own["eer"],
                "flipped": own["parity"].get("flipped_pairs"),
                "failed": own["failures"]["n_failed_images"],
            }


SET_COLUMNS = (
    Column("target", "Target"),
    Column("set", "Set"),
    Column("accuracy", "Accuracy", "mean of folds, 95 %", fmt_percent),
    Column("errors", "Wrong pairs"),
    Column("threshold", "Best threshold", "mean of folds", ".3f"),
    Column("eer", "EER", "", fmt_percent),
    Column("flipped", "Pairs that changed sides"),
    Column("failed", "Failures to acquire"),
)


# The chain of custody.


def chains(evaluation: Evaluation, run: RunFolder) -> None:
    """Show, for every target, each file on the way from checkpoint and faces to its scores."""
    batch_size = evaluation.record["batch_size"]
    links = gather(run, [batch_size])
    for target in judged_targets(evaluation):
        scores = name_of(run, run.scores(batch_size, target, CLEAN))
        label = tr("{target}, from the checkpoint to the scores", target=target)
        chain(label, chain_of(links, scores))
    say(
        "Each hash was taken when the file was written. lresnet report RUN --check takes them "
        "again and names every file that is no longer the one recorded."
    )
