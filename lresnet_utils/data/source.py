"""Where a set comes from: packaged faces, a ``.bin`` file, a folder or a CSV."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from lresnet_utils.data import packaged
from lresnet_utils.data.collection import (
    Align,
    EncodedFaces,
    Faces,
    FileFaces,
    Listing,
    collect,
    distinct,
)
from lresnet_utils.data.face_set import PICTURE, FaceSet
from lresnet_utils.data.inside import told_passed_over
from lresnet_utils.data.readers import csv, lfw, orl
from lresnet_utils.data.readers import folder as people
from lresnet_utils.data.readers.bin import read_bin
from lresnet_utils.data.store import build_store, write_store
from lresnet_utils.errors import DataError, ParamsError, nearest, one_line

ORL = "orl"
_LONGEST_NAME = 40
AUTO = "auto"
DEFAULT_FOLDS = 10
_OF_FOLDERS = (people.BALANCED, people.ALL, *lfw.LISTS)
# Words for `pairs`; beside them, a CSV of templates takes the path of its pairs.
PAIR_WORDS = (AUTO, *_OF_FOLDERS)
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
    credit : str
        Whom to credit; empty when the source does not say.
    path : Path or None
        The file or folder; ``None`` for the packaged faces.
    kind : {"orl", "bin", "folder", "csv"}
    """

    source: str
    title: str
    credit: str
    path: Path | None
    kind: str


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
    if str(source) == ORL:
        packaged.orl_files()
        return Source(ORL, "ORL", orl.CREDIT, None, ORL)
    path = Path(source)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # a name that is too long, a folder that may not be searched
        what = f"The set cannot be read: {error.strerror}."
        raise DataError(what, where=str(path)) from error
    if is_folder:
        credit = lfw.CREDIT if _is_lfw(path) else ""
        return Source(path.as_posix(), path.name or path.resolve().name, credit, path, "folder")
    if not is_file:
        raise DataError("The set does not exist.", where=str(path), fix=_where_to_get(path))
    kind = "csv" if path.suffix.lower() == ".csv" else "bin"
    return Source(path.as_posix(), path.stem, "", path, kind)


def list_source(source: Source, pairs: str = AUTO, folds: int = DEFAULT_FOLDS) -> Listing:
    """List the files and pairs of a folder or a CSV; no picture is opened.

    Parameters
    ----------
    source : Source
        Of kind "folder" or "csv".
    pairs : str
        Which pairs: one of :data:`PAIR_WORDS`, or for a CSV of templates the path of their pairs.
    folds : int
        For pairs that are drawn from a folder of people.

    Returns
    -------
    Listing

    Raises
    ------
    ParamsError
        When `pairs` does not fit the source.
    DataError
        When a list is missing or damaged, or a name leads out of the folder.
    """
    if source.kind == "csv":
        if csv.is_templates(source.path):
            if pairs in PAIR_WORDS:
                raise ParamsError(
                    "A CSV of templates needs the pairs of its templates.",
                    where="pairs",
                    fix="set pairs to the path of a CSV with the columns left,right,same",
                )
            return csv.list_templates(source.path, Path(pairs))
        _only_auto(pairs, "a CSV of pairs")
        return csv.list_pairs(source.path)
    if pairs == AUTO:
        pairs = "view2" if _is_lfw(source.path) else people.BALANCED
    if pairs in lfw.LISTS:
        return lfw.list_lfw(source.path, pairs)
    if pairs not in _OF_FOLDERS:
        raise _unknown(pairs, "a folder")
    return people.list_people(source.path, pairs, folds)


def check_source(
    source: str | Path, pairs: str = AUTO, align: str = AUTO, folds: int = DEFAULT_FOLDS
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
    warning = None
    described = describe_source(source)
    if described.kind in (ORL, "bin"):
        check_fixed(described, pairs, align)
        n_pairs = folds if described.path is None else len(read_bin(described.path).same)
    else:
        listing = list_source(described, pairs, folds)
        listing.check()
        n_pairs, folds = len(listing.same), listing.folds or folds
        passed_over = listing.about.get("passed_over", {"n_files": 0})
        n_read = len(listing.names) + listing.about.get("n_files_in_no_pair", 0)
        if passed_over["n_files"] > _MOST_PASSED_OVER * (n_read + passed_over["n_files"]):
            warning = f"{described.source}: {told_passed_over(passed_over)}."
    if folds > n_pairs:
        raise ParamsError(
            f"{folds} folds need at least as many pairs; the set has {n_pairs}.",
            where=f"folds, {described.source}",
            fix="ask for fewer folds",
        )
    return warning


def check_fixed(source: Source, pairs: str, align: str) -> None:
    """See that a source that holds its own aligned pairs is not asked for others.

    Raises
    ------
    ParamsError
        When `pairs` or `align` asks for what only folders can do.
    """
    what = "the packaged faces" if source.path is None else "a .bin set"
    _only_auto(pairs, what)
    if align == "always":
        raise ParamsError(
            f"The faces of {what} are aligned already.", where="align", fix="leave align out"
        )


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
    pairs, folds
        See :func:`list_source`.
    align : {"auto", "always", "never"}
        Whether faces are found and aligned first; "auto" takes pictures of 112x112 as they are.
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
    about = {
        "name": name or one_line(described.title, _LONGEST_NAME),
        "source": described.source,
        "credit": described.credit,
    }
    about |= {"variants": variants, "progress": progress}
    if described.kind in (ORL, "bin"):
        check_fixed(described, pairs, align)
        bin_path, plain_bin, people_in = described.path, None, None
        if bin_path is None:
            made = orl.build_orl(folder, progress=progress)
            bin_path, plain_bin, people_in = made.aligned, made.plain, orl.orl_people()
        return build_store(bin_path, folder, plain_bin=plain_bin, people=people_in, **about)
    collection = collect(list_source(described, pairs, folds), align)
    return write_store(collection, folder, **about)


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
    first = _first(describe_source(source), n)
    faces = np.zeros((min(n, len(first)), *PICTURE), np.uint8)
    for index, face in enumerate(faces):
        image, _ = first.face(index)
        if image is not None:
            face[:] = image
    return faces[np.arange(n) % max(1, len(faces))]


def _first(source: Source, n: int) -> Faces:
    if source.kind == ORL:
        return EncodedFaces([aligned for aligned, _ in orl.first_faces(n)])
    if source.kind == "bin":
        content = read_bin(source.path).encoded
        first, _ = distinct(content)
        return EncodedFaces([content[slot] for slot in islice(first, n)])
    if source.kind == "csv" and csv.is_templates(source.path):
        return FileFaces(source.path.parent, csv.template_pictures(source.path)[:n])
    listing = list_source(source, folds=2)
    return FileFaces(listing.folder, listing.names[:n], central=listing.central)


def _is_lfw(folder: Path) -> bool:
    return (folder / lfw.LISTS["view2"]).is_file()


def _only_auto(pairs: str, what: str) -> None:
    if pairs not in PAIR_WORDS:
        raise _unknown(pairs, what)
    if pairs != AUTO:
        raise ParamsError(
            f"The pairs of {what} are its own; {pairs!r} is for folders.",
            where="pairs",
            fix="leave pairs out",
        )


def _unknown(pairs: str, what: str) -> ParamsError:
    return ParamsError(
        f"{pairs!r} are no pairs of {what}.", where="pairs", fix=nearest(pairs, PAIR_WORDS)
    )


def _where_to_get(path: Path) -> str:
    if path.name == "lfw.bin":
        return f"get lfw.bin as section 4.1 of the guide says and put it at {path.as_posix()}"
    return "write 'orl' for the packaged faces, or the path of a .bin set, a folder or a CSV"
