"""What several pages say in the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lresnet_utils.report.show import Column, note, table
from lresnet_utils.results import OK
from lresnet_utils.text.language import recorded, tr, translatable

Entries = Mapping[str, Mapping[str, Any]]

WHAT = {
    "weights and activations": translatable("weights and activations"),
    "weights": translatable("weights alone"),
}
WHO = {
    "params": translatable("the params"),
    "graph": translatable("the graph"),
    "maker": translatable("the network's maker"),
}


def ok_targets(entries: Entries) -> dict[str, Mapping[str, Any]]:
    """Return the entries of the targets that have results, in order."""
    return {name: entry for name, entry in entries.items() if entry["status"] == OK}


def judged_targets(entries: Entries) -> dict[str, Mapping[str, Any]]:
    """Return the entries of the targets whose accuracy was evaluated, in order."""
    return {name: e for name, e in ok_targets(entries).items() if e["accuracy"] is not None}


def note_problems(entries: Entries) -> None:
    """Show a note for every target that has no result: why, and what to do about it."""
    for name, entry in entries.items():
        if entry["status"] != OK:
            reason = _sentence(recorded(entry["reason"]))
            text = tr(
                "{name} is {status}: {reason}", name=name, status=entry["status"], reason=reason
            )
            if entry.get("remedy"):
                text += tr(" ") + _sentence(recorded(entry["remedy"]))
            note(text, "warning" if entry["status"] == "failed" else "info")


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "。")) else text + tr(".")


def verdict(gate: Mapping[str, Any]) -> str:
    """Return a gate's verdict in a word, in English; it is put into the language when shown.

    Examples
    --------
    >>> verdict({"passed": None}), verdict({"passed": True})
    ('not judged', 'passed')
    """
    return {None: "not judged", True: "passed", False: "failed"}[gate["passed"]]


def short_hash(digest: str) -> str:
    """Return the start of a SHA-256, enough to tell files apart by eye.

    Examples
    --------
    >>> short_hash("fb143eea07838aa532d1c95df5f69899")
    'fb143eea0783'
    """
    return digest[:12]


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
    return (
        tr("{when}, by an earlier search on this machine, and reused", when=when)
        if search["reused"]
        else when
    )


def properties(rows: Sequence[tuple[str, str]], caption: str) -> None:
    """Show names and values as a table of two columns."""
    columns = [Column("name", "Property"), Column("value", "Value")]
    table([{"name": name, "value": value} for name, value in rows], columns, caption)
