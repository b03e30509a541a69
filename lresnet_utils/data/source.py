"""Where a set comes from: packaged faces, a ``.bin`` file, a folder or a CSV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lresnet_utils.data.collection import (
    AUTO,
    DEFAULT_FOLDS,
    Align,
    Asked,
    Collection,
    collect,
)
from lresnet_utils.data.face_set import PICTURE, FaceSet
from lresnet_utils.data.readers import bin as bin_file
from lresnet_utils.data.readers import csv, folder, orl
from lresnet_utils.data.readers.folder import told_passed_over
from lresnet_utils.data.store import write_store
from lresnet_utils.errors import DataError, ParamsError, one_line

ORL = "orl"
READERS: dict[str, Callable[[Path, Asked], Collection]] = {
    ORL: orl.read,
    "folder": folder.read,
    "csv": csv.read,
    "bin": bin_file.read,
}
"""How each kind of set is read: pictures, pairs, labels and folds from a path and what is asked.

A kind is a word, a folder, or the ending of a file's name; other endings are read as ``.bin``."""
_LONGEST_NAME = 40
_MOST_PASSED_OVER = 0.05


@dataclass(frozen=True)
class Source:
    """A set that exists.

    Attributes
    ----------
    source : str
        As in the params file.
    title : str
        For reports.
    path : Path
        The file or folder; for the packaged faces their word.
    kind : str
        A key of :data:`READERS`.
    """

    source: str
    title: str
    path: Path
    kind: str

    def read(self, asked: Asked) -> Collection:
        """List its pictures and pairs; no file of a picture is opened.

        Raises
        ------
        ParamsError
            When what is asked does not fit the source.
        DataError
            When a list or file is missing or damaged, or a name leads out of the folder.
        """
        return READERS[self.kind](self.path, asked)


def describe_source(source: str | Path) -> Source:
    """Describe a source, having checked that it is there.

    Parameters
    ----------
    source : str
        ``'orl'`` for the packaged demo faces, or the path of a ``.bin`` set, of a folder of people,
        of an LFW folder or of a CSV.

    Returns
    -------
    Source

    Raises
    ------
    DataError
        When it is not there; says where to get it.
    """
    path = Path(source)
    if str(source) == ORL:
        return Source(ORL, "ORL", path, ORL)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be searched
        what = f"The set cannot be read: {error.strerror}."
        raise DataError(what, where=str(path)) from error
    if is_folder:
        return Source(path.as_posix(), path.name or path.resolve().name, path, "folder")
    if not is_file:
        fix = "write 'orl' for the packaged faces, or the path of a .bin set, a folder or a CSV"
        if path.name == "lfw.bin":
            where = path.as_posix()
            fix = f"get lfw.bin as section 4.1 of the guide says and put it at {where}"
        raise DataError("The set does not exist.", where=str(path), fix=fix)
    ending = path.suffix.lower().removeprefix(".")
    return Source(path.as_posix(), path.stem, path, ending if ending in READERS else "bin")


def check_source(
    source: str | Path, pairs: str = AUTO, align: Align = AUTO, folds: int = DEFAULT_FOLDS
) -> str | None:
    """See that a set can be read: lists, labels and files, before any picture is opened.

    Returns
    -------
    str or None
        What to warn of: that much of a folder would be passed over.

    Raises
    ------
    ParamsError, DataError
        As :func:`build_source` would; also when there are fewer pairs than folds.
    """
    described = describe_source(source)
    listed = described.read(Asked(pairs, align, folds))
    listed.faces.check()
    warning = None
    passed_over = listed.about.get("passed_over", {"n_files": 0})
    n_read = len(listed.faces) + listed.about.get("n_files_in_no_pair", 0)
    if passed_over["n_files"] > _MOST_PASSED_OVER * (n_read + passed_over["n_files"]):
        warning = f"{described.source}: {told_passed_over(passed_over)}."
    n_pairs, folds = len(listed.same), listed.folds or folds
    if folds > n_pairs:
        raise ParamsError(
            f"{folds} folds need at least as many pairs; the set has {n_pairs}.",
            where=f"folds, {described.source}",
            fix="ask for fewer folds",
        )
    return warning


def build_source(
    source: str | Path,
    folder: Path | str,
    *,
    name: str | None = None,
    variants: tuple[str, ...] = (),
    pairs: str = AUTO,
    align: Align = AUTO,
    folds: int = DEFAULT_FOLDS,
    progress: Callable[[int, int], None] | None = None,
) -> FaceSet:
    """Make the image store of a source.

    Parameters
    ----------
    source : str
        As :func:`describe_source` takes it.
    folder : path
        The store. The demo's two ``.bin`` files are put there too.
    name : str, optional
        The set's name in reports; without one, that of its file or folder.
    variants : tuple of str
        Beside ``'aligned'``; ``'plain'`` exists for ``'orl'`` only.
    pairs : str
        Which pairs: a word of :data:`lresnet_utils.data.collection.PAIR_WORDS`, or for a CSV of
        templates the path of their pairs.
    align : {"auto", "always", "never"}
        Whether faces are found and aligned first; "auto" takes pictures of 112x112 as they are.
    folds : int
        For pairs that are drawn from a folder of people.
    progress : callable, optional
        Called as ``progress(done, total)``; for ``'orl'`` twice from the start, once for finding
        the faces and once for the store.

    Returns
    -------
    FaceSet

    Raises
    ------
    DataError
        When the source is missing, damaged or refused.
    ParamsError
        When a variant or `pairs` is not known or not possible.
    """
    described = describe_source(source)
    return write_store(
        collect(described.read(Asked(pairs, align, folds, Path(folder), progress))),
        folder,
        name=name or one_line(described.title, _LONGEST_NAME),
        source=described.source,
        variants=variants,
        progress=progress,
    )


def sample_faces(source: str | Path, n: int) -> np.ndarray:
    """Return the first faces of a source without building its store.

    Parameters
    ----------
    source : str
        As :func:`describe_source` takes it.
    n : int
        How many; when the source has fewer, they are repeated from the first on.

    Returns
    -------
    ndarray of uint8, shape (n, 112, 112, 3), RGB
        Of a ``.bin`` set the first of the store's ``'aligned'`` pictures; zeros for a picture
        that cannot be used.

    Raises
    ------
    DataError
        When the source is missing, damaged or refused.
    """
    first = describe_source(source).read(Asked(pairs=None, folds=2)).faces
    faces = np.zeros((min(n, len(first)), *PICTURE), np.uint8)
    for index, face in enumerate(faces):
        image, _ = first.face(index)
        if image is not None:
            face[:] = image
    return faces[np.arange(n) % max(1, len(faces))]
