"""The image store: every distinct picture of a set decoded once, in one array per variant.

A folder of plain NumPy files that any stage opens in an instant and reads piece by piece:
``images_<variant>.npy``, ``pairs.npz`` and ``set.json``, which is written last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lresnet_utils.data.bins import BinSet, read_bin
from lresnet_utils.data.degrade import VARIANTS, Variant
from lresnet_utils.data.face_set import PICTURE, FaceSet, image_file, open_store
from lresnet_utils.data.images import decode
from lresnet_utils.errors import DataError, ParamsError, RunError, nearest
from lresnet_utils.files import (
    atomic_path,
    sha256_file,
    write_arrays,
    write_json,
)

_SCHEMA = 1


def build_store(
    bin_path: Path | str,
    folder: Path | str,
    *,
    variants: Iterable[str] = (),
    plain_bin: Path | str | None = None,
    name: str | None = None,
    source: str | None = None,
    credit: str = "",
    people: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FaceSet:
    """Decode a ``.bin`` set into an image store.

    Pictures are streamed to disk: beside the encoded set, memory holds one picture at a time.

    Parameters
    ----------
    bin_path : path
        The set.
    folder : path
        The store; made, or its files replaced.
    variants : iterable of str
        Names from :data:`lresnet_utils.data.degrade.VARIANTS` beside ``'aligned'``, which is
        always made.
    plain_bin : path, optional
        A second set with the same pairs, the source of ``'plain'``. When given, pictures count as
        equal only if they are equal in both sets.
    name, source : str, optional
        For reports; the stem and the path of `bin_path` when not given.
    credit : str
        Whom to credit for the pictures.
    people : ndarray of int, shape (2 n_pairs,), optional
        The person in each slot, where the source knows.
    progress : callable, optional
        Called as ``progress(done, total)`` after each distinct picture.

    Returns
    -------
    FaceSet

    Raises
    ------
    DataError
        When a set cannot be read, no picture of it can be used, or the two do not belong together.
    ParamsError
        When a variant is not known, or ``'plain'`` is asked for without `plain_bin`.
    RunError
        When the store cannot be written.
    """
    bin_path, folder = Path(bin_path), Path(folder)
    chosen = _chosen(variants, plain_bin)
    content = read_bin(bin_path)
    plain = _matching(plain_bin, content) if plain_bin is not None else None
    slots, image_of_slot = distinct_slots(content.encoded, plain.encoded if plain else None)
    _forget(folder)
    failures = _write_images(folder, chosen, content, plain, slots, progress)
    if len(failures) == len(slots):
        reason = failures[0]["reason"]
        raise DataError(f"No picture of the set can be used ({reason}).", where=str(bin_path))
    left, right = image_of_slot.reshape(-1, 2).T
    known = {} if people is None else {"identity": np.asarray(people, np.int32)[slots]}
    write_arrays(folder / "pairs.npz", left=left, right=right, same=content.same, **known)
    write_json(
        folder / "set.json",
        {
            "schema": _SCHEMA,
            "name": name or bin_path.stem,
            "source": source or bin_path.as_posix(),
            "credit": credit,
            "sha256": sha256_file(bin_path),
            "pairs_sha256": pairs_fingerprint(
                [content.encoded[slot] for slot in slots], left, right, content.same
            ),
            "plain_sha256": sha256_file(plain_bin) if plain_bin is not None else None,
            "n_images": len(slots),
            "n_slots": len(content.encoded),
            "repeated_slots": len(content.encoded) - len(slots),
            "n_pairs": len(content.same),
            "n_genuine": int(content.same.sum()),
            "n_impostor": int((~content.same).sum()),
            "variants": [_described(variant) for variant in chosen],
            "failures": failures,
        },
    )
    return open_store(folder)


def distinct_slots(
    encoded: list[bytes], plain: list[bytes] | None = None
) -> tuple[list[int], np.ndarray]:
    """Find the distinct pictures among the slots of a set, by the SHA-256 of their bytes.

    Parameters
    ----------
    encoded : list of bytes
        Two slots for each pair.
    plain : list of bytes, optional
        The same slots of a second set; pictures are then equal when both are.

    Returns
    -------
    slots : list of int
        The first slot of each distinct picture, ascending.
    image_of_slot : ndarray of int32, shape (len(encoded),)
        The picture in each slot, as an index into `slots`.

    Examples
    --------
    >>> slots, image_of_slot = distinct_slots([b"x", b"y", b"x", b"z"])
    >>> slots, image_of_slot.tolist()
    ([0, 1, 3], [0, 1, 0, 2])
    """
    keys = list(
        zip(*(_digests(column) for column in (encoded, plain) if column is not None), strict=True)
    )
    images: dict[tuple[bytes, ...], int] = {}
    slots: list[int] = []
    image_of_slot = np.empty(len(encoded), np.int32)
    for slot, key in enumerate(keys):
        if key not in images:
            images[key] = len(slots)
            slots.append(slot)
        image_of_slot[slot] = images[key]
    return slots, image_of_slot


def pairs_fingerprint(
    encoded: list[bytes], left: np.ndarray, right: np.ndarray, same: np.ndarray
) -> str:
    """Hash what the pairs are: the content of both pictures and the label of each, in order.

    Two runs can be compared pair by pair when their fingerprints are equal, whatever their
    sets are called and however the files were packed.

    Parameters
    ----------
    encoded : list of bytes
        The distinct pictures.
    left, right : ndarray of int, shape (n,)
        The pictures of each pair.
    same : ndarray of bool, shape (n,)

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> one = pairs_fingerprint([b"x", b"y"], np.array([0]), np.array([1]), np.array([True]))
    >>> two = pairs_fingerprint([b"y", b"x"], np.array([1]), np.array([0]), np.array([True]))
    >>> one == two
    True
    """
    digests = list(_digests(encoded))
    whole = hashlib.sha256()
    for a, b, label in zip(left, right, same, strict=True):
        whole.update(digests[a] + digests[b] + bytes([bool(label)]))
    return whole.hexdigest()


def _digests(encoded: list[bytes]) -> Iterator[bytes]:
    # A picture that a set repeats is one object, so hashing takes as long as the file, not longer.
    known: dict[int, bytes] = {}
    for picture in encoded:
        if id(picture) not in known:
            known[id(picture)] = hashlib.sha256(picture).digest()
        yield known[id(picture)]


def _chosen(names: Iterable[str], plain_bin: Path | str | None) -> list[Variant]:
    chosen = []
    for name in dict.fromkeys(["aligned", *names]):
        if name not in VARIANTS:
            raise ParamsError(f"Unknown variant {name!r}.", fix=nearest(name, VARIANTS))
        if name == "plain" and plain_bin is None:
            raise ParamsError(
                "The variant 'plain' needs pictures that were not aligned; this set has none.",
                where="dataset variants",
                fix="leave 'plain' out",
            )
        chosen.append(VARIANTS[name])
    return chosen


def _matching(plain_bin: Path | str, content: BinSet) -> BinSet:
    plain = read_bin(plain_bin)
    if not np.array_equal(plain.same, content.same):
        raise DataError("The set that is not aligned has other pairs.", where=str(plain_bin))
    return plain


def _write_images(
    folder: Path,
    chosen: list[Variant],
    content: BinSet,
    plain: BinSet | None,
    slots: list[int],
    progress: Callable[[int, int], None] | None,
) -> list[dict[str, Any]]:
    failures = []
    with ExitStack() as stack:
        files = [
            stack.enter_context(_image_array(image_file(folder, variant.name), len(slots)))
            for variant in chosen
        ]
        for index, slot in enumerate(slots):
            pictures, reason = _pictures(chosen, content, plain, slot, index)
            if reason:
                failures.append({"image": index, "reason": reason})
            for file, picture in zip(files, pictures, strict=True):
                file.write(np.ascontiguousarray(picture).data)
            if progress:
                progress(index + 1, len(slots))
    return failures


def _pictures(
    chosen: list[Variant], content: BinSet, plain: BinSet | None, slot: int, index: int
) -> tuple[list[np.ndarray], str | None]:
    """Return one picture in every variant, or zeros and the reason."""
    aligned, reason = decode(content.encoded[slot])
    not_aligned = None
    if reason is None and any(variant.name == "plain" for variant in chosen):
        not_aligned, reason = decode(plain.encoded[slot])
        reason = reason and f"not aligned: {reason}"
    if reason is not None:
        return [np.zeros(PICTURE, np.uint8)] * len(chosen), reason
    from_file = {"aligned": aligned, "plain": not_aligned}
    return [
        variant.apply(aligned, index) if variant.apply else from_file[variant.name]
        for variant in chosen
    ], None


def _forget(folder: Path) -> None:
    # Without set.json the folder is no store: a run that is stopped leaves none that looks whole.
    try:
        (folder / "set.json").unlink(missing_ok=True)
    except OSError as error:
        raise _not_written(folder, error) from error


@contextmanager
def _image_array(path: Path, n: int) -> Iterator[BinaryIO]:
    """Yield a file that becomes a ``.npy`` of `n` pictures; the caller writes their bytes."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (n, *PICTURE)}
    try:
        # Written in order, not mapped: a full disk is then an error and not a crash.
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            yield file
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> RunError:
    return RunError(f"The image store cannot be written: {error.strerror}.", where=str(path))


def _described(variant: Variant) -> dict[str, str]:
    return {
        "name": variant.name,
        "label": variant.label,
        "description": variant.description,
        "file": image_file(Path(), variant.name).name,
    }
