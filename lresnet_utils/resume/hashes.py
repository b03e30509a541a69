"""SHA-256 of files that were hashed before and have not been touched since."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

from lresnet_utils.errors import LResNetError
from lresnet_utils.files import read_json, sha256_file, write_json

# A file that changed so shortly before it was hashed may change again without a newer time.
_SETTLED_S = 2.0


class Hashes:
    """Hashes of files, remembered by what the system says of them.

    A file counts as untouched while its size, inode and both times, to the nanosecond, are what
    they were. The time of the last change of its inode cannot be set back by any program.

    Parameters
    ----------
    memory : Path, optional
        JSON file that :meth:`keep` writes; one that is missing or damaged is an empty memory.
    """

    def __init__(self, memory: Path | None = None) -> None:
        self._memory = memory
        self._known: dict[str, list[Any]] = _read(memory)
        self._fresh = False

    def of(self, path: Path) -> dict[str, Any] | None:
        """Return a file's ``bytes`` and ``sha256``, or None where there is no such file.

        Of a folder, such as one of pictures, names, sizes and times are hashed, not contents.
        """
        if path.is_dir():
            return _listing(path)
        try:
            stamp = _stamp(path.stat())
            known = self._known.get(str(path))
            if known is None or known[:-1] != stamp:
                known = [*stamp, sha256_file(path)]
                self._remember(path, known)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return {"bytes": stamp[0], "sha256": known[-1]}

    def all(self, paths: list[Path], root: Path) -> dict[str, dict[str, Any]]:
        """Return what :meth:`of` gives of each file, by its name below `root`."""
        found = {path.relative_to(root).as_posix(): self.of(path) for path in paths}
        return {name: about for name, about in found.items() if about is not None}

    def keep(self) -> None:
        """Write what was hashed since the memory was read."""
        if self._fresh and self._memory is not None:
            write_json(self._memory, dict(sorted(self._known.items())))
            self._fresh = False

    def _remember(self, path: Path, known: list[Any]) -> None:
        if time.time() - max(known[2], known[3]) / 1e9 > _SETTLED_S:
            self._known[str(path)] = known
            self._fresh = True


def _stamp(about: os.stat_result) -> list[int]:
    return [about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns]


def _listing(folder: Path) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        about = path.stat()
        line = [path.relative_to(folder).as_posix(), about.st_size, about.st_mtime_ns]
        digest.update(f"{line}\n".encode())
        size += about.st_size
    return {"bytes": size, "sha256": digest.hexdigest()}


def _read(memory: Path | None) -> dict[str, list[Any]]:
    try:
        found = read_json(memory) if memory is not None else {}
    except (LResNetError, OSError):
        return {}
    return found if isinstance(found, dict) else {}
