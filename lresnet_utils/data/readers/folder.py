"""A folder of people: one folder of pictures for each, from which pairs are drawn.

With LFW's lists in it, it is LFW's folder, see :mod:`lresnet_utils.data.readers.lfw`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.data.collection import (
    ALL,
    AUTO,
    BALANCED,
    Align,
    Asked,
    Collection,
    FileFaces,
    deal_people,
    draw_folds,
)
from lresnet_utils.data.inside import PICTURES, inside
from lresnet_utils.data.readers import lfw
from lresnet_utils.errors import DataError, one_line
from lresnet_utils.text.language import message
from lresnet_utils.untrusted.bytes import open_regular

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


def read(path: Path, asked: Asked) -> Collection:
    """Read a folder as sets of any kind are read: which files and pairs it holds.

    Raises
    ------
    ParamsError
        When `pairs` is no word for a folder.
    DataError
        As :func:`list_people` and :func:`lresnet_utils.data.readers.lfw.list_lfw`.
    """
    is_lfw = (path / lfw.LISTS["view2"]).is_file()
    pairs = asked.pairs
    if pairs in (None, AUTO):
        pairs = "view2" if is_lfw else BALANCED
    if pairs in lfw.LISTS:
        found = lfw.list_lfw(path, pairs, asked.align)
    elif pairs in (BALANCED, ALL):
        found = list_people(path, pairs, asked.folds, asked.align)
    else:
        raise asked.not_pairs("a folder")
    return dataclasses.replace(found, credit=lfw.CREDIT if is_lfw else "")


def list_people(folder: Path, pairs: str, folds: int, align: Align = "auto") -> Collection:
    """List a folder of people and draw pairs.

    Parameters
    ----------
    folder : Path
        ``folder/<person>/<picture>``, JPEG, PNG, BMP or WebP.
    pairs : {"balanced", "all"}
        Both draw as many genuine as impostor pairs in folds that share no person. "all" keeps
        every picture as well, so that error rates over every pair can be computed.
    folds : int
    align : str
        See :class:`~lresnet_utils.data.collection.FileFaces`.

    Returns
    -------
    Collection

    Raises
    ------
    DataError
        When there are no such folders, too few people, or a link leads out.
    """
    names, person, passed_over = pictures_of(folder)
    sizes = np.bincount(person)
    of_person = [range(end - n, end) for end, n in zip(sizes.cumsum(), sizes, strict=True)]
    left, right, same = draw_folds(of_person, deal_people(sizes, folds), folds, str(folder))
    about = {"kind": "folder of people", "pairs": pairs, "n_people": len(sizes)}
    about["passed_over"] = passed_over
    whole = Collection(
        FileFaces(folder, names, align), left, right, same, person, folds, about=about
    )
    if pairs == ALL:
        return whole
    # The files that are in no pair are left out; the others keep their order.
    used, sides = np.unique(np.stack([left, right]), return_inverse=True)
    left, right = sides.reshape(2, -1).astype(np.int32)
    return dataclasses.replace(
        whole,
        faces=whole.faces.taken(used),
        left=left,
        right=right,
        people=person[used],
        about=about | {"n_files_in_no_pair": len(names) - len(used)},
    )


def pictures_of(folder: Path) -> tuple[list[str], np.ndarray, dict[str, Any]]:
    """List each person's pictures in a folder of people, and what else lies there.

    Hidden files are neither read nor counted, and folders that are links are not looked into.

    Parameters
    ----------
    folder : Path
        ``folder/<person>/<picture>``.

    Returns
    -------
    names : list of str
        The pictures as ``person/name``, person by person, in order of their characters.
    person : ndarray of int32, shape (n_names,)
        Who each shows, of those who have a picture.
    passed_over : dict
        ``n_files``, pictures that are not read; ``examples``, some with their reasons; and
        ``reasons``, a list of ``{"reason", "n", "examples"}`` that also tells of people without
        a picture and of files that are none.

    Raises
    ------
    DataError
        When a folder cannot be read, a link leads out of `folder`, or there are no people.
    """
    names: list[str] = []
    sizes: list[int] = []
    passed: dict[str, list[str]] = {reason: [] for reason in (*_LOST, _EMPTY, _NO_PICTURE)}
    for entry in _entries(folder):
        if not inside(folder, entry.name).is_dir():
            passed[_BESIDE if _may_be_picture(entry) else _NO_PICTURE].append(entry.name)
            continue
        before = len(names)
        for own in _entries(folder / entry.name):
            name = f"{entry.name}/{own.name}"
            is_picture = own.name.lower().endswith(PICTURES)
            if is_picture and inside(folder, name).is_file():
                names.append(name)
            elif own.is_dir(follow_symlinks=False):
                found, waiting = [], [name]
                while waiting:
                    place = waiting.pop()
                    for below in _entries(folder / place):
                        if below.is_dir(follow_symlinks=False):
                            waiting.append(f"{place}/{below.name}")
                        elif _may_be_picture(below):
                            found.append(f"{place}/{below.name}")
                passed[_BELOW] += sorted(found)
            elif is_picture:
                passed[_NO_FILE].append(name)
            else:
                passed[_ENDING if _may_be_picture(own) else _NO_PICTURE].append(name)
        if len(names) > before:
            sizes.append(len(names) - before)
        else:
            passed[_EMPTY].append(entry.name)
    reasons = [
        {"reason": reason, "n": len(names), "examples": [*map(one_line, names[:_SHOWN])]}
        for reason, names in passed.items()
        if names
    ]
    lost = [row for row in reasons if row["reason"] in _LOST]
    examples = [
        message("{what}: {why}", what=row["examples"][n], why=row["reason"])
        for n in range(_SHOWN)
        for row in lost
        if n < len(row["examples"])
    ]
    n_files = sum(row["n"] for row in lost)
    passed_over = {"n_files": n_files, "examples": examples[:_SHOWN], "reasons": reasons}
    if not names:
        why = f": {told_passed_over(passed_over)}" if lost else ""
        raise DataError(
            f"The folder holds no people{why}.",
            where=str(folder),
            fix="one folder per person, with JPEG, PNG, BMP or WebP pictures directly in it",
        )
    person = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    return names, person, passed_over


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


def _entries(folder: Path) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"The folder cannot be read: {error.strerror}.", where=str(folder)
        ) from error
    yield from sorted(entries, key=lambda entry: entry.name)
