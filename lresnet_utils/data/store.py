"""The image store: every distinct picture of a set decoded once, in one array per variant.

A folder of plain NumPy files that any stage opens in an instant and reads piece by piece:
``images_<variant>.npy``, ``pairs.npz`` and ``set.json``, which is written last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lresnet_utils.data.collection import (
    Collection,
    EncodedFaces,
    Faces,
    FileFaces,
    digests,
    distinct,
    fingerprint,
)
from lresnet_utils.data.degrade import VARIANTS, Variant
from lresnet_utils.data.face_set import PICTURE, FaceSet, image_file, open_store
from lresnet_utils.data.readers.bin import BinSet, read_bin
from lresnet_utils.errors import DataError, ParamsError, RunError, nearest, one_line
from lresnet_utils.machine.disk import atomic_path, sha256_file, write_arrays, write_json

_SCHEMA = 1
_SHOWN = 3


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
    bin_path = Path(bin_path)
    _chosen(variants, plain_bin is not None)
    content = read_bin(bin_path)
    plain = _matching(plain_bin, content) if plain_bin is not None else None
    keys = list(zip(*(digests(s.encoded) for s in (content, plain) if s), strict=True))
    slots, image_of_slot = distinct(keys)
    left, right = image_of_slot.reshape(-1, 2).T
    collection = Collection(
        faces=EncodedFaces([content.encoded[slot] for slot in slots]),
        keys=[keys[slot][0] for slot in slots],
        left=left,
        right=right,
        same=content.same,
        people=None if people is None else np.asarray(people, np.int32)[slots],
    )
    return write_store(
        collection,
        folder,
        variants=variants,
        plain=plain and EncodedFaces([plain.encoded[slot] for slot in slots]),
        name=name or bin_path.stem,
        source=source or bin_path.as_posix(),
        credit=credit,
        sha256=sha256_file(bin_path),
        plain_sha256=sha256_file(plain_bin) if plain_bin is not None else None,
        progress=progress,
    )


def write_store(
    collection: Collection,
    folder: Path | str,
    *,
    name: str,
    source: str,
    variants: Iterable[str] = (),
    plain: Faces | None = None,
    credit: str = "",
    sha256: str | None = None,
    plain_sha256: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FaceSet:
    """Decode a collection into an image store; memory holds one picture at a time.

    Parameters
    ----------
    collection : Collection
        Distinct pictures and pairs.
    folder : path
        The store; made, or its files replaced.
    name, source, credit : str
        For reports.
    variants : iterable of str
        Beside ``'aligned'``, which is always made.
    plain : Faces, optional
        The same pictures not aligned, the source of ``'plain'``.
    sha256, plain_sha256 : str, optional
        Of the files that the pictures came from; that of the pairs' content when not given.
    progress : callable, optional
        Called as ``progress(done, total)`` after each picture.

    Returns
    -------
    FaceSet

    Raises
    ------
    DataError, ParamsError, RunError
        As :func:`build_store` does.
    """
    folder = Path(folder)
    chosen = _chosen(variants, plain is not None)
    # Without set.json the folder is no store: a run that is stopped leaves none that looks whole.
    try:
        (folder / "set.json").unlink(missing_ok=True)
    except OSError as error:
        raise _not_written(folder, error) from error
    failures = _write_images(folder, chosen, collection.faces, plain, progress)
    n_images, n_pairs = len(collection.faces), len(collection.same)
    if len(failures) == n_images:
        reason = failures[0]["reason"]
        raise DataError(
            f"No picture of the set can be used ({reason}).",
            where=source,
            fix="give crops of 112 x 112 pixels, or a folder of photographs, which are aligned",
        )
    write_arrays(folder / "pairs.npz", **_pair_arrays(collection))
    of_pairs = pairs_fingerprint(collection)
    slots = np.concatenate([collection.left, collection.right])
    if collection.templates is not None:
        slots = collection.templates.image
    write_json(
        folder / "set.json",
        {
            "schema": _SCHEMA,
            "name": one_line(name),
            "source": source,
            "credit": credit,
            "sha256": sha256 or of_pairs,
            "pairs_sha256": of_pairs,
            "plain_sha256": plain_sha256,
            "n_images": n_images,
            "n_slots": len(slots),
            "repeated_slots": len(slots) - len(np.unique(slots)),
            "n_pairs": n_pairs,
            "n_genuine": int(collection.same.sum()),
            "n_impostor": int((~collection.same).sum()),
            "variants": [_described(variant) for variant in chosen],
            "failures": failures,
        }
        | _about(collection),
    )
    return open_store(folder)


def pairs_fingerprint(collection: Collection) -> str:
    """Hash what the pairs of a collection are, see :func:`collection.fingerprint`."""
    templates = collection.templates
    if templates is None:
        return fingerprint(collection.keys, collection.left, collection.right, collection.same)
    keys = templates.keys(collection.keys)
    return fingerprint(keys, templates.left, templates.right, collection.same)


def _pair_arrays(collection: Collection) -> dict[str, np.ndarray]:
    arrays = {"left": collection.left, "right": collection.right, "same": collection.same}
    if collection.people is not None:
        arrays["identity"] = collection.people
    if collection.templates is not None:
        rows = vars(collection.templates).items()
        arrays |= {f"template_{name}": np.asarray(value, np.int32) for name, value in rows}
    return arrays


def _about(collection: Collection) -> dict[str, Any]:
    """Return what sets from other sources than a ``.bin`` file tell beside the counts."""
    about = dict(collection.about)
    if collection.folds is not None:
        about["folds"] = collection.folds
    if isinstance(collection.faces, FileFaces):
        n_faces = collection.faces.n_faces
        about["n_aligned"] = len(n_faces)
        several = [image for image, n in n_faces.items() if n > 1]
        about["n_several_faces"] = len(several)
        about["several_faces"] = [collection.faces.names[image] for image in several[:_SHOWN]]
    if collection.templates is not None:
        about["n_templates"] = collection.templates.count
    return about


def _chosen(names: Iterable[str], has_plain: bool) -> list[Variant]:
    chosen = []
    for name in dict.fromkeys(["aligned", *names]):
        if name not in VARIANTS:
            raise ParamsError(f"Unknown variant {name!r}.", fix=nearest(name, VARIANTS))
        if name == "plain" and not has_plain:
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
    faces: Faces,
    plain: Faces | None,
    progress: Callable[[int, int], None] | None,
) -> list[dict[str, Any]]:
    failures = []
    with ExitStack() as stack:
        files = [
            stack.enter_context(_image_array(image_file(folder, variant.name), len(faces)))
            for variant in chosen
        ]
        for index in range(len(faces)):
            pictures, reason = _pictures(chosen, faces, plain, index)
            if reason:
                name = {"name": faces.names[index]} if isinstance(faces, FileFaces) else {}
                failures.append({"image": index, "reason": reason} | name)
            for file, picture in zip(files, pictures, strict=True):
                file.write(np.ascontiguousarray(picture).data)
            if progress:
                progress(index + 1, len(faces))
    return failures


def _pictures(
    chosen: list[Variant], faces: Faces, plain: Faces | None, index: int
) -> tuple[list[np.ndarray], str | None]:
    """Return one picture in every variant, or zeros and the reason."""
    aligned, reason = faces.face(index)
    not_aligned = None
    if reason is None and any(variant.name == "plain" for variant in chosen):
        not_aligned, reason = plain.face(index)
        reason = reason and f"not aligned: {reason}"
    if reason is not None:
        return [np.zeros(PICTURE, np.uint8)] * len(chosen), reason
    from_file = {"aligned": aligned, "plain": not_aligned}
    return [
        variant.apply(aligned, index) if variant.apply else from_file[variant.name]
        for variant in chosen
    ], None


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
