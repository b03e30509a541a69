"""Any set as one ``.bin`` file that InsightFace's own scripts read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lresnet_utils.data.collection import (
    ALL,
    AUTO,
    DEFAULT_FOLDS,
    Align,
    Asked,
    collect,
)
from lresnet_utils.data.readers import orl
from lresnet_utils.data.readers.bin import BIN_START, write_bin
from lresnet_utils.data.readers.folder import told_passed_over
from lresnet_utils.data.source import ORL, describe_source
from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import require_replaceable, sha256_file

_MOST_REASONS = 3


@dataclass(frozen=True)
class Packed:
    """What :func:`pack` wrote.

    Attributes
    ----------
    path : Path
    sha256 : str
    n_pairs, n_genuine : int
    n_images : int
        Distinct pictures.
    n_aligned : int
        Pictures in which a face was found and aligned; the others went in as they were.
    n_empty_slots : int
        Places in pairs without a usable face. They are empty in the file: failures to acquire
        here, while a reader that cannot skip an empty picture stops at it.
    folds : int or None
        Contiguous folds of equal size that share no person, where the source knows people.
    notes : tuple of str
        Why places are empty, and what else of the source is not in the file or in it twice.
    """

    path: Path
    sha256: str
    n_pairs: int
    n_genuine: int
    n_images: int
    n_aligned: int
    n_empty_slots: int
    folds: int | None
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Say what the file holds.

        Examples
        --------
        >>> lost = ("1 picture cannot be used (no face was found), such as ann/1.jpg",)
        >>> print(Packed(Path("a.bin"), "0" * 64, 20, 10, 30, 30, 2, 10, lost).sentence())
        a.bin: 20 pairs, 10 genuine and 10 impostor, of 30 different pictures, in 10 equal folds;
        30 faces found and aligned; 2 places empty; 1 picture cannot be used (no face was found),
        such as ann/1.jpg; SHA-256 000000000000.
        """
        folds = f", in {self.folds} equal folds" if self.folds else ""
        empty = [f"{self.n_empty_slots:,} places empty"] if self.n_empty_slots else []
        notes = "".join(f"{note}; " for note in (*empty, *self.notes))
        return (
            f"{self.path}: {self.n_pairs:,} pairs, {self.n_genuine:,} genuine and "
            f"{self.n_pairs - self.n_genuine:,} impostor, of {self.n_images:,} different "
            f"pictures{folds}; {self.n_aligned:,} faces found and aligned; {notes}"
            f"SHA-256 {self.sha256[:12]}."
        )


def pack(
    source: str | Path,
    out: Path | str,
    *,
    pairs: str = AUTO,
    align: Align = AUTO,
    folds: int = DEFAULT_FOLDS,
) -> Packed:
    """Write a set as a ``.bin`` file: a pickle of encoded pictures and labels.

    The same source gives the same bytes. Pictures of 112x112 go in byte for byte, and a ``.bin``
    from Python 2, or one with arrays instead of bytes, comes out in the form all scripts read.

    Parameters
    ----------
    source, pairs, align, folds
        See :func:`lresnet_utils.data.source.build_source`.
    out : path
        The file to make.

    Returns
    -------
    Packed

    Raises
    ------
    DataError
        When the source cannot be read, no picture of it can be used, or its pairs do not fit into
        such a file.
    ParamsError
        When `pairs` does not fit the source.
    """
    described = describe_source(source)
    require_replaceable(out, lambda data: data.startswith(BIN_START))
    if described.kind == "bin" and Path(out).exists() and Path(out).samefile(described.path):
        raise DataError("A set cannot take its own place.", where=str(out), fix="choose a new name")
    listed = described.read(Asked(pairs, align, folds))
    if pairs == ALL:
        raise DataError(
            "Every pair of pictures does not fit into a .bin, whose readers cut equal folds.",
            where=described.source,
            fix="leave pairs out: as many genuine as impostor pairs, in folds that share no person",
        )
    collection = collect(listed)
    if collection.templates is not None:
        raise DataError(
            "A .bin holds pairs of pictures, not of templates.",
            where=described.source,
            fix="evaluate the CSV itself: dataset.source and dataset.pairs",
        )
    faces = [collection.faces.encoded(image) for image in range(len(collection.faces))]
    if not any(faces):
        raise DataError("No picture of the set can be used.", where=described.source)
    slots = np.stack([collection.left, collection.right], axis=1).ravel()
    path = write_bin(out, (faces[slot] for slot in slots), collection.same)
    # What a maker of a set may not know of it.
    about, notes = collection.about, []
    lost: dict[str, list[str]] = {}
    for image, reason in collection.faces.failures.items():
        lost.setdefault(reason, []).append(collection.faces.names[image])
    for reason, names in sorted(lost.items(), key=lambda found: -len(found[1]))[:_MOST_REASONS]:
        pictures = "picture" if len(names) == 1 else "pictures"
        notes.append(f"{len(names):,} {pictures} cannot be used ({reason}), such as {names[0]}")
    if len(lost) > _MOST_REASONS:
        notes.append(f"{len(lost) - _MOST_REASONS:,} more reasons")
    if about.get("passed_over", {}).get("n_files"):
        notes.append(told_passed_over(about["passed_over"]))
    if several := sum(n > 1 for n in collection.faces.n_faces.values()):
        notes.append(f"pictures with several faces: {several:,}")
    if equal := about.get("equal_files"):
        notes.append(
            f"pictures in two files or more: {equal['n_pictures']:,}, under two people: "
            f"{equal['n_of_two_people']:,}, such as {equal['examples'][0]}"
        )
    return Packed(
        path=path,
        sha256=sha256_file(path),
        n_pairs=len(collection.same),
        n_genuine=int(collection.same.sum()),
        n_images=len(set(faces) - {b""}),
        n_aligned=len(collection.faces.n_faces),
        n_empty_slots=sum(not faces[slot] for slot in slots),
        folds=orl.FOLDS if described.kind == ORL else collection.folds,
        notes=tuple(notes),
    )
