"""NumPy's array files from anywhere: plain numbers, as many as the header says, checksums right.

NumPy's own loader checks a member's checksum only when the header asks for all of its bytes, makes
room for whatever the header announces and passes over what follows. Here an array is a view of
bytes that are really there, and every byte of the file has its place.
"""

from __future__ import annotations

import io
import math
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np

from lresnet_utils.errors import DataError
from lresnet_utils.untrusted.bytes import open_regular

MAX_ARRAYS = 1000
MAX_HEADER_BYTES = 10_000
_PREFIX_BYTES = 12  # magic, version and the header's length, at most
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class ArrayFileError(ValueError):
    """The bytes are no array of plain numbers, or not the whole of one."""


def parse_npy(data: bytearray | bytes) -> np.ndarray:
    """Return the array of a ``.npy`` file's bytes.

    Parameters
    ----------
    data : bytes or bytearray
        The whole file.

    Returns
    -------
    ndarray of booleans, integers or floats
        A view of `data`, which can be written to when `data` can.

    Raises
    ------
    ArrayFileError
        When it is not such a file, or not exactly as long as its header says.

    Examples
    --------
    >>> file = io.BytesIO()
    >>> np.save(file, np.arange(3))
    >>> parse_npy(file.getvalue())
    array([0, 1, 2])
    """
    shape, order, dtype, start = read_header(bytes(data[: MAX_HEADER_BYTES + _PREFIX_BYTES]))
    if start + math.prod(shape) * dtype.itemsize != len(data):
        raise ArrayFileError(f"{len(data) - start:,} bytes are no array of {_told(shape, dtype)}")
    try:
        if start == len(data):
            return np.empty(shape, dtype, order)
        return np.frombuffer(data, dtype, offset=start).reshape(shape, order=order)
    except ValueError as error:
        raise ArrayFileError(f"no array can be of {_told(shape, dtype)}") from error


def read_header(head: bytes) -> tuple[tuple[int, ...], str, np.dtype, int]:
    """Return shape, order (``'C'`` or ``'F'``), type and length of a ``.npy`` header.

    Raises
    ------
    ArrayFileError
        When it is none, or not of plain numbers.
    """
    stream = io.BytesIO(head)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy mends headers of Python 2, and says so
            version = np.lib.format.read_magic(stream)
            shape, fortran, dtype = _READERS[version](stream, max_header_size=MAX_HEADER_BYTES)
    except Exception as error:  # the header is a Python literal, which can be wrong in many ways
        raise ArrayFileError(f"the header is damaged or over {MAX_HEADER_BYTES:,} bytes") from error
    if dtype.kind not in "biuf" or dtype.hasobject:
        raise ArrayFileError("it holds other values than plain numbers")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise ArrayFileError("a side of the array is no length")
    return shape, "F" if fortran else "C", dtype, stream.tell()


def map_npy(path: Path | str, shape: tuple[int | None, ...], dtype: type[np.generic]) -> np.memmap:
    """Map a ``.npy`` of a known shape and type from disk, read-only.

    Parameters
    ----------
    path : path
    shape : tuple of int or None
        None where any length will do but 0.
    dtype : type

    Raises
    ------
    OSError
        When the file cannot be opened.
    ArrayFileError
        When it is of another shape, type or length.
    """
    path = Path(path)
    with open_regular(path) as file:
        found, order, kind, start = read_header(file.read(MAX_HEADER_BYTES + _PREFIX_BYTES))
    fits = len(found) == len(shape) and all(
        there > 0 if side is None else there == side
        for there, side in zip(found, shape, strict=True)
    )
    if not fits or (order, kind) != ("C", np.dtype(dtype)):
        raise ArrayFileError(f"it holds {_told(found, kind)}, not {_told(shape, np.dtype(dtype))}")
    if path.stat().st_size != start + math.prod(found) * kind.itemsize:
        raise ArrayFileError("it has another length than its header says")
    return np.memmap(path, kind, "r", offset=start, shape=found)


def read_npz(path: Path | str) -> dict[str, np.ndarray]:
    """Read a ``.npz`` whole.

    Its members must be stored as they are, as :func:`numpy.savez` does: a file is then never
    larger in memory than on the disk.

    Raises
    ------
    FileNotFoundError
        When the file is missing.
    DataError
        When it is damaged, compressed, or holds anything but arrays of numbers.
    """
    path = Path(path)
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            infos = records_of(archive)
            if len(infos) > MAX_ARRAYS:
                raise ArrayFileError(f"it holds more than {MAX_ARRAYS:,} arrays")
            stored = all(info.compress_type == zipfile.ZIP_STORED for info in infos)
            if not stored or any(info.flag_bits & 1 for info in infos):
                raise ArrayFileError("an array is compressed or encrypted")
            if sum(info.file_size for info in infos) > os.fstat(file.fileno()).st_size:
                raise ArrayFileError("it announces more bytes than it has")
            members = {info.filename.removesuffix(".npy"): info for info in infos}
            if len(members) != len(infos) or not all(i.filename.endswith(".npy") for i in infos):
                raise ArrayFileError("a member is no array, or has the name of another")
            return {name: parse_npy(read_member(archive, info)) for name, info in members.items()}
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile raises many kinds for a damaged archive
        told = f"{error}".rstrip(".")[:200]
        raise DataError(f"The array file is damaged: {told}.", where=str(path)) from error


def records_of(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the records of an archive that is the whole of its file.

    Of two archives in one file each reader takes another: by its directory's own word, or by where
    the directory stands.

    Raises
    ------
    ArrayFileError
        When bytes of something else lie before the first record.
    """
    infos = archive.infolist()
    if infos and min(info.header_offset for info in infos):
        raise ArrayFileError("its records do not begin where the file does")
    return infos


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytearray:
    """Return a member's bytes; zipfile compares the checksum at their end."""
    content = bytearray(info.file_size)
    with archive.open(info) as file:
        filled = 0
        with memoryview(content) as view:
            while n := file.readinto(view[filled:]):
                filled += n
        if filled != len(content) or file.read(1):
            raise ArrayFileError(f"{info.filename} has another length than announced")
    return content


def _told(shape: tuple[int | None, ...], dtype: np.dtype) -> str:
    sides = ("any" if side is None else str(side)[:20] for side in shape)
    return f"{' x '.join(sides) or 'one'} {dtype.name}"
