"""Who is on each side of a pair: known identities, or those that the pairs themselves reveal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lresnet_utils.errors import EvaluationError

KNOWN = "known identities"
RECOVERED = "identities recovered from genuine pairs and repeated images"


@dataclass(frozen=True)
class PairIdentities:
    """The identity on the left and on the right of each pair.

    Attributes
    ----------
    left, right : ndarray of int64, shape (n,)
        Numbers of identities, from 0 on.
    count : int
        Identities in all; some may be in no pair.
    source : str
        Where they come from, in words.
    """

    left: np.ndarray
    right: np.ndarray
    count: int
    source: str

    def take(self, pairs: np.ndarray) -> PairIdentities:
        """Return those of the chosen pairs (a mask or pair numbers)."""
        return PairIdentities(self.left[pairs], self.right[pairs], self.count, self.source)


def pair_identities(
    left: ArrayLike,
    right: ArrayLike,
    same: ArrayLike,
    n_images: int,
    identity: ArrayLike | None = None,
) -> PairIdentities:
    """Tell the identity on each side of every pair.

    A ``.bin`` set says only which pairs are genuine. Two images of a genuine pair show one person,
    and an image that the set repeats is one image, so the connected components of the genuine
    pairs over distinct images are its identities as far as the set reveals them: two components
    may still be one person.

    Parameters
    ----------
    left, right : array_like of int, shape (n,)
        Numbers of distinct images; a repeated image has one number.
    same : array_like of bool, shape (n,)
        True for genuine pairs.
    n_images : int
        Distinct images.
    identity : array_like of int, shape (n_images,), optional
        The person in each image, where it is known.

    Returns
    -------
    PairIdentities

    Raises
    ------
    EvaluationError
        When the sides do not fit together.

    Examples
    --------
    >>> found = pair_identities([0, 1, 3], [1, 2, 0], [True, True, False], 4)
    >>> found.left, found.right, found.count
    (array([0, 0, 1]), array([0, 0, 0]), 2)
    """
    left, right = np.asarray(left, np.int64), np.asarray(right, np.int64)
    same = np.asarray(same, bool)
    if left.ndim != 1 or not left.shape == right.shape == same.shape:
        raise EvaluationError(
            f"Sides {left.shape} and {right.shape} and labels {same.shape} do not fit together."
        )
    if identity is not None:
        known = np.unique(np.asarray(identity), return_inverse=True)[1]
        return PairIdentities(known[left], known[right], int(known.max()) + 1, KNOWN)
    edges = (np.ones(int(same.sum()), np.int8), (left[same], right[same]))
    count, found = connected_components(coo_array(edges, (n_images, n_images)), directed=False)
    found = found.astype(np.int64)
    return PairIdentities(found[left], found[right], int(count), RECOVERED)
