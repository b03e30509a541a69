"""The ``.bin`` verification sets of InsightFace (lfw.bin, agedb_30.bin, ...): read and written.

A set is one pickle of two parts: the encoded pictures, two for each pair one after the other, and
one label per pair (``True`` when both show the same person). Files in the wild come from Python 2
and 3 and hold their pictures as ``bytes``, ``bytearray``, Python 2's ``str`` or NumPy arrays.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lresnet_utils.data.collection import Asked, Collection, EncodedFaces, distinct
from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import atomic_path
from lresnet_utils.untrusted.bytes import read_bytes
from lresnet_utils.untrusted.pickle import PlainPickleError, load_plain

MAX_BYTES = 2 * 2**30
BIN_START = b"\x80\x03"
"""How a set begins that :func:`write_bin` made: a pickle of protocol 3."""
_FIX = "use a .bin set as InsightFace makes them: (encoded pictures, labels)"


@dataclass(frozen=True)
class BinSet:
    """The content of a ``.bin`` set.

    Attributes
    ----------
    encoded : list of bytes, length 2 n
        Encoded pictures; pair i is ``encoded[2 * i]`` and ``encoded[2 * i + 1]``. A picture that
        the file stores once and uses often is one object.
    same : ndarray of bool, shape (n,)
        Whether both pictures of a pair show the same person.
    """

    encoded: list[bytes]
    same: np.ndarray


def read_bin(path: Path | str) -> BinSet:
    """Read a ``.bin`` set without running anything that it asks for.

    Python's unpickler is not used (see :mod:`lresnet_utils.untrusted.pickle`): whatever the file
    holds, no code of it runs and the memory taken is at most a fixed multiple of its size.

    Parameters
    ----------
    path : path
        A file such as ``data/lfw.bin``.

    Returns
    -------
    BinSet
        Pictures still encoded; one that cannot be decoded is found later, not here.

    Raises
    ------
    DataError
        When the file is missing, larger than `MAX_BYTES`, cut short, damaged, not a set, or more
        than plain data.
    """
    path = Path(path)
    try:
        content = load_plain(read_bytes(path, most=MAX_BYTES, what="The set"))
    except PlainPickleError as error:
        raise DataError(
            f"The set was refused: {error}. Nothing of it was run.", where=str(path), fix=_FIX
        ) from error
    try:
        if type(content) not in (tuple, list) or len(content) != 2:
            raise ValueError("it does not hold two parts, pictures and labels")
        pictures, labels = content
        if type(pictures) not in (tuple, list):
            raise ValueError("its pictures are not a list")
        # By identity: a picture used in many pairs must be copied once, not once for each pair.
        converted: dict[int, bytes] = {}
        for slot, picture in enumerate(pictures):
            if id(picture) in converted:
                continue
            if type(picture) is np.ndarray and picture.dtype == np.uint8 and _is_row(picture):
                converted[id(picture)] = picture.tobytes()
            elif type(picture) is bytes:
                converted[id(picture)] = picture
            else:
                raise ValueError(f"picture {slot} is not a string of bytes")
        if type(labels) is np.ndarray:
            if not _is_row(labels):
                raise ValueError("its labels are not one row")
            labels = labels.ravel().tolist()
        if type(labels) not in (tuple, list):
            raise ValueError("its labels are not a list")
        for pair, label in enumerate(labels):
            if type(label) not in (bool, int) or label not in (0, 1):
                raise ValueError(f"the label of pair {pair} is neither true nor false")
        if len(pictures) != 2 * len(labels):
            raise ValueError(f"{len(pictures)} pictures do not make {len(labels)} pairs")
        if not labels:
            raise ValueError("it holds no pairs")
        encoded = [converted[id(picture)] for picture in pictures]
        return BinSet(encoded, np.array(labels, dtype=bool))
    except ValueError as error:
        raise DataError(
            f"This is not a set of pairs: {error}.", where=str(path), fix=_FIX
        ) from None


def read(path: Path, asked: Asked) -> Collection:
    """Read a ``.bin`` set as sets of any kind are read; its pictures each once."""
    asked.require_own_faces("a .bin set")
    content = read_bin(path)
    first, image = distinct(content.encoded)
    left, right = image.reshape(-1, 2).T
    faces = EncodedFaces([content.encoded[slot] for slot in first], path)
    return Collection(faces, left, right, content.same)


def write_bin(path: Path | str, encoded: Iterable[bytes], same: Iterable[bool]) -> Path:
    """Write a ``.bin`` set that InsightFace's own scripts read too.

    The file is a pickle of protocol 3, for which ``pickle.load(file, encoding='bytes')`` gives
    bytes. Equal pictures are stored once. The same arguments give the same bytes.

    Parameters
    ----------
    path : path
        The file to make, atomically.
    encoded : iterable of bytes, length 2 n
        Encoded pictures, two for each pair.
    same : iterable of bool, length n
        Labels.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        When there are not exactly two pictures for each label.
    """
    once: dict[bytes, bytes] = {}
    pictures = [once.setdefault(bytes(picture), bytes(picture)) for picture in encoded]
    # One object for equal pictures is what lets the pickler store them once.
    labels = [bool(label) for label in same]
    if len(pictures) != 2 * len(labels):
        raise ValueError(f"{len(pictures)} pictures for {len(labels)} pairs")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        pickle.dump((pictures, labels), file, protocol=BIN_START[1])
    return Path(path)


def _is_row(array: np.ndarray) -> bool:
    """Tell whether the shape is (N,) or (N, 1), as both are found in the wild."""
    return array.ndim >= 1 and array.size == array.shape[0]
