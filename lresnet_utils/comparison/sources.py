"""Open a finished report: a run's folder, a results.json, or a published first page."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from lresnet_utils.comparison.page_data import (
    PAIRS,
    RESULTS,
    stored_distances,
    thumbnail,
    unpack,
)
from lresnet_utils.data.face_set import FaceSet, open_store
from lresnet_utils.errors import DataError, EvaluationError, RunError, nearest
from lresnet_utils.ledger.custody import name_of, stated
from lresnet_utils.machine.disk import read_arrays, read_json, sha256_file
from lresnet_utils.results import CLEAN, OK, ROUNDING, cell_name, check_results
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import SEEDED
from lresnet_utils.text.language import message, part, with_codes
from lresnet_utils.untrusted.bytes import read_bytes
from lresnet_utils.untrusted.json import parse_json
from lresnet_utils.verify.scores import score_pairs

_LOOK = "see lresnet report FOLDER --check; run it again, or copy the folder again"
_ACCEPTED = "give a run's folder, its results.json or its published index.html"
MAX_PAGE_BYTES = 32 * 2**20


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

    def network(self) -> dict[str, str | None]:
        """Return ``architecture``, the ``weights`` file's name and its ``sha256``, where known.

        Where the file lies is its owner's business.
        """
        model = (self.results["run"].get("params") or {}).get("model") or {}
        weights = model.get("weights")
        found: dict[str, str | None] = {
            "architecture": model.get("architecture"),
            "weights": weights and PurePath(weights).name,
            "sha256": None,
        }
        for link in self.results.get("custody") or []:
            if not link["made_from"] and "architecture" in link["options"]:
                name = part(link["file"], "weights")
                told = {"architecture": link["options"]["architecture"], "weights": name}
                found = {key: found[key] or told[key] for key in told} | {"sha256": link["sha256"]}
        return found

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
        return message("it is {status}, {reason}", status=cell["status"], reason=cell["reason"])
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
        RunFolder.given(path.absolute())
        if not (path / "results.json").is_file():
            raise DataError("The folder holds no finished report.", where=str(path), fix=_ACCEPTED)
        return _from_folder(path, path)
    if not path.is_file():
        raise DataError("There is no such file or folder.", where=str(path), fix=_ACCEPTED)
    if path.suffix.lower() == ".json":
        return _from_folder(path.parent, path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise DataError("The file is no report.", where=str(path), fix=_ACCEPTED)
    page = read_bytes(path, most=MAX_PAGE_BYTES, what="The page", fix=_ACCEPTED)
    results = check_results(_block(page, RESULTS, path), path, _ACCEPTED)
    value = _block(page, PAIRS, path, optional=True)
    if value is None:
        return _without_pairs(path, results)
    pairs = unpack(value, where=str(path))
    scored = {cell_name(cell) for cell in results["cells"] if cell.get("accuracy")}
    if pairs.sha256 != results["dataset"].get("pairs_sha256") or not scored <= set(pairs.distances):
        raise DataError(
            "The page's pairs are not those of its results.", where=str(path), fix=_ACCEPTED
        )
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


def _from_folder(folder: Path, path: Path) -> Report:
    run = RunFolder(folder)
    file = run.results if path == folder else path
    results = check_results(read_json(file), path, _ACCEPTED)
    scored = (run.faces / "set.json").is_file()
    # A report alone may lie in any folder, which is none of ours.
    if scored or run.inventory.is_file():
        RunFolder.given(folder.absolute())
        # Refuse what is not the file whose hash is stated, of all that a comparison counts with.
        # results.json states those of the others, and the run's inventory its own; a run without
        # an inventory has not come to its end, or is of an older version.
        of = [(cell["batch_size"], cell["target"], CLEAN) for cell in results["cells"]]
        files = [run.faces / "set.json", run.faces / "pairs.npz"]
        files += [place(*cell) for cell in of for place in (run.scores, run.embeddings)]
        hashes = {name_of(run, one): sha256_file(one) for one in files if one.is_file()}
        hashes[run.results.name] = sha256_file(file)
        try:
            known = stated(results)
            if run.inventory.is_file():
                known += stated(read_json(run.inventory))
        except ValueError as error:
            what = f"What is recorded of the run's files is incomplete: {error}."
            raise DataError(what, where=str(run.folder), fix=_LOOK) from error
        changed = [name for name, sha256 in known if hashes.get(name, sha256) != sha256]
        if changed:
            where = str(run.folder / changed[0])
            raise DataError("The file is not as its run left it.", where=where, fix=_LOOK)
    if not scored:
        if any(cell.get("accuracy") for cell in results["cells"]):
            raise DataError(
                "The pairs and scores of these results are not beside them.",
                where=str(path),
                fix="give the run's whole folder, or its published index.html",
            )
        return _without_pairs(path, results)
    faces = open_store(run.faces)
    if results["dataset"].get("pairs_sha256") != faces.record.get("pairs_sha256"):
        raise DataError(
            "The pairs beside these results are not those that they were made of.",
            where=str(path),
            fix="run the set's notebooks again, or copy the folder again",
        )
    return Report(
        path=path,
        results=results,
        fingerprint=results["dataset"].get("pairs_sha256"),
        left=faces.left,
        right=faces.right,
        same=faces.same,
        distances=lambda cell: stored_distances(run, cell),
        picture=lambda image: thumbnail(faces.images(CLEAN)[image], 112),
        embeddings=lambda cell: _stored_embeddings(run, faces, cell),
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


def _stored_embeddings(
    run: RunFolder, faces: FaceSet, cell: dict[str, Any]
) -> dict[str, np.ndarray] | None:
    """Return a cell's embeddings after seeing that its scores are theirs."""
    path = run.embeddings(cell["batch_size"], cell["target"], CLEAN)
    if not path.is_file():
        return None
    found = read_arrays(path)
    left, right, _, _ = faces.compared()
    try:
        rows = faces.pooled(found["vectors"], found["failed"])
        distances, acquired = score_pairs(*rows, left, right)
        given = np.where(acquired, distances, np.nan)
        same = np.allclose(given, stored_distances(run, cell), 0, ROUNDING, equal_nan=True)
    except EvaluationError:
        same = False
    if not same:
        raise DataError(
            f"The embeddings of {cell['target']} do not give its scores.",
            where=str(path),
            fix="run 5_evaluate again, or copy the folder again",
        )
    return found


def _block(page: bytes, name: str, path: Path, *, optional: bool = False) -> Any:
    """Return the parsed content of the one data block of a page with that name."""
    start = b'<script type="application/json" id="%s">' % name.encode("ascii")
    if page.count(start) > 1:
        raise DataError("The page carries its data twice.", where=str(path), fix=_ACCEPTED)
    found = re.search(re.escape(start) + rb"([^<]*)</script>", page)
    if found is None and optional and start not in page:
        return None
    if found is None:
        raise DataError(
            "The page carries no results.",
            where=str(path),
            fix="give the first page of a run (index.html), its folder or its results.json",
        )
    return with_codes(parse_json(found[1], where=str(path), what="The page's data", fix=_ACCEPTED))
