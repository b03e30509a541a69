"""A folder of people: one folder of pictures for each, from which pairs are drawn.

With LFW's lists in it, it is LFW's folder, see :mod:`lresnet_utils.data.readers.lfw`.
"""

from __future__ import annotations

import dataclasses
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
from lresnet_utils.data.inside import people_in
from lresnet_utils.data.readers import lfw


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
    """List the pictures of a folder of people, person by person.

    Returns
    -------
    names : list of str
        As ``person/name``.
    person : ndarray of int32, shape (n_names,)
        Who each shows.
    passed_over : dict
        What else lies there, see :func:`lresnet_utils.data.inside.people_in`.

    Raises
    ------
    DataError
        When there are none, or a link leads out of the folder.
    """
    people, passed_over = people_in(folder)
    names = [name for pictures in people for name in pictures]
    person = np.repeat(np.arange(len(people), dtype=np.int32), [len(own) for own in people])
    return names, person, passed_over
