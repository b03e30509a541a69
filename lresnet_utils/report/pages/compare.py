"""The page of a comparison: the verdict first, then what it rests on, then the pairs that moved."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from lresnet_utils.comparison.reports import CellComparison, Comparison, summary, withheld
from lresnet_utils.report.charts.builds import CosineDisplay, DifferenceDisplay
from lresnet_utils.report.publish.page import Output, Prose, publish_story
from lresnet_utils.report.show import Column, facts_html, figure_html, note_html, table_html
from lresnet_utils.text.language import recorded, speaking, tr
from lresnet_utils.text.numbers import fmt_number, fmt_percent, fmt_points

COMPARISON = "lr-comparison"
"""Identifier of the page's data block: what ``lresnet compare --json`` writes."""

Part = Prose | Output


def write_page(comparison: Comparison, path: Path | str, language: str = "en") -> Path:
    """Write a comparison as one self-contained page that carries its own record as data.

    Raises
    ------
    ParamsError
        When the language is unknown.
    """
    with speaking(language):
        record = comparison.record
        meta = {side.upper(): _provenance(record[side]) for side in "ab"}
        meta[tr("Pairs")] = tr(
            "{n}, fingerprint {sha256}", n=record["pairs"]["n"], sha256=record["pairs"]["sha256"]
        )
        meta[tr("Settings")] = record["settings"]
        return publish_story(
            list(_parts(comparison)),
            path,
            title=tr("{a} and {b}", a=record["a"]["name"], b=record["b"]["name"]),
            language=language,
            meta=meta,
            data={COMPARISON: record},
        )


def _parts(comparison: Comparison) -> Iterator[Part]:
    record, cells = comparison.record, comparison.cells
    yield Prose(tr("# Comparison\n\nIs B as good as A, pair by pair, and what did it cost?"))
    yield from (Output(html) for html in _verdict(comparison))
    yield Output(_sides(record))
    yield Prose(tr("## Accuracy"))
    yield Output(_table(cells))
    yield Output(
        figure_html(
            DifferenceDisplay(
                [{"cell": _label(cell.record)} | cell.record["difference"] for cell in cells],
                record["settings"]["margin_points"],
            )
        )
    )
    yield Output(
        _say(
            tr(
                "How the intervals were made: {interval}.",
                interval=cells[0].record["difference"]["interval"],
            )
        )
    )
    for row in record["left_out"]:
        yield Output(
            note_html(tr("{cell} is left out: {reason}.", cell=row["cell"], reason=row["reason"]))
        )
    yield Prose(tr("## Pairs that changed sides"))
    yield from (Output(html) for html in _flips(comparison))
    yield Prose(tr("## Operating points"))
    yield Output(_operating_points(cells))
    yield Prose(tr("## Embeddings"))
    yield from (Output(html) for html in _embeddings(cells))
    yield Prose(tr("## Speed"))
    yield from (Output(html) for html in _speed(comparison))


def pair_name(record: Mapping[str, Any]) -> str:
    """Return the name of a pair of cells: one name where both sides have the same.

    Examples
    --------
    >>> pair_name({"a": "1/x", "b": "1/x"}), pair_name({"a": "1/x", "b": "1/y"})
    ('1/x', '1/x → 1/y')
    """
    return record["a"] if record["a"] == record["b"] else f"{record['a']} → {record['b']}"


def _label(record: Mapping[str, Any]) -> str:
    """Return a pair of cells' name for the edge of a chart, where width is dear."""
    return pair_name(record).replace(" → ", "\n→ ")


def _sides(record: Mapping[str, Any]) -> str:
    rows = [
        {
            "side": side.upper(),
            "run": record[side]["name"],
            "file": record[side]["path"],
            "model": tr(", ").join(
                filter(None, (record[side]["model"][key] for key in ("architecture", "weights")))
            )
            or tr("unknown"),
            "started": (record[side]["started"] or tr("unknown"))
            .replace("T", " ")
            .removesuffix("+00:00"),
        }
        for side in "ab"
    ]
    columns = [
        Column("side", "Side"),
        Column("run", "Run"),
        Column("model", "Network, weights"),
        Column("started", "Started", "UTC"),
        Column("file", "Read from"),
    ]
    return table_html(rows, columns, tr("What is compared"))


def _verdict(comparison: Comparison) -> Iterator[str]:
    record, cells = comparison.record, comparison.cells
    words = {cell.record["verdict"]["word"] for cell in cells}
    for sentence in withheld(record):
        yield note_html(sentence, "warning")
    kind = "info" if words <= {"equivalent", "better", "better on these pairs"} else "warning"
    yield note_html(recorded(summary(cells)), kind)
    if len(cells) == 1:
        yield facts_html(_facts(cells[0].record))
    yield _say(tr("The rule: {rule}", rule=record["rule"]))


def _facts(cell: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    difference, lost, gained = cell["difference"], len(cell["lost"]), len(cell["gained"])
    items = [
        (
            tr("Accuracy, B minus A"),
            tr("{value} points", value=fmt_points(difference["value"])),
            tr(
                "95 % interval {low} to {high}; {a} and {b}",
                low=fmt_points(difference["low"]),
                high=fmt_points(difference["high"]),
                a=fmt_percent(cell["accuracy"]["a"]["value"]),
                b=fmt_percent(cell["accuracy"]["b"]["value"]),
            ),
        ),
        (
            tr("Pairs that changed sides"),
            tr("{lost} of {n_pairs}", lost=lost + gained, n_pairs=cell["n_pairs"]),
            tr(
                "{lost} lost, {gained} gained; McNemar's exact p = {mcnemar_p}",
                lost=lost,
                gained=gained,
                mcnemar_p=fmt_number(cell["mcnemar_p"]),
            ),
        ),
    ]
    speed = cell["speed"]
    if "refused" not in speed:
        told = (
            recorded(speed["interval"])
            if speed["low"] is None
            else tr("95 % interval {low:.2f} to {high:.2f}", low=speed["low"], high=speed["high"])
        )
        items.append((tr("Speed of B, in A's"), f"{speed['value']:.2f} ×", told))
    return items


def _table(cells: list[CellComparison]) -> str:
    columns = [
        Column("cell", "Cells"),
        Column("verdict", "B is"),
        Column("a", "Accuracy of A", "", fmt_percent),
        Column("b", "Accuracy of B", "", fmt_percent),
        Column("difference", "Difference", "points, 95 % interval", fmt_points),
        Column("lost", "Lost", "pairs"),
        Column("gained", "Gained", "pairs"),
        Column("p", "McNemar's p", "exact", lambda p: fmt_number(p, 2)),
        Column("speed", "Speed of B", "in A's, 95 % interval", ".2f"),
    ]
    rows = [
        {
            "cell": pair_name(record),
            "a": record["accuracy"]["a"]["value"],
            "b": record["accuracy"]["b"]["value"],
            "difference": record["difference"],
            "lost": len(record["lost"]),
            "gained": len(record["gained"]),
            "p": record["mcnemar_p"],
            "speed": record["speed"],
            "verdict": record["verdict"]["word"],
        }
        for record in (cell.record for cell in cells)
    ]
    return table_html(rows, columns, tr("B against A, cell by cell"))


def _flips(comparison: Comparison) -> Iterator[str]:
    cells = [c.record for c in comparison.cells if c.record["lost"] or c.record["gained"]]
    if not cells:
        same = all(cell.record["identical_scores"] for cell in comparison.cells)
        yield _say(
            tr("None: every distance is the same to the last bit.")
            if same
            else tr("None: no pair is decided differently.")
        )
        return
    yield _say(
        tr(
            "Each side decides a pair at its own threshold of the pair's fold. Lost: only A is "
            "right; gained: only B is. The clearest come first; pairs and images are numbered "
            "from 0."
        )
    )
    for record in cells:
        for kind in ("lost", "gained"):
            if record[kind]:
                title = tr(
                    "{name}: {n} {kind}", name=pair_name(record), n=len(record[kind]), kind=kind
                )
                yield f'<p class="lr-x-title">{escape(title)}</p>' + flipped_html(
                    record[kind], comparison.picture, kind
                )
    if comparison.record["pairs"]["credit"]:
        yield _say(tr("Faces: {credit}.", credit=comparison.record["pairs"]["credit"]))


def _operating_points(cells: list[CellComparison]) -> str:
    rows = [
        {"cell": pair_name(cell.record), "far": row["far"]}
        | (
            {"difference": {"refused": row["refused"]}}
            if "refused" in row
            else {"a": row["a"]["tar"], "b": row["b"]["tar"], "difference": row["difference"]}
        )
        for cell in cells
        for row in cell.record["tar_at_far"]
    ]
    columns = [
        Column("cell", "Cells"),
        Column("far", "FAR at most", "", lambda far: f"{far:g}"),
        Column("a", "TAR of A", "", fmt_percent),
        Column("b", "TAR of B", "", fmt_percent),
        Column("difference", "Difference", "points, 95 % interval", fmt_points),
    ]
    caption = tr("True accept rate at a false accept rate, each side at its own threshold")
    return table_html(rows, columns, caption)


def _embeddings(cells: list[CellComparison]) -> Iterator[str]:
    cosines = {_label(c.record): c.cosines for c in cells if c.cosines is not None}
    if not cosines:
        yield _say(tr("Not compared: {refused}.", refused=cells[0].record["embeddings"]["refused"]))
        return
    rows = [
        {"cell": pair_name(c.record)} | c.record["embeddings"]
        for c in cells
        if c.cosines is not None
    ]
    columns = [
        Column("cell", "Cells"),
        *(
            Column(key, label, "cosine", ".7f")
            for key, label in (
                ("min", tr("Least")),
                ("p1", tr("1st percentile")),
                ("median", tr("Median")),
                ("mean", tr("Mean")),
            )
        ),
        Column("n", "Faces"),
    ]
    yield table_html(rows, columns, tr("Cosine between both embeddings of each face"))
    yield figure_html(CosineDisplay(cosines))


def _speed(comparison: Comparison) -> Iterator[str]:
    rows = []
    for cell in comparison.cells:
        speed = cell.record["speed"]
        told = {"cell": pair_name(cell.record), "ratio": speed}
        if "refused" not in speed:
            told |= {"a": speed["a"], "b": speed["b"]}
        rows.append(told)
    columns = [
        Column("cell", "Cells"),
        Column("a", "A", "images/s, 95 % interval", ".1f"),
        Column("b", "B", "images/s, 95 % interval", ".1f"),
        Column("ratio", "B in A's", "95 % interval", ".2f"),
    ]
    yield table_html(rows, columns, tr("Throughput"))
    methods = {cell.record["speed"].get("interval") for cell in comparison.cells} - {None}
    if methods:
        yield _say(
            tr(
                "The ratio's interval: {methods}.",
                methods=tr("; ").join(map(recorded, sorted(methods))),
            )
        )
    if comparison.record["machines"]:
        text = tr("The rates come from different machines, so the ratio is not the builds' alone. ")
        yield note_html(text + recorded(comparison.record["machines"]), "warning")


# Pairs that changed sides between two builds, as cards with both faces.

# Pictures are most of the page; more of them tell no more.
PICTURED = 36


def flipped_html(
    rows: Sequence[Mapping[str, Any]], picture: Callable[[int], bytes | None], kind: str
) -> str:
    """Return pairs as cards: both faces, both distances, and the thresholds they were held to.

    Parameters
    ----------
    rows : sequence of dict
        ``lost`` or ``gained`` of a comparison's record.
    picture : callable
        Image number to a JPEG file, or None where there is no picture of it.
    kind : str
        "lost" or "gained".

    Returns
    -------
    str
        HTML; beyond :data:`PICTURED` pairs only their numbers.
    """
    name = tr("Pairs lost") if kind == "lost" else tr("Pairs gained")
    cards = "".join(_card(row, picture) for row in rows[:PICTURED])
    sheet = f'<ul class="lr-cards" aria-label="{escape(name)}">{cards}</ul>'
    more = tr(", ").join(str(row["pair"]) for row in rows[PICTURED:])
    if more:
        text = tr("{name}, less clearly: {pairs}.", name=name, pairs=more)
        sheet += f'<p class="lr-say">{escape(text)}</p>'
    return sheet


def _card(row: Mapping[str, Any], picture: Callable[[int], bytes | None]) -> str:
    told = tr(", ") + (tr("same person") if row["same_person"] else tr("different people"))
    faces = "".join(
        _face(picture(image), tr("Pair {pair}, image {image}", pair=row["pair"], image=image))
        for image in row["images"]
    )
    numbers = "".join(
        "<br>"
        + tr(
            "{side}: {distance:.3f} at {threshold:.2f}",
            side=side.upper(),
            distance=row["distance"][side],
            threshold=row["threshold"][side],
        )
        for side in "ab"
    )
    name = tr("Pair {pair}", pair=row["pair"])
    return (
        f'<li class="lr-card"><div class="lr-card-faces">{faces}</div>'
        f"<strong>{name}</strong>{tr(', ')}{told}{numbers}</li>"
    )


def _face(jpeg: bytes | None, alt: str) -> str:
    if jpeg is None:
        text = tr("{alt}: only in the folder", alt=alt)
        return f'<span class="lr-card-none">{escape(text)}</span>'
    data = base64.b64encode(jpeg).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(alt)}" width="96" height="96">'


def _provenance(side: Mapping[str, Any]) -> list[str]:
    machine = side["machine"] or {}
    return [
        str(side["path"]),
        tr("started {time}", time=side["started"] or tr("unknown")),
        tr("commit {commit}", commit=(side["commit"] or tr("unknown"))[:12]),
        tr(
            "{cpu}, {cores} cores",
            cpu=machine.get("cpu", tr("unknown machine")),
            cores=machine.get("cores", tr("unknown")),
        ),
    ]


def _say(text: str) -> str:
    return f'<p class="lr-say">{escape(text)}</p>'
