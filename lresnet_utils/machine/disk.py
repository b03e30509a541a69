"""Files that are either whole or absent: atomic writes, hashes, JSON."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.errors import DataError, RunError, StorageError, visible
from lresnet_utils.text.language import with_codes, with_glossary
from lresnet_utils.untrusted.arrays import read_npz
from lresnet_utils.untrusted.bytes import open_regular, read_bytes
from lresnet_utils.untrusted.json import MAX_BYTES as MAX_JSON_BYTES
from lresnet_utils.untrusted.json import parse_json

# What a disk says that takes no more, whatever is written. EFBIG is a limit on one file's size.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO})
WHEN_FULL = "free some space, or make it writable, and run the same again: what is finished is kept"
"""What a user is told to do when the disk takes no more."""
HALF_MADE = ".lresnet-"
"""How the name of whatever is not finished begins, so that nobody's own file is taken for it."""
# Enough to tell a full disk from one on which a small file still fits by chance.
_PROBE_BYTES = 2**20


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` when the block ends well.

    The temporary file is flushed to disk before it is renamed, and the renaming after it, so a
    crash leaves the old file, the new file or none, never a half. When the block raises, the
    temporary file is removed; the name of what a killed process leaves begins with
    :data:`HALF_MADE`. Who may read the file is for the process's umask to say.

    Parameters
    ----------
    path : path
        The file to make. Its folder is made when missing.

    Raises
    ------
    StorageError
        When the folder cannot be written, or its disk is full.
    RunError
        When a folder, a pipe or a device has the name.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise RunError("Something other than a file is here.", where=str(path))
    temporary = path.with_name(f"{HALF_MADE}{secrets.token_hex(4)}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.open("xb").close()
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        # The renaming lasts too; a file system that cannot do this for a folder is left alone.
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno in FULL:
                raise
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise cannot_write(path, error) from error
    finally:
        # On a disk that became read-only it stays; what there is to say is said above.
        with suppress(OSError):
            temporary.unlink()


def require_replaceable(path: Path | str, alike: Callable[[bytes], bool]) -> None:
    """See that a file that a user names for a result is new, or an earlier such result.

    Parameters
    ----------
    path : path
    alike : callable
        Whether bytes, which may be the first of many, are of such a result.

    Raises
    ------
    RunError
        When something else is there, be it a link to what is away, as a disk may be for a while.
    """
    path, same = Path(path), False
    if not os.path.lexists(path):
        return
    try:
        if path.is_file():
            with path.open("rb") as file:
                same = alike(file.read(2**26))
    except OSError as error:
        raise cannot_write(path, error) from error
    if not same:
        raise RunError(
            "Something else is here and would be replaced.",
            where=str(path),
            fix="choose a new name, or move it away",
        )


def require_room(folder: Path | str) -> None:
    """See that a megabyte can be written into a folder.

    Raises
    ------
    StorageError
        When it cannot: the disk is full, or has become read-only.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(Path(folder), error) from error


def cannot_write(path: Path, error: OSError) -> StorageError:
    """Return what a user is told when the system refuses to write a file."""
    fix = WHEN_FULL if error.errno in FULL else "choose a folder that can be written"
    return StorageError(f"Cannot write here: {error.strerror}.", where=str(path), fix=fix)


def write_text(path: Path | str, text: str) -> Path:
    """Write UTF-8 text atomically and return the path."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: Path | str, value: Any) -> Path:
    """Write `value` as JSON atomically; keys keep their order, NaN is refused.

    Parameters
    ----------
    path : path
        The file to make.
    value : JSON-like
        NumPy scalars and arrays are written as plain numbers and lists.

    Raises
    ------
    ValueError
        When a number is NaN or infinite: a missing number is ``None`` with a reason beside it.
    """
    return write_text(path, to_json(value) + "\n")


def to_json(value: Any) -> str:
    """Return `value` as the JSON text that :func:`write_json` writes.

    Examples
    --------
    >>> print(to_json({"n": np.int64(3)}))
    {
     "n": 3
    }
    """
    text = json.dumps(
        with_glossary(value), indent=1, ensure_ascii=False, allow_nan=False, default=_plain
    )
    return visible(text)


def from_json(text: str | bytes) -> Any:
    """Return what :func:`to_json` wrote, from another process of ours."""
    return with_codes(json.loads(text))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def read_json(path: Path | str) -> Any:
    """Read JSON, with a short error when the file is damaged.

    Raises
    ------
    DataError
        When the file is missing, is not JSON, or passes a limit of
        :mod:`lresnet_utils.untrusted.json`.
    """
    if not Path(path).exists():
        raise DataError("The file does not exist.", where=str(path))
    return with_codes(parse_json(read_bytes(path, most=MAX_JSON_BYTES), where=str(path)))


def sha256_file(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_arrays(path: Path | str, **arrays: np.ndarray) -> Path:
    """Write named arrays as one ``.npz`` atomically; the same arrays give the same bytes."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
    return Path(path)


class ArrayStream:
    """A ``.npz`` that is being written; see :func:`stream_arrays`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, array: np.ndarray) -> None:
        """Write one whole array."""
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)

    @contextmanager
    def table(self, name: str, n_rows: int) -> Iterator[Callable[[np.ndarray], None]]:
        """Yield a function that writes the next rows of a table.

        Parameters
        ----------
        name : str
        n_rows : int
            Rows of the whole table, which the file names before the first of them.

        Raises
        ------
        ValueError
            When another number of rows was written, or a block is of another width or type than
            the first one. At least one block is needed, which may be empty.
        """
        written, first = 0, None

        def write(rows: np.ndarray) -> None:
            nonlocal written, first
            rows = np.ascontiguousarray(rows)
            like = (rows.dtype, rows.shape[1])
            if first is None:
                first = like
                header = {
                    "descr": np.lib.format.dtype_to_descr(rows.dtype),
                    "fortran_order": False,
                    "shape": (n_rows, rows.shape[1]),
                }
                np.lib.format.write_array_header_1_0(file, header)
            if like != first:
                raise ValueError(f"rows of {like} do not continue rows of {first}")
            written += len(rows)
            file.write(rows.data.cast("B") if rows.size else b"")

        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            yield write
        if written != n_rows or first is None:
            raise ValueError(f"{name} has {written} rows instead of {n_rows}")


@contextmanager
def stream_arrays(path: Path | str) -> Iterator[ArrayStream]:
    """Write a ``.npz`` atomically, array after array, tables piece by piece.

    Memory does not grow with the tables, and the bytes are those of :func:`write_arrays`.
    """
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        yield ArrayStream(archive)


def read_arrays(path: Path | str) -> dict[str, np.ndarray]:
    """Read a ``.npz`` whole; see :func:`lresnet_utils.untrusted.arrays.read_npz`.

    Raises
    ------
    DataError
        When the file is missing, damaged, or holds anything but arrays of numbers.
    """
    try:
        return read_npz(path)
    except FileNotFoundError as error:
        raise DataError("The file does not exist.", where=str(path)) from error


# Room on the disk: how much a run may need, and some set aside for its last words.

# The first page, results.json and the summary's notebook of a run that has no room for more.
BYTES = 16 * 2**20
_NAME = f"{HALF_MADE}reserve"


class Reserve:
    """Room that a run sets aside, so that it can still say why it stopped on a full disk.

    Parameters
    ----------
    folder : Path
        On the disk in question; made when missing.

    Raises
    ------
    StorageError
        On entering, when the disk has not even this much.
    """

    def __init__(self, folder: Path) -> None:
        self._path = Path(folder) / _NAME

    def __enter__(self) -> Reserve:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("wb") as file:
                # Zeros that are written: some file systems only promise what is allocated.
                file.write(bytes(BYTES))
                os.fsync(file.fileno())
        except OSError as error:
            self.free()
            raise cannot_write(self._path, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self.free()

    def free(self) -> None:
        """Give the room back; a second call does nothing."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def require_free(folder: Path, need: int) -> None:
    """See that a folder's disk has room for so many bytes beside what the folder holds already.

    Raises
    ------
    StorageError
        When it has not.
    """
    there = next(place for place in (folder, *folder.parents) if place.is_dir())
    held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    free = shutil.disk_usage(there).free
    if free + held < need + BYTES:
        raise StorageError(
            f"The disk has {free / 2**30:.2f} GiB free; this run may need "
            f"{(need + BYTES - held) / 2**30:.2f} GiB.",
            where=str(folder),
            fix="free some space, or choose another folder with --output",
        )
