"""Room on the disk: how much a run may need, and some set aside for its last words."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from lresnet_utils.errors import StorageError
from lresnet_utils.machine.disk import HALF_MADE, cannot_write

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
