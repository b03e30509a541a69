"""A large set embedded shard by shard: bounded memory, each shard whole or not there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lresnet_utils.cluster.embedded import IDENTITY, MANIFEST, SCHEMA, EmbeddedSet, shard_file
from lresnet_utils.cluster.records import Encoded, Records, open_shard
from lresnet_utils.cluster.tasks import Engine, Part, Place, Task, spread
from lresnet_utils.errors import LResNetError, RunError
from lresnet_utils.machine.disk import atomic_path, read_json, sha256_file, to_json, write_json
from lresnet_utils.machine.exclusive import machine
from lresnet_utils.run import prepare_folder
from lresnet_utils.targets.embed import Embedding

SHARD = 4096
"""Pictures per shard: 154 MB of pixels where they must be sent, 8 MB of embeddings."""
BUILD = "build/"


class Network(Protocol):
    """What embeds: plain values that can be sent to a worker, and how to open it there.

    Attributes
    ----------
    described : dict
        Plain values that say everything the embeddings depend on.
    parts : dict of str to Part
        Its files; names start with :data:`BUILD`.
    how : dict
        ``channel_order``, ``normalisation`` and ``flip`` of
        :func:`lresnet_utils.targets.embed.embed`.
    """

    described: dict[str, Any]
    parts: dict[str, Part]
    how: dict[str, Any]

    def open(self, place: Place) -> AbstractContextManager[Callable[..., Embedding]]:
        """Return a context with a function like :meth:`targets.base.Target.embedder` yields."""
        ...


@dataclass(frozen=True)
class _Shard:
    """One shard's work, as it is sent."""

    number: int
    start: int
    stop: int
    key: str
    network: Network
    opener: Any
    failures: dict[int, str]


def embed_set(
    records: Records,
    network: Network,
    folder: Path,
    engine: Engine,
    *,
    shard_size: int = SHARD,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> EmbeddedSet:
    """Embed a set of any size; what is there already, whole and made from the same, stays.

    Memory of a worker holds one network, a few batches and one shard's embeddings.

    Parameters
    ----------
    records : Records
    network : Network
    folder : Path
        Gets one ``.npy`` of embeddings and one record per shard, and ``set.json`` at the end.
    engine : Engine
        Who embeds.
    shard_size : int
        Pictures per shard; another size embeds anew.
    progress : callable
        Called as ``progress(done, total)`` with numbers of pictures.

    Raises
    ------
    LResNetError
        Whatever a shard raises; finished shards stay.
    """
    prepare_folder(folder)
    (folder / MANIFEST).unlink(missing_ok=True)
    shards = list(_shards(records, network, shard_size))
    missing = [shard for shard in shards if _finished(folder, shard.number, shard.key) is None]
    done = there = records.n - sum(shard.stop - shard.start for shard in missing)
    progress(done, records.n)
    started = time.perf_counter()
    for n in spread(engine, (_task(records, shard, folder) for shard in missing)):
        done += n
        progress(done, records.n)
    seconds = time.perf_counter() - started
    _conclude(records, network, folder, shards, shard_size)
    return EmbeddedSet.open(folder, embedded=records.n - there, seconds=seconds)


def _shards(records: Records, network: Network, size: int) -> Iterator[_Shard]:
    for number, start in enumerate(range(0, records.n, size)):
        stop = min(records.n, start + size)
        failures = {i - start: why for i, why in records.failures.items() if start <= i < stop}
        stamp = records.stamp(start, stop)
        key = to_json([SCHEMA, network.described, network.how, start, stop, stamp, failures])
        digest = hashlib.sha256(key.encode()).hexdigest()
        yield _Shard(number, start, stop, digest, network, None, failures)


def _task(records: Records, shard: _Shard, folder: Path) -> Task:
    parts, opener = records.shard(shard.start, shard.stop)
    value = _Shard(**vars(shard) | {"opener": opener})
    return Task(_embed_shard, value, folder, parts | shard.network.parts)


def _embed_shard(place: Place, shard: _Shard) -> int:
    """Embed one shard on whatever worker this is; return its number of pictures."""
    # A worker can be lost between the end of a shard and the news of it.
    if _finished(place.folder, shard.number, shard.key) is not None:
        return shard.stop - shard.start
    images = open_shard(place, shard.opener)
    # Whoever times something on that machine waits for the shard, and the next shard for them.
    with machine(alone=False), shard.network.open(place) as embed_images:
        found = embed_images(
            images,
            folder=place.folder / f"tool-{shard.number:06d}",
            slots=np.arange(len(images)),
            failures=shard.failures.items(),
            **shard.network.how,
        )
    vectors, reasons = found.vectors, dict(found.reasons)
    if isinstance(images, Encoded):
        # Known only once they were read; what the network made of zeros is no embedding.
        reasons |= images.reasons
        vectors[list(images.reasons)] = 0.0
    path = shard_file(place.folder, shard.number)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array(file, vectors, allow_pickle=False)
    record = {
        "schema": SCHEMA,
        "key": shard.key,
        "first": shard.start,
        "n": len(images),
        "embedding_size": vectors.shape[1],
        "bytes": path.stat().st_size,
        "sha256": sha256_file(path),
        "failures": {str(shard.start + i): why for i, why in sorted(reasons.items())},
        "stages": found.stages.to_json(),
    }
    # Last: a shard without its record is not there.
    write_json(path.with_suffix(".json"), record)
    return len(images)


def _finished(folder: Path, number: int, key: str) -> dict[str, Any] | None:
    """Return the record of a shard that is whole and made from what it would be made from now."""
    path = shard_file(folder, number)
    try:
        record = read_json(path.with_suffix(".json"))
        same = record["key"] == key and path.stat().st_size == record["bytes"]
        return record if same and sha256_file(path) == record["sha256"] else None
    except (LResNetError, OSError, KeyError, TypeError):
        return None


def _conclude(
    records: Records, network: Network, folder: Path, shards: list[_Shard], shard_size: int
) -> None:
    if records.identity is None:
        (folder / IDENTITY).unlink(missing_ok=True)
    else:
        with atomic_path(folder / IDENTITY) as temporary, temporary.open("wb") as file:
            np.save(file, records.identity, allow_pickle=False)
    found = [read_json(shard_file(folder, s.number).with_suffix(".json")) for s in shards]
    if any(one["key"] != shard.key for one, shard in zip(found, shards, strict=True)):
        raise RunError("Another command changed this folder meanwhile.", where=str(folder))
    whole = hashlib.sha256("".join(one["sha256"] for one in found).encode())
    write_json(
        folder / MANIFEST,
        {
            "schema": SCHEMA,
            "name": records.name,
            "n_images": records.n,
            "n_failed": sum(len(one["failures"]) for one in found),
            "embedding_size": found[0]["embedding_size"],
            "shard_size": shard_size,
            "network": network.described,
            "how": network.how,
            "shards_sha256": whole.hexdigest(),
        },
    )
