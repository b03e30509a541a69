"""Sets that a CSV file lists: pairs of pictures, or templates as in IJB with their pairs.

Both have a header. Pairs: ``left,right,same`` and, where known, ``fold``, ``left_person`` and
``right_person``. Templates: ``template,medium,image`` and, where known, ``person``; their pairs are
a second file of the first kind whose sides are templates. Pictures are named relative to the CSV.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lresnet_utils.data.collection import (
    PAIR_WORDS,
    Align,
    Asked,
    Collection,
    FileFaces,
    distinct,
)
from lresnet_utils.data.face_set import Templates
from lresnet_utils.data.inside import inside, read_text
from lresnet_utils.errors import DataError, ParamsError, nearest

PAIRS = ("left", "right", "same")
TEMPLATES = ("template", "medium", "image")
_PAIRS_MORE = ("fold", "left_person", "right_person")
_TEMPLATES_MORE = ("person",)
_LABELS = {"1": True, "true": True, "0": False, "false": False}


def read(path: Path, asked: Asked) -> Collection:
    """Read a CSV of either kind as sets of any kind are read: which files and pairs it names.

    Raises
    ------
    ParamsError
        When `pairs` does not fit the CSV.
    DataError
        As :func:`list_pairs` and :func:`list_templates`.
    """
    if not is_templates(path):
        asked.require_own_pairs("a CSV of pairs")
        return list_pairs(path, asked.align)
    if asked.pairs is None:
        names = list(dict.fromkeys(_columns(path, TEMPLATES, _TEMPLATES_MORE)["image"]))
        for name in names:
            inside(path.parent, name)
        none = np.zeros(0, np.int32)
        faces = FileFaces(path.parent, names, asked.align)
        return Collection(faces, none, none, none.astype(bool))
    if asked.pairs in PAIR_WORDS:
        raise ParamsError(
            "A CSV of templates needs the pairs of its templates.",
            where="pairs",
            fix="set pairs to the path of a CSV with the columns left,right,same",
        )
    return list_templates(path, Path(asked.pairs), asked.align)


def is_templates(path: Path) -> bool:
    """Tell by its header whether a CSV lists templates rather than pairs.

    Raises
    ------
    DataError
        When it is neither.
    """
    (_, header), *_ = _rows(path)
    return "template" in header


def list_pairs(path: Path, align: Align = "auto") -> Collection:
    """List the pairs of a CSV.

    Parameters
    ----------
    path : Path
    align : str
        See :class:`~lresnet_utils.data.collection.FileFaces`.

    Returns
    -------
    Collection
        In the file's order, or fold by fold where it has folds.

    Raises
    ------
    DataError
        When the file is not of this form, with the line; when folds are of unequal size, or a
        picture is given two people.
    """
    table = _read_pairs(path)
    sides = [*table.left, *table.right]
    for name in dict.fromkeys(sides):
        inside(path.parent, name)
    first, number = distinct(sides)
    left, right = number.reshape(2, -1)
    codes = np.minimum(left, right) * np.int64(len(first)) + np.maximum(left, right)
    torn = np.flatnonzero(np.isin(codes[table.same], codes[~table.same]))
    if len(torn):
        pair = np.flatnonzero(table.same)[torn[0]]
        told = " and ".join(repr(sides[first[side[pair]]][:80]) for side in (left, right))
        raise DataError(f"The pair {told} is given as the same person and as two.", where=str(path))
    names = [sides[i] for i in first]
    people = None
    if table.people is not None:
        people = _one_each(number, table.people, names, path)
    return Collection(
        faces=FileFaces(path.parent, names, align),
        left=left,
        right=right,
        same=table.same,
        people=people,
        folds=table.folds,
        about={"kind": "CSV of pairs"},
    )


def list_templates(path: Path, pairs: Path, align: Align = "auto") -> Collection:
    """List templates and the pairs of them.

    Parameters
    ----------
    path : Path
        ``template,medium,image``: one line per picture.
    pairs : Path
        ``left,right,same``: one line per pair of templates.
    align : str

    Returns
    -------
    Collection

    Raises
    ------
    DataError
        When a file is not of this form, with the line, or a pair names an unknown template.
    """
    rows = _columns(path, TEMPLATES, _TEMPLATES_MORE)
    for name in dict.fromkeys(rows["image"]):
        inside(path.parent, name)
    first, image = distinct(rows["image"])
    _, template = distinct(rows["template"])
    _, medium = distinct(list(zip(rows["template"], rows["medium"], strict=True)))
    known = dict(zip(rows["template"], template.tolist(), strict=True))
    table = _read_pairs(pairs)
    for name in (*table.left, *table.right):
        if name not in known:
            raise DataError(f"A pair names the unknown template {name[:80]!r}.", where=str(pairs))
    left, right = (
        np.array([known[name] for name in side], np.int32) for side in (table.left, table.right)
    )
    stands = np.unique(template, return_index=True)[1]
    names = [rows["image"][i] for i in first]
    people = None
    if "person" in rows:
        people = _one_each(image, distinct(rows["person"])[1], names, path)
    return Collection(
        faces=FileFaces(path.parent, names, align),
        left=image[stands[left]],
        right=image[stands[right]],
        same=table.same,
        people=people,
        folds=table.folds,
        templates=Templates(template, medium, image, left, right, len(known)),
        about={"kind": "CSV of templates"},
    )


def files_of(path: Path) -> list[Path]:
    """Return the pictures that a CSV of either kind names; none where it cannot be read.

    Examples
    --------
    >>> files_of(Path("no/such.csv"))
    []
    """
    try:
        names = read(path, Asked(pairs=None)).faces.names
    except DataError:
        return []  # what is wrong with it is said before a run starts
    return [path.parent / name for name in names]


@dataclass(frozen=True)
class _Pairs:
    """A table of pairs, fold by fold; people of all left sides, then of all right ones."""

    left: list[str]
    right: list[str]
    same: np.ndarray
    people: np.ndarray | None
    folds: int | None


def _read_pairs(path: Path) -> _Pairs:
    rows = _columns(path, PAIRS, _PAIRS_MORE)
    if ("left_person" in rows) != ("right_person" in rows):
        raise _wrong(path, 1, "it names the people of one side only")
    for text in rows["same"]:
        if text.lower() not in _LABELS:
            raise DataError(
                f"The column same holds {text[:20]!r}.",
                where=str(path),
                fix="write 1 or 0, true or false",
            )
    same = np.array([_LABELS[text.lower()] for text in rows["same"]], bool)
    order, folds = np.arange(len(same)), None
    if "fold" in rows:
        # Fold by fold, the larger folds first, as the protocol cuts them.
        number = distinct(rows["fold"])[1]
        sizes = np.bincount(number)
        folds = len(sizes)
        if folds < 2 or np.ptp(sizes) > 1:
            raise DataError(
                f"{folds} folds of {sizes.min():,} to {sizes.max():,} pairs are not equal parts.",
                where=str(path),
                fix="give two folds or more as many pairs each, or leave the column fold out",
            )
        rank = np.argsort(np.argsort(-sizes, kind="stable"), kind="stable")
        order = np.argsort(rank[number], kind="stable")
    people = None
    if "left_person" in rows:
        both = distinct(rows["left_person"] + rows["right_person"])[1].reshape(2, -1)
        people = both[:, order].ravel()
    left, right = ([rows[side][i] for i in order] for side in ("left", "right"))
    return _Pairs(left, right, same[order], people, folds)


def _one_each(number: np.ndarray, person: np.ndarray, names: list[str], path: Path) -> np.ndarray:
    """Return each picture's person."""
    people = np.full(len(names), -1, np.int32)
    people[number] = person
    odd = np.flatnonzero(people[number] != person)
    if len(odd):
        name = names[number[odd[0]]]
        raise DataError(f"The picture {name[:80]!r} is given two people.", where=str(path))
    return people


def _columns(path: Path, needed: tuple[str, ...], more: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the columns of a CSV by name; every line must fill them all."""
    (_, header), *rows = _rows(path)
    for name in header:
        if name not in needed + more:
            raise _wrong(path, 1, f"unknown column {name[:40]!r}", nearest(name, needed + more))
    missing = [name for name in needed if name not in header]
    if missing or len(set(header)) != len(header):
        what = f"no column {missing[0]!r}" if missing else "a column twice"
        raise _wrong(path, 1, what)
    if not rows:
        raise _wrong(path, 1, "it lists nothing")
    for number, row in rows:
        if len(row) != len(header) or not all(row):
            raise _wrong(path, number, f"{len(row)} cells for {len(header)} columns, or an empty")
    return {name: [row[i] for _, row in rows] for i, name in enumerate(header)}


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return the lines that are not blank, each with its number."""
    reader = csv.reader(io.StringIO(read_text(path, "The CSV")))
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"This is not a CSV: {error}.", where=str(path)) from error
    if not rows or not ({"left", "template"} & set(rows[0][1])):
        raise _wrong(path, 1, "its header names neither pairs nor templates")
    return rows


def _wrong(path: Path, number: int, what: str, fix: str | None = None) -> DataError:
    return DataError(
        f"This is not a CSV of a set: {what}.",
        where=f"{path}, line {number}",
        fix=fix or f"a header {','.join(PAIRS)} or {','.join(TEMPLATES)}, then full lines",
    )
