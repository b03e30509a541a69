"""Files that go into a tool, what comes out of it, and how fast it says it was."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lresnet_utils.data.network_input import flip as mirror
from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.errors import DataError, TargetError
from lresnet_utils.machine.disk import read_json
from lresnet_utils.targets.embed import StageRate, StageRates
from lresnet_utils.targets.vendor_logs import PerfRecord, samples
from lresnet_utils.untrusted.arrays import MAX_HEADER_BYTES, ArrayFileError, parse_npy
from lresnet_utils.untrusted.bytes import read_bytes
from lresnet_utils.verify.scores import unit_rows

CANCELLED = "the two views' embeddings cancel out"
NO_RATE = StageRate(None, None, 0)
_ENDINGS = {"plain": ".bin", "flip": "_flip.bin"}
_CHUNK = 64
_SPARE_BYTES = 1 << 24


@dataclass(frozen=True)
class InputFiles:
    """Network inputs as the tools read them.

    Attributes
    ----------
    folder : Path
        Holds ``{k}.bin`` and, with mirrored views, ``{k}_flip.bin``.
    n_files : int
        Files per view.
    n_images : int
        Images per view; the last file is filled up by repeating the last image.
    images_per_file : int
        1, or the batch size for a tool that takes one file per batch.
    views : tuple of str
        ``('plain',)`` or ``('plain', 'flip')``.
    """

    folder: Path
    n_files: int
    n_images: int
    images_per_file: int
    views: tuple[Literal["plain", "flip"], ...]

    def names(self) -> list[str]:
        """Return the files' names, each image beside its mirrored view."""
        endings = [_ENDINGS[view] for view in self.views]
        return [f"{k}{ending}" for k in range(self.n_files) for ending in endings]


@dataclass(frozen=True)
class SetResult:
    """What a tool made of a set: the network's output for each view, and its own figures.

    Attributes
    ----------
    views : tuple of ndarray of float32, each of shape (n_images, embedding_size)
        Not normalised.
    record : PerfRecord or None
        The tool's own log of the run.
    read_s : float
        Seconds that reading the results took.
    """

    views: tuple[np.ndarray, ...]
    record: PerfRecord | None
    read_s: float


def write_inputs(
    images: np.ndarray,
    rows: np.ndarray,
    folder: Path,
    *,
    views: tuple[Literal["plain", "flip"], ...],
    images_per_file: int,
    convert: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> InputFiles:
    """Write ``{k}.bin`` and ``{k}_flip.bin`` for some of the pictures, numbered from zero.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 112, 112, 3)
        RGB; a memory map is read in pieces.
    rows : ndarray of int
        Which pictures, in order.
    folder : Path
        Made here; what an interrupted run has left in it is removed.
    views, images_per_file
        See :class:`InputFiles`.
    convert : callable
        Turns pictures into both views of the network's input, little-endian.

    Raises
    ------
    TargetError
        When there is no picture, or the disk has no room.
    """
    if len(rows) == 0:
        raise TargetError("There is no usable picture to embed.")
    n_files = -(-len(rows) // images_per_file)
    files = InputFiles(folder, n_files, len(rows), images_per_file, views)
    filled = np.pad(rows, (0, n_files * images_per_file - len(rows)), mode="edge")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    size = convert(np.asarray(images[filled[:1]]))[0].nbytes
    needed, free = size * len(filled) * len(views), shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise TargetError(
            f"The tool's input needs {needed / 1e9:.2f} GB, but {free / 1e9:.2f} GB are free.",
            where=str(folder),
        )
    step = max(1, _CHUNK // images_per_file) * images_per_file
    for start in range(0, len(filled), step):
        both = convert(np.asarray(images[filled[start : start + step]]))
        for view, batch in zip(("plain", "flip"), both, strict=True):
            if view in views:
                for offset in range(0, len(batch), images_per_file):
                    name = f"{(start + offset) // images_per_file}{_ENDINGS[view]}"
                    batch[offset : offset + images_per_file].tofile(folder / name)
    return files


def converter(
    *, as_bytes: bool, channel_order: str, normalisation: str
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return what turns pictures into both views of a build's input.

    Parameters
    ----------
    as_bytes : bool
        RGB bytes, height x width x channel, for a build with AIPP, which makes the floats itself;
        else the network's little-endian floats.
    channel_order, normalisation
        See :func:`lresnet_utils.data.network_input.to_network_input`.
    """
    if as_bytes:
        return lambda pixels: (pixels, np.ascontiguousarray(pixels[:, :, ::-1]))

    def convert(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        plain = to_network_input(pixels, channel_order=channel_order, normalisation=normalisation)
        return plain.astype("<f4", copy=False), mirror(plain).astype("<f4", copy=False)

    return convert


def combine(
    views: tuple[np.ndarray, ...], rows: np.ndarray, n: int, known: dict[int, str]
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Put the views together as the guide does: unit(unit(f(x)) + unit(f(mirrored x))).

    Parameters
    ----------
    views : tuple of ndarray, each of shape (len(rows), d)
        The network's finite, non-zero output per view.
    rows : ndarray of int
        Which of all `n` pictures they are.
    n : int
        Pictures in all.
    known : dict of int to str
        Pictures without output, and why.

    Returns
    -------
    vectors : ndarray of float32, shape (n, d)
        Unit rows; zeros where there is none.
    failed : ndarray of bool, shape (n,)
        True where there is none.
    reasons : dict of int to str
        `known` and the pictures whose views cancel out, in order.

    Examples
    --------
    >>> views = (np.array([[3.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 5.0], [-2.0, 0.0]]))
    >>> vectors, failed, reasons = combine(views, np.array([0, 2]), 3, {1: "not an image"})
    >>> vectors.astype(float).round(3).tolist()
    [[0.707, 0.707], [0.0, 0.0], [0.0, 0.0]]
    >>> reasons
    {1: 'not an image', 2: "the two views' embeddings cancel out"}
    """
    units = unit_rows(sum(unit_rows(view) for view in views))
    vectors = np.zeros((n, units.shape[1]), np.float32)
    vectors[rows] = units
    cancelled = rows[~units.any(axis=1)]
    reasons = dict(sorted((known | dict.fromkeys(cancelled.tolist(), CANCELLED)).items()))
    return vectors, np.isin(np.arange(n), list(reasons)), reasons


def stage_rates(result: SetResult, n: int, *, wall_s: float, written_s: float) -> StageRates:
    """Return the tool's five figures where it gives them, else those that were measured.

    Parameters
    ----------
    result : SetResult
        With the tool's record.
    n : int
        Network inputs; a mirrored view is one of them.
    wall_s, written_s : float
        Seconds from the first input written to the last embedding, and of writing inputs.

    Returns
    -------
    StageRates
        Where the tool gives no five figures: e2e is the wall clock with the tool's start,
        preprocess is writing the input files, infer the tool's own figure for the device, post
        reading the results; data read is inside the tool and has no figure.
    """
    record = result.record
    if record is not None and record.stages:
        return rates_of(record)
    infer = NO_RATE
    if record is not None:
        infer = StageRate(record.throughput_ips, 1000 / record.throughput_ips, n)
    return StageRates(
        e2e=_rate(n, wall_s),
        data_read=NO_RATE,
        preprocess=_rate(n, written_s),
        infer=infer,
        post=_rate(n, result.read_s),
    )


def rates_of(record: PerfRecord) -> StageRates:
    """Return the five figures of ``benchmark.x86_64`` per image, post too.

    Examples
    --------
    >>> from lresnet_utils.perf.guide_figures import load_guide
    >>> rates = rates_of(load_guide().block(16, tuned=True).record)
    >>> rates.infer.images_per_second, rates.e2e.n, round(rates.post.images_per_second, 1)
    (129.767, 24000, 129.8)
    """
    n = round(samples(record.stages))
    rates: dict[str, Any] = {}
    for name, figure in record.stages.items():
        rate = figure.rate
        if figure.rate_unit == "batches/s":
            rate *= record.batch_size
        rates[name] = StageRate(rate, 1000 / rate, n)
    return StageRates(**rates)


def _rate(n: int, seconds: float) -> StageRate:
    seconds = max(seconds, 1e-9)
    return StageRate(n / seconds, 1000 * seconds / n, n)


# Inference results that the vendors' tools left on disk, read back as embeddings.
#
# Names of the three conventions, for the input ``{stem}.bin`` (``{i}`` or ``{i}_flip``):
#
# =================== ==================================== ==============================
# tool                file                                 its folder
# =================== ==================================== ==============================
# benchmark.x86_64    ``{stem}_1.txt`` or ``.bin``         ``result/dumpOutput_device0``
# ais_bench, msit     ``{stem}_0.bin``, ``.npy``, ``.txt`` with ``{folder}_summary.json``
# msame               ``{stem}_output_0.bin`` or ``.txt``  its ``--output``
# =================== ==================================== ==============================

CONVENTIONS = {
    "benchmark": ("_1", (".txt", ".bin")),
    "ais_bench": ("_0", (".bin", ".npy", ".txt")),
    "msame": ("_output_0", (".bin", ".txt")),
}
VIEWS = {"plain": "", "flip": "_flip"}

_OUTPUT = re.compile(
    r"(?P<stem>(?:0|[1-9]\d*)(?:_flip)?)(?P<mark>_output_0|_0|_1)"
    r"(?P<kind>\.txt|\.bin|\.npy)"
)
_SHOWN = 3
MAX_NUMBER_CHARS = 64
"""Bytes that one value may take, in a text with what separates it from the next."""


@dataclass(frozen=True)
class Dump:
    """Embeddings of one dump, in the order of the images.

    Attributes
    ----------
    plain, flip : ndarray of float32, shape (n_images, embedding_size), or None
        As the network gave them, not normalised here; None for a view that was not asked for.
    convention : str
        ``'benchmark'``, ``'ais_bench'`` or ``'msame'``.
    kind : str
        ``'.txt'``, ``'.bin'`` or ``'.npy'``.
    dtype : str
        Type in the files: ``'float16'``, ``'float32'`` or ``'text'``. Text of ais_bench has six
        decimals, so its embeddings are rounded to 5e-7.
    n_files : int
        Files read.
    """

    plain: np.ndarray | None
    flip: np.ndarray | None
    convention: str
    kind: str
    dtype: str
    n_files: int


def read_dump(
    folder: Path | str,
    n_images: int,
    embedding_size: int,
    *,
    same: np.ndarray | None = None,
    views: Iterable[Literal["plain", "flip"]] = ("plain", "flip"),
    convention: Literal["benchmark", "ais_bench", "msame"] | None = None,
    dtype: Literal["float16", "float32"] | None = None,
) -> Dump:
    """Read every result of a folder, or say exactly which ones cannot be used.

    Parameters
    ----------
    folder : path
        The tool's result folder. Files that start with a dot and summaries are passed over.
    n_images : int
        Images 0 to n_images - 1 must be there, in each view.
    embedding_size : int
        Values per result.
    same : ndarray of bool, shape (n_pairs,), optional
        The labels; ``2 * n_pairs`` must be `n_images`.
    views : iterable of {'plain', 'flip'}
        Which views were inferred.
    convention : str, optional
        Whose names; by default the one that the folder's files follow.
    dtype : {'float16', 'float32'}, optional
        Type of ``.bin`` files; by default told from their size.

    Returns
    -------
    Dump

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
    folder = Path(folder)
    views = tuple(views)
    if not views or set(views) - set(VIEWS):
        raise DataError(f"Views are 'plain' and 'flip', not {views!r}.")
    if same is not None and 2 * len(same) != n_images:
        raise DataError(
            f"{len(same):,} labels are for {2 * len(same):,} images, not {n_images:,}.",
            where=str(folder),
        )
    found = _list_folder(folder)
    mark, kind = _form(folder, found, convention)
    expected = [f"{i}{VIEWS[view]}{mark}{kind}" for view in views for i in range(n_images)]
    missing = sorted(set(expected) - set(found), key=_natural)
    surplus = sorted(set(found) - set(expected), key=_natural)
    values = np.zeros((len(expected), embedding_size), np.float32)
    bad: list[str] = []
    types: set[str] = set()
    present = set(found)
    for row, name in enumerate(expected):
        if name in present:
            try:
                values[row], type_name = _read_one(folder / name, embedding_size, dtype)
                types.add(type_name)
            except _BadResultError as error:
                bad.append(f"{name}: {error}")
    bad += _summary_faults(folder, mark, kind, set(expected)) if mark == "_0" else []
    if len(types) > 1:
        bad.append(f"files of {' and '.join(sorted(types))} in one dump")
    _refuse(folder, len(expected), missing, surplus, bad)
    arrays = dict(zip(views, values.reshape(len(views), n_images, embedding_size), strict=True))
    name = next(name for name, (its_mark, _) in CONVENTIONS.items() if its_mark == mark)
    return Dump(arrays.get("plain"), arrays.get("flip"), name, kind, types.pop(), len(expected))


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


def _form(folder: Path, found: list[str], convention: str | None) -> tuple[str, str]:
    """Find the one mark and ending of the folder's results."""
    if convention is not None and convention not in CONVENTIONS:
        raise DataError(
            f"Unknown convention {convention!r}.", fix=f"known: {', '.join(CONVENTIONS)}"
        )
    marks = [mark for name, (mark, _) in CONVENTIONS.items() if convention in (None, name)]
    counts: dict[tuple[str, str], int] = {}
    for name in found:
        match = _OUTPUT.fullmatch(name)
        if match and match["mark"] in marks:
            form = (match["mark"], match["kind"])
            counts[form] = counts.get(form, 0) + 1
    if not counts:
        raise DataError(f"The folder holds no result named as by {convention}.", where=str(folder))
    if len(counts) > 1 and sorted(counts.values())[-2] > 0.01 * max(counts.values()):
        forms = ", ".join(
            f"{n:,} x {{i}}{mark}{kind}" for (mark, kind), n in sorted(counts.items())
        )
        raise DataError(
            f"The folder mixes results of several forms: {forms}.",
            where=str(folder),
            fix="give one folder per run and output format",
        )
    return max(counts, key=counts.__getitem__)


def _read_one(path: Path, size: int, dtype: str | None) -> tuple[np.ndarray, str]:
    try:
        data = read_bytes(path, most=MAX_HEADER_BYTES + MAX_NUMBER_CHARS * size)
    except DataError as error:
        raise _BadResultError(error.what.rstrip(".")) from error
    if path.suffix == ".txt":
        vector, name = _read_text(data), "text"
    elif path.suffix == ".npy":
        vector, name = _read_npy(data)
    else:
        name = dtype or {2 * size: "float16", 4 * size: "float32"}.get(len(data))
        if name is None or len(data) != np.dtype(name).itemsize * size:
            raise _BadResultError(
                f"{len(data):,} bytes are not {size} values of {dtype or 'float16 or float32'}"
            )
        vector = np.frombuffer(data, np.dtype(name).newbyteorder("<"))
    if vector.size != size:
        raise _BadResultError(f"{vector.size} values instead of {size}")
    vector = _as_float32(vector)
    if not np.isfinite(vector).all():
        raise _BadResultError("a value is NaN or infinite")
    if not vector.any():
        raise _BadResultError("every value is zero")
    return vector, name


def _as_float32(vector: np.ndarray) -> np.ndarray:
    """Return the values in single precision; what does not fit becomes infinite."""
    with np.errstate(over="ignore"):
        return vector.astype(np.float32)


def _read_text(data: bytes) -> np.ndarray:
    try:
        # Python takes 1_0 for ten; no tool writes that.
        if b"_" in data:
            raise ValueError("a character that no number has")
        return np.array([float(part) for part in data.split()])
    except ValueError as error:
        raise _BadResultError("not a text of numbers") from error


def _read_npy(data: bytes) -> tuple[np.ndarray, str]:
    try:
        vector = parse_npy(data)
    except ArrayFileError as error:
        raise _BadResultError("not an array file") from error
    if vector.dtype.name not in ("float16", "float32"):
        raise _BadResultError("not an array of float16 or float32")
    return vector.ravel(), vector.dtype.name


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


def _refuse(
    folder: Path, total: int, missing: list[str], surplus: list[str], bad: list[str]
) -> None:
    parts = [
        f"{len(names):,} {what} ({_first(names)})"
        for what, names in (("missing", missing), ("surplus", surplus), ("bad", bad))
        if names
    ]
    if parts:
        raise DataError(
            f"Of {total:,} results expected, {'; '.join(parts)}.",
            where=str(folder),
            fix="run the tool again over all inputs, into an empty folder",
        )


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _natural(name: str) -> tuple:
    """Sort key by which 2 comes before 10."""
    return tuple(
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    )
