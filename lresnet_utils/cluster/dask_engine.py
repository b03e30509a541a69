"""Tasks handed to the workers of a Dask cluster, with or without a shared folder."""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import distributed

from lresnet_utils.cluster.engine import Part, Place, Task
from lresnet_utils.data.inside import inside
from lresnet_utils.errors import RunError
from lresnet_utils.ledger.code import below
from lresnet_utils.machine.disk import atomic_path, sha256_file, to_json

# How often a task may find its worker lost or without its files before it is given up. Dask itself
# gives up a task that ended more than `distributed.scheduler.allowed-failures` workers (3).
_MOST_ATTEMPTS = 10
_POLL_S = 1.0
# Without any worker for so long, work is given up instead of waiting without end.
_ALONE_S = 600.0
_ASK_S = 30.0


class _LostError(Exception):
    """A worker, or what it should have, is gone."""


class DaskEngine:
    """Does tasks on a Dask cluster's workers; see :class:`lresnet_utils.cluster.engine.Engine`.

    Parameters
    ----------
    client : distributed.Client
    shared : bool
        Whether workers see this machine's files under the same names.
    cores : int
        Processors that one task may use; 0 for all that its worker sees.
    """

    def __init__(self, client: distributed.Client, *, shared: bool, cores: int = 0) -> None:
        self.shared = shared
        self.cores = cores
        self._client = client
        self._code = code_fingerprint()
        self._cancelled = False
        self._digests: dict[Part, str] = {}
        self._asked = self._seen = time.monotonic()

    @property
    def slots(self) -> int:
        """Two tasks per thread of a worker, so that none waits for the next."""
        return max(2, 2 * sum(self._client.nthreads().values()))

    def call(self, task: Task) -> Any:
        """Do a task on a worker.

        Raises
        ------
        RunError
            When it ended too many workers, or the scheduler is gone.
        Exception
            Whatever the task raises.
        """
        resources = self.offered(task.resources)
        if self.shared:
            return self._wait(resources, None, in_place, self._code, task)
        # Else on one that sees no file of ours.
        wanted, sources = self.wanted(task.parts, call := secrets.token_hex(4))
        arguments = (elsewhere, self._code, task.function, task.value, wanted)
        worker = None
        for _ in range(_MOST_ATTEMPTS):
            answer = self._wait(resources, worker, *arguments)
            if not isinstance(answer, Made | Missing):
                raise RunError(
                    f"A worker's answer is no answer: {type(answer).__name__}.",
                    where="--scheduler",
                    fix="use workers that you started yourself, with this version",
                )
            worker = answer.worker
            try:
                if isinstance(answer, Made):
                    self._fetch(answer, task.folder)
                    return answer.result
                lengths = [(name, sources[name].length) for name in sorted(answer.files)]
                for message in messages(lengths):
                    pieces = []
                    for name, start, size in message:
                        part = sources[name]
                        data = Part(part.path, part.start + start, size).read()
                        pieces.append((name, start, part.length, data))
                    self._on(worker, receive, pieces, call)
            # Its files are gone with it, so that another does it all again.
            except _LostError:
                worker = None
        raise RunError(f"A task was given up: {_MOST_ATTEMPTS} times its worker lacked files.")

    def cancel(self) -> None:
        """Give up what is under way."""
        self._cancelled = True

    def offered(self, resources: Mapping[str, float]) -> dict[str, float] | None:
        """Drop resources that no worker has: the task then says itself what it lacks."""
        if not resources:
            return None
        known = self._client.scheduler_info(n_workers=-1)["workers"].values()
        able = any(
            all(worker["resources"].get(name, 0) >= n for name, n in resources.items())
            for worker in known
        )
        return dict(resources) if able else None

    def _wait(
        self,
        resources: dict[str, float] | None,
        worker: str | None,
        function: Callable,
        *arguments: Any,
    ) -> Any:
        future = self._client.submit(
            function,
            *arguments,
            pure=False,
            resources=resources,
            workers=[worker] if worker else None,
            allow_other_workers=bool(worker),
            # What has its files by now goes first.
            priority=1 if worker else 0,
        )
        ended = threading.Event()
        future.add_done_callback(lambda _: ended.set())
        try:
            while not self._cancelled:
                if ended.wait(_POLL_S):
                    return future.result()
                self._require_workers()
        except distributed.KilledWorker as error:
            raise RunError(
                f"A task was given up: {error.allowed_failures + 1} workers that tried it died.",
                where=str(error.last_worker.address),
                fix="see that worker's log; it may need more memory",
            ) from error
        except distributed.CancelledError as error:
            raise RunError(
                "The scheduler is gone, and with it what was under way.",
                where=self._client.scheduler.address if self._client.scheduler else "--scheduler",
                fix="start it and run the same command again: what is finished is kept",
            ) from error
        finally:
            future.release()
        raise RunError("The task was given up.")

    def _require_workers(self) -> None:
        """Refuse to wait for ever when all workers are gone and none joins."""
        now = time.monotonic()
        # Asking costs a message, and many threads wait here.
        if now - self._asked < _ASK_S:
            return
        self._asked = now
        if self._client.scheduler_info(n_workers=0)["total_threads"]:
            self._seen = now
        elif now - self._seen > _ALONE_S:
            raise RunError(
                f"No worker is left, and none joined within {_ALONE_S:.0f} s.",
                where=self._client.scheduler.address,
                fix="start workers and run the same command again: what is finished is kept",
            )

    def wanted(self, parts: Mapping[str, Part], call: str) -> tuple[list[Wanted], dict[str, Part]]:
        """Describe parts to a worker; return also which part each file's name stands for."""
        wanted, sources = [], {}
        for name, part in parts.items():
            digest = part.sha256 or self._digests.get(part)
            # It names a file at the worker, and a record may be a stranger's.
            if digest is None or not re.fullmatch(r"[0-9a-f]{64}", digest):
                digest = part.digest()
                # Computed at most once of what many tasks read.
                if part.keep:
                    self._digests[part] = digest
            file = digest + ("" if part.keep else f"-{call}") + part.path.suffix
            wanted.append(Wanted(name, file, part.length, part.keep))
            sources[file] = part
        return wanted, sources

    def _fetch(self, made: Made, folder: Path) -> None:
        """Bring a task's files here, records last, each whole or not at all."""
        for name, pieces in groupby(self._pieces(made), key=itemgetter(0)):
            # A worker's word may lead no further than the task's own folder.
            with atomic_path(inside(folder, name)) as temporary, temporary.open("wb") as file:
                whole = hashlib.sha256()
                for _, data in pieces:
                    whole.update(data)
                    file.write(data)
                if whole.hexdigest() != made.files[name][1]:
                    raise _LostError(name)
        self._on(made.worker, forget, made.folder)

    def _pieces(self, made: Made) -> Iterator[tuple[str, bytes]]:
        order = sorted(made.files, key=lambda name: (name.endswith(".json"), name))
        for message in messages((name, made.files[name][0]) for name in order):
            answer = self._on(made.worker, hand_over, made.folder, message)
            # Less than was asked for could go on for ever, more could fill the disk.
            if [len(data) for data in answer] != [size for _, _, size in message]:
                raise _LostError(made.worker)
            yield from zip((name for name, _, _ in message), answer, strict=True)

    def _on(self, worker: str, function: Callable, *arguments: Any) -> Any:
        try:
            return self._client.run(function, *arguments, workers=[worker])[worker]
        except (OSError, KeyError) as error:
            raise _LostError(worker) from error


# What happens on a worker: tasks in a shared folder, or files sent there and fetched back.
#
# Files travel in pieces through the scheduler, which everybody reaches, and are told apart by their
# SHA-256. A task that lacks a file says so and is given again once the file is there, so that Dask
# alone decides which worker does what, and a worker that is lost takes nothing along but time.

PIECE_BYTES = 8 << 20


@dataclass(frozen=True)
class Wanted:
    """A part that a task needs at the worker.

    Attributes
    ----------
    name : str
        What the task calls it.
    file : str
        Its name at the worker: the SHA-256, for parts that are not kept something that no other
        call has, and the ending of its name here, which some runtimes go by.
    length : int
        Bytes.
    keep : bool
    """

    name: str
    file: str
    length: int
    keep: bool


@dataclass(frozen=True)
class Missing:
    """The answer of a worker that first needs files."""

    worker: str
    files: frozenset[str]


@dataclass(frozen=True)
class Made:
    """The answer of a worker that did a task.

    Attributes
    ----------
    worker, folder : str
        Where the files are.
    files : dict of str to (int, str)
        Names below the folder, with bytes and SHA-256.
    result : object
    """

    worker: str
    folder: str
    files: dict[str, tuple[int, str]]
    result: Any


@cache
def code_fingerprint() -> str:
    """Return 16 digits that change with any Python file of this package."""
    return hashlib.sha256(to_json(below("", python=True)).encode()).hexdigest()[:16]


def in_place(code: str, task: Task) -> Any:
    """Do a task on a worker that sees the files under the same names as the client."""
    _require_code(code)
    return task.function(Place(task.folder, task.parts), task.value)


def elsewhere(
    code: str, function: Callable[[Place, Any], Any], value: Any, wanted: list[Wanted]
) -> Missing | Made:
    """Do a task with files that were sent, in a folder that is fetched afterwards."""
    _require_code(code)
    worker = distributed.get_worker()
    home = _home(worker)
    there = {one.name: home / one.file for one in wanted}
    missing = frozenset(one.file for one in wanted if not there[one.name].is_file())
    if missing:
        return Missing(worker.address, missing)
    folder = Path(tempfile.mkdtemp(prefix="task-", dir=home))
    parts = {one.name: Part(there[one.name], 0, one.length) for one in wanted}
    try:
        result = function(Place(folder, parts), value)
        # What it made, but for links to what was sent.
        sent = {path.stat().st_ino for path in there.values()}
        own = sorted(p for p in folder.rglob("*") if p.is_file() and p.stat().st_ino not in sent)
        made = {
            path.relative_to(folder).as_posix(): (path.stat().st_size, sha256_file(path))
            for path in own
        }
        return Made(worker.address, str(folder), made, result)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        for one in wanted:
            if not one.keep:
                there[one.name].unlink(missing_ok=True)


def receive(
    pieces: list[tuple[str, int, int, bytes]], call: str, dask_worker: distributed.Worker
) -> None:
    """Take pieces of parts: each its file, start, the part's whole length, and the bytes."""
    home = _home(dask_worker)
    for name, start, length, data in pieces:
        arriving = home / f".{call}.{name}"
        with arriving.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.write(data)
        if start + len(data) == length:
            if sha256_file(arriving) != name[:64]:
                arriving.unlink()
                raise RunError("A file was damaged on its way to a worker.", where=name)
            arriving.replace(home / name)


def hand_over(folder: str, pieces: list[tuple[str, int, int]]) -> list[bytes]:
    """Return pieces of files that a task made: each its name, start and length."""
    return [Part(Path(folder) / name, start, length).read() for name, start, length in pieces]


def forget(folder: str) -> None:
    """Remove a task's folder once its files were fetched."""
    shutil.rmtree(folder, ignore_errors=True)


def messages(lengths: Iterable[tuple[Any, int]]) -> Iterator[list[tuple[Any, int, int]]]:
    """Cut files into pieces, and gather pieces into messages of bounded size.

    Yields
    ------
    list of (key, start, length)

    Examples
    --------
    >>> for message in messages([("a", 3), ("b", 0), ("c", PIECE_BYTES + 1)]):
    ...     print(message)
    [('a', 0, 3), ('b', 0, 0), ('c', 0, 8388605)]
    [('c', 8388605, 4)]
    """
    message: list[tuple[Any, int, int]] = []
    room = PIECE_BYTES
    for key, length in lengths:
        start = 0
        while True:
            size = min(length - start, room)
            message.append((key, start, size))
            start, room = start + size, room - size
            if room == 0:
                yield message
                message, room = [], PIECE_BYTES
            if start == length:
                break
    if message:
        yield message


def _require_code(code: str) -> None:
    if code != code_fingerprint():
        raise RunError(
            "A worker has another version of lresnet_utils than this machine.",
            where=distributed.get_worker().address,
            fix="install the same version there, and start the worker again",
        )


def _home(worker: distributed.Worker) -> Path:
    """Return this project's part of the worker's own folder, which ends with the worker."""
    home = Path(worker.local_directory) / "lresnet"
    home.mkdir(exist_ok=True)
    return home
