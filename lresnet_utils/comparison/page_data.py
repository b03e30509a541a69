"""What a run's first page carries so that it can be compared without its folder."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from lresnet_utils.data.face_set import open_store
from lresnet_utils.data.images import picture_size
from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import read_json
from lresnet_utils.results import CLEAN, cell_name, check_results
from lresnet_utils.run import RunFolder
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
    results = check_results(read_json(run.results), run.results, "run the summary again")
    scored = [cell for cell in results["cells"] if cell.get("accuracy")]
    if not scored or "pairs_sha256" not in results["dataset"]:
        return {RESULTS: results}
    faces = open_store(run.faces)
    distances = {cell_name(cell): stored_distances(run, cell) for cell in scored}
    # The images of the pairs that some cell decides wrongly or most narrowly.
    least = np.full(faces.n_pairs, np.inf)
    for cell in scored:
        room = pair_thresholds(cell, faces.n_pairs) - distances[cell_name(cell)]
        # Positive where the decision is right, and by how much.
        room = np.where(faces.same, room, -room)
        least = np.fmin(least, room)
    first = np.argsort(least, kind="stable")[:SHOWN_PAIRS]
    images = np.unique(np.concatenate([faces.left[first], faces.right[first]]))
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


# Pairs and distances as text for a published page: exact, compact, and read back with care.

_SCHEMA = 1
# A page is read from anywhere: what it announces is bounded before it is unpacked.
MAX_PAIRS = 1_000_000
MAX_DISTANCES = 10_000_000
MAX_IMAGES = 10_000_000
MAX_PICTURES = 10_000
MAX_PICTURE_BYTES = 100_000
MAX_PICTURE_SIDE = 512
PACKED_ROUNDING = 0.01
"""Squared distances of unit vectors lie from 0 to 4; rounding may pass both ends by so much."""


@dataclass(frozen=True)
class PackedPairs:
    """The pairs of a run and every cell's distances, as a page carries them.

    Attributes
    ----------
    sha256 : str
        Fingerprint of the pairs, see :func:`lresnet_utils.data.collection.fingerprint`.
    left, right : ndarray of int32, shape (n,)
        Images of each pair.
    same : ndarray of bool, shape (n,)
    distances : dict of str to ndarray of float64, shape (n,)
        Cell name to squared distances, NaN where a pair was not acquired.
    pictures : dict of int to bytes
        JPEG files of some of the images.
    """

    sha256: str
    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    distances: Mapping[str, np.ndarray]
    pictures: Mapping[int, bytes]


def pack(pairs: PackedPairs) -> dict[str, Any]:
    """Return the pairs as plain JSON values; :func:`unpack` gives them back to the last bit.

    Builds of one network give distances that agree in their leading digits. Each row is therefore
    combined with the first (exclusive or), and equal bytes of all numbers are put side by side
    before they are deflated.
    """
    rows = np.array([np.asarray(row, "<f8") for row in pairs.distances.values()])
    bits = rows.reshape(len(pairs.distances), len(pairs.same)).view("<u8").copy()
    bits[1:] ^= bits[:1]
    planes = np.ascontiguousarray(bits.view(np.uint8).reshape(-1, 8).T)
    return {
        "schema": _SCHEMA,
        "sha256": pairs.sha256,
        "n_pairs": len(pairs.same),
        "same": _deflate(np.asarray(pairs.same, np.uint8)),
        "left": _deflate(np.asarray(pairs.left, "<i4")),
        "right": _deflate(np.asarray(pairs.right, "<i4")),
        "cells": list(pairs.distances),
        "distances": _deflate(planes),
        "pictures": {
            str(image): base64.b64encode(jpeg).decode("ascii")
            for image, jpeg in sorted(pairs.pictures.items())
        },
    }


def unpack(value: Any, *, where: str) -> PackedPairs:
    """Read what :func:`pack` wrote.

    Parameters
    ----------
    value : Any
        Parsed JSON, from anywhere.
    where : str
        The file, for the message.

    Raises
    ------
    DataError
        When anything is missing, of the wrong size or out of range.
    """
    try:
        n, cells = value["n_pairs"], value["cells"]
        if (
            value["schema"] != _SCHEMA
            or type(n) is not int
            or not 0 < n <= MAX_PAIRS
            or type(cells) is not list
            or not all(isinstance(name, str) for name in cells)
            or len(set(cells)) != len(cells)
            or n * len(cells) > MAX_DISTANCES
            or not isinstance(value["sha256"], str)
        ):
            raise ValueError("the pairs are not of this version, or too many")
        left, right = (
            np.frombuffer(_inflate(value[side], 4 * n), "<i4") for side in ("left", "right")
        )
        same = np.frombuffer(_inflate(value["same"], n), np.uint8)
        sides = np.concatenate([left, right])
        if sides.min() < 0 or sides.max() >= MAX_IMAGES or same.max() > 1:
            raise ValueError("an image or a label is out of range")
        planes = np.frombuffer(_inflate(value["distances"], 8 * n * len(cells)), np.uint8)
        bits = np.array(planes.reshape(8, -1).T, order="C").view("<u8").reshape(len(cells), n)
        bits[1:] ^= bits[:1]
        distances = bits.view("<f8")
        if not (np.isnan(distances) | (np.abs(distances - 2) <= 2 + PACKED_ROUNDING)).all():
            raise ValueError("a distance is out of range")
        # Each JPEG file is one of the small pictures that a page carries.
        given = value["pictures"]
        if len(given) > MAX_PICTURES or any(
            len(jpeg) > MAX_PICTURE_BYTES for jpeg in given.values()
        ):
            raise ValueError("the pictures are too many or too large")
        pictures = {}
        for image, jpeg in given.items():
            if not re.fullmatch(r"[0-9]{1,9}", image):
                raise ValueError("a picture without a number")
            pictures[int(image)] = base64.b64decode(jpeg, validate=True)
            if max(picture_size(pictures[int(image)])) > MAX_PICTURE_SIDE:
                raise ValueError("a picture is too large")
        return PackedPairs(
            sha256=value["sha256"],
            left=left,
            right=right,
            same=same.astype(bool),
            distances=dict(zip(cells, distances, strict=True)),
            pictures=pictures,
        )
    except (KeyError, TypeError, ValueError, AttributeError, zlib.error, binascii.Error) as error:
        raise DataError(
            "The page's data of the pairs are damaged.",
            where=where,
            fix="copy the page again, or compare the run's folder",
        ) from error


def _deflate(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(array.tobytes(), 9)).decode("ascii")


def _inflate(text: str, size: int) -> bytes:
    inflater = zlib.decompressobj()
    data = inflater.decompress(base64.b64decode(text, validate=True), size + 1)
    # At the end of its stream zlib has compared the checksum, before it has not.
    if len(data) != size or not inflater.eof or inflater.unused_data:
        raise ValueError("a row has another length than announced")
    return data
