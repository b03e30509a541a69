"""What a finding is, and the few things that all rules ask of the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lresnet_utils.results import OK, cell_name
from lresnet_utils.verify.intervals import clopper_pearson

HOLDS = "holds"
FAILS = "does not hold"
UNKNOWN = "cannot tell"

Results = Mapping[str, Any]
Cell = Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """One thing that the numbers say.

    Attributes
    ----------
    rule : str
        Which rule speaks, such as ``"falling-throughput"``; with `case` it names the words.
    kind : {"holds", "does not hold", "cannot tell"}
    evidence : dict
        Plain numbers and names. An estimate is ``{"value", "low", "high", "n", "unit",
        "interval"}``, with `interval` naming the method or saying why there is none. ``"items"``
        holds one such dict for each target or cell, where there may be several.
    cells : list of str
        The cells concerned, such as ``"16/openvino-int8"``.
    case : str
        Which of the rule's sentences applies; empty where it has one only.
    """

    rule: str
    kind: str
    evidence: dict[str, Any]
    cells: list[str]
    case: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a plain dict."""
        return asdict(self)


def ok_cells(results: Results) -> list[Cell]:
    """Return the cells that have results."""
    return [cell for cell in results["cells"] if cell["status"] == OK]


def judged_cells(results: Results) -> list[Cell]:
    """Return the cells that have an accuracy."""
    return [cell for cell in ok_cells(results) if cell.get("accuracy")]


def largest_batch(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells of the largest batch size among them."""
    largest = max((cell["batch_size"] for cell in cells), default=None)
    return [cell for cell in cells if cell["batch_size"] == largest]


def busy_loads(results: Results) -> dict[int, Mapping[str, Any]]:
    """Return what else ran, by batch size, where it was more than a timing can bear."""
    loads = {row["batch_size"]: row.get("load") or {} for row in results.get("timing", [])}
    return {size: load for size, load in loads.items() if load.get("busy")}


def by_target(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Return each target's cells, batch sizes ascending."""
    found: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell["batch_size"]):
        found.setdefault(cell["target"], []).append(cell)
    return found


def precision(cell: Cell) -> str:
    """Return the precision that a target's name ends with.

    >>> precision({"target": "torch-compile-bf16"})
    'bf16'
    """
    return cell["target"].rpartition("-")[2]


def param(results: Results, path: str, default: Any) -> Any:
    """Return a parameter of the run by its dotted path; notebooks run one by one record none."""
    value = results["run"].get("params") or {}
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return default
        value = value[part]
    return value


def reference(results: Results) -> str | None:
    """Return the target that the others were compared with."""
    compared = (cell["parity"].get("reference") for cell in judged_cells(results))
    return param(results, "reference", next(filter(None, compared), None))


def label(results: Results, variant: str) -> str:
    """Return what a kind of images is called, such as "28 px" for ``res28``."""
    known = {found["name"]: found["label"] for found in results["dataset"].get("variants", [])}
    return known.get(variant, variant)


def names(cells: Iterable[Cell]) -> list[str]:
    """Return the names of cells."""
    return [cell_name(cell) for cell in cells]


def targets(cells: Iterable[Cell]) -> list[str]:
    """Return each target once, in order."""
    return list(dict.fromkeys(cell["target"] for cell in cells))


def rate(cell: Cell) -> dict[str, Any]:
    """Return a cell's throughput as evidence."""
    found = cell["throughput_ips"]
    keys = ("value", "low", "high", "n", "interval")
    return {key: found.get(key) for key in keys} | {"unit": "images/s"}


def accuracy(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return an accuracy as evidence: a share of pairs, with the pairs that are wrong."""
    keys = ("value", "low", "high", "n", "errors", "interval")
    return {key: found.get(key) for key in keys} | {"unit": "share of pairs"}


def share(k: int, n: int) -> dict[str, Any]:
    """Return k of n pairs as evidence."""
    low, high = clopper_pearson(k, n)
    method = "Clopper-Pearson 95 %, pairs taken as independent"
    return {"value": k / n, "low": low, "high": high, "n": n, "errors": k} | {
        "unit": "share of pairs",
        "interval": method,
    }


def lost_share(cell: Cell) -> dict[str, Any]:
    """Return the share of pairs that the reference decides rightly and this cell does not."""
    return share(len(cell["parity"]["lost"]), cell["parity"]["n_pairs"])


def gate(cell: Cell, name: str) -> Mapping[str, Any] | None:
    """Return a cell's gate where it was judged."""
    judged = (g for g in cell.get("gates") or [] if g["passed"] is not None)
    return next((g for g in judged if g["name"] == name), None)
