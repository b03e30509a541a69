"""Files below a folder that the user named, and nothing else: names from strangers stay inside."""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

from lresnet_utils.data.images import MAX_BYTES
from lresnet_utils.errors import DataError
from lresnet_utils.text.language import clause
from lresnet_utils.untrusted.bytes import read_bytes

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
# About four million pairs; more would be gigabytes as Python objects.
MAX_TEXT_BYTES = 64 * 2**20


def inside(folder: Path, name: str) -> Path:
    """Return the file that a list names, when it lies below `folder`.

    Parameters
    ----------
    folder : Path
        The folder that the user named.
    name : str
        A relative path with slashes, as a list of pictures holds it.

    Returns
    -------
    Path
        It need not exist.

    Raises
    ------
    DataError
        When the name is absolute, climbs out with ``..``, is not plain, or a link leads out.

    Examples
    --------
    >>> inside(Path("faces"), "ann/1.png").as_posix()
    'faces/ann/1.png'
    >>> inside(Path("faces"), "../secret.png")
    Traceback (most recent call last):
    lresnet_utils.errors.DataError: A name leads out of the folder: '../secret.png'.
      where: faces
      to do: use paths relative to the folder, with '/' and without '..' or links that leave it
    """
    path = PurePosixPath(name)
    if not is_plain(name):
        raise DataError(
            f"A name holds a control character, or one that is not shown: {name[:200]!r}.",
            where=str(folder),
            fix="rename the file or folder",
        )
    leads_out = DataError(
        f"A name leads out of the folder: {name[:200]!r}.",
        where=str(folder),
        fix="use paths relative to the folder, with '/' and without '..' or links that leave it",
    )
    odd = not name or PureWindowsPath(name).anchor or "\\" in name
    if odd or path.is_absolute() or ".." in path.parts:
        raise leads_out
    try:
        (folder / path).exists()  # for a name that is too long an error, which resolve() hides
        # The links are followed now; one that changes later is the user's own doing.
        within = (folder / path).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a ring of links, or a name too long
        within = False
    if not within:
        raise leads_out
    return folder / path


def is_plain(name: str) -> bool:
    r"""Tell whether a name is free of control characters, line ends, unseen marks and raw bytes.

    The two joiners pass, which Persian, Indian scripts and emoji are written with, and so do wide
    spaces.

    Examples
    --------
    >>> is_plain("山田\u3000太郎"), is_plain("نیم\u200cروز"), is_plain("a\u202eb"), is_plain("a\nb")
    (True, True, False, False)
    """
    unseen = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return not any(unicodedata.category(c) in unseen and c not in "\u200c\u200d" for c in name)


def read_picture(path: Path) -> tuple[bytes | None, str | None]:
    """Return a file's bytes, or why it cannot be a picture; nothing larger is ever read.

    Parameters
    ----------
    path : Path
        From :func:`inside`.

    Returns
    -------
    encoded : bytes or None
    reason : str or None
    """
    try:
        return read_bytes(path, most=MAX_BYTES, what="It"), None
    except DataError as error:
        return None, clause(error.what)


def read_text(path: Path, what: str) -> str:
    """Return a list's text.

    Parameters
    ----------
    path : Path
    what : str
        What the file is, for the message: ``'The list of pairs'``.

    Raises
    ------
    DataError
        When it is missing, too large or not UTF-8 text.
    """
    try:
        data = read_bytes(path, most=MAX_TEXT_BYTES, what=what)
        # As in text mode: every kind of line end is one.
        return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig").read()
    except UnicodeDecodeError as error:
        raise DataError(f"{what} cannot be read: it is not UTF-8 text.", where=str(path)) from error
