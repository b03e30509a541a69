"""Files below a folder that the user named, and nothing else: names from strangers stay inside."""

from __future__ import annotations

import io
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from lresnet_utils.data.images import MAX_BYTES
from lresnet_utils.errors import DataError, one_line
from lresnet_utils.untrusted.bytes import open_regular, read_bytes

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_OTHER_KINDS = (".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".pgm", ".ppm")
# How a picture of any common kind begins, whatever its name: also what cameras make of TIFF.
_BEGINNING = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|BM.{4}\0{4}|RIFF.{4}WEBP|II\*\0|MM\0\*|P[1-6]\s+[\d#]"
    rb"|.{4}ftyp(hei|hev|mif|msf|avi)|\0{3}\x0c(jP|JXL)  |\xff\x0a|\xff\x4f\xff\x51",
    re.DOTALL,
)
_ENDING = "the ending is not that of a JPEG, PNG, BMP or WebP"
_BELOW = "in a folder below a person's"
_BESIDE = "beside the people's folders"
_NO_FILE = "a broken link, a pipe or a device"
_EMPTY = "a person's folder without a picture that is read"
_NO_PICTURE = "not a picture"
_LOST = (_ENDING, _BELOW, _BESIDE, _NO_FILE)
_SHOWN = 3
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
    odd = not name or PureWindowsPath(name).anchor or "\\" in name
    if odd or path.is_absolute() or ".." in path.parts:
        raise _leads_out(folder, name)
    try:
        (folder / path).exists()  # for a name that is too long an error, which resolve() hides
        # The links are followed now; one that changes later is the user's own doing.
        within = (folder / path).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a ring of links, or a name too long
        within = False
    if not within:
        raise _leads_out(folder, name)
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


def people_in(folder: Path) -> tuple[list[list[str]], dict[str, Any]]:
    """List each person's pictures in a folder of people, and what else lies there.

    Hidden files are neither read nor counted, and folders that are links are not looked into.

    Parameters
    ----------
    folder : Path
        ``folder/<person>/<picture>``.

    Returns
    -------
    people : list of list of str
        The pictures, as ``person/name``, of everyone who has one; both in order of their
        characters.
    passed_over : dict
        ``n_files``, pictures that are not read; ``examples``, some with their reasons; and
        ``reasons``, a list of ``{"reason", "n", "examples"}`` that also tells of people without
        a picture and of files that are none.

    Raises
    ------
    DataError
        When a folder cannot be read, a link leads out of `folder`, or there are no people.
    """
    people: list[list[str]] = []
    passed: dict[str, list[str]] = {reason: [] for reason in (*_LOST, _EMPTY, _NO_PICTURE)}
    for entry in _entries(folder):
        if not inside(folder, entry.name).is_dir():
            passed[_BESIDE if _may_be_picture(entry) else _NO_PICTURE].append(entry.name)
            continue
        pictures = []
        for own in _entries(folder / entry.name):
            name = f"{entry.name}/{own.name}"
            if _is_picture(own.name) and inside(folder, name).is_file():
                pictures.append(name)
            elif own.is_dir(follow_symlinks=False):
                passed[_BELOW] += _pictures_below(folder, name)
            elif _is_picture(own.name):
                passed[_NO_FILE].append(name)
            else:
                passed[_ENDING if _may_be_picture(own) else _NO_PICTURE].append(name)
        if pictures:
            people.append(pictures)
        else:
            passed[_EMPTY].append(entry.name)
    reasons = [
        {"reason": reason, "n": len(names), "examples": [*map(one_line, names[:_SHOWN])]}
        for reason, names in passed.items()
        if names
    ]
    lost = [row for row in reasons if row["reason"] in _LOST]
    examples = [
        f"{row['examples'][n]}: {row['reason']}"
        for n in range(_SHOWN)
        for row in lost
        if n < len(row["examples"])
    ]
    n_files = sum(row["n"] for row in lost)
    passed_over = {"n_files": n_files, "examples": examples[:_SHOWN], "reasons": reasons}
    if not people:
        why = f": {told_passed_over(passed_over)}" if lost else ""
        raise DataError(
            f"The folder holds no people{why}.",
            where=str(folder),
            fix="one folder per person, with JPEG, PNG, BMP or WebP pictures directly in it",
        )
    return people, passed_over


def told_passed_over(passed_over: Mapping[str, Any]) -> str:
    """Say how many pictures were passed over for each reason, with an example.

    Examples
    --------
    >>> row = {"reason": "beside the people's folders", "n": 2, "examples": ["1.png", "2.png"]}
    >>> told_passed_over({"n_files": 2, "reasons": [row]})
    "pictures that are not read: 2 (beside the people's folders), such as 1.png"
    """
    rows = (
        f"{row['n']:,} ({row['reason']}), such as {row['examples'][0]}"
        for row in passed_over["reasons"]
        if row["reason"] in _LOST
    )
    return f"pictures that are not read: {'; '.join(rows)}"


def _pictures_below(folder: Path, name: str) -> list[str]:
    """Return what may be pictures in a folder below a person's, in order."""
    found, waiting = [], [name]
    while waiting:
        place = waiting.pop()
        for entry in _entries(folder / place):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(f"{place}/{entry.name}")
            elif _may_be_picture(entry):
                found.append(f"{place}/{entry.name}")
    return sorted(found)


def _may_be_picture(entry: os.DirEntry) -> bool:
    """Tell by its name, or else by its first bytes, whether a file is a picture of any kind."""
    if entry.name.lower().endswith(PICTURES + _OTHER_KINDS):
        return True
    try:
        if not entry.is_file(follow_symlinks=False):
            return False
        with open_regular(entry.path) as file:
            return _BEGINNING.match(file.read(12)) is not None
    except OSError:
        return False


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
        return None, error.what.rstrip(".")


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


def _entries(folder: Path) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"The folder cannot be read: {error.strerror}.", where=str(folder)
        ) from error
    yield from sorted(entries, key=lambda entry: entry.name)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURES)


def _leads_out(folder: Path, name: str) -> DataError:
    return DataError(
        f"A name leads out of the folder: {name[:200]!r}.",
        where=str(folder),
        fix="use paths relative to the folder, with '/' and without '..' or links that leave it",
    )
