"""The official LFW folder: pictures by person, and the lists of its two views.

Format of the lists: sections 3c and 3d of LFW's README.txt (Huang et al. 2007). View 2
(``pairs.txt``) has ten folds that share no person; View 1 is for development and has none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lresnet_utils.data.collection import Align, Collection, FileFaces, draw_folds
from lresnet_utils.data.inside import PICTURES, inside, is_plain, read_text
from lresnet_utils.errors import DataError

LISTS = {
    "view2": "pairs.txt",
    "view1_train": "pairsDevTrain.txt",
    "view1_test": "pairsDevTest.txt",
    "unrestricted": "people.txt",
}
CREDIT = "Labeled Faces in the Wild, University of Massachusetts, Amherst"
# As the archives unpack: lfw.tgz, lfw-funneled.tgz, lfw-deepfunneled.tgz.
_BELOW = ("", "lfw/", "lfw_funneled/", "lfw-deepfunneled/")

_MOST_NAME_BYTES = 200  # a file system takes 255, and the picture's number follows
_MOST_PICTURES = 100_000  # a list must not make this program ask for any amount of memory

Picture = tuple[str, int]


def list_lfw(folder: Path, view: str, align: Align = "auto") -> Collection:
    """List the pictures and pairs of one view.

    Parameters
    ----------
    folder : Path
        Holds the list, and the people's folders directly or in ``lfw/``.
    view : str
        One of :data:`LISTS`. ``unrestricted`` draws pairs within the folds of ``people.txt``.
    align : str
        See :class:`~lresnet_utils.data.collection.FileFaces`.

    Returns
    -------
    Collection
        View 2 in the file's own folds; of View 1, genuine and impostor pairs in turn.

    Raises
    ------
    DataError
        When the list is missing or not of this form, with the line.
    """
    path = inside(folder, LISTS[view])
    lines = _Lines(path)
    if view == "unrestricted":
        # ``people.txt``: balanced pairs are drawn within its folds.
        (folds,) = lines.take("n")
        if not folds:
            raise lines.wrong("it announces no people", "line 1")
        pictures: list[Picture] = []
        people, fold = [], []
        for number in range(folds):
            (count,) = lines.take("n")
            for _ in range(count):
                name, n = lines.take("sn")
                if len(pictures) + n > _MOST_PICTURES:
                    raise lines.wrong(f"it names more than {_MOST_PICTURES:,} pictures", name)
                people.append(range(len(pictures), len(pictures) + n))
                fold.append(number)
                pictures += [(name, image) for image in range(1, n + 1)]
        lines.end()
        left, right, same = draw_folds(people, np.array(fold), folds, str(folder))
        used, both = np.unique(np.stack([left, right]), return_inverse=True)
        left, right = both.reshape(2, -1).astype(np.int32)
        pictures = [pictures[i] for i in used]
    else:
        # A list of pairs: ``folds each`` and as many pairs of both kinds, or ``each`` alone.
        head = lines.take("nn", "n")
        folds, each = head if len(head) == 2 else (1, head[0])
        if not folds or not each:
            raise lines.wrong("it announces no pairs", "line 1")
        sides: list[tuple[Picture, Picture]] = []
        for _ in range(folds):
            for _ in range(each):
                name, first, second = lines.take("snn")
                sides.append(((name, first), (name, second)))
            for _ in range(each):
                name, first, other, second = lines.take("snsn")
                sides.append(((name, first), (other, second)))
        lines.end()
        same = np.tile(np.repeat([True, False], each), folds)
        if len(head) == 1:
            # View 1 has no folds: in turn, so that folds cut by position hold both kinds.
            order = np.arange(2 * each).reshape(2, each).T.ravel()
            sides, same, folds = [sides[i] for i in order], same[order], None
        pictures = list(dict.fromkeys(picture for pair in sides for picture in pair))
        number = {picture: index for index, picture in enumerate(pictures)}
        left, right = np.array([[number[a], number[b]] for a, b in sides], np.int32).T
    # The files are in the place and of the kind in which the first picture is found.
    person, number = pictures[0]
    places = [(below, kind) for below in _BELOW for kind in PICTURES]
    for below, kind in places:
        if inside(folder, f"{below}{person}/{person}_{number:04d}{kind}").is_file():
            names = [f"{below}{p}/{p}_{n:04d}{kind}" for p, n in pictures]
            break
    else:
        raise DataError(
            f"The picture {person}_{number:04d} is not in the folder.",
            where=str(folder),
            fix="unpack lfw.tgz here, so that lfw/<person>/<person>_0001.jpg exists",
        )
    people = {person: index for index, person in enumerate(dict.fromkeys(p for p, _ in pictures))}
    return Collection(
        # The face that holds the picture's middle is the person's, say LFW's makers.
        faces=FileFaces(folder, names, align, central=True),
        left=left,
        right=right,
        same=same,
        people=np.array([people[person] for person, _ in pictures], np.int32),
        folds=folds,
        about={"kind": "LFW folder", "pairs": view, "n_people": len(people)},
    )


class _Lines:
    """The lines of a list, taken one by one; blank ones are passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = read_text(path, f"LFW's {path.name}").splitlines()
        self._lines = [(n, line.split()) for n, line in enumerate(text, 1) if line.strip()]
        self._next = 0

    def take(self, *forms: str) -> list[str | int]:
        """Return the next line's words; forms such as ``'sn'``: a name, then a number."""
        if self._next == len(self._lines):
            raise self.wrong("it ends too soon", "its end")
        number, words = self._lines[self._next]
        self._next += 1
        for form in forms:
            if len(words) == len(form) and all(
                _is_name(word)
                if kind == "s"
                else word.isascii() and word.isdigit() and len(word) < 9
                for kind, word in zip(form, words, strict=True)
            ):
                return [int(w) if kind == "n" else w for kind, w in zip(form, words, strict=True)]
        raise self.wrong("a line of another form", f"line {number}")

    def end(self) -> None:
        """See that nothing is left."""
        if self._next < len(self._lines):
            raise self.wrong("it goes on after its end", f"line {self._lines[self._next][0]}")

    def wrong(self, what: str, place: str) -> DataError:
        return DataError(
            f"This is not LFW's {self.path.name}: {what}.",
            where=f"{self.path}, {place}",
            fix="use the list as LFW's own page gives it",
        )


def _is_name(word: str) -> bool:
    """Tell whether a word can be a person's folder: one name, no way to another place."""
    short = len(word.encode("utf-8", "replace")) <= _MOST_NAME_BYTES
    return short and is_plain(word) and not set(word) & set("/\\") and word not in (".", "..")
