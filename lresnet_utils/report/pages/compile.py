"""The compile page: one build per target, or the reason why there is none."""

from __future__ import annotations

from typing import Any

from lresnet_utils.report.charts.builds import RewriteDisplay
from lresnet_utils.report.charts.style import fmt_bytes, join_words
from lresnet_utils.report.pages.common import measured, note_problems, ok_targets, short_hash
from lresnet_utils.report.show import Column, note, say, show, table
from lresnet_utils.report.timed import timings
from lresnet_utils.text.language import mark, recorded, tr
from lresnet_utils.tuning.search import WORTH_IT

_OPTIONS = {
    "performance_hint": mark("Performance hint"),
    "streams": mark("Streams"),
    "requests": mark("Requests"),
    "pinning": mark("Pinning"),
}
CHOSEN_BY = mark(
    "The measurement that chooses is the one shown, so the figures of what was chosen lean "
    "towards fast; the Performance page measures each build anew."
)


def builds(record: dict[str, Any]) -> None:
    """Show each build's options and versions, its time, size and hash."""
    rows = [
        {"target": name, "status": entry["status"]} | _build(entry)
        for name, entry in record["targets"].items()
    ]
    columns = [
        Column("target", "Target"),
        Column("status", "Status", "", "status"),
        Column("options", "Options"),
        Column("versions", "Versions"),
    ]
    table(rows, columns, tr("Builds, one per target"))
    note_problems(record["targets"])
    for name, entry in ok_targets(record["targets"]).items():
        if entry.get("note"):
            note(tr("{name}: {value}", name=name, value=entry["note"]))
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
    table(rows, columns, tr("The builds as made this time: timed once, so without interval"))


def _build(entry: dict[str, Any]) -> dict[str, Any]:
    artefact = entry.get("artefact")
    if artefact is None:
        return {}
    return {
        "options": _pairs(artefact["options"]),
        "versions": _pairs(entry["versions"]),
    }


def _pairs(values: dict[str, Any]) -> str:
    return tr(", ").join(f"{name} {recorded(str(v))}" for name, v in sorted(values.items()))


def rewrites(record: dict[str, Any]) -> None:
    """Say which rewrites each target took, chart what each bought, and count operators."""
    searches = _searches(record, "graph")
    for name, found in searches.items():
        kept = join_words(found["rewrites"]) if found["rewrites"] else tr("no rewrite")
        say(tr("{name} is built with {kept}.", name=name, kept=kept))
        if not found["steps"]:
            say(tr("No graph of it was timed (build.prepare, build.search_seconds)."))
    if not searches:
        say(tr("No target of this run has its graph chosen by measurement."))
    rewrite_times(record)
    _operators(record["operators"])


@timings()
def rewrite_times(record: dict[str, Any]) -> None:
    """Chart what each rewrite of the graph bought."""
    searches = _searches(record, "graph")
    for name, found in searches.items():
        if found["steps"]:
            steps = found["steps"]
            show(RewriteDisplay(steps, name, record["batch_size"]))
            say(
                tr(
                    "{name}: {found}, {steps}.",
                    name=name,
                    found=measured(found),
                    steps=_repeats(steps),
                )
            )
            for step in steps:
                if step["failure"]:
                    note(
                        tr(
                            "{name}, {rewrite}: not measured. {failure}",
                            name=name,
                            rewrite=step["rewrite"],
                            failure=step["failure"],
                        ),
                        "warning",
                    )
    if any(found["steps"] for found in searches.values()):
        say(
            tr(
                "All graphs of a target were timed in turns on the same batch. A rewrite is "
                "dropped when its ratio is surely below 1, that is, when its whole interval is; "
                "the graphs below it in the chart still have it, the build does not. "
            )
            + tr(CHOSEN_BY)
        )


def _searches(record: dict[str, Any], what: str) -> dict[str, dict[str, Any]]:
    """Return what was searched for each target, in the targets' order."""
    entries = ok_targets(record["targets"])
    return {name: entry[what] for name, entry in entries.items() if what in entry}


def _repeats(rows: list[dict[str, Any]]) -> str:
    counts = sorted({row["throughput_ips"]["n"] for row in rows if row["throughput_ips"]})
    return (
        tr("{n} repeats each", n=join_words([str(n) for n in counts]))
        if counts
        else tr("without a rate")
    )


def _operators(counts: dict[str, dict[str, int]]) -> None:
    """Show nodes per operator, one column per graph."""
    if not counts:
        return
    every = {op for own in counts.values() for op in own}
    most = {op: max(own.get(op, 0) for own in counts.values()) for op in every}
    names = sorted(most, key=lambda op: (-most[op], op))
    rows = [
        {"operator": op} | {graph: own.get(op, 0) for graph, own in counts.items()} for op in names
    ]
    rows.append({"operator": "all"} | {graph: sum(own.values()) for graph, own in counts.items()})
    graphs = [Column(graph, recorded(graph), "nodes") for graph in counts]
    table(
        rows,
        [Column("operator", "Operator"), *graphs],
        tr("Operators before and after rewriting"),
    )
    say(
        tr(
            "Nodes of each operator in the simplified graph and in the one each target was built "
            "from (int8: before it is quantised). Counts have no interval."
        )
    )


@timings()
def ways(record: dict[str, Any]) -> None:
    """Show the ways of running each build that were tried, and the one chosen."""
    searches = _searches(record, "running")
    for name, found in searches.items():
        _ways_of(name, found, record["batch_size"])
    if searches:
        say(
            tr(
                "Ratios are to the default, over repeats taken in turns; the fastest on average is "
                "chosen if it is at least {worth:.0%} faster, proven or not. Intervals: 95 %, "
                "Student t over repeats, for ratios over their logarithms. ",
                worth=WORTH_IT - 1,
            )
            + tr(CHOSEN_BY)
        )
    else:
        say(tr("No target of this run has more than one way of running, or none was searched."))


def _ways_of(name: str, found: dict[str, Any], batch_size: int) -> None:
    candidates = found["candidates"]
    options = list(dict.fromkeys(option for row in candidates for option in row["options"]))
    rows = [
        {"way": _standing(row, candidates[0]), "ratio": row["ratio"]}
        | {"throughput_ips": row["throughput_ips"] or {"refused": row["failure"]}}
        | row["options"]
        for row in candidates
    ]
    columns = [
        Column("way", "Way"),
        *(Column(option, _OPTIONS.get(option, option)) for option in options),
        Column("throughput_ips", "Throughput", "images/s, 95 % interval", ".1f"),
        Column("ratio", "Ratio", "to the default, 95 % interval", ".2f"),
    ]
    table(rows, columns, tr("{name} at batch size {batch_size}", name=name, batch_size=batch_size))
    say(
        tr(
            "{name}: {found}, {steps}.",
            name=name,
            found=measured(found),
            steps=_repeats(candidates),
        )
    )


def _standing(row: dict[str, Any], default: dict[str, Any]) -> str:
    words = [tr("default")] if row is default else []
    words += [tr("chosen")] if row["chosen"] else []
    return tr(", ").join(words) or tr("tried")
