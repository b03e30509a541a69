"""Inference results that the vendors' tools left on disk, read back as embeddings.

Names of the three conventions, for the input ``{stem}.bin`` (``{i}`` or ``{i}_flip``):

=================== ==================================== ==============================
tool                file                                 its folder
=================== ==================================== ==============================
benchmark.x86_64    ``{stem}_1.txt`` or ``.bin``         ``result/dumpOutput_device0``
ais_bench, msit     ``{stem}_0.bin``, ``.npy``, ``.txt`` with ``{folder}_summary.json``
msame               ``{stem}_output_0.bin`` or ``.txt``  its ``--output``
=================== ==================================== ==============================
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import read_json
from lresnet_utils.untrusted.arrays import MAX_HEADER_BYTES, ArrayFileError, parse_npy
from lresnet_utils.untrusted.bytes import read_bytes

VIEWS = {"plain": "", "flip": "_flip"}
"""What a view of image ``{i}`` adds to its file's name."""

_OUTPUT = re.compile(
    r"(?P<stem>(?:0|[1-9]\d*)(?:_flip)?)(?P<mark>_output_0|_0|_1)"
    r"(?P<kind>\.txt|\.bin|\.npy)"
)
_SHOWN = 3
MAX_NUMBER_CHARS = 64
"""Bytes that one value may take, in a text with what separates it from the next."""


def read_dump(
    folder: Path | str,
    n_images: int,
    embedding_size: int,
    *,
    views: Iterable[Literal["plain", "flip"]] = ("plain", "flip"),
) -> tuple[np.ndarray, ...]:
    """Read every result of a folder, or say exactly which ones cannot be used.

    Parameters
    ----------
    folder : path
        The tool's result folder. Files that start with a dot and summaries are passed over.
    n_images : int
        Images 0 to n_images - 1 must be there, in each view.
    embedding_size : int
        Values per result.
    views : iterable of {'plain', 'flip'}
        Which views were inferred.

    Returns
    -------
    tuple of ndarray of float32, each of shape (n_images, embedding_size)
        One per view: as the network gave them, not normalised. Text of ais_bench has six
        decimals, so its embeddings are rounded to 5e-7.

    Raises
    ------
    DataError
        When results are missing, surplus or bad (wrong size, not a number, NaN, infinite, all
        zero): one error with the counts and the first few names.

    Notes
    -----
    The guide's ``LResNet_postprocess.py`` takes the number of files for the number of results
    and checks nothing, so one stray or cut file changes its accuracy silently.
    """
    folder, views = Path(folder), tuple(views)
    found = _list_folder(folder)
    # The one mark and ending of the folder's results.
    matches = filter(None, map(_OUTPUT.fullmatch, found))
    counts = Counter((match["mark"], match["kind"]) for match in matches)
    if len(counts) > 1 and sorted(counts.values())[-2] > 0.01 * max(counts.values()):
        forms = ", ".join(
            f"{n:,} x {{i}}{mark}{kind}" for (mark, kind), n in sorted(counts.items())
        )
        raise DataError(
            f"The folder mixes results of several forms: {forms}.",
            where=str(folder),
            fix="give one folder per run and output format",
        )
    mark, kind = max(counts, key=counts.__getitem__)
    expected = [f"{i}{VIEWS[view]}{mark}{kind}" for view in views for i in range(n_images)]
    present = set(found)
    values = np.zeros((len(expected), embedding_size), np.float32)
    bad: list[str] = []
    types: set[str] = set()
    for row, name in enumerate(expected):
        if name in present:
            try:
                values[row], type_name = _read_one(folder / name, embedding_size)
                types.add(type_name)
            except _BadResultError as error:
                bad.append(f"{name}: {error}")
    bad += _summary_faults(folder, mark, kind, set(expected)) if mark == "_0" else []
    if len(types) > 1:
        bad.append(f"files of {' and '.join(sorted(types))} in one dump")
    faults = {
        "missing": sorted(set(expected) - present, key=_natural),
        "surplus": sorted(present - set(expected), key=_natural),
        "bad": bad,
    }
    if any(faults.values()):
        parts = (
            f"{len(names):,} {what} ({', '.join(names[:_SHOWN])}{', ...' * (len(names) > _SHOWN)})"
            for what, names in faults.items()
            if names
        )
        raise DataError(
            f"Of {len(expected):,} results expected, {'; '.join(parts)}.",
            where=str(folder),
            fix="run the tool again over all inputs, into an empty folder",
        )
    return tuple(values.reshape(len(views), n_images, embedding_size))


class _BadResultError(Exception):
    """One result cannot be used; the text says why."""


def _list_folder(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(
            "The result folder does not exist.",
            where=str(folder),
            fix="give the folder that the tool wrote, such as result/dumpOutput_device0",
        )
    names = [
        path.name
        for path in folder.iterdir()
        if not path.name.startswith(".") and not path.name.endswith(("summary.json", "sumary.json"))
    ]
    if not any(_OUTPUT.fullmatch(name) for name in names):
        inner = sorted(path.name for path in folder.iterdir() if path.is_dir())
        raise DataError(
            f"The folder holds no result of a known tool ({len(names):,} other entries).",
            where=str(folder),
            fix=f"perhaps {folder / inner[0]}"
            if inner
            else "names must be {i}_1.txt, {i}_0.bin or {i}_output_0.bin",
        )
    return names


def _read_one(path: Path, size: int) -> tuple[np.ndarray, str]:
    """Return one result in single precision, and the type of its numbers in the file."""
    try:
        data = read_bytes(path, most=MAX_HEADER_BYTES + MAX_NUMBER_CHARS * size)
    except DataError as error:
        raise _BadResultError(error.what.rstrip(".")) from error
    if path.suffix == ".txt":
        name = "text"
        try:
            # Python takes 1_0 for ten; no tool writes that.
            if b"_" in data:
                raise ValueError("a character that no number has")
            vector = np.array([float(part) for part in data.split()])
        except ValueError as error:
            raise _BadResultError("not a text of numbers") from error
    elif path.suffix == ".npy":
        try:
            vector = parse_npy(data).ravel()
        except ArrayFileError as error:
            raise _BadResultError("not an array file") from error
        name = vector.dtype.name
        if name not in ("float16", "float32"):
            raise _BadResultError("not an array of float16 or float32")
    else:
        name = {2 * size: "float16", 4 * size: "float32"}.get(len(data))
        if name is None:
            raise _BadResultError(
                f"{len(data):,} bytes are not {size} values of float16 or float32"
            )
        vector = np.frombuffer(data, np.dtype(name).newbyteorder("<"))
    if vector.size != size:
        raise _BadResultError(f"{vector.size} values instead of {size}")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite
        vector = vector.astype(np.float32)
    if not np.isfinite(vector).all():
        raise _BadResultError("a value is NaN or infinite")
    if not vector.any():
        raise _BadResultError("every value is zero")
    return vector, name


def _summary_faults(folder: Path, mark: str, kind: str, expected: set[str]) -> list[str]:
    """Compare with ais_bench's own account of which input gave which output, where it is."""
    path = folder.parent / f"{folder.name}_summary.json"
    if not path.is_file():
        return []
    try:
        entries = list(read_json(path)["filesinfo"].values())
        pairs = [
            (source, result)
            for entry in entries
            for source, result in zip(entry["infiles"], entry["outfiles"], strict=True)
        ]
        wrong = [
            f"{path.name} says that {Path(result).name} is of {Path(source).name}"
            for source, result in pairs
            if Path(result).name != f"{Path(source).name.split('.')[0]}{mark}{kind}"
        ]
        told = {Path(result).name for _, result in pairs}
    except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
        return [f"{path.name} is not ais_bench's account of the run ({type(error).__name__})"]
    untold = sorted(expected - told, key=_natural) if told else []
    return wrong + [f"{name}: not among the results of {path.name}" for name in untold]


def _natural(name: str) -> tuple:
    """Sort key by which 2 comes before 10."""
    return tuple(
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    )
