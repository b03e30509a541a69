"""Tasks on Dask's workers: processes of this machine, or whatever a scheduler has."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lresnet_utils.errors import ParamsError, RunError, nearest
from lresnet_utils.machine.disk import HALF_MADE
from lresnet_utils.machine.facts import usable_cores

if TYPE_CHECKING:
    import distributed


Files = Literal["auto", "shared", "sent"]
_FILES = ("auto", "shared", "sent")

_SECONDS_TO_JOIN = 120


@contextmanager
def open_engine(
    *,
    workers: int = 0,
    scheduler: str | None = None,
    files: Files = "auto",
    folder: Path | None = None,
) -> Iterator[Engine]:
    """Yield who does tasks: this process, worker processes beside it, or a cluster.

    Parameters
    ----------
    workers : int
        Worker processes to start on this machine; 0 for none. They listen on the loopback
        interface only, encrypted with a key that only they have, and end with the block.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tls://10.0.0.1:8786``; it and its workers stay.
    files : {"auto", "shared", "sent"}
        Whether workers see this machine's files under the same names, or files are sent through
        Dask; "auto" tries it out in `folder`.
    folder : Path, optional
        Where the work's files go; it must exist for "auto".

    Raises
    ------
    ParamsError
        When the choices do not go together.
    RunError
        When Dask is not installed, the scheduler does not answer, or no worker joins.
    """
    if workers and scheduler:
        raise ParamsError(
            "Workers are either started here or found at a scheduler.",
            where="--workers and --scheduler",
            fix="give one of them",
        )
    if files not in _FILES:
        raise ParamsError(f"Unknown word {files!r}.", where="--files", fix=nearest(files, _FILES))
    if not workers and not scheduler:
        yield Here()
        return
    missing = [m for m in ("distributed", "cryptography") if importlib.util.find_spec(m) is None]
    if missing:
        raise RunError(
            f"Workers need {' and '.join(missing)}, which is not installed.",
            where="--workers, --scheduler",
            fix="python -m pip install 'lresnet-utils[cluster]'",
        )
    import distributed

    from lresnet_utils.cluster.dask_engine import DaskEngine

    with ExitStack() as stack:
        cluster = stack.enter_context(_local_cluster(workers)) if workers else scheduler
        try:
            client = stack.enter_context(distributed.Client(cluster, set_as_default=False))
        except (OSError, ValueError) as error:
            raise RunError(
                f"The scheduler does not answer: {error}.",
                where=str(cluster),
                fix="see docs/cluster.md for how to start one; tls:// needs its certificates here "
                "too",
            ) from error
        try:
            client.wait_for_workers(workers or 1, timeout=_SECONDS_TO_JOIN)
        except distributed.TimeoutError as error:
            raise RunError(
                f"No worker joined within {_SECONDS_TO_JOIN} s.",
                where=client.scheduler.address,
                fix="start workers for this scheduler, see docs/cluster.md",
            ) from error
        shared = files == "shared" or (files == "auto" and bool(workers))
        if files == "auto" and not workers and folder is not None:
            # Try out whether every worker that is there finds a file of ours, with what is in it.
            token = secrets.token_hex(16)
            with tempfile.NamedTemporaryFile("w", prefix=HALF_MADE, dir=folder) as file:
                file.write(token)
                file.flush()
                answers = client.run(_content, file.name)
            shared = all(answer == token for answer in answers.values())
        yield DaskEngine(
            client, shared=shared, cores=max(1, usable_cores() // workers) if workers else 0
        )


@contextmanager
def _local_cluster(workers: int) -> Iterator[distributed.LocalCluster]:
    import dask
    import distributed

    # Dask would give its workers one OpenMP thread each, and kernels would inherit that: a cell
    # must run with the same settings whoever executes it.
    settings = {"distributed.nanny.pre-spawn-environ": {}}
    # Each of them opens a port for plain HTTP, whatever it is told: nothing is served there.
    settings |= {f"distributed.{role}.http.routes": [] for role in ("scheduler", "worker")}
    with tempfile.TemporaryDirectory(prefix="lresnet-workers-") as folder, ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        try:
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host="127.0.0.1",
                # Any free port instead of a fixed one.
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                security=distributed.Security.temporary(),
                local_directory=folder,
                silence_logs=logging.CRITICAL,
            )
        except (OSError, RuntimeError) as error:
            # Dask says only that they did not start; why stands at the bottom of the chain.
            cause: BaseException = error
            while cause.__context__ is not None:
                cause = cause.__context__
            raise RunError(
                f"Workers cannot be started here: {cause}.",
                where="--workers",
                fix="do without --workers, or see that /dev/shm can be written",
            ) from error
        yield stack.enter_context(cluster)


def _content(name: str) -> str | None:
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError:
        return None


# Calls that can be made anywhere: what they read, what they make, and who makes them.

# More calls at a time than this are not prepared, however many workers there are.
_MOST_AT_ONCE = 512
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Part:
    """A file, or a run of its bytes, that a task reads.

    Attributes
    ----------
    path : Path
    start, length : int
        Bytes.
    keep : bool
        Whether a worker that was sent a copy should keep it for later tasks.
    sha256 : str, optional
        Of these bytes, where it is known.
    """

    path: Path
    start: int
    length: int
    keep: bool = False
    sha256: str | None = None

    @classmethod
    def whole(cls, path: Path, *, keep: bool = False, sha256: str | None = None) -> Part:
        """Return all of a file."""
        return cls(path, 0, path.stat().st_size, keep, sha256)

    def read(self) -> bytes:
        """Return the bytes."""
        with self.path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.length)

    def digest(self) -> str:
        """Return the SHA-256 of the bytes, of which a block at a time is read."""
        found, left = hashlib.sha256(), self.length
        with self.path.open("rb") as file:
            file.seek(self.start)
            while block := file.read(min(left, _BLOCK_BYTES)):
                found.update(block)
                left -= len(block)
        return found.hexdigest()


@dataclass(frozen=True)
class Place:
    """Where a task is at work.

    Attributes
    ----------
    folder : Path
        What is written here becomes part of the task's own folder.
    parts : mapping of str to Part
        What it reads, wherever that lies here.
    """

    folder: Path
    parts: Mapping[str, Part]

    def laid_out(self, prefix: str = "") -> Path:
        """Return a folder where the parts of this prefix have the names that follow it.

        That is the client's own folder where the worker sees it; otherwise links are made.
        """
        start = len(prefix)
        own = {name[start:]: p for name, p in self.parts.items() if name.startswith(prefix)}
        # The folder in which each part already has its name; at a worker that was sent it, none.
        there = [(part.path, Path(name).parts) for name, part in own.items()]
        if all(path.parts[-len(parts) :] == parts for path, parts in there):
            homes = {path.parents[len(parts) - 1] for path, parts in there}
            if len(homes) == 1:
                return homes.pop()
        for name, part in own.items():
            link = self.folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(part.path, link)
        return self.folder


@dataclass(frozen=True)
class Task:
    """A call to make somewhere.

    Attributes
    ----------
    function : callable
        Takes a :class:`Place` and `value`; what it returns is small. May be called again when the
        worker that had it was lost.
    value : object
        Small, can be pickled.
    folder : Path
        Where its files belong, here.
    parts : mapping of str to Part
        What it reads, here.
    resources : mapping of str to float
        What its worker must have, such as ``{"tensorrt": 1}``, if any worker does.
    """

    function: Callable[[Place, Any], Any]
    value: Any
    folder: Path
    parts: Mapping[str, Part] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)


class Engine(Protocol):
    """Who does tasks.

    Attributes
    ----------
    slots : int
        Tasks worth giving at the same time; may change as workers come and go.
    cores : int
        Processors that one task may use; 0 for all that there are.
    """

    slots: int
    cores: int

    def call(self, task: Task) -> Any:
        """Do a task and return what its function returned, with its files in its folder.

        As many threads as there are slots may call this at the same time.
        """
        ...

    def cancel(self) -> None:
        """Give up what is under way: those calls raise."""
        ...


class Here:
    """Does tasks in this process, one after the other."""

    slots = 1
    cores = 0

    def call(self, task: Task) -> Any:
        """Do a task here."""
        return task.function(Place(task.folder, task.parts), task.value)

    def cancel(self) -> None:
        """Do nothing: no other thread is in a call."""


def spread(engine: Engine, tasks: Iterable[Task]) -> Iterator[Any]:
    """Do tasks, as many at a time as the engine takes, and yield what each returned.

    Results come in the order in which the tasks end. Tasks are taken from the iterable as slots
    become free, so neither tasks nor results pile up.

    Raises
    ------
    Exception
        Whatever a task raises; the others are then given up.

    Examples
    --------
    >>> square = [Task(lambda place, x: x * x, n, Path()) for n in range(4)]
    >>> list(spread(Here(), square))
    [0, 1, 4, 9]
    """
    if engine.slots == 1:
        yield from map(engine.call, tasks)
        return
    waiting, running = iter(tasks), set[Future]()
    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        try:
            while True:
                room = max(0, min(engine.slots, _MOST_AT_ONCE) - len(running))
                running |= {pool.submit(engine.call, task) for task in islice(waiting, room)}
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            if running:
                engine.cancel()
