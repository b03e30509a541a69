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

from lresnet_utils.data.collection import Collection, Faces, fingerprint
from lresnet_utils.data.degrade import VARIANTS, Variant
from lresnet_utils.data.face_set import PICTURE, FaceSet, image_file, open_store
from lresnet_utils.errors import DataError, ParamsError, RunError, nearest, one_line
from lresnet_utils.machine.disk import atomic_path, sha256_file, write_arrays, write_json
from lresnet_utils.text.language import message

_SCHEMA = 1
_SHOWN = 3


def write_store(
    collection: Collection,
    folder: Path | str,
    *,
    name: str,
    source: str,
    variants: Iterable[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> FaceSet:
    """Decode a collection into an image store; memory holds one picture at a time.

    Parameters
    ----------
    collection : Collection
        Distinct pictures and pairs, from :func:`lresnet_utils.data.collection.collect`.
    folder : path
        The store; made, or its files replaced.
    name, source : str
        For reports.
    variants : iterable of str
        Names from :data:`lresnet_utils.data.degrade.VARIANTS` beside ``'aligned'``, which is
        always made.
    progress : callable, optional
        Called as ``progress(done, total)`` after each picture.

    Returns
    -------
    FaceSet

    Raises
    ------
    DataError
        When no picture of the set can be used.
    ParamsError
        When a variant is not known, or ``'plain'`` is asked for where there are no such pictures.
    RunError
        When the store cannot be written.
    """
    folder = Path(folder)
    faces, plain, templates = collection.faces, collection.plain, collection.templates
    chosen: list[Variant] = []
    for variant in dict.fromkeys(["aligned", *variants]):
        if variant not in VARIANTS:
            raise ParamsError(f"Unknown variant {variant!r}.", fix=nearest(variant, VARIANTS))
        if variant == "plain" and plain is None:
            raise ParamsError(
                "The variant 'plain' needs pictures that were not aligned; this set has none.",
                where="dataset variants",
                fix="leave 'plain' out",
            )
        chosen.append(VARIANTS[variant])
    # Without set.json the folder is no store: a run that is stopped leaves none that looks whole.
    try:
        (folder / "set.json").unlink(missing_ok=True)
    except OSError as error:
        raise _not_written(folder, error) from error
    failures = _write_images(folder, chosen, faces, plain, progress)
    n_images, n_pairs = len(faces), len(collection.same)
    if len(failures) == n_images:
        reason = failures[0]["reason"]
        raise DataError(
            f"No picture of the set can be used ({reason}).",
            where=source,
            fix="give crops of 112 x 112 pixels, or a folder of photographs, which are aligned",
        )
    sides = {"left": collection.left, "right": collection.right, "same": collection.same}
    arrays = dict(sides)
    if collection.people is not None:
        arrays["identity"] = collection.people
    slots = np.concatenate([collection.left, collection.right])
    keys = collection.keys
    about = dict(collection.about)
    if collection.folds is not None:
        about["folds"] = collection.folds
    if faces.names is not None:
        about["n_aligned"] = len(faces.n_faces)
        several = [image for image, n in faces.n_faces.items() if n > 1]
        about["n_several_faces"] = len(several)
        about["several_faces"] = [faces.names[image] for image in several[:_SHOWN]]
    if templates is not None:
        rows = vars(templates).items()
        arrays |= {f"template_{name}": np.asarray(value, np.int32) for name, value in rows}
        slots, keys = templates.image, templates.keys(keys)
        sides |= {"left": templates.left, "right": templates.right}
        about["n_templates"] = templates.count
    write_arrays(folder / "pairs.npz", **arrays)
    of_pairs = fingerprint(keys, **sides)
    write_json(
        folder / "set.json",
        {
            "schema": _SCHEMA,
            "name": one_line(name),
            "source": source,
            "credit": collection.credit,
            "sha256": sha256_file(faces.file) if faces.file else of_pairs,
            "pairs_sha256": of_pairs,
            "plain_sha256": sha256_file(plain.file) if plain and plain.file else None,
            "n_images": n_images,
            "n_slots": len(slots),
            "repeated_slots": len(slots) - len(np.unique(slots)),
            "n_pairs": n_pairs,
            "n_genuine": int(collection.same.sum()),
            "n_impostor": int((~collection.same).sum()),
            "variants": [
                {
                    "name": variant.name,
                    "label": variant.label,
                    "description": variant.description,
                    "file": image_file(Path(), variant.name).name,
                }
                for variant in chosen
            ],
            "failures": failures,
        }
        | about,
    )
    return open_store(folder)


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
            aligned, reason = faces.face(index)
            not_aligned = None
            if reason is None and any(variant.name == "plain" for variant in chosen):
                not_aligned, reason = plain.face(index)
                reason = reason and message("not aligned: {reason}", reason=reason)
            if reason is None:
                from_file = {"aligned": aligned, "plain": not_aligned}
                pictures = [
                    variant.apply(aligned, index) if variant.apply else from_file[variant.name]
                    for variant in chosen
                ]
            else:
                pictures = [np.zeros(PICTURE, np.uint8)] * len(chosen)
                name = {} if faces.names is None else {"name": faces.names[index]}
                failures.append({"image": index, "reason": reason} | name)
            for file, picture in zip(files, pictures, strict=True):
                file.write(np.ascontiguousarray(picture).data)
            if progress:
                progress(index + 1, len(faces))
    return failures


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
