"""What happens on a worker: tasks in a shared folder, or files sent there and fetched back.

Files travel in pieces through the scheduler, which everybody reaches, and are told apart by their
SHA-256. A task that lacks a file says so and is given again once the file is there, so that Dask
alone decides which worker does what, and a worker that is lost takes nothing along but time.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import distributed

import lresnet_utils
from lresnet_utils.cluster.tasks import Part, Place, Task
from lresnet_utils.errors import RunError
from lresnet_utils.machine.disk import sha256_file

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
    folder = Path(lresnet_utils.__file__).parent
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        whole.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()[:16]


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
        return Made(worker.address, str(folder), _made(folder, there.values()), result)
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


def _made(folder: Path, sent: Iterable[Path]) -> dict[str, tuple[int, str]]:
    """Describe the files below a folder, but for links to what was sent."""
    known = {path.stat().st_ino for path in sent}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, sha256_file(path))
        for path in files
        if path.stat().st_ino not in known
    }
