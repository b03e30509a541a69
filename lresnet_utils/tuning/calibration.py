"""Which pictures the ranges of an int8 build are taken from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lresnet_utils.data.draw import one_per_block
from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.data.network_input import to_network_input


@dataclass(frozen=True)
class Calibration:
    """Preprocessed faces, and which they are.

    Attributes
    ----------
    inputs : ndarray of float32, shape (n, 3, 112, 112)
        As the network takes them.
    chosen : dict of str to list of int
        Picture numbers of each variant.
    """

    inputs: np.ndarray
    chosen: dict[str, list[int]]

    def describe(self) -> dict[str, Any]:
        """Return what the report says about them."""
        return {
            "n_images": len(self.inputs),
            "variants": {variant: len(rows) for variant, rows in self.chosen.items()},
            "choice": "evenly spread over the set, other pictures for each variant",
            "labels_used": False,
            "pictures": self.chosen,
        }


def choose_calibration(
    faces: FaceSet, n: int, *, channel_order: str, normalisation: str
) -> Calibration:
    """Take `n` pictures, evenly spread over the set and over its variants.

    Degraded variants are included because their ranges are wider: ranges taken from clean faces
    alone clip a noisy one, which changes its embedding. Neither labels nor pairs are read.

    Parameters
    ----------
    faces : FaceSet
    n : int
        How many; at most as many as there are usable pictures in all variants.
    channel_order, normalisation
        See :func:`lresnet_utils.data.network_input.to_network_input`.

    Returns
    -------
    Calibration
        The same pictures for the same set and `n`.
    """
    bad = [index for index, _ in faces.failures]
    usable = np.setdiff1d(np.arange(faces.n_images), np.array(bad, np.intp))
    chosen = spread(usable, n, faces.variants)
    images = [np.asarray(faces.images(variant)[rows]) for variant, rows in chosen.items()]
    inputs = to_network_input(
        np.concatenate(images), channel_order=channel_order, normalisation=normalisation
    )
    return Calibration(inputs, {v: [int(row) for row in rows] for v, rows in chosen.items()})


def spread(usable: np.ndarray, n: int, variants: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    """Share `n` pictures out among variants, each taking others than the one before it.

    Parameters
    ----------
    usable : ndarray of int, shape (m,)
        Picture numbers, ascending; at least one.
    n : int
        Of all variants together, one from each of so many equal parts of the set.
    variants : tuple of str
        At least one; the first ones get one more when `n` cannot be shared evenly.

    Examples
    --------
    >>> spread(np.arange(8), 4, ("a", "b"))
    {'a': array([1, 4]), 'b': array([3, 6])}
    """
    k = len(variants)
    rows = usable[one_per_block(len(usable), min(n, k * len(usable)))]
    return {variant: rows[i::k] for i, variant in enumerate(variants) if len(rows) > i}
