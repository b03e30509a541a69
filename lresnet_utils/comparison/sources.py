"""Open a finished report: a run's folder, a results.json, or a published first page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.comparison.packing import unpack
from lresnet_utils.comparison.page_data import (
    PAIRS,
    RESULTS,
    stored_distances,
    thumbnail,
)
from lresnet_utils.data.face_set import open_store
from lresnet_utils.errors import DataError, RunError, nearest
from lresnet_utils.files import read_arrays, read_json
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import SEEDED
from lresnet_utils.stages.infer import CLEAN
from lresnet_utils.stages.status import OK, cell_name

_ACCEPTED = "give a run's folder, its results.json or its published index.html"
_MOST_BYTES = 200_000_000


@dataclass(frozen=True)
class Report:
    """One side of a comparison.

    Attributes
    ----------
    path : Path
        As the user named it.
    results : dict
        What ``results.json`` holds.
    fingerprint : str or None
        Of the pairs; None when the run scored none.
    left, right, same : ndarray, shape (n,)
        The pairs; empty when the run scored none.
    distances : callable
        Cell to its squared distances, float64 of shape (n,).
    picture : callable
        Image number to a JPEG file, or None where the report has no picture of it.
    embeddings : callable
        Cell to ``{"vectors", "failed"}``, or None where the report has none.
    """

    path: Path
    results: dict[str, Any]
    fingerprint: str | None
    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    distances: Callable[[dict[str, Any]], np.ndarray]
    picture: Callable[[int], bytes | None]
    embeddings: Callable[[dict[str, Any]], dict[str, np.ndarray] | None]

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.results["run"]["name"])

    def cells(self) -> dict[str, dict[str, Any]]:
        """Return every cell by its name, such as ``16/torch-fp32``."""
        return {cell_name(cell): cell for cell in self.results["cells"]}

    def comparable(self, name: str) -> dict[str, Any]:
        """Return a cell that decided pairs.

        Raises
        ------
        RunError
            When there is no such cell, or it has no accuracy; says why.
        """
        cells = self.cells()
        if name not in cells:
            raise RunError(
                f"The report has no cell {name}.",
                where=str(self.path),
                fix=nearest(name, cells),
            )
        why = why_not(cells[name])
        if why:
            raise RunError(f"The cell {name} cannot be compared: {why}.", where=str(self.path))
        return cells[name]


def why_not(cell: dict[str, Any]) -> str | None:
    """Say why a cell's decisions cannot be compared, or return None."""
    if cell["status"] != OK:
        return f"it is {cell['status']}, {cell['reason']}"
    if cell.get("accuracy") is None:
        why = cell.get("accuracy_refused") or "it has no accuracy"
        return "its weights are untrained, so its decisions mean nothing" if why == SEEDED else why
    return None


def open_report(path: Path | str) -> Report:
    """Open one side of a comparison.

    Parameters
    ----------
    path : path
        A run's folder, its ``results.json`` (the stored scores beside it), or its published
        ``index.html`` alone.

    Returns
    -------
    Report

    Raises
    ------
    DataError
        When the file is no report, or is damaged.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / "results.json").is_file():
            raise DataError("The folder holds no finished report.", where=str(path), fix=_ACCEPTED)
        return _from_folder(path, path)
    if not path.is_file():
        raise DataError("There is no such file or folder.", where=str(path), fix=_ACCEPTED)
    if path.suffix.lower() == ".json":
        return _from_folder(path.parent, path)
    if path.suffix.lower() in (".html", ".htm"):
        return _from_page(path)
    raise DataError("The file is no report.", where=str(path), fix=_ACCEPTED)


def _from_folder(folder: Path, path: Path) -> Report:
    results = _checked(read_json(folder / "results.json" if path == folder else path), path)
    run = RunFolder(folder)
    if not (run.faces / "set.json").is_file():
        if any(cell.get("accuracy") for cell in results["cells"]):
            raise DataError(
                "The pairs and scores of these results are not beside them.",
                where=str(path),
                fix="give the run's whole folder, or its published index.html",
            )
        return _without_pairs(path, results)
    faces = open_store(run.faces)
    return Report(
        path=path,
        results=results,
        fingerprint=results["dataset"].get("pairs_sha256"),
        left=faces.left,
        right=faces.right,
        same=faces.same,
        distances=lambda cell: stored_distances(run, cell),
        picture=lambda image: thumbnail(faces.images(CLEAN)[image], 112),
        embeddings=lambda cell: _stored_embeddings(run, cell),
    )


def _without_pairs(path: Path, results: dict[str, Any]) -> Report:
    """Return a report whose cells decided nothing; each cell says why when it is asked for."""
    none = np.empty(0, np.int32)
    return Report(
        path=path,
        results=results,
        fingerprint=None,
        left=none,
        right=none,
        same=none.astype(bool),
        distances=lambda cell: none.astype(np.float64),
        picture=lambda image: None,
        embeddings=lambda cell: None,
    )


def _stored_embeddings(run: RunFolder, cell: dict[str, Any]) -> dict[str, np.ndarray] | None:
    path = run.embeddings(cell["batch_size"], cell["target"], CLEAN)
    return read_arrays(path) if path.is_file() else None


def _from_page(path: Path) -> Report:
    if path.stat().st_size > _MOST_BYTES:
        raise DataError("The page is too large to be a report.", where=str(path), fix=_ACCEPTED)
    text = path.read_text(encoding="utf-8", errors="replace")
    results = _checked(_block(text, RESULTS, path), path)
    value = _block(text, PAIRS, path, optional=True)
    if value is None:
        return _without_pairs(path, results)
    pairs = unpack(value, where=str(path))
    return Report(
        path=path,
        results=results,
        fingerprint=pairs.sha256,
        left=pairs.left,
        right=pairs.right,
        same=pairs.same,
        distances=lambda cell: pairs.distances[cell_name(cell)],
        picture=pairs.pictures.get,
        embeddings=lambda cell: None,
    )


def _block(text: str, name: str, path: Path, *, optional: bool = False) -> Any:
    """Return the parsed content of one data block of a page."""
    found = re.search(
        rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL
    )
    if found is None and optional:
        return None
    if found is None:
        raise DataError(
            "The page carries no results.",
            where=str(path),
            fix="give the first page of a run (index.html), its folder or its results.json",
        )
    try:
        return json.loads(found[1])
    except json.JSONDecodeError as error:
        raise DataError("The page's data are damaged.", where=str(path), fix=_ACCEPTED) from error


def _checked(results: Any, path: Path) -> dict[str, Any]:
    """See that something is a report's results before anything is read from it."""
    good = (
        isinstance(results, dict)
        and results.get("schema") == 1
        and isinstance(results.get("cells"), list)
        and isinstance(results.get("run"), dict)
        and isinstance(results.get("dataset"), dict)
        and all(
            isinstance(cell, dict) and {"batch_size", "target", "status"} <= set(cell)
            for cell in results["cells"]
        )
    )
    if not good:
        raise DataError("The file is no report.", where=str(path), fix=_ACCEPTED)
    return results
