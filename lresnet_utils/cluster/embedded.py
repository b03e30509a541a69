"""A large set's embeddings on disk, opened in an instant and read shard by shard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.cluster.tasks import Part
from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import read_json
from lresnet_utils.untrusted.arrays import ArrayFileError, map_npy

SCHEMA = 1
MANIFEST = "embedded.json"
IDENTITY = "identity.npy"
_COUNTS = ("n_images", "n_failed", "embedding_size", "shard_size")


def shard_file(folder: Path, number: int) -> Path:
    """Return the file of one shard's embeddings; its record is the ``.json`` beside it."""
    return folder / "shards" / f"{number:06d}.npy"


@dataclass(frozen=True)
class EmbeddedSet:
    """The embeddings of a large set.

    Attributes
    ----------
    folder : Path
    record : dict
        ``embedded.json``: name, counts, what embedded it.
    embedded : int
        Pictures that the call that made this embedded; the others were there.
    seconds : float
        What that took, wall clock.
    """

    folder: Path
    record: dict[str, Any]
    embedded: int = 0
    seconds: float = 0.0

    @classmethod
    def open(cls, folder: Path, **made: Any) -> EmbeddedSet:
        """Open a folder that :func:`lresnet_utils.cluster.embed_set.embed_set` filled.

        Raises
        ------
        DataError
            When there is none, or it was not finished.
        """
        if not (folder / MANIFEST).is_file():
            raise DataError(
                "There is no embedded set here, or it is not finished.",
                where=str(folder),
                fix="run lresnet embed, again if it was stopped: it goes on where it was",
            )
        record = read_json(folder / MANIFEST)
        if not (isinstance(record, dict) and all(_is_count(record.get(name)) for name in _COUNTS)):
            raise _damaged(folder / MANIFEST)
        return cls(folder, record, **made)

    @property
    def n_shards(self) -> int:
        """Files that the embeddings are in."""
        return -(-self.record["n_images"] // self.record["shard_size"])

    def shard(self, number: int) -> Path:
        """Return the file of one shard."""
        return shard_file(self.folder, number)

    def part(self, number: int) -> Part:
        """Return one shard as what tasks read, with the hash that its record states.

        Raises
        ------
        DataError
            When it is not there, or has no such record.
        """
        path = self.shard(number)
        try:
            return Part.whole(
                path, keep=True, sha256=read_json(path.with_suffix(".json"))["sha256"]
            )
        except (OSError, KeyError, TypeError) as error:
            raise _damaged(path) from error

    def identity(self) -> np.ndarray:
        """Return who each picture shows, int32 of shape (n_images,), mapped from disk.

        Raises
        ------
        DataError
            When the source did not say, or the file is damaged.
        """
        path = self.folder / IDENTITY
        if not path.is_file():
            raise DataError(
                "It is not known who these pictures show.",
                where=str(self.folder),
                fix="embed a folder with one folder of pictures per person",
            )
        return read_rows(path, (self.record["n_images"],), np.int32)


def read_rows(path: Path, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """Map one of an embedded set's arrays.

    Raises
    ------
    DataError
        When it is not of this shape and type, or not whole.
    """
    try:
        return map_npy(path, shape, dtype)
    except (OSError, ArrayFileError) as error:
        raise _damaged(path) from error


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _damaged(path: Path) -> DataError:
    return DataError(
        "The embedded set is damaged.",
        where=str(path),
        fix="run lresnet embed again: it makes what is not whole anew",
    )
