"""Templates as in IJB: several pictures of one person that are compared as one.

A template's pictures come from media (a photograph, a video). Frames of one video look alike, so
they are averaged first: a template's embedding is the unit vector of the mean over media of the
mean over each medium's embeddings (Maze et al., "IARPA Janus Benchmark C", 2018, section 4; so does
InsightFace's IJB evaluation).
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np

from lresnet_utils.verify.scores import unit_rows


@dataclass(frozen=True)
class Templates:
    """Which pictures make up each template, and the pairs of templates.

    Attributes
    ----------
    template, medium, image : ndarray of int32, shape (n_rows,)
        Row by row: a picture of a medium of a template. Media are numbered over the whole set.
    left, right : ndarray of int32, shape (n_pairs,)
        Templates of each pair.
    count : int
        Templates, numbered from 0 on.
    """

    template: np.ndarray
    medium: np.ndarray
    image: np.ndarray
    left: np.ndarray
    right: np.ndarray
    count: int

    def renamed(self, image_of_name: np.ndarray) -> Templates:
        """Return the same templates with their pictures numbered anew."""
        return dataclasses.replace(self, image=image_of_name[self.image])

    def pool(self, vectors: np.ndarray, failed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each template's unit embedding.

        Parameters
        ----------
        vectors : ndarray, shape (n_images, d)
            Unit embeddings of the pictures.
        failed : ndarray of bool, shape (n_images,)
            Pictures without one; they are left out of their medium.

        Returns
        -------
        pooled : ndarray of float64, shape (count, d)
            Zeros where a template has no usable picture, or its media cancel out.
        failed : ndarray of bool, shape (count,)
            Those templates: failures to acquire.

        Examples
        --------
        >>> rows = np.array([0, 0, 0]), np.array([0, 0, 1]), np.array([0, 1, 2])
        >>> one = Templates(*rows, np.array([0]), np.array([0]), 1)
        >>> one.pool(np.array([[1.0, 0], [1, 0], [0, 1]]), np.zeros(3, bool))[0].round(3)
        array([[0.707, 0.707]])
        """
        used = ~failed[self.image]
        media, medium = np.unique(
            np.stack([self.template[used], self.medium[used]]), axis=1, return_inverse=True
        )
        means = _group_means(vectors[self.image[used]], medium.ravel(), media.shape[1])
        pooled = _group_means(means, media[0], self.count)
        # Media that point in opposite directions leave nothing to compare.
        length = np.linalg.norm(pooled, axis=1)
        pooled[length < 1e-9] = 0.0
        return unit_rows(pooled), length < 1e-9

    def keys(self, images: list[bytes]) -> list[bytes]:
        """Return a SHA-256 for each template's content, from that of each picture.

        Pictures and media count in any order; names do not.
        """
        media: dict[tuple[int, int], list[bytes]] = {}
        for template, medium, image in zip(self.template, self.medium, self.image, strict=True):
            media.setdefault((int(template), int(medium)), []).append(images[image])
        parts: list[list[bytes]] = [[] for _ in range(self.count)]
        for (template, _), pictures in media.items():
            parts[template].append(hashlib.sha256(b"".join(sorted(pictures))).digest())
        return [hashlib.sha256(b"".join(sorted(part))).digest() for part in parts]


def _group_means(rows: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    """Average the rows of each group; zeros where a group has none."""
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=count)
    sums = np.zeros((count, rows.shape[1]))
    full = np.flatnonzero(sizes)
    if len(full):
        starts = (np.cumsum(sizes) - sizes)[full]
        sums[full] = np.add.reduceat(rows[order].astype(np.float64), starts, axis=0)
    return sums / np.maximum(sizes, 1)[:, None]
