"""SHA-256 of files and folders that were hashed before and have not been touched since."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir

from lresnet_utils.errors import LResNetError
from lresnet_utils.machine.disk import read_json, sha256_file, to_json, write_json

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
            about = path.stat()
            stamp = _of_file(about) if stat.S_ISREG(about.st_mode) else None
            if stat.S_ISDIR(about.st_mode):
                # Of a folder the sum of sizes, a digest, and the latest times.
                stamps = {file: _of_file(file.stat()) for file in _below(path)}
                sizes, _, changed, moved = zip(*stamps.values() or [[0] * 4], strict=True)
                stamp = [sum(sizes), _digest(path, stamps.items()), max(changed), max(moved)]
            known = self._known.get(str(path))
            if stamp and (known is None or known[:-1] != stamp):
                if path.is_dir():
                    own = _digest(path, ((file, sha256_file(file)) for file in _below(path)))
                else:
                    own = sha256_file(path)
                known = [*stamp, own]
                if time.time() - max(known[2], known[3]) / 1e9 > _SETTLED_S:
                    self._known[str(path)] = known
                    self._fresh = True
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


# What this user has made, told from what came from elsewhere, with the key of their Jupyter.
#
# Jupyter strips the outputs of a notebook that this user has not run or trusted: a chart is reduced
# to the loose words in it. A run's notebooks were executed here, by this user, and are signed.
#
# Whatever later work believes without making it again (what resume keeps, what a search remembered,
# compiled code) is sealed with the same key. A seal says that the text was written by a process of
# the key's owner, no more: whoever can read the key can seal anything, and a record that another
# user or machine wrote is as if it were not there. The key lies in Jupyter's data folder, which
# ``JUPYTER_DATA_DIR`` names; where no key can be kept, nothing is believed.

# Two first signatures at once would each make a secret key, and one of them would be lost.
_one_at_a_time = threading.Lock()
# No signature of a notebook can stand for one of these.
_PURPOSE = b"lresnet-utils seal 1\0"
_SEAL = "seal"


def sign(path: Path) -> bool:
    """Note in the user's Jupyter folder that a notebook's outputs are trusted.

    Parameters
    ----------
    path : Path
        An executed notebook.

    Returns
    -------
    bool
        False where no note could be made, as with a home that cannot be written: the notebook is
        as good as before, and ``jupyter trust`` can follow.
    """
    import nbformat  # takes a second to import, which kernels need not wait for
    from nbformat.sign import NotebookNotary

    try:
        with _one_at_a_time, NotebookNotary() as notary:
            notary.sign(nbformat.read(path, as_version=4))
    # The signature store may fail in many ways (SQLite, permissions), none of which spoils a run.
    except Exception:
        return False
    return True


def seal(value: Any) -> str | None:
    """Return what only this user can put beside plain values; None where no key can be kept."""
    key = _key(jupyter_data_dir())
    return key and hmac.new(key, _PURPOSE + to_json(value).encode(), hashlib.sha256).hexdigest()


def write_sealed(path: Path, value: dict[str, Any]) -> Path:
    """Write plain values as JSON, with their seal."""
    return write_json(path, value | {_SEAL: seal(value)})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return what :func:`write_sealed` wrote, exactly, or None: of what is no such file either."""
    # Asked for first: processes that start together then find a key that their parent made.
    if _key(jupyter_data_dir()) is None:
        return None
    try:
        found = read_json(path)
    except (LResNetError, OSError):
        return None
    told = found.pop(_SEAL, None) if isinstance(found, dict) else None
    return found if isinstance(told, str) and told == seal(found) else None


@cache
def _key(folder: str) -> bytes | None:
    """Return the secret key below Jupyter's data folder, made when there is none."""
    try:
        with suppress(FileNotFoundError):
            return (Path(folder) / "notebook_secret").read_bytes() or None
        # Slow to import, and needed by the first run of all only.
        from nbformat.sign import MemorySignatureStore, NotebookNotary

        Path(folder).mkdir(parents=True, exist_ok=True)
        with (
            _one_at_a_time,
            NotebookNotary(data_dir=folder, store_factory=MemorySignatureStore) as notary,
        ):
            return notary.secret or None
    except OSError:
        return None
