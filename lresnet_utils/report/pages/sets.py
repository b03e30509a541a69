"""Further sets, rates over every pair, published figures, and terms of use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lresnet_utils.report.pages.common import judged_targets, note_problems
from lresnet_utils.report.show import Column, note, say, table
from lresnet_utils.results import OK
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import Evaluation
from lresnet_utils.stages.summary import Results
from lresnet_utils.text.language import recorded, tr
from lresnet_utils.text.numbers import fmt_count, fmt_percent


def contents(run: RunFolder) -> None:
    """Show what the further sets hold, or that there are none, and the terms of all."""
    record = run.record("3_preprocess")
    rows = [
        {
            "set": own["name"],
            "kind": recorded(own.get("kind", ".bin set")),
            "images": own["n_images"],
            "genuine": own["n_genuine"],
            "impostor": own["n_impostor"],
            "folds": own.get("folds") or tr("the run's"),
            "aligned": own.get("n_aligned", 0),
            "failed": len(own["failures"]),
            "passed_over": own.get("passed_over", {}).get("n_files"),
            "several": own.get("n_several_faces"),
            "off": own["alignment"] and own["alignment"]["median_px"],
        }
        for own in record["sets"].values()
    ]
    columns = [
        Column("set", "Set"),
        Column("kind", "Kind"),
        Column("images", "Distinct images"),
        Column("genuine", "Genuine pairs"),
        Column("impostor", "Impostor pairs"),
        Column("folds", "Folds"),
        Column("aligned", "Faces found and aligned here"),
        Column("several", "Pictures with several faces"),
        Column("off", "Off the template", "pixels, median of others", ".1f"),
        Column("passed_over", "Pictures passed over"),
        Column("failed", "Failures to acquire"),
    ]
    if rows:
        table(rows, columns, tr("Further sets"))
    else:
        say(tr("This run has one set; `dataset.more` in a params file names further ones."))
    terms(own.get("licence") for own in (record, *record["sets"].values()))


def results(evaluation: Evaluation) -> None:
    """Show accuracy, errors and agreement on every further set."""
    known = evaluation.record["sets"]
    if not known:
        say(tr("No further set here; they are evaluated at the largest batch size of a run."))
        return
    targets = judged_targets(evaluation.record["targets"])
    table(list(_rows(targets, known)), _columns(), tr("Further sets"))
    for name, entry in targets.items():
        note_problems({f"{name}, {known[key]['name']},": own for key, own in entry["sets"].items()})
    odd = [
        {"set": about["name"]} | finding
        for about in known.values()
        for finding in about["set_health"]
        if not finding["harmless"]
    ]
    columns = [
        Column("set", "Set"),
        Column("finding", "Question"),
        Column("evidence", "Found"),
        Column("consequence", "Consequence"),
    ]
    if odd:
        table(odd, columns, tr("What is odd about these sets"))


def published(evaluation: Evaluation) -> None:
    """Say how each published accuracy of this network and set compares with the measured one."""
    rows = list(_published(judged_targets(evaluation.record["targets"])))
    if not rows:
        say(tr("Nothing published is known of this network on these sets."))
        return
    for target, row in rows:
        say(_sentence(target, row))
    sources = dict.fromkeys(f"{r['network']} ({r['trained_on']}): {r['source']}" for _, r in rows)
    say(
        tr(
            "Published figures were not measured here and belong to the weights of their authors, "
            "with the training set in brackets. {sources}.",
            sources="; ".join(sources),
        )
    )


def every_pair(evaluation: Evaluation) -> None:
    """Show the rates over every pair of images, where the set asks for them."""
    targets = judged_targets(evaluation.record["targets"])
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
    say(tr("Interval: {why}.", why=first["eer"]["interval_reason"]))


def summary(results: Results) -> None:
    """Show every cell that was evaluated on further sets, and the published figures beside it."""
    known = results.dataset.get("sets", {})
    cells = {cell["target"]: cell for cell in results.largest() if cell["sets"]}
    if cells:
        table(list(_rows(cells, known)), _columns(), tr("Further sets"))
    judged = {cell["target"]: cell for cell in results.largest() if cell["accuracy"]}
    for target, row in _published(judged):
        say(_sentence(target, row))


def terms(licences: Iterator[Mapping[str, Any] | None]) -> None:
    """Show what may be done with the weights and sets, where their names tell what they are."""
    for item in {item["file"]: item for item in licences if item}.values():
        note(f"{item['file']} ({item['title']}): {item['licence']} [{item['source']}]")


def _published(entries: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for target, entry in entries.items():
        for own in (entry, *(e for e in entry["sets"].values() if e["status"] == OK)):
            yield from ((target, row) for row in own["published"])


def _sentence(target: str, row: Mapping[str, Any]) -> str:
    what = {"target": target, "network": row["network"], "name": row["set"]}
    what["published"] = fmt_percent(row["published"])
    if "refused" in row:
        return tr(
            "{target}: {network} on {name}, published {published}; not compared, as {refused}.",
            refused=row["refused"],
            **what,
        )
    what |= {end: fmt_percent(row[end]) for end in ("measured", "low", "high")}
    what["n"] = fmt_count(row["n"])
    if row["inside"]:
        return tr(
            "{target}: {network} on {name}, published {published}, measured {measured} "
            "[{low}, {high}], n = {n} pairs; the published value lies inside the 95 % interval.",
            **what,
        )
    return tr(
        "{target}: {network} on {name}, published {published}, measured {measured} "
        "[{low}, {high}], n = {n} pairs; the published value lies outside the 95 % interval.",
        **what,
    )


def _rows(entries: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
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


def _columns() -> list[Column]:
    return [
        Column("target", "Target"),
        Column("set", "Set"),
        Column("accuracy", "Accuracy", "mean of folds, 95 %", fmt_percent),
        Column("errors", "Wrong pairs"),
        Column("threshold", "Best threshold", "mean of folds", ".3f"),
        Column("eer", "EER", "", fmt_percent),
        Column("flipped", "Pairs that changed sides"),
        Column("failed", "Failures to acquire"),
    ]
