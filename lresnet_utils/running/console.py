"""Answers on a terminal: a comparison with its verdict, and what a check of a report found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lresnet_utils.comparison.reports import Comparison, summary, withheld
from lresnet_utils.errors import one_line, print_line
from lresnet_utils.machine.disk import sha256_file
from lresnet_utils.report.pages.compare import pair_name
from lresnet_utils.text.numbers import fmt_interval, fmt_number, fmt_percent, fmt_points, fmt_rate

if TYPE_CHECKING:
    from lresnet_utils.running.run_pages import Checked

_SHOWN_PAIRS = 10


def print_check(checked: Sequence[Checked], inventory: Path) -> int:
    """Print which pages and files of a run are not as they should be; return the exit status.

    Where all are, the SHA-256 of `inventory`, which states theirs, is printed to be kept elsewhere.
    """
    for one in checked:
        if one.problem:
            print_line(f"{one.name}: {one.problem}")
    wrong = sum(one.problem is not None for one in checked)
    pages = sum(one.is_page for one in checked)
    print_line(
        f"{pages} pages and {len(checked) - pages} files checked, {wrong} not as they should be"
    )
    if not wrong:
        named = f"{inventory.parent.name}/{inventory.name}"
        print_line(f"SHA-256 of {named}: {sha256_file(inventory)}")
    return 1 if wrong else 0


def print_comparison(comparison: Comparison) -> None:
    """Print what came of a comparison."""
    record = comparison.record
    for side in "ab":
        about = record[side]
        print_line(f"{side.upper()}  {about['name']}  {about['path']}")
    print_line()
    cells = [cell.record for cell in comparison.cells]
    if len(cells) == 1:
        print_line(pair_name(cells[0]))
        lines = _lines(cells[0])
        width = max(len(name) for name, _ in lines)
        for name, value in lines:
            print_line(f"{name:<{width}}  {value}")
        for kind in ("lost", "gained"):
            for row in cells[0][kind][:_SHOWN_PAIRS]:
                who = "same person" if row["same_person"] else "different people"
                sides = ", ".join(
                    f"{side.upper()} {row['distance'][side]:.3f} at {row['threshold'][side]:.2f}"
                    for side in "ab"
                )
                left, right = row["images"]
                pair = f"pair {row['pair']} (images {left} and {right}), {who}: {sides}"
                print_line(f"{kind:<8}{pair}")
            if len(cells[0][kind]) > _SHOWN_PAIRS:
                more = len(cells[0][kind]) - _SHOWN_PAIRS
                print_line(f"{kind:<8}and {more} more: --json, --html")
    else:
        rows = [("cell", "B is", "points", "lost", "gained", "p", "speed ratio")]
        for cell in cells:
            refused = "refused" in cell["speed"]
            rows.append(
                (
                    one_line(pair_name(cell)),
                    cell["verdict"]["word"],
                    _interval(cell["difference"], fmt_points),
                    str(len(cell["lost"])),
                    str(len(cell["gained"])),
                    fmt_number(cell["mcnemar_p"], 2),
                    "–" if refused else _interval(cell["speed"], "{:.2f}".format),
                )
            )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            # Words stand at the left of their column, numbers at its right.
            told = (f"{text:{'<' if i < 2 else '>'}{widths[i]}}" for i, text in enumerate(row))
            print_line("  ".join(told).rstrip())
        for reason in dict.fromkeys(cell["speed"].get("refused") for cell in cells):
            if reason:
                print_line(f"–  speed not compared: {reason}")
    for row in record["left_out"]:
        print_line(f"left out: {row['cell']}, {row['reason']}")
    if record["machines"]:
        print_line(f"different machines: {record['machines']}")
    print_line()
    for sentence in withheld(record):
        print_line(sentence)
    print_line(summary(comparison.cells))
    print_line(f"Rule: {record['rule']}")


def _lines(cell: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what is told of one pair of cells, as names and values."""
    accuracy, speed = cell["accuracy"], cell["speed"]
    rows = [
        ("accuracy", " → ".join(fmt_percent(accuracy[side]["value"]) for side in "ab")),
        ("difference", f"{_interval(cell['difference'], fmt_points)} points"),
        ("flipped", f"{len(cell['lost'])} lost, {len(cell['gained'])} gained of {cell['n_pairs']}"),
        ("McNemar's p", fmt_number(cell["mcnemar_p"], 2)),
    ]
    for row in cell["tar_at_far"]:
        told = row.get("refused") or f"{_interval(row['difference'], fmt_points)} points"
        rows.append((f"TAR@FAR {row['far']:g}", told))
    told = cell["embeddings"]
    if "refused" in told:
        rows.append(("cosine", f"not compared: {told['refused']}"))
    else:
        text = f"least {told['min']:.6f}, median {told['median']:.6f} over {told['n']} faces"
        rows.append(("cosine", text))
    if "refused" in speed:
        return [*rows, ("speed", f"not compared: {speed['refused']}")]
    rates = " → ".join(fmt_rate(speed[side]["value"]) for side in "ab")
    return [*rows, ("speed", f"{_interval(speed, '{:.2f}'.format)} times ({rates})")]


def _interval(value: Mapping[str, Any], form) -> str:
    return fmt_interval(value["value"], value["low"], value["high"], form)
