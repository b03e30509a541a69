"""The demo's set: the ORL Database of Faces packed as a ``.bin`` set like ``lfw.bin``.

Credit: ORL Database of Faces, AT&T Laboratories Cambridge (Samaria and Harter 1994): 40 people, ten
grey pictures of 92x112 pixels each. It is small and easy, and it is never called LFW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lresnet_utils.data.align import find_and_align
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


@dataclass(frozen=True)
class OrlRecord:
    """What :func:`build_orl` made.

    Attributes
    ----------
    aligned, plain : Path
        The two sets, with the same pairs: aligned faces, and pictures resized as they are.
    n_images, n_found : int
        Pictures, and those in which the detector found a face.
    not_found : tuple of str
        The others, as ``s1/1.pgm``; they are empty in `aligned` and fail there.
    n_pairs, n_genuine, n_impostor : int
    folds : int
        Contiguous folds of equal size; no person is in two of them.
    credit : str
    """

    aligned: Path
    plain: Path
    n_images: int
    n_found: int
    not_found: tuple[str, ...]
    n_pairs: int
    n_genuine: int
    n_impostor: int
    folds: int
    credit: str = CREDIT

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values; the files by name only."""
        return asdict(self) | {"aligned": self.aligned.name, "plain": self.plain.name}


def build_orl(
    folder: Path | str, *, progress: Callable[[int, int], None] | None = None
) -> OrlRecord:
    """Write ``orl.bin`` (aligned faces) and ``orl_plain.bin`` (plain resize) with the same pairs.

    Every run writes the same bytes.

    Parameters
    ----------
    folder : path
        Where to put the two files.
    progress : callable, optional
        Called as ``progress(done, total)`` after each picture.

    Returns
    -------
    OrlRecord

    Raises
    ------
    DataError
        When a packaged data file is missing or not the expected one.
    """
    folder = Path(folder)
    files = [path for _, path in orl_files()]
    aligned, plain = [], []
    for done, path in enumerate(files, 1):
        one_aligned, one_plain = encoded_face(path)
        aligned.append(one_aligned)
        plain.append(one_plain)
        if progress:
            progress(done, len(files))
    left, right, same = orl_pairs()
    slots = np.column_stack([left, right]).ravel()
    write_bin(folder / "orl.bin", (aligned[image] for image in slots), same)
    write_bin(folder / "orl_plain.bin", (plain[image] for image in slots), same)
    missing = [
        f"{path.parent.name}/{path.name}"
        for path, face in zip(files, aligned, strict=True)
        if not face
    ]
    return OrlRecord(
        aligned=folder / "orl.bin",
        plain=folder / "orl_plain.bin",
        n_images=len(files),
        n_found=len(files) - len(missing),
        not_found=tuple(missing),
        n_pairs=len(same),
        n_genuine=int(same.sum()),
        n_impostor=int((~same).sum()),
        folds=FOLDS,
    )


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
        genuine = [pair for pair in combinations(images, 2) if _one_person(*pair)]
        impostor = [pair for pair in combinations(images, 2) if not _one_person(*pair)]
        drawn = generator.choice(len(impostor), GENUINE_PER_FOLD, replace=False)
        pairs += genuine + [impostor[i] for i in np.sort(drawn)]
    left, right = np.array(pairs, dtype=np.int32).T
    return left, right, left // ORL_IMAGES_EACH == right // ORL_IMAGES_EACH


def orl_people() -> np.ndarray:
    """Return the person (0 to 39) in each slot of the set: left, right of each pair in turn.

    Examples
    --------
    >>> orl_people()[:4].tolist(), len(orl_people())
    ([0, 0, 0, 0], 7200)
    """
    left, right, _ = orl_pairs()
    return np.column_stack([left, right]).ravel() // ORL_IMAGES_EACH


def first_faces(n: int) -> Iterable[tuple[bytes, bytes]]:
    """Yield the first `n` faces as the pairs name them, without making the rest.

    Parameters
    ----------
    n : int
        At most 400.

    Yields
    ------
    aligned, plain : bytes
        As in the two sets.
    """
    left, right, _ = orl_pairs()
    slots = np.column_stack([left, right]).ravel()
    files = orl_files()
    for image in list(dict.fromkeys(slots.tolist()))[:n]:
        yield encoded_face(files[image][1])


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


def _one_person(a: int, b: int) -> bool:
    return a // ORL_IMAGES_EACH == b // ORL_IMAGES_EACH
