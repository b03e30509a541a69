"""Pairs drawn from labelled pictures: balanced folds that share no person, the same every time.

NumPy's generators may give other numbers in another version; Python promises that
``random.Random(seed).random()`` does not, so a draw is the same on every machine and in every year.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from lresnet_utils.errors import DataError

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
