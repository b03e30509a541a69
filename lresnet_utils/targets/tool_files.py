"""Files that go into a tool, what comes out of it, and how fast it says it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lresnet_utils.data.network_input import flip as mirror
from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.errors import TargetError
from lresnet_utils.targets.embed import StageRate, StageRates
from lresnet_utils.targets.vendor_logs import PerfRecord, samples
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
