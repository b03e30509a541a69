"""A large set's embeddings on disk, opened in an instant and read shard by shard."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from lresnet_utils.cluster.engine import Engine, Part, Place, Task, spread
from lresnet_utils.errors import DataError
from lresnet_utils.ledger.entries import Ledger
from lresnet_utils.machine.disk import read_json
from lresnet_utils.machine.facts import usable_cores
from lresnet_utils.machine.locks import hold_machine
from lresnet_utils.untrusted.arrays import ArrayFileError, map_npy
from lresnet_utils.verify.all_pairs import BINS, AllPairs, Rows, count, evaluate, keep, tiles
from lresnet_utils.verify.scores import unit_rows

SCHEMA = 1
MANIFEST = "embedded.json"
IDENTITY = "identity.npy"
_COUNTS = ("n_images", "n_failed", "embedding_size", "shard_size")


def shard_file(folder: Path, number: int) -> Path:
    """Return the file of one shard's embeddings; its entry is the ``.json`` beside it."""
    return folder / "shards" / f"{number:06d}.npy"


def shard_ledger(folder: Path) -> Ledger:
    """Return the ledger of a set's shards, which workers write on any machine."""
    return Ledger(folder, folder / "shards", sealed=False)


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
        counts = [record.get(name) if isinstance(record, dict) else None for name in _COUNTS]
        if not all(type(count) is int and count >= 0 for count in counts):
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
            files = shard_ledger(self.folder).read(path.stem)["files"]
            return Part.whole(path, keep=True, sha256=files[f"shards/{path.name}"]["sha256"])
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


def _damaged(path: Path) -> DataError:
    return DataError(
        "The embedded set is damaged.",
        where=str(path),
        fix="run lresnet embed again: it makes what is not whole anew",
    )


# Every pair of a large embedded set, scored tile by tile on whatever workers there are.

# Rows on each side of a tile: its scores take seconds, so that sending histograms costs little.
_SIDE = 16384


@dataclass(frozen=True)
class _Tile:
    """What a worker scores.

    Attributes
    ----------
    runs : tuple of list of (str, ndarray)
        Two runs of shards, or one for the pairs within it; of each shard the name of its part and
        who its pictures show.
    embedding_size : int
    bins : int
    wanted : list of int or None
        The bins whose scores are kept; None to count.
    cores : int
        See :class:`lresnet_utils.cluster.engine.Engine`.
    """

    runs: tuple[list[tuple[str, np.ndarray]], ...]
    embedding_size: int
    bins: int
    wanted: list[int] | None
    cores: int


def all_pairs_of(
    embedded: EmbeddedSet,
    far_targets: Iterable[float],
    engine: Engine,
    *,
    bins: int = BINS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> AllPairs:
    """Score and evaluate every pair of a set, in tiles of some thousand rows each way.

    The numbers are those of :func:`lresnet_utils.verify.all_pairs.all_pairs` over the same
    embeddings, whoever scores them: scores are exact and histograms add up. A worker holds a
    tile's embeddings and one block of scores; this process two histograms and the scores of a few
    bins.

    Parameters
    ----------
    embedded : EmbeddedSet
        Pictures that failed are left out.
    far_targets : iterable of float
    engine : Engine
    bins : int
    progress : callable
        Called as ``progress(done, total)`` with numbers of tiles, of both passes together.

    Raises
    ------
    DataError
        When it is not known who the pictures show.
    EvaluationError
        As for :func:`lresnet_utils.verify.all_pairs.evaluate`.
    """
    side = max(1, _SIDE // embedded.record["shard_size"])
    blocks = [{a.start: a, b.start: b} for a, b in tiles(embedded.n_shards, side)]
    done = itertools.count(1)

    def tasks(wanted: list[int] | None) -> Iterator[Task]:
        for block in blocks:
            size, identity = embedded.record["shard_size"], embedded.identity()
            numbers = [range(run.start, run.stop) for run in block.values()]
            runs = tuple(
                [(str(n), np.array(identity[n * size : (n + 1) * size])) for n in run]
                for run in numbers
            )
            parts = {str(n): embedded.part(n) for run in numbers for n in run}
            tile = _Tile(runs, embedded.record["embedding_size"], bins, wanted, engine.cores)
            yield Task(_score, tile, embedded.folder, parts)

    def results(wanted: list[int] | None) -> Iterator:
        for result in spread(engine, tasks(wanted)):
            progress(next(done), 2 * len(blocks))
            yield result

    def count_all() -> np.ndarray:
        total = np.zeros((2, bins), np.int64)
        for counts in results(None):
            total += counts
        return total

    def keep_all(wanted: list[int]) -> list[tuple[np.ndarray, ...]]:
        parts = list(results(wanted))
        return [
            tuple(np.concatenate([part[place][kind] for part in parts]) for kind in (0, 1))
            for place in range(len(wanted))
        ]

    n_images = embedded.record["n_images"] - embedded.record["n_failed"]
    return evaluate(count_all, keep_all, n_images, far_targets, bins=bins)


def _score(place: Place, tile: _Tile) -> np.ndarray | list[tuple[np.ndarray, ...]]:
    def rows(run: list[tuple[str, np.ndarray]]) -> Rows:
        """Read shards without the pictures that failed, whose rows are zeros."""
        size = tile.embedding_size
        shards = [read_rows(place.parts[n].path, (len(who), size), np.float32) for n, who in run]
        vectors, identity = np.concatenate(shards), np.concatenate([who for _, who in run])
        usable = vectors.any(axis=1)
        return Rows.of(unit_rows(vectors[usable]), identity[usable])

    # Whoever times something on that machine waits for the tile, and the next tile for them.
    with hold_machine(alone=False), threadpool_limits(tile.cores or usable_cores()):
        a, *others = map(rows, tile.runs)
        b = others[0] if others else None
        if tile.wanted is None:
            return count(a, b, tile.bins)
        return keep(a, b, tile.bins, tile.wanted)
