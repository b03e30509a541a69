"""SHA-256 of files and folders that were hashed before and have not been touched since."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lresnet_utils.ledger.signing import read_sealed, write_sealed
from lresnet_utils.machine.disk import sha256_file

# A file that changed so shortly before it was hashed may change again without a newer time.
_SETTLED_S = 2.0


class Hashes:
    """Hashes of contents, remembered by what the system says of the files.

    A file counts as untouched while its size, inode and both times, to the nanosecond, are what
    they were, a folder while that is so of every file in it. Copying, unpacking and renaming can
    keep the time of the last change of a file's contents, but not that of its inode, which no
    program can choose, short of setting the machine's clock. ``--fresh`` trusts no time at all.

    Parameters
    ----------
    memory : Path, optional
        JSON file that :meth:`keep` writes; one that is missing, damaged or not sealed by this user
        is an empty memory.
    fresh : bool
        True to begin with an empty memory whatever is there.
    """

    def __init__(self, memory: Path | None = None, *, fresh: bool = False) -> None:
        self._memory = memory
        known = read_sealed(memory) if memory is not None and not fresh else None
        self._known: dict[str, list[Any]] = (known or {}).get("files", {})
        self._fresh = False

    def of(self, path: Path) -> dict[str, Any] | None:
        """Return the ``bytes`` and ``sha256`` of a file or of a folder with all below it.

        None where there is no such thing, or one that cannot be read to its end, as a pipe.
        """
        try:
            stamp = _stamp(path)
            known = self._known.get(str(path))
            if stamp and (known is None or known[:-1] != stamp):
                known = [*stamp, _contents(path)]
                self._remember(path, known)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return {"bytes": stamp[0], "sha256": known[-1]} if stamp else None

    def all(self, paths: list[Path], root: Path) -> dict[str, dict[str, Any]]:
        """Return what :meth:`of` gives of each file, by its name below `root`."""
        found = {path.relative_to(root).as_posix(): self.of(path) for path in paths}
        return {name: about for name, about in found.items() if about is not None}

    def keep(self) -> None:
        """Write what was hashed since the memory was read."""
        if self._fresh and self._memory is not None:
            write_sealed(self._memory, {"files": dict(sorted(self._known.items()))})
            self._fresh = False

    def _remember(self, path: Path, known: list[Any]) -> None:
        if time.time() - max(known[2], known[3]) / 1e9 > _SETTLED_S:
            self._known[str(path)] = known
            self._fresh = True


def _contents(path: Path) -> str:
    if path.is_dir():
        return _digest(path, ((file, sha256_file(file)) for file in _below(path)))
    return sha256_file(path)


def _stamp(path: Path) -> list[Any] | None:
    """Return size, inode and both times; of a folder their sum, digest and latest."""
    about = path.stat()
    if stat.S_ISDIR(about.st_mode):
        stamps = {file: _of_file(file.stat()) for file in _below(path)}
        sizes, _, changed, moved = zip(*stamps.values() or [[0] * 4], strict=True)
        return [sum(sizes), _digest(path, stamps.items()), max(changed), max(moved)]
    return _of_file(about) if stat.S_ISREG(about.st_mode) else None


def _of_file(about: os.stat_result) -> list[int]:
    return [about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns]


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(folder: Path, told: Iterable[tuple[Path, Any]]) -> str:
    """Return the SHA-256 of what is told of each file of a folder, with its name there."""
    digest = hashlib.sha256()
    for path, what in told:
        digest.update(f"{[path.relative_to(folder).as_posix(), what]}\n".encode())
    return digest.hexdigest()
