"""Large sets of pictures, cut into shards that can be read by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lresnet_utils.cluster.engine import Part, Place
from lresnet_utils.data.collection import Asked, face_of
from lresnet_utils.data.face_set import PICTURE, open_store
from lresnet_utils.data.images import MAX_BYTES, decode
from lresnet_utils.data.inside import read_picture
from lresnet_utils.data.readers import bin as bin_file
from lresnet_utils.data.readers.folder import pictures_of
from lresnet_utils.errors import DataError
from lresnet_utils.untrusted.arrays import ArrayFileError, map_npy

_BYTES = int(np.prod(PICTURE))


# Gives a shard's pictures as :func:`lresnet_utils.targets.embed.embed` reads them; can be sent.
Opener = Callable[[Place], "np.ndarray | Encoded"]


class Records(Protocol):
    """Pictures in an order.

    Attributes
    ----------
    name : str
        For reports.
    n : int
        Pictures.
    identity : ndarray of int32, shape (n,), or None
        Who each shows, where the source says so.
    failures : dict of int to str
        Pictures that are known to be of no use, and why.
    """

    name: str
    n: int
    identity: np.ndarray | None
    failures: dict[int, str]

    def shard(self, start: int, stop: int) -> tuple[dict[str, Part], Opener]:
        """Return the parts that a worker needs for some pictures, and what opens them there."""
        ...

    def stamp(self, start: int, stop: int) -> Any:
        """Return plain values that change when these pictures do."""
        ...


def open_records(source: Path) -> Records:
    """Open a large set.

    Parameters
    ----------
    source : path
        A run's folder or its image store (the pictures as the set gives them), a ``.npy`` of uint8
        (n, 112, 112, 3) in RGB, a ``.bin`` set, or a folder with one folder of pictures per person.

    Raises
    ------
    DataError
        When it is none of these.
    """
    try:
        source.exists()
    except OSError as error:  # a name that is too long
        raise DataError(f"The set cannot be read: {error.strerror}.", where=str(source)) from error
    store = None
    if (source / "faces" / "set.json").is_file():
        store = source / "faces"
    elif (source / "set.json").is_file() and (source / "pairs.npz").is_file():
        store = source
    if store is not None:
        faces = open_store(store)
        images = faces.images()
        return Pixels(
            Path(images.filename),
            faces.n_images,
            images.offset,
            faces.name,
            faces.identity,
            dict(faces.failures),
        )
    if source.is_dir():
        return People.found(source)
    if source.suffix == ".npy" and source.is_file():
        return Pixels.opened(source)
    if source.suffix == ".bin" and source.is_file():
        return Bin.opened(source)
    raise DataError(
        "This is no set of pictures.",
        where=str(source),
        fix="name a run's folder, a .npy, a .bin or a folder with one folder per person",
    )


@dataclass(frozen=True)
class Pixels:
    """Decoded pictures in one ``.npy`` file."""

    path: Path
    n: int
    offset: int
    name: str
    identity: np.ndarray | None = None
    failures: dict[int, str] = field(default_factory=dict)

    @classmethod
    def opened(cls, path: Path, **more: Any) -> Pixels:
        """Open a file, of which only the header is read."""
        try:
            images = map_npy(path, (None, *PICTURE), np.uint8)
        except (OSError, ArrayFileError) as error:
            raise DataError(
                f"These are not pictures: {error}.",
                where=str(path),
                fix="uint8 of shape (n, 112, 112, 3), RGB",
            ) from error
        return cls(path, len(images), images.offset, **{"name": path.stem} | more)

    def shard(self, start: int, stop: int) -> tuple[dict[str, Part], Opener]:
        n = stop - start
        part = Part(self.path, self.offset + start * _BYTES, n * _BYTES)
        return {"pixels": part}, partial(_mapped, n)

    def stamp(self, start: int, stop: int) -> Any:
        return _stamp(self.path)


def _mapped(n: int, place: Place) -> np.ndarray:
    part = place.parts["pixels"]
    return np.memmap(part.path, np.uint8, "r", part.start, (n, *PICTURE))


@dataclass(frozen=True)
class Bin:
    """The distinct pictures of a ``.bin`` set."""

    path: Path
    name: str
    n: int
    identity: None = None
    failures: dict[int, str] = field(default_factory=dict)

    @classmethod
    def opened(cls, path: Path) -> Bin:
        """Open a set."""
        return cls(path, path.stem, len(_distinct(path, path.stat().st_mtime_ns)))

    def shard(self, start: int, stop: int) -> tuple[dict[str, Part], Opener]:
        return {"bin": Part.whole(self.path, keep=True)}, partial(_slots, start, stop)

    def stamp(self, start: int, stop: int) -> Any:
        return _stamp(self.path)


def _slots(start: int, stop: int, place: Place) -> Encoded:
    path = place.parts["bin"].path
    return Encoded(_distinct(path, path.stat().st_mtime_ns)[start:stop])


@lru_cache(maxsize=1)
def _distinct(path: Path, changed: int) -> list[bytes]:
    """Return a set's distinct pictures; remembered, since every shard of it needs them."""
    faces = bin_file.read(path, Asked()).faces
    return [faces.encoded(image) for image in range(len(faces))]


@dataclass(frozen=True)
class People:
    """A folder with a folder of pictures per person; see :mod:`lresnet_utils.data.readers.folder`.

    A picture of 112x112 is taken as aligned; in any other the face that is meant is found and
    aligned.
    """

    folder: Path
    name: str
    paths: list[str]
    identity: np.ndarray
    failures: dict[int, str] = field(default_factory=dict)
    passed_over: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def found(cls, folder: Path) -> People:
        """List the pictures.

        Raises
        ------
        DataError
            When there are none, or a link leads out of the folder.
        """
        paths, identity, passed_over = pictures_of(folder)
        return cls(folder, folder.name, paths, identity, passed_over=passed_over)

    @property
    def n(self) -> int:
        """Pictures."""
        return len(self.paths)

    def shard(self, start: int, stop: int) -> tuple[dict[str, Part], Opener]:
        files = [self.folder / path for path in self.paths[start:stop]]
        # Of a file that is too large to be a picture no more is sent than shows it.
        parts = {
            str(number): Part(file, 0, min(file.stat().st_size, MAX_BYTES + 1))
            for number, file in enumerate(files)
        }
        return parts, partial(_pictures, stop - start)

    def stamp(self, start: int, stop: int) -> Any:
        pictures = [[path, *_stamp(self.folder / path)] for path in self.paths[start:stop]]
        return ["the face that is meant, aligned", pictures]


def _pictures(n: int, place: Place) -> Encoded:
    return Encoded([place.parts[str(number)] for number in range(n)])


class Encoded:
    """Encoded pictures that are decoded when they are read; quacks like an array of pictures.

    Attributes
    ----------
    reasons : dict of int to str
        Why pictures that were read cannot be used; their pixels are zeros.
    """

    def __init__(self, pictures: list[bytes] | list[Part]) -> None:
        self._pictures = pictures
        self.reasons: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        images = np.zeros((len(rows), *PICTURE), np.uint8)
        for image, row in zip(images, rows, strict=True):
            picture = self._pictures[row]
            if isinstance(picture, bytes):
                face, reason = decode(picture)
            else:
                face, reason = read_picture(picture.path)
                if face is not None:
                    face, reason = face_of(face)[:2]
            if reason is None:
                image[:] = face
            else:
                self.reasons[int(row)] = reason
        return images


def _stamp(path: Path) -> list[int]:
    about = path.stat()
    # Copying and unpacking keep the first time; the second cannot be chosen.
    return [about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns]
