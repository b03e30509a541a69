"""A large set's embeddings on disk, opened in an instant and read shard by shard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.errors import DataError
from lresnet_utils.files import read_json

SCHEMA = 1
MANIFEST = "embedded.json"
IDENTITY = "identity.npy"


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
        return cls(folder, read_json(folder / MANIFEST), **made)

    @property
    def n_shards(self) -> int:
        """Files that the embeddings are in."""
        return -(-self.record["n_images"] // self.record["shard_size"])

    def shard(self, number: int) -> Path:
        """Return the file of one shard."""
        return shard_file(self.folder, number)

    def identity(self) -> np.ndarray:
        """Return who each picture shows, int32 of shape (n_images,), mapped from disk.

        Raises
        ------
        DataError
            When the source did not say.
        """
        path = self.folder / IDENTITY
        if not path.is_file():
            raise DataError(
                "It is not known who these pictures show.",
                where=str(self.folder),
                fix="embed a folder with one folder of pictures per person",
            )
        return np.load(path, mmap_mode="r", allow_pickle=False)
