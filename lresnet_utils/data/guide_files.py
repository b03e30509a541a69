"""Files that the guide's tools read: one ``.bin`` per view, an info file and the labels.

The bytes are those of the guide's ``LResNet_preprocess.py`` for the same pictures, so
``benchmark.x86_64``, ``ais_bench`` and ``msame`` take them as they are.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lresnet_utils.data.network_input import flip, to_network_input
from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import atomic_path, read_json, write_json, write_text

Progress = Callable[[int, int], None]

# Hidden from the tools, which take every *.bin of the folder.
_MARK = ".guide_format.json"
_CHUNK = 64
_WRITERS = 8
_DISK_BLOCK = 4096


@dataclass(frozen=True)
class GuideFiles:
    """What was written.

    Attributes
    ----------
    folder, info_path, list_path : Path
        Where.
    n_images, n_files : int
        Images, and files: two per image.
    n_written, n_kept : int
        Files written now, and whole files of the same pictures kept from an earlier run.
    bytes_per_file : int
        150,528 for 112x112.
    """

    folder: Path
    info_path: Path
    list_path: Path
    n_images: int
    n_files: int
    n_written: int
    n_kept: int
    bytes_per_file: int


def write_guide_files(
    images: np.ndarray,
    folder: Path | str,
    info_path: Path | str,
    list_path: Path | str,
    same: np.ndarray,
    *,
    slots: np.ndarray | None = None,
    paths: Literal["relative", "absolute"] = "relative",
    progress: Progress | None = None,
) -> GuideFiles:
    """Write the guide's ``{i}.bin``, ``{i}_flip.bin``, info file and label file.

    Parameters
    ----------
    images : ndarray of uint8, shape (m, 112, 112, 3)
        Pictures in RGB; a memory map is read in pieces.
    folder : path
        For the views: float32, little-endian, channels (B, G, R) x rows x columns, values
        ``(x / 255 - 0.5) / 0.5``, no header. It may hold no other ``.bin`` file.
    info_path : path
        For the lines ``index path width height``, in natural order: 0, 0_flip, 1, 1_flip, ...
    list_path : path
        For the labels (``lfw_list.npy``): bool, shape (n_pairs,).
    same : ndarray of bool, shape (n_pairs,)
        Whether a pair is of one person; images 2k and 2k + 1 are pair k.
    slots : ndarray of int, shape (2 * n_pairs,), optional
        Which of `images` is image i; by default image i itself. A store that keeps each distinct
        picture once gives ``np.stack([left, right], 1).ravel()``.
    paths : {'relative', 'absolute'}
        How the info file names the views: from its own folder on, or whole. The tools resolve
        relative paths from the folder they are started in.
    progress : callable(done, total), optional
        Told the number of images done.

    Returns
    -------
    GuideFiles

    Raises
    ------
    DataError
        When counts do not fit, the folder holds other views, a path has a space (the info file's
        separator) or the disk has no room. Nothing is written then.

    Notes
    -----
    Source: ``LResNet_preprocess.py`` of Ascend/ModelZoo-PyTorch, commit 05360171. It lists the
    views in the order of the file system; here the order is always the same.
    """
    folder, info_path, list_path = Path(folder), Path(info_path), Path(list_path)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(
            f"The pictures are {images.dtype.name} {images.shape}, not uint8 (n, height, width, 3)."
        )
    same = np.asarray(same, bool)
    if same.ndim != 1 or not len(same):
        raise DataError(f"The labels have shape {same.shape}, not (n_pairs,).")
    slots = np.arange(len(images)) if slots is None else np.asarray(slots)
    if len(slots) != 2 * len(same):
        raise DataError(
            f"{len(same):,} pairs need {2 * len(same):,} images, but there are {len(slots):,}."
        )
    if slots.ndim != 1 or slots.min() < 0 or slots.max() >= len(images):
        raise DataError(f"An image outside the {len(images):,} given ones is asked for.")
    # In natural order: numbers by value, '.' before '_'.
    names = [name for i in range(len(slots)) for name in (f"{i}.bin", f"{i}_flip.bin")]
    info = _info(names, folder, info_path, paths, images.shape[1:3])
    size = 4 * int(np.prod(images.shape[1:]))
    digest = _digest(images, slots)

    def whole(name: str) -> bool:
        return (folder / name).is_file() and (folder / name).stat().st_size == size

    known = False
    with suppress(DataError, KeyError, TypeError):
        known = read_json(folder / _MARK)["sha256"] == digest
    _check_folder(folder, names, [name for name in names if not (known and whole(name))], size)
    if not known:
        # Without its mark no view counts as whole; the mark comes before the first new view.
        for name in names:
            (folder / name).unlink(missing_ok=True)
        write_json(folder / _MARK, {"sha256": digest, "n_images": len(slots)})

    def write_view(name: str, view: np.ndarray) -> None:
        with atomic_path(folder / name) as temporary:
            view.astype("<f4", copy=False).tofile(temporary)

    written = 0
    # Each view is flushed to the disk; threads let the disk take several at once.
    with ThreadPoolExecutor(_WRITERS) as writers:
        for start in range(0, len(slots), _CHUNK):
            stop = min(start + _CHUNK, len(slots))
            missing = [n for n in range(2 * start, 2 * stop) if not whole(names[n])]
            wanted = np.unique(np.array(missing, int) // 2)
            if missing:
                batch = to_network_input(
                    images[slots[wanted]], channel_order="bgr", normalisation="minus1_1"
                )
                sides = (batch, flip(batch))
                views = [sides[n % 2][np.searchsorted(wanted, n // 2)] for n in missing]
                list(writers.map(write_view, [names[n] for n in missing], views))
                written += len(missing)
            if progress:
                progress(stop, len(slots))
    write_text(info_path, info)
    with atomic_path(list_path) as temporary, temporary.open("wb") as file:
        np.save(file, same)
    n_kept = len(names) - written
    return GuideFiles(folder, info_path, list_path, len(slots), len(names), written, n_kept, size)


def _info(
    names: list[str], folder: Path, info_path: Path, paths: str, size: tuple[int, int]
) -> str:
    """Return the info file's text."""
    if paths not in ("relative", "absolute"):
        raise DataError(f"Paths are 'relative' or 'absolute', not {paths!r}.")
    start = folder.resolve().as_posix()
    if paths == "relative":
        start = Path(os.path.relpath(folder.resolve(), info_path.parent.resolve())).as_posix()
        if not start.startswith("."):
            start = f"./{start}"
    if any(character.isspace() for character in start):
        raise DataError(
            "The info file separates its columns by spaces, so no path in it can have one.",
            where=start,
            fix="choose a folder without spaces in its path, or relative paths",
        )
    height, width = size
    return "".join(f"{i} {start}/{name} {width} {height}\n" for i, name in enumerate(names))


def _check_folder(folder: Path, names: list[str], missing: list[str], size: int) -> None:
    """Refuse a folder with views of another set, which the tools would run too, and a full disk."""
    if folder.exists() and not folder.is_dir():
        raise DataError("This is a file, not a folder.", where=str(folder))
    expected = set(names)
    surplus = sorted(
        path.name
        for path in (folder.iterdir() if folder.exists() else ())
        if path.suffix in (".bin", ".BIN", ".npy", ".NPY")
        and path.name not in expected
        and not path.name.startswith(".")
    )
    if surplus:
        raise DataError(
            f"The folder holds {len(surplus):,} other files that the tools would run too "
            f"({', '.join(surplus[:3])}{', ...' if len(surplus) > 3 else ''}).",
            where=str(folder),
            fix="choose an empty folder",
        )
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    each = -(-size // _DISK_BLOCK) * _DISK_BLOCK
    # Views that are replaced give their room back.
    present = sum((folder / name).is_file() for name in missing)
    needed = each * (len(missing) - present + 1) + (1 << 20 if missing else 0)
    free = shutil.disk_usage(place).free
    if missing and free < needed:
        raise DataError(
            f"The disk has {free / 1e9:.2f} GB free, but {len(missing):,} files need "
            f"{needed / 1e9:.2f} GB.",
            where=str(place),
            fix="free the disk, or choose a folder on another one",
        )


def _digest(images: np.ndarray, slots: np.ndarray) -> str:
    """Identify the pictures and their order, so that views of others are never kept."""
    digest = hashlib.sha256(f"{images.shape[1:]} bgr minus1_1".encode())
    digest.update(np.asarray(slots, "<i8").tobytes())
    used = np.unique(slots)
    for start in range(0, len(used), _CHUNK):
        digest.update(np.ascontiguousarray(images[used[start : start + _CHUNK]]).tobytes())
    return digest.hexdigest()
