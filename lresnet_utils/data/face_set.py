"""A set of decoded faces and pairs on disk, opened in an instant and read piece by piece."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.data.network_input import IMAGE_SIZE
from lresnet_utils.errors import DataError, nearest
from lresnet_utils.machine.disk import read_arrays, read_json
from lresnet_utils.untrusted.arrays import ArrayFileError, map_npy
from lresnet_utils.verify.scores import unit_rows

# Templates as in IJB: several pictures of one person that are compared as one.
#
# A template's pictures come from media (a photograph, a video). Frames of one video look alike, so
# they are averaged first: a template's embedding is the unit vector of the mean over media of the
# mean over each medium's embeddings (Maze et al., "IARPA Janus Benchmark C", 2018, section 4; so
# does InsightFace's IJB evaluation).


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


PICTURE = (IMAGE_SIZE, IMAGE_SIZE, 3)
_ROWS = {"left": "i", "right": "i", "same": "b"}
_FIELDS = ("name", "source", "credit", "sha256", "n_images", "n_pairs")


@dataclass(frozen=True)
class FaceSet:
    """An image store on disk.

    Attributes
    ----------
    folder : Path
    name, source, credit : str
        `source` as in the params file; `credit` may be empty.
    sha256 : str
        Of the ``.bin`` file that it was made from, or of the pairs' content.
    n_images, n_pairs : int
        Distinct pictures, and pairs of them.
    left, right : ndarray of int32, shape (n_pairs,)
        Indices of pictures; of one that stands for each side where pairs are of templates.
    same : ndarray of bool, shape (n_pairs,)
        Whether both show the same person.
    variants : tuple of str
        Names that :meth:`images` knows.
    failures : tuple of (int, str)
        Pictures that cannot be used, and why; their pixels are zeros in every variant.
    record : dict
        The whole of ``set.json``.
    identity : ndarray of int32, shape (n_images,), or None
        The person in each picture, where the source says so.
    templates : Templates or None
        Where a side of a pair is several pictures.
    """

    folder: Path
    name: str
    source: str
    credit: str
    sha256: str
    n_images: int
    n_pairs: int
    left: np.ndarray
    right: np.ndarray
    same: np.ndarray
    variants: tuple[str, ...]
    failures: tuple[tuple[int, str], ...]
    record: dict[str, Any]
    identity: np.ndarray | None = None
    templates: Templates | None = None

    @property
    def folds(self) -> int | None:
        """The folds that the set comes in; None leaves their number to the run."""
        return self.record.get("folds")

    def slots(self) -> np.ndarray:
        """Return the pictures in the order in which a tool should embed them, repeats and all."""
        if self.templates is not None:
            return np.arange(self.n_images)
        return np.stack([self.left, self.right], axis=1).ravel()

    def compared(self) -> tuple[np.ndarray, np.ndarray, int, np.ndarray | None]:
        """Return what the pairs compare: the pictures, or the templates where there are any.

        Returns
        -------
        left, right : ndarray of int32, shape (n_pairs,)
            The two sides of each pair.
        n : int
            Pictures or templates in all.
        identity : ndarray of int32, shape (n,), or None
            The person in each.
        """
        if self.templates is None:
            return self.left, self.right, self.n_images, self.identity
        own = self.templates
        first = own.image[np.unique(own.template, return_index=True)[1]]
        identity = None if self.identity is None else self.identity[first]
        return own.left, own.right, own.count, identity

    def pooled(self, vectors: np.ndarray, failed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the embeddings of what :meth:`compared` names, from those of the pictures.

        Parameters
        ----------
        vectors : ndarray, shape (n_images, d)
            Unit embeddings of the pictures.
        failed : ndarray of bool, shape (n_images,)

        Returns
        -------
        vectors, failed
            As given, or one row per template.
        """
        return (vectors, failed) if self.templates is None else self.templates.pool(vectors, failed)

    def pairs_with(self, image: int) -> np.ndarray:
        """Tell which pairs a picture takes part in: ndarray of bool, shape (n_pairs,)."""
        if self.templates is None:
            return (self.left == image) | (self.right == image)
        own = self.templates.template[self.templates.image == image]
        return np.isin(self.templates.left, own) | np.isin(self.templates.right, own)

    def images(self, variant: str = "aligned") -> np.ndarray:
        """Return the pixels of one variant, mapped from disk and read-only.

        Parameters
        ----------
        variant : str
            One of :attr:`variants`.

        Returns
        -------
        memmap of uint8, shape (n_images, 112, 112, 3), RGB

        Raises
        ------
        DataError
            When the store has no such variant, or its file is missing or damaged.
        """
        if variant not in self.variants:
            raise DataError(
                f"The image store has no variant {variant!r}.",
                where=str(self.folder),
                fix=nearest(variant, self.variants),
            )
        path = image_file(self.folder, variant)
        try:
            return map_npy(path, (self.n_images, *PICTURE), np.uint8)
        except (OSError, ArrayFileError) as error:
            raise _damaged(path) from error

    def describe(self) -> dict[str, Any]:
        """Return the whole of ``set.json``: counts, hashes, variants, failures, credit."""
        return dict(self.record)

    def labels(self) -> dict[str, str]:
        """Return each variant's label for figures and tables, in the order of the store."""
        return {variant["name"]: variant["label"] for variant in self.record["variants"]}


def open_store(folder: Path | str) -> FaceSet:
    """Open an image store that :func:`build_store` made.

    Parameters
    ----------
    folder : path

    Returns
    -------
    FaceSet

    Raises
    ------
    DataError
        When there is no store, or it is damaged.
    """
    folder = Path(folder)
    if not (folder / "set.json").is_file():
        raise DataError(
            "There is no image store here.",
            where=str(folder),
            fix="run notebook 3_preprocess first",
        )
    record = read_json(folder / "set.json")
    pairs = read_arrays(folder / "pairs.npz")
    of_templates = {
        name.removeprefix("template_"): value
        for name, value in pairs.items()
        if name.startswith("template_")
    }
    try:
        if of_templates:
            of_templates["count"] = int(of_templates["count"])
        face_set = FaceSet(
            folder=folder,
            **{key: record[key] for key in _FIELDS},
            **{key: pairs[key] for key in ("left", "right", "same")},
            variants=tuple(variant["name"] for variant in record["variants"]),
            failures=tuple((item["image"], item["reason"]) for item in record["failures"]),
            record=record,
            identity=pairs.get("identity"),
            templates=Templates(**of_templates) if of_templates else None,
        )
        texts = (face_set.name, face_set.source, face_set.credit, *face_set.labels().values())
        counts = (face_set.n_images, face_set.n_pairs)
        sound = (
            all(isinstance(text, str) for text in (*texts, face_set.sha256))
            and re.fullmatch(r"[0-9a-f]{64}", face_set.sha256) is not None
            and all(type(n) is int and n > 0 for n in counts)
            # A variant is part of a file's name.
            and all(re.fullmatch(r"[a-z0-9_]{1,40}", name) for name in face_set.variants)
            and all(
                type(image) is int and 0 <= image < face_set.n_images and isinstance(reason, str)
                for image, reason in face_set.failures
            )
        )
        if not sound:
            raise ValueError("a value of the record is impossible")
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / "set.json") from error
    if not _fits(face_set, pairs):
        raise _damaged(folder / "pairs.npz")
    return face_set


def _fits(found: FaceSet, pairs: dict[str, np.ndarray]) -> bool:
    """See that the pairs are as many as the record says, of images that are there."""
    n, own, people = found.n_pairs, found.templates, found.identity
    if any(not _is_row(pairs[name], kind, n) for name, kind in _ROWS.items()):
        return False
    if people is not None and not _is_row(people, "i", found.n_images):
        return False
    within = [(found.left, found.n_images), (found.right, found.n_images)]
    if own is not None:
        rows = (own.template, own.medium, own.image)
        if any(not _is_row(row, "i", len(own.image)) for row in rows):
            return False
        if any(not _is_row(row, "i", n) for row in (own.left, own.right)):
            return False
        within += [(own.image, found.n_images)]
        within += [(row, own.count) for row in (own.template, own.left, own.right)]
    return all(row.size and row.min() >= 0 and row.max() < most for row, most in within)


def _is_row(array: np.ndarray, kind: str, n: int) -> bool:
    return array.shape == (n,) and array.dtype.kind == kind


def image_file(folder: Path, variant: str) -> Path:
    """Return the path of one variant's pixels."""
    return folder / f"images_{variant}.npy"


def _damaged(path: Path) -> DataError:
    return DataError(
        "The image store is damaged.", where=str(path), fix="run notebook 3_preprocess again"
    )
