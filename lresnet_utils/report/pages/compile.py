"""The compile page: one build per target, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lresnet_utils.data.degrade import VARIANTS
from lresnet_utils.report.charts.builds import RewriteDisplay, TradeOffDisplay
from lresnet_utils.report.pages.export import short_hash
from lresnet_utils.report.show import (
    Column,
    note,
    note_problems,
    ok_targets,
    say,
    show,
    table,
    timings,
)
from lresnet_utils.text.language import tr, translatable
from lresnet_utils.text.numbers import fmt_bytes, fmt_count, fmt_percent, join_words
from lresnet_utils.tuning.search import WORTH_IT

_OPTIONS = {
    "performance_hint": translatable("Performance hint"),
    "streams": translatable("Streams"),
    "requests": translatable("Requests"),
    "pinning": translatable("Pinning"),
}
_JUDGED = {None: "not judged", True: "within", False: "outside"}
CHOSEN_BY = translatable(
    "The measurement that chooses is the one shown, so the figures of what was chosen lean "
    "towards fast; the Performance page measures each build anew."
)


def builds(record: dict[str, Any]) -> None:
    """Show each build's options and versions, its time, size and hash."""
    rows = []
    for name, entry in record["targets"].items():
        row = {"target": name, "status": entry["status"]}
        if entry.get("artefact") is not None:
            told = {"options": entry["artefact"]["options"], "versions": entry["versions"]}
            row |= {
                key: tr(", ").join(f"{name} {tr(str(v))}" for name, v in sorted(values.items()))
                for key, values in told.items()
            }
        rows.append(row)
    columns = [
        Column("target", "Target"),
        Column("status", "Status", "", "status"),
        Column("options", "Options"),
        Column("versions", "Versions"),
    ]
    table(rows, columns, "Builds, one per target")
    note_problems(record["targets"])
    for name, entry in ok_targets(record["targets"]).items():
        if entry.get("note"):
            note("{name}: {value}", name=name, value=entry["note"])
    build_times(record)


@timings()
def build_times(record: dict[str, Any]) -> None:
    """Show how long each build took and what came of it; compilers give no bytes twice."""
    rows = [
        {"target": name} | entry["artefact"]
        for name, entry in ok_targets(record["targets"]).items()
    ]
    columns = [
        Column("target", "Target"),
        Column("seconds", "Build time", "s", ".2f"),
        Column("bytes", "Size", "", fmt_bytes),
        Column("sha256", "SHA-256", "", short_hash),
    ]
    table(rows, columns, "The builds as made this time: timed once, so without interval")


def rewrites(record: dict[str, Any]) -> None:
    """Say which rewrites each target took, chart what each bought, and count operators."""
    searches = _searches(record, "graph")
    for name, found in searches.items():
        kept = join_words(found["rewrites"]) if found["rewrites"] else tr("no rewrite")
        say("{name} is built with {kept}.", name=name, kept=kept)
        if not found["steps"]:
            say("No graph of it was timed (build.prepare, build.search_seconds).")
    if not searches:
        say("No target of this run has its graph chosen by measurement.")
    rewrite_times(record)
    counts = record["operators"]
    if not counts:
        return
    every = {op for own in counts.values() for op in own}
    most = {op: max(own.get(op, 0) for own in counts.values()) for op in every}
    rows = [
        {"operator": op} | {graph: own.get(op, 0) for graph, own in counts.items()}
        for op in sorted(most, key=lambda op: (-most[op], op))
    ]
    rows.append({"operator": "all"} | {graph: sum(own.values()) for graph, own in counts.items()})
    columns = [Column("operator", "Operator")]
    columns += [Column(graph, tr(graph), "nodes") for graph in counts]
    table(rows, columns, "Operators before and after rewriting")
    say(
        "Nodes of each operator in the simplified graph and in the one each target was built "
        "from (int8: before it is quantised). Counts have no interval."
    )


@timings()
def rewrite_times(record: dict[str, Any]) -> None:
    """Chart what each rewrite of the graph bought."""
    timed = {name: f for name, f in _searches(record, "graph").items() if f["steps"]}
    for name, found in timed.items():
        steps = found["steps"]
        show(RewriteDisplay(steps, name, record["batch_size"]))
        say(_measured(name, found, steps))
        for step in steps:
            if step["failure"]:
                text = tr("{name}, {rewrite}: not measured. {failure}", name=name, **step)
                note(text, "warning")
    if timed:
        text = tr(
            "All graphs of a target were timed in turns on the same batch. A rewrite is "
            "dropped when its ratio is surely below 1, that is, when its whole interval is; "
            "the graphs below it in the chart still have it, the build does not. "
        )
        text += tr(CHOSEN_BY)
        say(text)


def _searches(record: Mapping[str, Any], what: str) -> dict[str, dict[str, Any]]:
    """Return what was searched for each target, in the targets' order."""
    entries = ok_targets(record["targets"])
    return {name: entry[what] for name, entry in entries.items() if what in entry}


def _measured(name: str, found: Mapping[str, Any], rows: list[dict[str, Any]]) -> str:
    """Say when a search was measured, and how often."""
    counts = sorted({row["throughput_ips"]["n"] for row in rows if row["throughput_ips"]})
    steps = tr("without a rate")
    if counts:
        steps = tr("{n} repeats each", n=join_words([str(n) for n in counts]))
    return tr("{name}: {found}, {steps}.", name=name, found=measured(found), steps=steps)


def measured(search: Mapping[str, Any]) -> str:
    """Say when a search was measured, and whether in this run.

    Examples
    --------
    >>> measured({"measured_at": "2026-01-02T03:04:05+00:00", "reused": True})
    'measured 2026-01-02 03:04 UTC, by an earlier search on this machine, and reused'
    >>> measured({})
    'not measured'
    """
    if not search.get("measured_at"):
        return tr("not measured")
    when = tr("measured {time} UTC", time=search["measured_at"][:16].replace("T", " "))
    if not search["reused"]:
        return when
    return tr("{when}, by an earlier search on this machine, and reused", when=when)


@timings()
def ways(record: dict[str, Any]) -> None:
    """Show the ways of running each build that were tried, and the one chosen."""
    searches = _searches(record, "running")
    for name, found in searches.items():
        candidates = found["candidates"]
        rows = []
        for row in candidates:
            words = [tr("default")] if row is candidates[0] else []
            words += [tr("chosen")] if row["chosen"] else []
            rate = row["throughput_ips"] or {"refused": row["failure"]}
            way = {"way": tr(", ").join(words) or tr("tried"), "ratio": row["ratio"]}
            rows.append(way | {"throughput_ips": rate} | row["options"])
        options = dict.fromkeys(option for row in candidates for option in row["options"])
        columns = [
            Column("way", "Way"),
            *(Column(option, _OPTIONS.get(option, option)) for option in options),
            Column("throughput_ips", "Throughput", "images/s, 95 % interval", ".1f"),
            Column("ratio", "Ratio", "to the default, 95 % interval", ".2f"),
        ]
        batch_size = record["batch_size"]
        title = tr("{name} at batch size {batch_size}", name=name, batch_size=batch_size)
        table(rows, columns, title)
        say(_measured(name, found, candidates))
    if searches:
        text = tr(
            "Ratios are to the default, over repeats taken in turns; the fastest on average is "
            "chosen if it is at least {worth:.0%} faster, proven or not. Intervals: 95 %, "
            "Student t over repeats, for ratios over their logarithms. ",
            worth=WORTH_IT - 1,
        )
        text += tr(CHOSEN_BY)
        say(text)
    else:
        say("No target of this run has more than one way of running, or none was searched.")


# About int8: what was tried, what it cost, what it bought.


def eight_bits(record: dict[str, Any]) -> None:
    """Show the int8 recipes tried for each target: accuracy against speed, and the one chosen."""
    searches = _searches(record, "int8")
    for name, found in searches.items():
        _calibration(name, found)
        # What each recipe costs, where it was judged.
        judged = found["budget"]["points"] is not None
        columns = [Column("number", "No."), Column("title", "Recipe")]
        if judged:
            columns += [
                Column("loss", "Worst loss", "percentage points", ".2f"),
                Column("p", "Least p", "McNemar", ".2g"),
                Column("cosine", "Least cosine", "to fp32", ".4f"),
                Column("budget", "Budget"),
            ]
        rows = []
        for number, entry in enumerate(found["tried"], 1):
            row = {"number": _number(number, entry), "title": entry["title"]}
            if judged:
                row |= {
                    "loss": entry["worst_loss_points"] + 0.0,
                    "p": entry["worst_p"],
                    "cosine": min(variant["min_cosine"] for variant in entry["variants"].values()),
                    "budget": _JUDGED[entry["within_budget"]],
                }
            rows.append(row)
        table(rows, columns, "{name}, the recipes that were tried", name=name)
        _recipe_times(name, found)
        if judged:
            # Every recipe's decisions on every variant beside the fp32 build's.
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
            table(rows, columns, "{name}, the decisions on each variant", name=name)
            say(
                "Both builds decide the same pairs, so pairs lost, pairs gained and p say how sure "
                "a difference is; the accuracies, means over folds, have no interval of their own "
                "here."
            )
        if found["sensitivity"]:
            # Which layers suffer most, and which of them were kept.
            kept = set(found["recipe"]["kept"])
            rows = [row | {"kept": row["node"] in kept} for row in found["sensitivity"]]
            columns = [
                Column("node", "Layer"),
                Column("mean_distance", "Embedding moves", "mean squared L2"),
                Column("kept", tr("Kept in {rest}", rest=found["recipe"]["rest"])),
            ]
            caption = tr(
                "{name}, the {n} layers that suffer most from eight bits", name=name, n=len(rows)
            )
            table(rows, columns, caption)
            say(
                "One layer quantised at a time, on {batch_size} calibration faces: one pass that "
                "ranks the layers, so without interval.",
                batch_size=found["batch_size"],
            )
    if not searches:
        say("No int8 build is among this run's results.")


def recipe_times(record: dict[str, Any]) -> None:
    """Show how fast each target's int8 recipes were."""
    for name, found in _searches(record, "int8").items():
        _recipe_times(name, found)


def _label(variant: str) -> str:
    return VARIANTS[variant].label if variant in VARIANTS else variant


def _calibration(name: str, found: Mapping[str, Any]) -> None:
    """Say what the ranges come from, and by what a recipe is judged."""
    used, budget = found["calibration"], found["budget"]
    shares = join_words([f"{n} {tr(_label(variant))}" for variant, n in used["variants"].items()])
    labels = (
        tr("Labels were used.") if used["labels_used"] else tr("No label and no pair was read.")
    )
    say(
        "{name}: the ranges are taken from {n_images} preprocessed faces of this run "
        "({shares}), {choice}. {labels}",
        name=name,
        n_images=fmt_count(used["n_images"]),
        shares=shares,
        choice=used["choice"],
        labels=labels,
    )
    if budget["points"] is None:
        note(
            "{name} is not judged: {refused}. The fastest recipe is taken, and its accuracy, "
            "cosine and flips are not shown.",
            "warning",
            name=name,
            refused=budget["refused"],
        )
        return
    say(
        "Each recipe is compared with {compared_with}, on {n_pairs} pairs of {n_images} "
        "pictures in each variant ({variants}), one view per picture. Within the budget: no "
        "variant loses more than {points:g} percentage points, and on none do the decisions "
        "differ significantly (exact McNemar test, p < 0.05, either way). The fastest within "
        "it is chosen.",
        compared_with=budget["compared_with"],
        n_pairs=fmt_count(budget["n_pairs"]),
        n_images=fmt_count(budget["n_images"]),
        variants=join_words([tr(_label(variant)) for variant in budget["variants"]]),
        points=budget["points"],
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
    table(rows, columns, "{name}, the speed of the recipes", name=name)
    text = tr(
        "{name}: {found}. Timed in turns at batch size {batch_size}, {n} repeats each, run the "
        "default way. The ratio is to the fp32 build of the same runtime, from the graph as "
        "simplified. ",
        name=name,
        found=measured(found),
        batch_size=found["batch_size"],
        n=tried[0]["throughput_ips"]["n"],
    )
    text += tr(CHOSEN_BY)
    say(text)
    chosen = next(entry for entry in tried if entry["chosen"])
    if chosen["ratio"]["low"] <= 1:
        note(
            "{name}: the build chosen is not surely faster than the fp32 build.",
            "warning",
            name=name,
        )


def _number(number: int, entry: Mapping[str, Any]) -> str:
    return tr("{number}, chosen", number=number) if entry["chosen"] else f"{number}"
