"""The compile page: one build per target, or the reason why there is none."""

from __future__ import annotations

from typing import Any

from lresnet_utils.report.pages.common import note_problems, ok_targets, short_hash
from lresnet_utils.report.show import Column, note, table
from lresnet_utils.report.style import fmt_bytes


def builds(record: dict[str, Any]) -> None:
    """Show each build's time, size, hash, options and versions."""
    rows = [
        {"target": name, "status": entry["status"]} | _build(entry)
        for name, entry in record["targets"].items()
    ]
    columns = [
        Column("target", "Target"),
        Column("status", "Status", "", "status"),
        Column("seconds", "Build time", "s", ".2f"),
        Column("bytes", "Size", "", fmt_bytes),
        Column("sha256", "SHA-256"),
        Column("options", "Options"),
        Column("versions", "Versions"),
    ]
    table(rows, columns, "Builds, one per target; each build was timed once, so without interval")
    note_problems(record["targets"])
    for name, entry in ok_targets(record["targets"]).items():
        if entry.get("note"):
            note(f"{name}: {entry['note']}")


def _build(entry: dict[str, Any]) -> dict[str, Any]:
    artefact = entry.get("artefact")
    if artefact is None:
        return {}
    return {
        "seconds": artefact["seconds"],
        "bytes": artefact["bytes"],
        "sha256": short_hash(artefact["sha256"]),
        "options": _pairs(artefact["options"]),
        "versions": _pairs(entry["versions"]),
    }


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(values.items()))
