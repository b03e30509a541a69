"""A set before it is decoded: distinct pictures, and the pairs asked about them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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


class Faces(Protocol):
    """Distinct pictures, opened one at a time."""

    def __len__(self) -> int:
        """Return the number of pictures."""

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of each picture's content."""

    def face(self, index: int) -> tuple[np.ndarray | None, str | None]:
        """Return 112x112 RGB, or ``None`` and the reason."""

    def encoded(self, index: int) -> bytes:
        """Return the face as a picture file; empty when there is none."""


class EncodedFaces:
    """Pictures of 112x112 held in memory as the bytes of their files.

    Parameters
    ----------
    pictures : list of bytes
    """

    def __init__(self, pictures: list[bytes]) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._pictures)

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of each picture's bytes."""
        return list(digests(self._pictures))

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

    Attributes
    ----------
    names : list of str
    n_faces : dict of int to int
        How many faces were found, in each picture of which one was aligned, so far.
    failures : dict of int to str
        Why there is no face, of the pictures opened so far.
    """

    def __init__(
        self, folder: Path, names: list[str], align: Align = "auto", central: bool = False
    ) -> None:
        self.names = names
        self._folder, self._align, self._central = folder, align, central
        self.n_faces: dict[int, int] = {}
        self.failures: dict[int, str] = {}

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.names)

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of each file; of its name where it cannot be read."""
        return [self._digest(name) for name in self.names]

    def face(self, index: int) -> tuple[np.ndarray | None, str | None]:
        """Return 112x112 RGB, or ``None`` and the reason."""
        face, n_faces = None, 0
        content, reason = self._read(self.names[index])
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
        return encode_png(face) if index in self.n_faces else self._read(self.names[index])[0]

    def _digest(self, name: str) -> bytes:
        content, _ = self._read(name)
        return hashlib.sha256(name.encode() if content is None else content).digest()

    def _read(self, name: str) -> tuple[bytes | None, str | None]:
        return read_picture(inside(self._folder, name))


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
    if align == "never" or (align == "auto" and _is_aligned(content)):
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


def _is_aligned(content: bytes) -> bool:
    try:
        return picture_size(content) == (IMAGE_SIZE, IMAGE_SIZE)
    except ValueError:
        return False  # the decoder says what is wrong


@dataclass(frozen=True)
class Listing:
    """Which files a set consists of and what is asked about them; nothing is opened yet.

    Attributes
    ----------
    folder : Path
        What the names are relative to.
    names : list of str
        Each file once.
    left, right : ndarray of int32, shape (n_pairs,)
        Indices of names: the two sides of a pair, or a picture of each side's template.
    same : ndarray of bool, shape (n_pairs,)
    people : ndarray of int32, shape (n_names,), or None
        The person in each file, where the source says so.
    folds : int or None
        Contiguous folds of equal size that the source comes in; None leaves them to the run.
    templates : Templates or None
        Where pairs are of templates; their images are indices of names.
    about : dict
        What the record says beside the counts, as plain values.
    central : bool
        Whether the face in the middle is meant where a picture holds several.
    """

    folder: Path
    names: list[str]
    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    people: np.ndarray | None = None
    folds: int | None = None
    templates: Templates | None = None
    about: dict[str, Any] = field(default_factory=dict)
    central: bool = False

    def check(self) -> None:
        """See that every file is there.

        Raises
        ------
        DataError
            Says how many are missing, and names the first.
        """
        missing = [name for name in self.names if not inside(self.folder, name).is_file()]
        if missing:
            raise DataError(
                f"{len(missing):,} of {len(self.names):,} pictures are missing, the first is "
                f"{missing[0]!r}.",
                where=str(self.folder),
                fix="name the folder that the list was made for",
            )


@dataclass(frozen=True)
class Collection:
    """A set with its pictures told apart by content.

    Attributes
    ----------
    faces : Faces
        Distinct pictures.
    keys : list of bytes
        What tells the pictures apart, one each.
    left, right, same, people, folds, templates, about
        As :class:`Listing` has them, with pictures in the place of names.
    """

    faces: Faces
    keys: list[bytes]
    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    people: np.ndarray | None = None
    folds: int | None = None
    templates: Templates | None = None
    about: dict[str, Any] = field(default_factory=dict)


def collect(listing: Listing, align: Align) -> Collection:
    """Read the files of a listing once, and count those with equal content as one picture.

    Parameters
    ----------
    listing : Listing
    align : {"auto", "always", "never"}
        See :class:`FileFaces`.

    Returns
    -------
    Collection

    Raises
    ------
    DataError
        When a file is missing.
    ParamsError
        When `align` is not known.
    """
    if align not in ALIGN_WORDS:
        raise ParamsError(f"Unknown align {align!r}.", fix=nearest(align, ALIGN_WORDS))
    listing.check()
    found = FileFaces(listing.folder, listing.names, align).digests()
    first, image_of_name = distinct(found)
    equal = _equal_files(listing, image_of_name)
    templates = listing.templates and listing.templates.renamed(image_of_name)
    return Collection(
        faces=FileFaces(
            listing.folder, [listing.names[name] for name in first], align, listing.central
        ),
        keys=[found[name] for name in first],
        left=image_of_name[listing.left],
        right=image_of_name[listing.right],
        same=listing.same,
        people=None if listing.people is None else listing.people[first],
        folds=listing.folds,
        templates=templates,
        about=listing.about | ({"equal_files": equal} if equal else {}),
    )


def _equal_files(listing: Listing, image_of_name: np.ndarray) -> dict[str, Any] | None:
    """Count and name files of a listing whose content is the same, those of two people first."""
    groups: dict[int, list[int]] = {}
    for name, image in enumerate(image_of_name.tolist()):
        groups.setdefault(image, []).append(name)
    several = [own for own in groups.values() if len(own) > 1]
    if not several:
        return None
    people = np.zeros(len(listing.names)) if listing.people is None else listing.people
    of_two = [own for own in several if len(np.unique(people[own])) > 1]
    shown = [*of_two, *(own for own in several if own not in of_two)][:3]
    return {
        "n_pictures": len(several),
        "n_of_two_people": len(of_two),
        "examples": [" = ".join(listing.names[name] for name in own[:3]) for own in shown],
    }


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


def digests(encoded: list[bytes]) -> Iterator[bytes]:
    """Yield the SHA-256 of each item; one that is repeated as one object is hashed once."""
    known: dict[int, bytes] = {}
    for picture in encoded:
        if id(picture) not in known:
            known[id(picture)] = hashlib.sha256(picture).digest()
        yield known[id(picture)]


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
    return starts[:-1] + np.array([_below(width, dice) for width in widths], np.int64)


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
    each = min([PER_FOLD, *(min(_counts(group)) for group in groups)])
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
        pairs += _genuine(group, each, dice) + _impostor(group, each, dice)
    left, right = np.array(pairs, np.int32).T
    return left, right, np.tile(np.repeat([True, False], each), folds)


def _choose_two(n: int) -> int:
    return n * (n - 1) // 2


def _counts(group: list[Sequence[int]]) -> Pair:
    """Count the genuine and the impostor pairs that a group of people has."""
    genuine = sum(_choose_two(len(pictures)) for pictures in group)
    return genuine, _choose_two(sum(len(pictures) for pictures in group)) - genuine


def _below(n: int, dice: random.Random) -> int:
    return int(dice.random() * n)


def _genuine(group: list[Sequence[int]], n: int, dice: random.Random) -> list[Pair]:
    """Draw `n` pairs, one of each person in turn, so that no one with many pictures dominates.

    The last turn may not reach everyone; who gets it has nothing to do with the people's order.
    """
    decks = [
        _different(min(n, _choose_two(len(own))), lambda own=own: _two_of(own, dice))
        for own in group
        if len(own) > 1
    ]
    lots = random.Random(_SEED)  # noqa: S311 (a reproducible draw, not a secret)
    places = [lots.random() for _ in decks]
    turns = [(t, places[p], p) for p, deck in enumerate(decks) for t in range(len(deck))]
    return sorted(decks[person][turn] for turn, _, person in sorted(turns)[:n])


def _impostor(group: list[Sequence[int]], n: int, dice: random.Random) -> list[Pair]:
    def draw() -> Pair:
        first, second = _two_of(range(len(group)), dice)
        sides = (group[p][_below(len(group[p]), dice)] for p in (first, second))
        return tuple(sorted(sides))

    return sorted(_different(n, draw))


def _two_of(pictures: Sequence[int], dice: random.Random) -> Pair:
    first, second = _below(len(pictures), dice), _below(len(pictures) - 1, dice)
    second += second >= first
    return tuple(sorted((pictures[first], pictures[second])))


def _different(n: int, draw: Callable[[], Pair]) -> list[Pair]:
    found: dict[Pair, None] = {}
    while len(found) < n:  # ends: `n` is never more than there are
        found[draw()] = None
    return list(found)
