"""Where a set comes from: the packaged ORL faces or a ``.bin`` file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from lresnet_utils.data import orl, packaged
from lresnet_utils.data.bins import read_bin
from lresnet_utils.data.face_set import PICTURE, FaceSet
from lresnet_utils.data.images import decode
from lresnet_utils.data.store import build_store, distinct_slots
from lresnet_utils.errors import DataError

ORL = "orl"


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
        Whom to credit; empty when the file does not say.
    path : Path or None
        The ``.bin`` file; ``None`` for the packaged faces.
    """

    source: str
    title: str
    credit: str
    path: Path | None


def describe_source(source: str | Path) -> Source:
    """Describe a source, having checked that it is there.

    Parameters
    ----------
    source : str
        ``'orl'`` for the packaged demo faces, or the path of a ``.bin`` set.

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
        return Source(ORL, "ORL Database of Faces", orl.CREDIT, None)
    path = Path(source)
    if not path.is_file():
        raise DataError("The set does not exist.", where=str(path), fix=_where_to_get(path))
    return Source(path.as_posix(), path.stem, "", path)


def build_source(
    source: str | Path,
    folder: Path | str,
    *,
    name: str | None = None,
    variants: tuple[str, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> FaceSet:
    """Make the image store of a source.

    Parameters
    ----------
    source : str
        ``'orl'`` or the path of a ``.bin`` set.
    folder : path
        The store. The demo's two ``.bin`` files are put there too.
    name : str, optional
        The set's name in reports.
    variants : tuple of str
        Beside ``'aligned'``; ``'plain'`` exists for ``'orl'`` only.
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
        When a variant is not known or not possible.
    """
    described = describe_source(source)
    bin_path, plain_bin, people = described.path, None, None
    if bin_path is None:
        made = orl.build_orl(folder, progress=progress)
        bin_path, plain_bin, people = made.aligned, made.plain, orl.orl_people()
    return build_store(
        bin_path,
        folder,
        variants=variants,
        plain_bin=plain_bin,
        name=name,
        source=described.source,
        credit=described.credit,
        people=people,
        progress=progress,
    )


def sample_faces(source: str | Path, n: int) -> np.ndarray:
    """Return the first faces of a source without building its store.

    Parameters
    ----------
    source : str
        ``'orl'`` or the path of a ``.bin`` set.
    n : int
        How many; when the source has fewer, they are repeated from the first on.

    Returns
    -------
    ndarray of uint8, shape (n, 112, 112, 3), RGB
        The same pixels as the first of the store's ``'aligned'`` pictures; zeros for a picture
        that cannot be used.

    Raises
    ------
    DataError
        When the source is missing, damaged or refused.
    """
    described = describe_source(source)
    if described.path is None:
        encoded = [aligned for aligned, _ in orl.first_faces(n)]
    else:
        content = read_bin(described.path).encoded
        slots, _ = distinct_slots(content)
        encoded = [content[slot] for slot in islice(slots, n)]
    faces = np.zeros((len(encoded), *PICTURE), np.uint8)
    for face, picture in zip(faces, encoded, strict=True):
        image, _ = decode(picture)
        if image is not None:
            face[:] = image
    return faces[np.arange(n) % max(1, len(faces))]


def _where_to_get(path: Path) -> str:
    if path.name == "lfw.bin":
        return f"get lfw.bin as section 4.1 of the guide says and put it at {path.as_posix()}"
    return "write 'orl' for the packaged faces, or the path of a .bin set"
