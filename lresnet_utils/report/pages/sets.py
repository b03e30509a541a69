"""Further sets, rates over every pair, published figures, and terms of use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lresnet_utils.report.pages.common import judged_targets, note_problems
from lresnet_utils.report.show import Column, note, say, table
from lresnet_utils.report.style import fmt_count, fmt_percent
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import Evaluation
from lresnet_utils.stages.summary import Results


def contents(run: RunFolder) -> None:
    """Show what the further sets hold, or that there are none."""
    record = run.record("3_preprocess")
    rows = [
        {
            "set": own["name"],
            "kind": own.get("kind", ".bin set"),
            "images": own["n_images"],
            "genuine": own["n_genuine"],
            "impostor": own["n_impostor"],
            "folds": own.get("folds") or "the run's",
            "aligned": fmt_count(own.get("n_aligned", 0)),
            "failed": len(own["failures"]),
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
        Column("aligned", "Aligned here"),
        Column("failed", "Failures to acquire"),
    ]
    if rows:
        table(rows, columns, "Further sets")
    else:
        say("This run has one set; dataset.more names further ones.")
    terms(own.get("licence") for own in (record, *record["sets"].values()))


def results(evaluation: Evaluation) -> None:
    """Show accuracy, errors and agreement on every further set."""
    known = evaluation.record["sets"]
    if not known:
        say("No further set at this batch size; they are evaluated at the largest one of a run.")
        return
    rows = list(_rows(judged_targets(evaluation.record["targets"]), known))
    table(rows, _columns("Target"), "Each set by its own pairs, folds and people")
    for name, entry in judged_targets(evaluation.record["targets"]).items():
        own = {f"{name} on {known[key]['name']}": e for key, e in entry["sets"].items()}
        note_problems(own)
    for about in known.values():
        for finding in about["set_health"]:
            if not finding["harmless"]:
                say(f"{about['name']}: {finding['evidence']} {finding['consequence']}")


def published(evaluation: Evaluation) -> None:
    """Say how each published accuracy of this network and set compares with the measured one."""
    targets = judged_targets(evaluation.record["targets"])
    rows = [
        {"target": name} | row
        for name, entry in targets.items()
        for own in (entry, *(e for e in entry["sets"].values() if e["status"] == "ok"))
        for row in own["published"]
    ]
    if not rows:
        say("Nothing published is known of this network on these sets.")
        return
    for row in rows:
        say(f"{row['target']}: {row['sentence']}")
    sources = dict.fromkeys(
        f"{row['network']} ({row['trained_on']}): {row['source']}" for row in rows
    )
    say(
        "Published figures were not measured here and belong to the weights of their authors, with "
        f"the training set in brackets. {'; '.join(sources)}."
    )


def every_pair(evaluation: Evaluation) -> None:
    """Show the rates over every pair of images, where the set asks for them."""
    targets = judged_targets(evaluation.record["targets"])
    found = {name: entry["every_pair"] for name, entry in targets.items() if entry["every_pair"]}
    rows = [
        {"target": name, "eer": own["eer"]["value"], "far": point["far"]}
        | {"tar": point.get("tar", point), "achieved": point.get("achieved_far")}
        for name, own in found.items()
        for point in own["tar_at_far"]
    ]
    if not rows:
        return
    first = next(iter(found.values()))
    columns = [
        Column("target", "Target"),
        Column("eer", "EER", "", fmt_percent),
        Column("far", "FAR at most", "", lambda far: f"{far:g}"),
        Column("tar", "TAR", "", fmt_percent),
        Column("achieved", "FAR reached", "", lambda far: f"{far:.2g}"),
    ]
    counts = (
        f"{fmt_count(first['n_genuine'])} genuine and {fmt_count(first['n_impostor'])} impostor"
    )
    table(rows, columns, f"Every pair of {first['n_images']} images: {counts}")
    say(f"Intervals: {first['eer']['interval_reason']}.")


def summary(results: Results) -> None:
    """Show every cell that was evaluated on further sets, and the published figures beside it."""
    known = results.dataset.get("sets", {})
    cells = {
        f"{cell['target']}, batch size {cell['batch_size']}": cell
        for cell in results.ok()
        if cell["sets"]
    }
    if cells:
        table(list(_rows(cells, known)), _columns("Cell"), "Further sets of this run")
    sentences = [
        f"{cell['target']}: {row['sentence']}"
        for cell in results.largest()
        for own in (cell, *(e for e in cell["sets"].values() if e["status"] == "ok"))
        for row in own["published"]
    ]
    for sentence in sentences:
        say(sentence)


def terms(licences: Iterator[Mapping[str, Any] | None]) -> None:
    """Show what may be done with the weights and sets, where their names tell what they are."""
    for item in {item["file"]: item for item in licences if item}.values():
        note(f"{item['file']} ({item['title']}): {item['licence']} Source: {item['source']}.")


def _rows(entries: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name, entry in entries.items():
        for key, own in entry["sets"].items():
            row = {"name": name, "set": known[key]["name"]}
            if own["status"] != "ok":
                yield row | {"accuracy": {"refused": own["reason"]}}
                continue
            accuracy = own["accuracy"]
            yield row | {
                "accuracy": accuracy,
                "errors": f"{accuracy['errors']}\u00a0of\u00a0{accuracy['n']}",
                "threshold": own["threshold"],
                "eer": own["eer"],
                "flipped": own["parity"].get("flipped_pairs"),
                "lost": own["failures"]["n_failed_images"],
            }


def _columns(name: str) -> list[Column]:
    return [
        Column("name", name),
        Column("set", "Set"),
        Column("accuracy", "Accuracy", "mean of folds, 95 %", fmt_percent),
        Column("errors", "Wrong pairs"),
        Column("threshold", "Best threshold", "mean of folds", ".3f"),
        Column("eer", "EER", "", fmt_percent),
        Column("flipped", "Flipped", "pairs"),
        Column("lost", "Failed", "images"),
    ]
