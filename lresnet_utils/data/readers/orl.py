"""The demo's set: the ORL Database of Faces packed as a ``.bin`` set like ``lfw.bin``.

Credit: ORL Database of Faces, AT&T Laboratories Cambridge (Samaria and Harter 1994): 40 people, ten
grey pictures of 92x112 pixels each. It is small and easy, and it is never called LFW.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from lresnet_utils.data.align import find_and_align
from lresnet_utils.data.collection import Asked, Collection, EncodedFaces, distinct
from lresnet_utils.data.images import encode_png
from lresnet_utils.data.network_input import IMAGE_SIZE
from lresnet_utils.data.packaged import ORL_IMAGES_EACH, ORL_PEOPLE, orl_files
from lresnet_utils.data.readers.bin import write_bin
from lresnet_utils.errors import DataError

CREDIT = "ORL Database of Faces, AT&T Laboratories Cambridge"
FOLDS = 10
PEOPLE_PER_FOLD = ORL_PEOPLE // FOLDS
GENUINE_PER_FOLD = PEOPLE_PER_FOLD * ORL_IMAGES_EACH * (ORL_IMAGES_EACH - 1) // 2
PAIR_SEED = 0


def read(path: Path | str, asked: Asked) -> Collection:
    """Read the packaged faces as sets of any kind are read.

    A face is found and aligned when it is asked for. Where `asked` names a folder, all are, and
    ``orl.bin`` (aligned faces) and ``orl_plain.bin`` (plain resize) are written there with the
    same pairs: the same bytes on every run.

    Parameters
    ----------
    path : path
        Only a word for the set.
    asked : Asked

    Returns
    -------
    Collection
        Its pictures in the order in which the pairs name them, plain ones beside the aligned.

    Raises
    ------
    ParamsError
        When `asked` wants other pairs or another alignment.
    DataError
        When a packaged data file is missing or not the expected one.
    """
    asked.require_own_faces("the packaged faces")
    *sides, same = orl_pairs()
    files = orl_files()
    order, image = distinct(np.column_stack(sides).ravel().tolist())
    images = np.column_stack(sides).ravel()[order]

    @cache
    def made(picture: int) -> tuple[bytes, bytes]:
        both = encoded_face(files[images[picture]][1])
        if both[0]:
            aligned.n_faces[picture] = 1
        if asked.progress:
            asked.progress(made.cache_info().misses, len(images))
        return both

    where = [asked.folder and asked.folder / name for name in ("orl.bin", "orl_plain.bin")]
    aligned, plain = (
        EncodedFaces(_Side(made, side, len(images)), file) for side, file in enumerate(where)
    )
    for file, faces in zip(where, (aligned, plain), strict=True):
        if file is not None:
            write_bin(file, (faces.encoded(picture) for picture in image), same)
    left, right = image.reshape(-1, 2).T
    people = (images // ORL_IMAGES_EACH).astype(np.int32)
    return Collection(aligned, left, right, same, people, credit=CREDIT, plain=plain)


class _Side(Sequence[bytes]):
    """The aligned or the plain pictures of those that are made in pairs, when asked for."""

    def __init__(self, made: Callable[[int], tuple[bytes, bytes]], side: int, n: int) -> None:
        self._made, self._side, self._n = made, side, n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, picture: int) -> bytes:
        if not 0 <= picture < self._n:
            raise IndexError(picture)
        return self._made(int(picture))[self._side]


def orl_pairs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pairs: ten contiguous folds of 360, each about four people of its own.

    A fold holds all 180 genuine pairs of its people, then 180 of their 600 impostor pairs, drawn
    without repetition (seeded) and kept in order. This is the order of ``lfw.bin`` too: genuine
    pairs first within each fold.

    Returns
    -------
    left, right : ndarray of int32, shape (3600,)
        Indices into :func:`lresnet_utils.data.packaged.orl_files`.
    same : ndarray of bool, shape (3600,)

    Examples
    --------
    >>> left, right, same = orl_pairs()
    >>> len(same), int(same.sum()), bool((left[same] // 10 == right[same] // 10).all())
    (3600, 1800, True)
    """
    generator = np.random.default_rng(PAIR_SEED)
    pairs: list[tuple[int, int]] = []
    for fold in range(FOLDS):
        first = fold * PEOPLE_PER_FOLD * ORL_IMAGES_EACH
        images = range(first, first + PEOPLE_PER_FOLD * ORL_IMAGES_EACH)
        genuine, impostor = [], []
        for a, b in combinations(images, 2):
            same = a // ORL_IMAGES_EACH == b // ORL_IMAGES_EACH
            (genuine if same else impostor).append((a, b))
        drawn = generator.choice(len(impostor), GENUINE_PER_FOLD, replace=False)
        pairs += genuine + [impostor[i] for i in np.sort(drawn)]
    left, right = np.array(pairs, dtype=np.int32).T
    return left, right, left // ORL_IMAGES_EACH == right // ORL_IMAGES_EACH


def encoded_face(path: Path) -> tuple[bytes, bytes]:
    """Return one ORL picture as two PNG files: the aligned face, and the whole picture resized.

    Parameters
    ----------
    path : Path
        A grey picture.

    Returns
    -------
    aligned, plain : bytes
        `aligned` is empty when no face is found.

    Raises
    ------
    DataError
        When the file is not a picture.
    """
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise DataError("The picture cannot be decoded.", where=str(path))
    face = find_and_align(grey)
    whole = cv2.resize(grey, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_LINEAR)
    plain = encode_png(cv2.cvtColor(whole, cv2.COLOR_GRAY2RGB))
    return (b"" if face is None else encode_png(face)), plain
