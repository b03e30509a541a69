"""What a run's first page carries so that it can be compared without its folder."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from lresnet_utils.comparison.packing import PackedPairs, pack
from lresnet_utils.comparison.report_form import check_form
from lresnet_utils.data.face_set import FaceSet, open_store
from lresnet_utils.machine.disk import read_json
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.infer import CLEAN
from lresnet_utils.targets.attempts import cell_name
from lresnet_utils.verify.protocol import fold_numbers

RESULTS, PAIRS = "lr-results", "lr-pairs"
"""Identifiers of the two data blocks."""

# The pairs a later build is most likely to decide otherwise; a page stays below about 1 MB.
SHOWN_PAIRS = 48
_SIDE_PX, _QUALITY = 72, 80


def page_data(run: RunFolder) -> dict[str, Any]:
    """Return the data blocks of a run's first page, by identifier.

    Parameters
    ----------
    run : RunFolder
        A summarised run; without results there is nothing to carry.

    Returns
    -------
    dict
        ``lr-results`` as `results.json` holds it and, where pairs were scored, ``lr-pairs``.
    """
    if not run.results.is_file():
        return {}
    results = check_form(read_json(run.results), run.results, "run the summary again")
    scored = [cell for cell in results["cells"] if cell.get("accuracy")]
    if not scored or "pairs_sha256" not in results["dataset"]:
        return {RESULTS: results}
    faces = open_store(run.faces)
    distances = {cell_name(cell): stored_distances(run, cell) for cell in scored}
    images = _telling_images(faces, scored, distances)
    pixels = faces.images(CLEAN)
    packed = PackedPairs(
        sha256=results["dataset"]["pairs_sha256"],
        left=faces.left,
        right=faces.right,
        same=faces.same,
        distances=distances,
        pictures={int(image): thumbnail(pixels[image]) for image in images},
    )
    return {RESULTS: results, PAIRS: pack(packed)}


def stored_distances(run: RunFolder, cell: dict[str, Any]) -> np.ndarray:
    """Return a cell's squared distances on the clean set, NaN where not acquired."""
    path = run.scores(cell["batch_size"], cell["target"], CLEAN)
    arrays = run.arrays(path, stage="5_evaluate", batch_size=cell["batch_size"])
    return np.where(arrays["acquired"], arrays["distances"], np.nan)


def pair_thresholds(cell: dict[str, Any], n_pairs: int) -> np.ndarray:
    """Return the threshold at which a cell decided each pair: its fold's."""
    folds = np.asarray(cell["threshold"]["folds"], np.float64)
    return folds[fold_numbers(n_pairs, len(folds))]


def thumbnail(image: np.ndarray, side: int = _SIDE_PX) -> bytes:
    """Return a face (uint8 RGB) as a small JPEG file."""
    small = cv2.resize(np.asarray(image), (side, side), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return encoded.tobytes()


def _telling_images(
    faces: FaceSet, cells: list[dict[str, Any]], distances: dict[str, np.ndarray]
) -> np.ndarray:
    """Return the images of the pairs that some cell decides wrongly or most narrowly."""
    least = np.full(faces.n_pairs, np.inf)
    for cell in cells:
        room = pair_thresholds(cell, faces.n_pairs) - distances[cell_name(cell)]
        # Positive where the decision is right, and by how much.
        room = np.where(faces.same, room, -room)
        least = np.fmin(least, room)
    first = np.argsort(least, kind="stable")[:SHOWN_PAIRS]
    return np.unique(np.concatenate([faces.left[first], faces.right[first]]))
