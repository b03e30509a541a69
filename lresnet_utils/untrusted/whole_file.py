"""Bytes of a regular file that is not larger than its reader allows."""

from __future__ import annotations

import stat
from pathlib import Path

from lresnet_utils.errors import DataError, LResNetError


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
        A regular file or a link to one; a pipe or a device could block or never end.
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
    path = Path(path)
    try:
        _require_regular(path, what, error)
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
        raise error(f"{what} cannot be read: {reason}.", where=str(path), fix=fix) from problem
    except ValueError as problem:  # what Python raises for a zero byte in a path
        raise error(f"{what} has an impossible name.", where=str(path), fix=fix) from problem
    if len(data) > most:
        raise error(f"{what} is too large: more than {most:,} bytes.", where=str(path), fix=fix)
    return data


def _require_regular(path: Path, what: str, error: type[LResNetError]) -> None:
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise error(f"{what} cannot be read: it is {kind}, not a file.", where=str(path))
