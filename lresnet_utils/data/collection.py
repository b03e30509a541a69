"""A set before it is decoded: distinct pictures, and the pairs asked about them."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import comb
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from lresnet_utils.data.align import bring_to_template, find_faces
from lresnet_utils.data.face_set import Templates
from lresnet_utils.data.images import decode, decode_photograph, encode_png, picture_size
from lresnet_utils.data.inside import inside, read_picture
from lresnet_utils.data.network_input import IMAGE_SIZE
from lresnet_utils.errors import DataError, ParamsError, nearest

Align = Literal["auto", "always", "never"]
ALIGN_WORDS = get_args(Align)
NO_FACE = "no face was found"
AUTO = "auto"
BALANCED = "balanced"
ALL = "all"
DEFAULT_FOLDS = 10
# Words for `pairs`; beside them, a CSV of templates takes the path of its pairs.
PAIR_WORDS = (AUTO, BALANCED, ALL, "view2", "view1_train", "view1_test", "unrestricted")


class Faces(Protocol):
    """Pictures of faces, opened one at a time.

    Attributes
    ----------
    names : list of str or None
        Of pictures that are files of their own, relative paths with slashes.
    file : Path or None
        The one file that holds them all.
    n_faces : dict of int to int
        How many faces were found, in each picture of which one was aligned, so far.
    failures : dict of int to str
        Why there is no face, of the files opened so far.
    """

    names: list[str] | None
    file: Path | None
    n_faces: dict[int, int]
    failures: dict[int, str]

    def __len__(self) -> int:
        """Return the number of pictures."""

    def check(self) -> None:
        """See that every picture is there; none is opened. :class:`DataError` names the first."""

    def taken(self, images: Sequence[int]) -> Faces:
        """Return some of the pictures."""

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of each picture's content."""

    def face(self, index: int) -> tuple[np.ndarray | None, str | None]:
        """Return 112x112 RGB, or ``None`` and the reason."""

    def encoded(self, index: int) -> bytes:
        """Return the face as a picture file; empty when there is none."""


class EncodedFaces:
    """Pictures of 112x112 as the bytes of their files, held in memory or made when asked for.

    Parameters
    ----------
    pictures : sequence of bytes
    file : Path, optional
        Where they are from.
    """

    names = None

    def __init__(self, pictures: Sequence[bytes], file: Path | None = None) -> None:
        self.file = file
        self.n_faces: dict[int, int] = {}
        self.failures: dict[int, str] = {}
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._pictures)

    def check(self) -> None:
        """Do nothing: they are there."""

    def taken(self, images: Sequence[int]) -> EncodedFaces:
        """Return some of the pictures."""
        some = EncodedFaces([self._pictures[image] for image in images], self.file)
        numbers = enumerate(images)
        some.n_faces = {new: self.n_faces[old] for new, old in numbers if old in self.n_faces}
        return some

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of each picture's bytes."""
        return [hashlib.sha256(picture).digest() for picture in self._pictures]

    def face(self, index: int) -> tuple[np.ndarray | None, str | None]:
        """Return 112x112 RGB, or ``None`` and the reason."""
        return decode(self._pictures[index])

    def encoded(self, index: int) -> bytes:
        """Return the picture's bytes as they are."""
        return self._pictures[index]


class FileFaces:
    """Picture files below a folder, read and aligned one at a time.

    Parameters
    ----------
    folder : Path
        The folder that the user named.
    names : list of str
        Relative paths with slashes.
    align : {"auto", "always", "never"}
        With "auto" a picture of 112x112 is taken as aligned, and in any other the face that is
        meant is found and brought to the template.
    central : bool
        Which that is, see :func:`~lresnet_utils.data.align.find_faces`.
    """

    file = None

    def __init__(
        self, folder: Path, names: list[str], align: Align = "auto", central: bool = False
    ) -> None:
        self.folder, self.names = folder, names
        self.n_faces: dict[int, int] = {}
        self.failures: dict[int, str] = {}
        self._align, self._central = align, central

    def __len__(self) -> int:
        return len(self.names)

    def check(self) -> None:
        """See that every file is there; :class:`DataError` counts those that are missing."""
        missing = [name for name in self.names if not inside(self.folder, name).is_file()]
        if missing:
            raise DataError(
                f"{len(missing):,} of {len(self.names):,} pictures are missing, the first is "
                f"{missing[0]!r}.",
                where=str(self.folder),
                fix="name the folder that the list was made for",
            )

    def taken(self, images: Sequence[int]) -> FileFaces:
        """Return some of the pictures."""
        names = [self.names[image] for image in images]
        return FileFaces(self.folder, names, self._align, self._central)

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of each file; of its name where it cannot be read."""
        contents = ((name, read_picture(inside(self.folder, name))[0]) for name in self.names)
        return [
            hashlib.sha256(name.encode() if content is None else content).digest()
            for name, content in contents
        ]

    def face(self, index: int) -> tuple[np.ndarray | None, str | None]:
        """Return 112x112 RGB, or ``None`` and the reason."""
        face, n_faces = None, 0
        content, reason = read_picture(inside(self.folder, self.names[index]))
        if content is not None:
            face, reason, n_faces = face_of(content, self._align, self._central)
        if n_faces:
            self.n_faces[index] = n_faces
        if reason is not None:
            self.failures[index] = reason
        return face, reason

    def encoded(self, index: int) -> bytes:
        """Return the file's bytes where the face needs no alignment, else the face as PNG."""
        face, _ = self.face(index)
        if face is None:
            return b""
        if index in self.n_faces:
            return encode_png(face)
        return read_picture(inside(self.folder, self.names[index]))[0]


def face_of(
    content: bytes, align: Align = "auto", central: bool = False
) -> tuple[np.ndarray | None, str | None, int]:
    """Return a picture's face as 112x112 RGB or why there is none, and how many were found.

    Parameters
    ----------
    content : bytes
        The picture's file.
    align, central
        See :class:`FileFaces`. Of a picture that is taken as aligned, 0 faces were found.
    """
    aligned = align == "never"
    if align == "auto":
        with suppress(ValueError):  # the decoder says what is wrong
            aligned = picture_size(content) == (IMAGE_SIZE, IMAGE_SIZE)
    if aligned:
        return *decode(content), 0
    photograph, reason = decode_photograph(content)
    if photograph is None:
        return None, reason, 0
    # The detector was trained on BGR; the result is turned back.
    image = np.ascontiguousarray(photograph[..., ::-1])
    found = find_faces(image, central)
    if not len(found):
        return None, NO_FACE, 0
    face = bring_to_template(image, found[0])
    return np.ascontiguousarray(face[..., ::-1]), None, len(found)


@dataclass(frozen=True)
class Asked:
    """What a run asks of a set, in the same words of every reader.

    Attributes
    ----------
    pairs : str or None
        One of :data:`PAIR_WORDS`, or for a CSV of templates the path of their pairs; None where
        the pictures alone are wanted.
    align : {"auto", "always", "never"}
        See :class:`FileFaces`.
    folds : int
        For pairs that are drawn from a folder of people.
    folder : Path or None
        Where a reader that makes its pictures keeps them.
    progress : callable or None
        Called as ``progress(done, total)`` after each picture that a reader makes.

    Raises
    ------
    ParamsError
        When `align` is not known.
    """

    pairs: str | None = AUTO
    align: Align = AUTO
    folds: int = DEFAULT_FOLDS
    folder: Path | None = None
    progress: Callable[[int, int], None] | None = None

    def __post_init__(self) -> None:
        if self.align not in ALIGN_WORDS:
            fix = nearest(self.align, ALIGN_WORDS)
            raise ParamsError(f"Unknown align {self.align!r}.", fix=fix)

    def not_pairs(self, what: str) -> ParamsError:
        """Return the error for pairs that `what` has not."""
        return ParamsError(
            f"{self.pairs!r} are no pairs of {what}.",
            where="pairs",
            fix=nearest(self.pairs, PAIR_WORDS),
        )

    def require_own_pairs(self, what: str) -> None:
        """See that a source that holds its own pairs is not asked for others.

        Raises
        ------
        ParamsError
            When `pairs` asks for what only folders can do.
        """
        if self.pairs not in (None, *PAIR_WORDS):
            raise self.not_pairs(what)
        if self.pairs not in (None, AUTO):
            raise ParamsError(
                f"The pairs of {what} are its own; {self.pairs!r} is for folders.",
                where="pairs",
                fix="leave pairs out",
            )

    def require_own_faces(self, what: str) -> None:
        """See the same of a source that holds its own pairs of aligned faces."""
        self.require_own_pairs(what)
        if self.align == "always":
            raise ParamsError(
                f"The faces of {what} are aligned already.", where="align", fix="leave align out"
            )


@dataclass(frozen=True)
class Collection:
    """What a reader makes of a set: pictures, and what is asked about them.

    Attributes
    ----------
    faces : Faces
        The pictures; nothing is opened yet.
    left, right : ndarray of int32, shape (n_pairs,)
        Pictures: the two sides of a pair, or a picture of each side's template.
    same : ndarray of bool, shape (n_pairs,)
    people : ndarray of int32, shape (n_pictures,), or None
        The person in each picture, where the source says so.
    folds : int or None
        Contiguous folds of equal size that the source comes in; None leaves them to the run.
    templates : Templates or None
        Where pairs are of templates.
    about : dict
        What the record says beside the counts, as plain values.
    credit : str
        Whom to credit; empty when the source does not say.
    plain : Faces or None
        The same pictures not aligned, where the source has them.
    keys : list of bytes or None
        What tells the pictures apart, one each; None before :func:`collect`.
    """

    faces: Faces
    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    people: np.ndarray | None = None
    folds: int | None = None
    templates: Templates | None = None
    about: dict[str, Any] = field(default_factory=dict)
    credit: str = ""
    plain: Faces | None = None
    keys: list[bytes] | None = None


def collect(listed: Collection) -> Collection:
    """Read the pictures of a collection once, and count those with equal content as one.

    Where a set has a plain companion, they must be equal in both.

    Raises
    ------
    DataError
        When a file is missing.
    """
    faces, plain, people = listed.faces, listed.plain, listed.people
    faces.check()
    found = faces.digests()
    both = found if plain is None else list(zip(found, plain.digests(), strict=True))
    first, image_of = distinct(both)
    about = dict(listed.about)
    groups: dict[int, list[int]] = {}
    for old, image in enumerate(image_of.tolist()):
        groups.setdefault(image, []).append(old)
    several = [own for own in groups.values() if len(own) > 1]
    if several and faces.names is not None:
        person = np.zeros(len(faces)) if people is None else people
        of_two = [own for own in several if len(np.unique(person[own])) > 1]
        # Those of two people first.
        shown = [*of_two, *(own for own in several if own not in of_two)][:3]
        about["equal_files"] = {
            "n_pictures": len(several),
            "n_of_two_people": len(of_two),
            "examples": [" = ".join(faces.names[name] for name in own[:3]) for own in shown],
        }
    return dataclasses.replace(
        listed,
        faces=faces.taken(first),
        left=image_of[listed.left],
        right=image_of[listed.right],
        people=None if people is None else people[first],
        templates=listed.templates and listed.templates.renamed(image_of),
        about=about,
        plain=None if plain is None else plain.taken(first),
        keys=[found[old] for old in first],
    )


def distinct(keys: list[Any]) -> tuple[list[int], np.ndarray]:
    """Return where each distinct key is first, and which of those each key is.

    Examples
    --------
    >>> first, number = distinct(["x", "y", "x", "z"])
    >>> first, number.tolist()
    ([0, 1, 3], [0, 1, 0, 2])
    """
    numbers: dict[Any, int] = {}
    number = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32)
    first = np.unique(number, return_index=True)[1].tolist() if keys else []
    return first, number


def fingerprint(keys: list[bytes], left: np.ndarray, right: np.ndarray, same: np.ndarray) -> str:
    """Hash what the pairs are: both sides' content and the label of each, in order.

    Two runs can be compared pair by pair when their fingerprints are equal, whatever their sets
    are called and however the files were packed.

    Parameters
    ----------
    keys : list of bytes
        The SHA-256 of each picture or template.
    left, right : ndarray of int, shape (n,)
        The sides of each pair.
    same : ndarray of bool, shape (n,)

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> one = fingerprint([b"x", b"y"], np.array([0]), np.array([1]), np.array([True]))
    >>> two = fingerprint([b"y", b"x"], np.array([1]), np.array([0]), np.array([True]))
    >>> one == two
    True
    """
    whole = hashlib.sha256()
    for a, b, label in zip(left, right, same, strict=True):
        whole.update(keys[a] + keys[b] + bytes([bool(label)]))
    return whole.hexdigest()


# Pairs drawn from labelled pictures: balanced folds that share no person, the same every time.
#
# NumPy's generators may give other numbers in another version; Python promises that
# ``random.Random(seed).random()`` does not, so a draw is the same on every machine and in every
# year.

Pair = tuple[int, int]

# As many pairs of each kind as a fold of LFW's View 2 has.
PER_FOLD = 300
_SEED = 0


def one_per_block(n: int, blocks: int) -> np.ndarray:
    """Cut ``range(n)`` into blocks of equal length and draw one number of each.

    Every `k`-th would do as long as nothing about the numbers repeats: where left and right sides
    of pairs take turns, an even `k` gives left sides only.

    Parameters
    ----------
    n, blocks : int
        `n` at least 1; with more blocks than numbers, some are drawn again.

    Returns
    -------
    ndarray of int64, shape (blocks,)
        Ascending, the same every time.

    Examples
    --------
    >>> one_per_block(100, 5)
    array([16, 35, 48, 65, 90])
    >>> one_per_block(2, 4)
    array([0, 0, 1, 1])
    """
    dice = random.Random(_SEED)  # noqa: S311 (a reproducible draw, not a secret)
    starts = np.arange(blocks + 1) * n // max(1, blocks)
    widths = np.diff(starts).tolist()
    return starts[:-1] + np.array([int(dice.random() * width) for width in widths], np.int64)


def deal_people(sizes: Sequence[int], folds: int) -> np.ndarray:
    """Give each person to a fold: the one with most pictures first, to and fro over the folds.

    Folds then have as many people as each other (give or take one) and about as many genuine
    pairs, and each has one of the people with most pictures.

    Parameters
    ----------
    sizes : sequence of int
        Pictures of each person.
    folds : int

    Returns
    -------
    ndarray of int64, shape (len(sizes),)
        The fold of each person.

    Examples
    --------
    >>> deal_people([4, 4, 3, 3, 1, 1], 2).tolist()
    [0, 1, 1, 0, 0, 1]
    """
    fold = np.empty(len(sizes), np.int64)
    for place, person in enumerate(sorted(range(len(sizes)), key=lambda p: -sizes[p])):
        turn, step = divmod(place, folds)
        fold[person] = folds - 1 - step if turn % 2 else step
    return fold


def draw_folds(
    people: Sequence[Sequence[int]], fold: np.ndarray, folds: int, where: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw as many genuine as impostor pairs in every fold, each pair once.

    Parameters
    ----------
    people : sequence of sequence of int
        The pictures of each person.
    fold : ndarray of int, shape (n_people,)
        Every person's fold; a pair's two people are of one fold.
    folds : int
    where : str
        The set, for messages.

    Returns
    -------
    left, right : ndarray of int32, shape (n_pairs,)
        Pictures; fold by fold of equal size, genuine pairs first, as in LFW's ``pairs.txt``.
    same : ndarray of bool, shape (n_pairs,)

    Raises
    ------
    DataError
        When a fold cannot have a pair of each kind.
    """
    groups = [[people[p] for p in np.flatnonzero(fold == number)] for number in range(folds)]
    each = PER_FOLD
    for group in groups:
        genuine = sum(comb(len(pictures), 2) for pictures in group)
        impostor = comb(sum(len(pictures) for pictures in group), 2) - genuine
        each = min(each, genuine, impostor)
    if each == 0:
        twice = sum(len(pictures) > 1 for pictures in people)
        raise DataError(
            f"{len(people):,} people, {twice:,} of them with two pictures or more, do not fill "
            f"{folds} folds with pairs of both kinds.",
            where=where,
            fix="each fold needs two people, one of them with two pictures: set fewer folds",
        )
    dice = random.Random(_SEED)  # noqa: S311 (a reproducible draw, not a secret)
    pairs: list[Pair] = []
    for group in groups:
        # Genuine pairs are taken of each person in turn, so that no one with many pictures
        # dominates. The last turn may not reach everyone; who gets it has nothing to do with the
        # people's order.
        decks = [
            _different(min(each, comb(len(own), 2)), lambda own=own: _two_of(own, dice))
            for own in group
            if len(own) > 1
        ]
        lots = random.Random(_SEED)  # noqa: S311 (a reproducible draw, not a secret)
        places = [lots.random() for _ in decks]
        turns = [(t, places[p], p) for p, deck in enumerate(decks) for t in range(len(deck))]
        pairs += sorted(decks[person][turn] for turn, _, person in sorted(turns)[:each])

        def two_people(group: list[Sequence[int]] = group) -> Pair:
            chosen = [group[person] for person in _two_of(range(len(group)), dice)]
            return tuple(sorted(own[int(dice.random() * len(own))] for own in chosen))

        pairs += sorted(_different(each, two_people))
    left, right = np.array(pairs, np.int32).T
    return left, right, np.tile(np.repeat([True, False], each), folds)


def _two_of(pictures: Sequence[int], dice: random.Random) -> Pair:
    n = len(pictures)
    first, second = int(dice.random() * n), int(dice.random() * (n - 1))
    second += second >= first
    return tuple(sorted((pictures[first], pictures[second])))


def _different(n: int, draw: Callable[[], Pair]) -> list[Pair]:
    found: dict[Pair, None] = {}
    while len(found) < n:  # ends: `n` is never more than there are
        found[draw()] = None
    return list(found)
