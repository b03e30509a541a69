"""The part of the compile page about int8: what was tried, what it cost, what it bought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lresnet_utils.data.degrade import VARIANTS
from lresnet_utils.report.charts.builds import TradeOffDisplay
from lresnet_utils.report.charts.style import fmt_count, fmt_percent, join_words
from lresnet_utils.report.pages.common import measured, ok_targets
from lresnet_utils.report.pages.compile import CHOSEN_BY
from lresnet_utils.report.show import Column, note, say, show, table
from lresnet_utils.report.timed import timings
from lresnet_utils.text.language import tr

_JUDGED = {None: "not judged", True: "within", False: "outside"}


def eight_bits(record: dict[str, Any]) -> None:
    """Show the int8 recipes tried for each target: accuracy against speed, and the one chosen."""
    searches = _searches(record)
    for name, found in searches.items():
        _calibration(name, found)
        _budget(name, found)
        judged = found["budget"]["points"] is not None
        rows = [_recipe(number, entry, judged) for number, entry in enumerate(found["tried"], 1)]
        columns = [
            Column("number", "No."),
            Column("title", "Recipe"),
            *([
                Column("loss", "Worst loss", "percentage points", ".2f"),
                Column("p", "Least p", "McNemar", ".2g"),
                Column("cosine", "Least cosine", "to fp32", ".4f"),
                Column("budget", "Budget"),
            ] if judged else []),
        ]  # fmt: skip
        table(rows, columns, tr("{name}, the recipes that were tried", name=name))
        _recipe_times(name, found)
        _decisions(name, found)
        _sensitivity(name, found)
    if not searches:
        say(tr("No int8 build is among this run's results."))


def recipe_times(record: dict[str, Any]) -> None:
    """Show how fast each target's int8 recipes were."""
    for name, found in _searches(record).items():
        _recipe_times(name, found)


def _searches(record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    entries = ok_targets(record["targets"])
    return {name: entry["int8"] for name, entry in entries.items() if "int8" in entry}


def _label(variant: str) -> str:
    return VARIANTS[variant].label if variant in VARIANTS else variant


def _calibration(name: str, found: Mapping[str, Any]) -> None:
    used = found["calibration"]
    shares = join_words([f"{n} {tr(_label(variant))}" for variant, n in used["variants"].items()])
    labels = (
        tr("Labels were used.") if used["labels_used"] else tr("No label and no pair was read.")
    )
    say(
        tr(
            "{name}: the ranges are taken from {n_images} preprocessed faces of this run "
            "({shares}), {choice}. {labels}",
            name=name,
            n_images=fmt_count(used["n_images"]),
            shares=shares,
            choice=used["choice"],
            labels=labels,
        )
    )


def _budget(name: str, found: Mapping[str, Any]) -> None:
    budget = found["budget"]
    if budget["points"] is None:
        note(
            tr(
                "{name} is not judged: {refused}. The fastest recipe is taken, and its accuracy, "
                "cosine and flips are not shown.",
                name=name,
                refused=budget["refused"],
            ),
            "warning",
        )
        return
    variants = join_words([tr(_label(variant)) for variant in budget["variants"]])
    say(
        tr(
            "Each recipe is compared with {compared_with}, on {n_pairs} pairs of {n_images} "
            "pictures in each variant ({variants}), one view per picture. Within the budget: no "
            "variant loses more than {points:g} percentage points, and on none do the decisions "
            "differ significantly (exact McNemar test, p < 0.05, either way). The fastest within "
            "it is chosen.",
            compared_with=budget["compared_with"],
            n_pairs=fmt_count(budget["n_pairs"]),
            n_images=fmt_count(budget["n_images"]),
            variants=variants,
            points=budget["points"],
        )
    )


@timings()
def _recipe_times(name: str, found: Mapping[str, Any]) -> None:
    """Show each recipe's speed, and its accuracy against it where it was judged."""
    points, tried = found["budget"]["points"], found["tried"]
    if points is not None:
        show(TradeOffDisplay(tried, name, found["batch_size"], points))
    rows = [entry | {"number": _number(i, entry)} for i, entry in enumerate(tried, 1)]
    columns = [
        Column("number", "No."),
        Column("title", "Recipe"),
        Column("throughput_ips", "Throughput", "images/s, 95 % interval", ".1f"),
        Column("ratio", "Ratio", "to fp32, 95 % interval", ".2f"),
    ]
    table(rows, columns, tr("{name}, the speed of the recipes", name=name))
    say(
        tr(
            "{name}: {found}. Timed in turns at batch size {batch_size}, {n} repeats each, run the "
            "default way. The ratio is to the fp32 build of the same runtime, from the graph as "
            "simplified. ",
            name=name,
            found=measured(found),
            batch_size=found["batch_size"],
            n=tried[0]["throughput_ips"]["n"],
        )
        + tr(CHOSEN_BY)
    )
    chosen = next(entry for entry in tried if entry["chosen"])
    if chosen["ratio"]["low"] <= 1:
        note(
            tr("{name}: the build chosen is not surely faster than the fp32 build.", name=name),
            "warning",
        )


def _number(number: int, entry: Mapping[str, Any]) -> str:
    return tr("{number}, chosen", number=number) if entry["chosen"] else f"{number}"


def _recipe(number: int, entry: Mapping[str, Any], judged: bool) -> dict[str, Any]:
    row = {"number": _number(number, entry), "title": entry["title"]}
    if not judged:
        return row
    return row | {
        "loss": entry["worst_loss_points"] + 0.0,
        "p": entry["worst_p"],
        "cosine": min(variant["min_cosine"] for variant in entry["variants"].values()),
        "budget": _JUDGED[entry["within_budget"]],
    }


def _decisions(name: str, found: Mapping[str, Any]) -> None:
    """Show every recipe's decisions on every variant beside the fp32 build's."""
    if found["budget"]["points"] is None:
        return
    rows = [
        {"recipe": f"{number}", "variant": _label(variant)} | numbers
        for number, entry in enumerate(found["tried"], 1)
        for variant, numbers in entry["variants"].items()
    ]
    columns = [
        Column("recipe", "Recipe no."),
        Column("variant", "Variant"),
        Column("reference_accuracy", "Accuracy, fp32", "", fmt_percent),
        Column("accuracy", "Accuracy, int8", "", fmt_percent),
        Column("lost", "Lost", "pairs"),
        Column("gained", "Gained", "pairs"),
        Column("n_pairs", "Of", "pairs"),
        Column("mcnemar_p", "p", "McNemar", ".2g"),
        Column("min_cosine", "Least cosine", "to fp32", ".4f"),
    ]
    table(rows, columns, tr("{name}, the decisions on each variant", name=name))
    say(
        tr(
            "Both builds decide the same pairs, so pairs lost, pairs gained and p say how sure a "
            "difference is; the accuracies, means over folds, have no interval of their own here."
        )
    )


def _sensitivity(name: str, found: Mapping[str, Any]) -> None:
    ranked = found["sensitivity"]
    if not ranked:
        return
    kept = set(found["recipe"]["kept"])
    rows = [row | {"kept": row["node"] in kept} for row in ranked]
    columns = [
        Column("node", "Layer"),
        Column("mean_distance", "Embedding moves", "mean squared L2"),
        Column("kept", tr("Kept in {rest}", rest=found["recipe"]["rest"])),
    ]
    table(
        rows,
        columns,
        tr("{name}, the {n} layers that suffer most from eight bits", name=name, n=len(rows)),
    )
    say(
        tr(
            "One layer quantised at a time, on {batch_size} calibration faces: one pass that "
            "ranks the layers, so without interval.",
            batch_size=found["batch_size"],
        )
    )
