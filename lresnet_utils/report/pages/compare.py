"""The page of a comparison: the verdict first, then what it rests on, then the pairs that moved."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from lresnet_utils.comparison.reports import CellComparison, Comparison, summary, withheld
from lresnet_utils.report.charts.builds import CosineDisplay, DifferenceDisplay
from lresnet_utils.report.publish.page import publish_story
from lresnet_utils.report.show import Column, collected, facts, note, say, show, show_html, table
from lresnet_utils.text.language import speaking, tr
from lresnet_utils.text.numbers import fmt_number, fmt_percent, fmt_points

COMPARISON = "lr-comparison"
"""Identifier of the page's data block: what ``lresnet compare --json`` writes."""

PICTURED = 36
"""Pairs that changed sides have pictures up to here: they are most of the page."""


def write_page(comparison: Comparison, path: Path | str, language: str = "en") -> Path:
    """Write a comparison as one self-contained page that carries its own record as data.

    Raises
    ------
    ParamsError
        When the language is unknown.
    """
    with speaking(language):
        record = comparison.record
        meta: dict[str, Any] = {}
        for side in "ab":
            own = record[side]
            machine = own["machine"] or {}
            meta[side.upper()] = [
                str(own["path"]),
                tr("started {time}", time=own["started"] or tr("unknown")),
                tr("commit {commit}", commit=(own["commit"] or tr("unknown"))[:12]),
                tr(
                    "{cpu}, {cores} cores",
                    cpu=machine.get("cpu", tr("unknown machine")),
                    cores=machine.get("cores", tr("unknown")),
                ),
            ]
        meta[tr("Pairs")] = tr(
            "{n}, fingerprint {sha256}", n=record["pairs"]["n"], sha256=record["pairs"]["sha256"]
        )
        meta[tr("Settings")] = record["settings"]
        story = []
        for heading, part in (
            (tr("# Comparison\n\nIs B as good as A, pair by pair, and what did it cost?"), verdict),
            (tr("## Accuracy"), accuracy),
            (tr("## Pairs that changed sides"), changed_sides),
            (tr("## Operating points"), operating_points),
            (tr("## Embeddings"), embeddings),
            (tr("## Speed"), speed),
        ):
            with collected() as outputs:
                part(comparison)
            story.append((heading, outputs))
        return publish_story(
            story,
            path,
            title=tr("{a} and {b}", a=record["a"]["name"], b=record["b"]["name"]),
            language=language,
            meta=meta,
            data={COMPARISON: record},
        )


def pair_name(record: Mapping[str, Any]) -> str:
    """Return the name of a pair of cells: one name where both sides have the same.

    Examples
    --------
    >>> pair_name({"a": "1/x", "b": "1/x"}), pair_name({"a": "1/x", "b": "1/y"})
    ('1/x', '1/x → 1/y')
    """
    return record["a"] if record["a"] == record["b"] else f"{record['a']} → {record['b']}"


def _label(cell: CellComparison) -> str:
    """Return a pair of cells' name for the edge of a chart, where width is dear."""
    return pair_name(cell.record).replace(" → ", "\n→ ")


def verdict(comparison: Comparison) -> None:
    """Show the verdict, what withholds one, the rule, and what is compared."""
    record, cells = comparison.record, comparison.cells
    words = {cell.record["verdict"]["word"] for cell in cells}
    for sentence in withheld(record):
        note(sentence, "warning")
    fine = words <= {"equivalent", "better", "better on these pairs"}
    note(tr(summary(cells)), "info" if fine else "warning")
    if len(cells) == 1:
        # The headline numbers of the only pair of cells.
        cell = cells[0].record
        difference, lost, gained = cell["difference"], len(cell["lost"]), len(cell["gained"])
        span = tr(
            "95 % interval {low} to {high}; {a} and {b}",
            low=fmt_points(difference["low"]),
            high=fmt_points(difference["high"]),
            a=fmt_percent(cell["accuracy"]["a"]["value"]),
            b=fmt_percent(cell["accuracy"]["b"]["value"]),
        )
        moved = tr(
            "{lost} lost, {gained} gained; McNemar's exact p = {mcnemar_p}",
            lost=lost,
            gained=gained,
            mcnemar_p=fmt_number(cell["mcnemar_p"]),
        )
        points = tr("{value} points", value=fmt_points(difference["value"]))
        pairs = tr("{lost} of {n_pairs}", lost=lost + gained, n_pairs=cell["n_pairs"])
        items = [
            (tr("Accuracy, B minus A"), points, span),
            (tr("Pairs that changed sides"), pairs, moved),
        ]
        speed = cell["speed"]
        if "refused" not in speed:
            told = (
                tr(speed["interval"])
                if speed["low"] is None
                else tr(
                    "95 % interval {low:.2f} to {high:.2f}", low=speed["low"], high=speed["high"]
                )
            )
            items.append((tr("Speed of B, in A's"), f"{speed['value']:.2f} ×", told))
        facts(items)
    say("The rule: {rule}", rule=record["rule"])
    rows = []
    for side in "ab":
        own = record[side]
        model = [own["model"][key] for key in ("architecture", "weights") if own["model"][key]]
        started = own["started"] or tr("unknown")
        rows.append(
            {
                "side": side.upper(),
                "run": own["name"],
                "file": own["path"],
                "model": tr(", ").join(model) or tr("unknown"),
                "started": started.replace("T", " ").removesuffix("+00:00"),
            }
        )
    columns = [
        Column("side", "Side"),
        Column("run", "Run"),
        Column("model", "Network, weights"),
        Column("started", "Started", "UTC"),
        Column("file", "Read from"),
    ]
    table(rows, columns, "What is compared")


def accuracy(comparison: Comparison) -> None:
    """Show both accuracies and their difference, cell by cell, and what is left out."""
    rows = [
        record
        | {
            "cell": pair_name(record),
            "a": record["accuracy"]["a"]["value"],
            "b": record["accuracy"]["b"]["value"],
            "lost": len(record["lost"]),
            "gained": len(record["gained"]),
            "verdict": record["verdict"]["word"],
        }
        for record in (cell.record for cell in comparison.cells)
    ]
    columns = [
        Column("cell", "Cells"),
        Column("verdict", "B is"),
        Column("a", "Accuracy of A", "", fmt_percent),
        Column("b", "Accuracy of B", "", fmt_percent),
        Column("difference", "Difference", "points, 95 % interval", fmt_points),
        Column("lost", "Lost", "pairs"),
        Column("gained", "Gained", "pairs"),
        Column("mcnemar_p", "McNemar's p", "exact", lambda p: fmt_number(p, 2)),
        Column("speed", "Speed of B", "in A's, 95 % interval", ".2f"),
    ]
    table(rows, columns, "B against A, cell by cell")
    drawn = [{"cell": _label(cell)} | cell.record["difference"] for cell in comparison.cells]
    show(DifferenceDisplay(drawn, comparison.record["settings"]["margin_points"]))
    say("How the intervals were made: {interval}.", interval=drawn[0]["interval"])
    for row in comparison.record["left_out"]:
        note("{cell} is left out: {reason}.", cell=row["cell"], reason=row["reason"])


def changed_sides(comparison: Comparison) -> None:
    """Show the pairs that the two sides decide differently, as cards with both faces."""
    cells = [c.record for c in comparison.cells if c.record["lost"] or c.record["gained"]]
    if not cells:
        same = all(cell.record["identical_scores"] for cell in comparison.cells)
        if same:
            say("None: every distance is the same to the last bit.")
        else:
            say("None: no pair is decided differently.")
        return
    say(
        "Each side decides a pair at its own threshold of the pair's fold. Lost: only A is "
        "right; gained: only B is. The clearest come first; pairs and images are numbered "
        "from 0."
    )
    for record in cells:
        for kind, name in (("lost", tr("Pairs lost")), ("gained", tr("Pairs gained"))):
            rows, label = record[kind], pair_name(record)
            if not rows:
                continue
            title = tr("{name}: {n} {kind}", name=label, n=len(rows), kind=kind)
            cards = "".join(_card(row, comparison) for row in rows[:PICTURED])
            html = (
                f'<p class="lr-x-title">{escape(title)}</p>'
                f'<ul class="lr-cards" aria-label="{escape(name)}">{cards}</ul>'
            )
            more = tr(", ").join(str(row["pair"]) for row in rows[PICTURED:])
            if more:
                text = tr("{name}, less clearly: {pairs}.", name=name, pairs=more)
                html += f'<p class="lr-say">{escape(text)}</p>'
            show_html(html, title)
    if comparison.record["pairs"]["credit"]:
        say("Faces: {credit}.", credit=comparison.record["pairs"]["credit"])


def _card(row: Mapping[str, Any], comparison: Comparison) -> str:
    """Return a pair as a card: both faces, both distances, and the thresholds they were held to."""
    told = tr(", ") + (tr("same person") if row["same_person"] else tr("different people"))
    faces = ""
    for image in row["images"]:
        alt = tr("Pair {pair}, image {image}", pair=row["pair"], image=image)
        jpeg = comparison.picture(image)
        if jpeg is None:
            text = tr("{alt}: only in the folder", alt=alt)
            faces += f'<span class="lr-card-none">{escape(text)}</span>'
        else:
            data = base64.b64encode(jpeg).decode("ascii")
            faces += (
                f'<img src="data:image/jpeg;base64,{data}" alt="{escape(alt)}" width="96" '
                'height="96">'
            )
    numbers = ""
    for side in "ab":
        numbers += "<br>" + tr(
            "{side}: {distance:.3f} at {threshold:.2f}",
            side=side.upper(),
            distance=row["distance"][side],
            threshold=row["threshold"][side],
        )
    name = tr("Pair {pair}", pair=row["pair"])
    return (
        f'<li class="lr-card"><div class="lr-card-faces">{faces}</div>'
        f"<strong>{name}</strong>{tr(', ')}{told}{numbers}</li>"
    )


def operating_points(comparison: Comparison) -> None:
    """Show the true accept rates of both sides at each false accept rate."""
    rows = []
    for cell in comparison.cells:
        for point in cell.record["tar_at_far"]:
            row = {"cell": pair_name(cell.record), "far": point["far"]}
            if "refused" in point:
                row["difference"] = {"refused": point["refused"]}
            else:
                row |= {side: point[side]["tar"] for side in "ab"}
                row["difference"] = point["difference"]
            rows.append(row)
    columns = [
        Column("cell", "Cells"),
        Column("far", "FAR at most", "", lambda far: f"{far:g}"),
        Column("a", "TAR of A", "", fmt_percent),
        Column("b", "TAR of B", "", fmt_percent),
        Column("difference", "Difference", "points, 95 % interval", fmt_points),
    ]
    caption = tr("True accept rate at a false accept rate, each side at its own threshold")
    table(rows, columns, caption)


def embeddings(comparison: Comparison) -> None:
    """Show how far the embeddings of the same faces have moved, or why it cannot be told."""
    cells = [cell for cell in comparison.cells if cell.cosines is not None]
    if not cells:
        refused = comparison.cells[0].record["embeddings"]["refused"]
        say("Not compared: {refused}.", refused=refused)
        return
    rows = [{"cell": pair_name(c.record)} | c.record["embeddings"] for c in cells]
    columns = [
        Column("cell", "Cells"),
        Column("min", "Least", "cosine", ".7f"),
        Column("p1", "1st percentile", "cosine", ".7f"),
        Column("median", "Median", "cosine", ".7f"),
        Column("mean", "Mean", "cosine", ".7f"),
        Column("n", "Faces"),
    ]
    table(rows, columns, "Cosine between both embeddings of each face")
    show(CosineDisplay({_label(cell): cell.cosines for cell in cells}))


def speed(comparison: Comparison) -> None:
    """Show the rates of both sides and their ratio, and warn of different machines."""
    found = [(pair_name(cell.record), cell.record["speed"]) for cell in comparison.cells]
    rows = [
        {"cell": name, "ratio": speed, "a": speed.get("a"), "b": speed.get("b")}
        for name, speed in found
    ]
    columns = [
        Column("cell", "Cells"),
        Column("a", "A", "images/s, 95 % interval", ".1f"),
        Column("b", "B", "images/s, 95 % interval", ".1f"),
        Column("ratio", "B in A's", "95 % interval", ".2f"),
    ]
    table(rows, columns, "Throughput")
    methods = {speed.get("interval") for _, speed in found} - {None}
    if methods:
        told = tr("; ").join(map(tr, sorted(methods)))
        say("The ratio's interval: {methods}.", methods=told)
    if comparison.record["machines"]:
        text = tr("The rates come from different machines, so the ratio is not the builds' alone. ")
        text += tr(comparison.record["machines"])
        note(text, "warning")
