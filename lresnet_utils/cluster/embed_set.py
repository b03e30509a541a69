"""A large set embedded shard by shard: bounded memory, each shard whole or not there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from lresnet_utils.cluster.embedded import (
    IDENTITY,
    MANIFEST,
    SCHEMA,
    EmbeddedSet,
    shard_file,
    shard_ledger,
)
from lresnet_utils.cluster.engine import Engine, Part, Place, Task, spread
from lresnet_utils.cluster.records import Encoded, Opener, Records
from lresnet_utils.data.network_input import Normalisation
from lresnet_utils.errors import RunError, nearest
from lresnet_utils.ledger.entries import Ledger, made_by, plain
from lresnet_utils.machine.disk import atomic_path, read_json, to_json, write_json
from lresnet_utils.machine.locks import hold_machine
from lresnet_utils.run import RunFolder, prepare_folder
from lresnet_utils.targets import get_target
from lresnet_utils.targets.attempts import build_of
from lresnet_utils.targets.base import Artefact
from lresnet_utils.targets.embed import Embedding

SHARD = 4096
"""Pictures per shard: 154 MB of pixels where they must be sent, 8 MB of embeddings."""
BUILD = "build/"


class BuildNetwork(Protocol):
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
    made_from: dict[str, Any]
    network: BuildNetwork
    opener: Opener | None
    failures: dict[int, str]


def embed_set(
    records: Records,
    network: BuildNetwork,
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
    by = made_by("lresnet_utils.cluster.records", "lresnet_utils.targets.embed", timed=False)
    shards = []
    for number, start in enumerate(range(0, records.n, shard_size)):
        stop = min(records.n, start + shard_size)
        failures = {i - start: why for i, why in records.failures.items() if start <= i < stop}
        pictures = to_json([start, stop, records.stamp(start, stop), failures])
        made_from = by | {
            "schema": SCHEMA,
            "network": network.described,
            "how": network.how,
            "pictures": hashlib.sha256(pictures.encode()).hexdigest(),
        }
        shards.append(_Shard(number, start, stop, made_from, network, None, failures))
    missing = [shard for shard in shards if not _finished(folder, shard)]
    done = there = records.n - sum(shard.stop - shard.start for shard in missing)
    progress(done, records.n)
    started = time.perf_counter()

    def task(shard: _Shard) -> Task:
        parts, opener = records.shard(shard.start, shard.stop)
        return Task(_embed_shard, replace(shard, opener=opener), folder, parts | network.parts)

    for n in spread(engine, map(task, missing)):
        done += n
        progress(done, records.n)
    seconds = time.perf_counter() - started
    if records.identity is None:
        (folder / IDENTITY).unlink(missing_ok=True)
    else:
        with atomic_path(folder / IDENTITY) as temporary, temporary.open("wb") as file:
            np.save(file, records.identity, allow_pickle=False)
    names = [shard_file(folder, shard.number).stem for shard in shards]
    found = [shard_ledger(folder).read(name) or {"made_from": None} for name in names]
    if any(one["made_from"] != plain(s.made_from) for one, s in zip(found, shards, strict=True)):
        raise RunError("Another command changed this folder meanwhile.", where=str(folder))
    hashes = [about["sha256"] for one in found for about in one["files"].values()]
    record = {
        "schema": SCHEMA,
        "name": records.name,
        "n_images": records.n,
        "n_failed": sum(len(one["told"]["failures"]) for one in found),
        "embedding_size": found[0]["told"]["embedding_size"],
        "shard_size": shard_size,
        "network": network.described,
        "how": network.how,
        "shards_sha256": hashlib.sha256("".join(hashes).encode()).hexdigest(),
    }
    write_json(folder / MANIFEST, record)
    return EmbeddedSet.open(folder, embedded=records.n - there, seconds=seconds)


def _embed_shard(place: Place, shard: _Shard) -> int:
    """Embed one shard on whatever worker this is; return its number of pictures."""
    # A worker can be lost between the end of a shard and the news of it.
    if _finished(place.folder, shard):
        return shard.stop - shard.start
    images = shard.opener(place)
    # Whoever times something on that machine waits for the shard, and the next shard for them.
    with hold_machine(alone=False), shard.network.open(place) as embed_images:
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
    told = {
        "first": shard.start,
        "n": len(images),
        "embedding_size": vectors.shape[1],
        "failures": {str(shard.start + i): why for i, why in sorted(reasons.items())},
        "stages": found.stages.to_json(),
    }
    # Last: a shard without its entry is not there.
    shard_ledger(place.folder).write(path.stem, shard.made_from, [path], told)
    return len(images)


def _finished(folder: Path, shard: _Shard) -> bool:
    """Whether a shard is whole and made from what it would be made from now."""
    ledger, path = shard_ledger(folder), shard_file(folder, shard.number)
    entry = ledger.read(path.stem)
    own = entry is not None and list(entry["files"]) == [f"shards/{path.name}"]
    return own and ledger.why(path.stem, shard.made_from) is None


# A build of a finished run, as what embeds a large set.


@dataclass(frozen=True)
class RunBuild:
    """One cell's build; see :class:`lresnet_utils.cluster.embed_set.BuildNetwork`."""

    artefact: Artefact
    file: str
    described: dict[str, Any]
    parts: dict[str, Part]
    how: dict[str, Any]

    @contextmanager
    def open(self, place: Place) -> Iterator[Callable[..., Embedding]]:
        """Load the build from its files at the worker."""
        artefact = replace(self.artefact, path=place.laid_out(BUILD) / self.file)
        with get_target(artefact.target).embedder(artefact) as embed_images:
            yield embed_images


class _How(BaseModel):
    """How pictures become what the build was made for."""

    model_config = ConfigDict(strict=True)

    channel_order: Literal["rgb", "bgr"]
    normalisation: Normalisation
    flip: bool


def run_build(run: RunFolder, cell: str, *, trust: bool = False) -> RunBuild:
    """Return the build of a cell of a run.

    Parameters
    ----------
    run : RunFolder
        Must hold ``1_export`` and ``2_compile`` of that batch size.
    cell : str
        Such as ``16/openvino-bf16``.
    trust : bool
        True to take a build that another user or machine made: to load one can mean to run it.

    Raises
    ------
    RunError
        When the run has no such cell, it was not built, or not by this user here, or a record is
        damaged.
    """
    try:
        cells = {
            f"{batch_size}/{target}": (batch_size, entry)
            for batch_size in run.batch_sizes()
            if run.stage("2_compile", batch_size).is_file()
            for target, entry in run.record("2_compile", batch_size)["targets"].items()
        }
        if cell not in cells:
            raise RunError("The run has no such cell.", where=cell, fix=nearest(cell, cells))
        batch_size, entry = cells[cell]
        if entry["status"] != "ok":
            raise RunError(
                f"This cell was not built: {entry['reason']}.", where=f"{run.name}, {cell}"
            )
        artefact = build_of(run, batch_size, entry)
        path = artefact.path
        if f"{batch_size}/{get_target(artefact.target).name}" != cell or path.name in ("", ".."):
            raise ValueError("the build is another cell's, or lies elsewhere")
        ours = Ledger(run.folder, run.state_of("2_compile", batch_size)).read(artefact.target)
        if not trust and (ours is None or ours["told"] != entry):
            raise RunError(
                "This build was not made here by this user, or was changed, and a build is a "
                "program.",
                where=str(path),
                fix="add --trust if you trust whoever made it, or build it here: lresnet run",
            )
        # A build may name the run's weights or graphs beside its own file.
        left = run.files("2_compile", batch_size)
        beside = [file for file in left if file.is_relative_to(path.parent)]
        files = sorted({path, *beside, *(p for p in (run.network,) if p.is_file())})
        names = {file.relative_to(run.folder).as_posix(): file for file in files}
        spec = run.record("1_export", batch_size)["input"]
        return RunBuild(
            artefact,
            path.relative_to(run.folder).as_posix(),
            {"run": run.name, "cell": cell, "build_sha256": artefact.sha256},
            {
                BUILD + name: Part.whole(
                    file, keep=True, sha256=artefact.sha256 if file == path else None
                )
                for name, file in names.items()
            },
            _How(
                channel_order=spec["channel_order"],
                normalisation=spec["normalisation"],
                flip=read_json(run.folder / "run.json")["params"]["flip"],
            ).model_dump(),
        )
    # A run's records may come from anybody.
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise RunError(
            f"The run's records of its builds are damaged ({type(error).__name__}).",
            where=f"{run.folder}, {cell}",
            fix="run it again, or copy the folder again",
        ) from error
