"""Bytes of a regular file that is not larger than its reader allows."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from lresnet_utils.errors import DataError, LResNetError


def open_regular(path: Path | str) -> BinaryIO:
    """Open a file for reading, at once or not at all.

    Parameters
    ----------
    path : path
        A regular file or a link to one; a pipe or a device could block or never end.

    Raises
    ------
    OSError
        When it is missing, unreadable or no regular file; ``strerror`` says which.
    """
    _require_regular(Path(path).stat())
    # Looked at once more when it is open: what lies there may have been exchanged meanwhile.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _require_regular(os.fstat(handle))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(
    path: Path | str,
    *,
    most: int,
    what: str = "The file",
    error: type[LResNetError] = DataError,
    fix: str | None = None,
) -> bytes:
    """Read a file whole.

    Parameters
    ----------
    path : path
        See :func:`open_regular`.
    most : int
        Bytes that it may have.
    what : str
        What the file is, as the subject of a sentence.
    error : type of LResNetError
        What to raise.
    fix : str, optional
        What to do when it cannot be read.

    Raises
    ------
    LResNetError
        Of type `error`, when the file is missing, no regular file, unreadable or too large.
    """
    try:
        with open_regular(path) as file:
            # A sparse file of terabytes costs nothing on the disk: its size is asked first.
            large = os.fstat(file.fileno()).st_size > most
            data = b"" if large else file.read(most + 1)
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
        raise error(f"{what} cannot be read: {reason}.", where=str(path), fix=fix) from problem
    except ValueError as problem:  # what Python raises for a zero byte in a path
        raise error(f"{what} has an impossible name.", where=str(path), fix=fix) from problem
    if large or len(data) > most:
        raise error(f"{what} is too large: more than {most:,} bytes.", where=str(path), fix=fix)
    return data


def _require_regular(about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "a pipe, socket or device"
        raise OSError(errno.EINVAL, f"it is {kind}, not a file")
