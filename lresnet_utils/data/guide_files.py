"""Files that the guide's tools read: one ``.bin`` per view, an info file and the labels.

The bytes are those of the guide's ``LResNet_preprocess.py`` for the same pictures, so
``benchmark.x86_64``, ``ais_bench`` and ``msame`` take them as they are.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    relative_to: Path | str | None = None,
    rewrite: bool = False,
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
        How the info file names the views. The tools resolve relative paths from the folder they
        are started in.
    relative_to : path, optional
        That folder; by default the info file's.
    rewrite : bool
        Write every view anew, also those that an earlier run of the same pictures has left.
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
    slots = _check_slots(slots, len(images), same)
    info = _info_lines(len(slots), folder, info_path, paths, relative_to, images.shape[1:3])
    _check_folder(folder, len(slots))
    size = 4 * int(np.prod(images.shape[1:]))
    digest = _digest(images, slots)
    known = not rewrite and _mark(folder) == digest
    _check_room(folder, list(_missing(folder, len(slots), size, known)), size)
    if not known:
        # Without its mark no view counts as whole; the mark comes before the first new view.
        for name in _names(len(slots)):
            (folder / name).unlink(missing_ok=True)
        write_json(folder / _MARK, {"sha256": digest, "n_images": len(slots)})
    written = _write_views(images, slots, folder, size, progress)
    write_text(info_path, info)
    with atomic_path(list_path) as temporary, temporary.open("wb") as file:
        np.save(file, same)
    n_files = 2 * len(slots)
    return GuideFiles(
        folder, info_path, list_path, len(slots), n_files, written, n_files - written, size
    )


def _write_views(
    images: np.ndarray, slots: np.ndarray, folder: Path, size: int, progress: Progress | None
) -> int:
    """Write the views that are not whole yet; return how many."""
    written = 0
    # Each view is flushed to the disk; threads let the disk take several at once.
    with ThreadPoolExecutor(_WRITERS) as writers:
        for start in range(0, len(slots), _CHUNK):
            numbers = range(start, min(start + _CHUNK, len(slots)))
            wanted = [i for i in numbers if any(not _whole(folder / n, size) for n in _pair(i))]
            if wanted:
                batch = to_network_input(
                    images[slots[wanted]], channel_order="bgr", normalisation="minus1_1"
                )
                views = zip(wanted, zip(batch, flip(batch), strict=True), strict=True)
                jobs = [
                    (folder / name, view)
                    for i, pair in views
                    for name, view in zip(_pair(i), pair, strict=True)
                    if not _whole(folder / name, size)
                ]
                written += sum(writers.map(_write_view, *zip(*jobs, strict=True)))
            if progress:
                progress(numbers.stop, len(slots))
    return written


def _write_view(path: Path, view: np.ndarray) -> int:
    with atomic_path(path) as temporary:
        view.astype("<f4", copy=False).tofile(temporary)
    return 1


def _pair(i: int) -> tuple[str, str]:
    return f"{i}.bin", f"{i}_flip.bin"


def _names(n: int) -> Iterator[str]:
    """File names in natural order: numbers by value, '.' before '_'."""
    for i in range(n):
        yield from _pair(i)


def _whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _missing(folder: Path, n: int, size: int, known: bool) -> Iterator[str]:
    return (name for name in _names(n) if not (known and _whole(folder / name, size)))


def _check_slots(slots: np.ndarray | None, n_images: int, same: np.ndarray) -> np.ndarray:
    if same.ndim != 1 or not len(same):
        raise DataError(f"The labels have shape {same.shape}, not (n_pairs,).")
    slots = np.arange(n_images) if slots is None else np.asarray(slots)
    if len(slots) != 2 * len(same):
        raise DataError(
            f"{len(same):,} pairs need {2 * len(same):,} images, but there are {len(slots):,}."
        )
    if slots.ndim != 1 or slots.min() < 0 or slots.max() >= n_images:
        raise DataError(f"An image outside the {n_images:,} given ones is asked for.")
    return slots


def _info_lines(
    n: int,
    folder: Path,
    info_path: Path,
    paths: str,
    relative_to: Path | str | None,
    size: tuple[int, int],
) -> str:
    if paths not in ("relative", "absolute"):
        raise DataError(f"Paths are 'relative' or 'absolute', not {paths!r}.")
    start = folder.resolve().as_posix()
    if paths == "relative":
        base = Path(relative_to) if relative_to is not None else info_path.parent
        start = Path(os.path.relpath(folder.resolve(), base.resolve())).as_posix()
        if not start.startswith("."):
            start = f"./{start}"
    if any(character.isspace() for character in start):
        raise DataError(
            "The info file separates its columns by spaces, so no path in it can have one.",
            where=start,
            fix="choose a folder without spaces in its path, or relative paths",
        )
    height, width = size
    return "".join(
        f"{index} {start}/{name} {width} {height}\n" for index, name in enumerate(_names(n))
    )


def _check_folder(folder: Path, n: int) -> None:
    """Refuse a folder with views of another set: the tools would run them too."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError("This is a file, not a folder.", where=str(folder))
    expected = set(_names(n))
    surplus = sorted(
        path.name
        for path in folder.iterdir()
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


def _check_room(folder: Path, missing: list[str], size: int) -> None:
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


def _mark(folder: Path) -> str | None:
    try:
        return read_json(folder / _MARK)["sha256"]
    except (DataError, KeyError, TypeError):
        return None
