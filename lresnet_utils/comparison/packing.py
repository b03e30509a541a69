"""Pairs and distances as text for a published page: exact, compact, and read back with care."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lresnet_utils.errors import DataError

_SCHEMA = 1
# A page is read from anywhere: what it announces is bounded before it is unpacked.
_MOST_PAIRS = 10_000_000
_MOST_BYTES = 2_000_000_000


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
        n, cells = int(value["n_pairs"]), [str(name) for name in value["cells"]]
        if (
            value["schema"] != _SCHEMA
            or not 0 < n <= _MOST_PAIRS
            or 8 * n * len(cells) > _MOST_BYTES
        ):
            raise ValueError("the pairs are not of this version")
        left, right = (
            np.frombuffer(_inflate(value[side], 4 * n), "<i4") for side in ("left", "right")
        )
        same = np.frombuffer(_inflate(value["same"], n), np.uint8)
        if min(left.min(), right.min()) < 0 or same.max() > 1:
            raise ValueError("an image or a label is out of range")
        planes = np.frombuffer(_inflate(value["distances"], 8 * n * len(cells)), np.uint8)
        bits = np.array(planes.reshape(8, -1).T, order="C").view("<u8").reshape(len(cells), n)
        bits[1:] ^= bits[:1]
        pictures = {
            int(image): base64.b64decode(jpeg, validate=True)
            for image, jpeg in value["pictures"].items()
        }
        return PackedPairs(
            sha256=str(value["sha256"]),
            left=left,
            right=right,
            same=same.astype(bool),
            distances=dict(zip(cells, bits.view("<f8"), strict=True)),
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
    data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), size + 1)
    if len(data) != size:
        raise ValueError("a row has another length than announced")
    return data
