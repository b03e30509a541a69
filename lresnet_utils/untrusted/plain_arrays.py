"""What a plain pickle may name: NumPy arrays and bytes, rebuilt from data only.

Each name that a pickle may use stands for one small function of this module, never for the object
of that name, so that neither NumPy's nor Python's own constructors see what a file asks for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


class PlainPickleError(ValueError):
    """The bytes are not a whole pickle, or they ask for more than plain data."""


class MoreThanDataError(PlainPickleError):
    """The pickle is whole so far, and asks for an object that is no data."""


@dataclass(frozen=True, eq=False)
class Symbol:
    """A name the file refers to; only a name, never the object of that name."""

    kind: str


@dataclass(eq=False)
class DType:
    """A NumPy type of fixed size: its code and byte order."""

    code: str
    order: str = "|"


@dataclass(eq=False)
class Array:
    """An array whose content the file gives by a later instruction."""

    values: np.ndarray | None = None


SYMBOLS = {
    "_codecs encode": "encode",
    "builtins bytearray": "bytes",
    "__builtin__ bytearray": "bytes",
    "builtins bytes": "bytes",
    "__builtin__ bytes": "bytes",
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
} | {
    f"numpy.{core}.{module} {name}": kind
    for core in ("core", "_core")
    for module, name, kind in (
        ("multiarray", "_reconstruct", "reconstruct"),
        ("multiarray", "scalar", "scalar"),
        ("numeric", "_frombuffer", "frombuffer"),
    )
}
_DTYPE_CODES = ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")
_MAX_DIMENSIONS = 8


def finished(value: Any) -> Any:
    """Return `value` itself, or the array of an :class:`Array`, whose content must be there."""
    if not isinstance(value, Array):
        return value
    if value.values is None:
        raise PlainPickleError("it holds an array without content")
    return value.values


def set_state(target: Any, state: Any) -> Any:
    """Return `target` with the state that NumPy's pickles give to types and arrays.

    Raises
    ------
    PlainPickleError
        When `target` is anything else, or `state` is not theirs.
    """
    if isinstance(target, DType):
        known = type(state) is tuple and 8 <= len(state) <= 9 and _is_version(state[0], 4)
        order = word(state[1]) if known else None
        if order not in ("|", "<", ">", "=") or any(part is not None for part in state[2:5]):
            raise PlainPickleError("it holds a structured NumPy type, which is not plain data")
        return DType(target.code, order)
    if not (isinstance(target, Array) and type(state) is tuple and len(state) == 5):
        raise PlainPickleError("it sets the state of an object, which is not plain data")
    version, shape, dtype, fortran, raw = state
    if not _is_version(version, 1):
        raise PlainPickleError("it is damaged: an array of an unknown version")
    target.values = _array(
        raw, dtype, shape, "F" if type(fortran) in (bool, int) and fortran else "C"
    )
    return target


def call(function: Any, arguments: Any) -> Any:
    """Return what a known name gives for `arguments`.

    Raises
    ------
    PlainPickleError
        When the name cannot be called, or not like this.
    """
    if not isinstance(function, Symbol) or type(arguments) is not tuple:
        raise PlainPickleError("it calls something that is not a known name")
    rebuild = _CALLS.get(function.kind)
    fewest, most = _ARGUMENTS.get(function.kind, (0, -1))
    if rebuild is None or not fewest <= len(arguments) <= most:
        raise PlainPickleError(f"it is damaged: {function.kind} is called in a wrong way")
    return rebuild(*arguments)


def word(value: Any) -> str | None:
    """Return text, or Python 2's ``str``, as text; ``None`` for anything else."""
    if type(value) is bytes:
        return value.decode("latin-1")
    return value if type(value) is str else None


def _is_version(value: Any, newest: int) -> bool:
    return type(value) is int and 0 <= value <= newest


def _array(raw: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    if not isinstance(dtype, DType):
        raise PlainPickleError("it holds an array of objects, which is not plain data")
    if type(raw) is not bytes or type(shape) is not tuple or len(shape) > _MAX_DIMENSIONS:
        raise PlainPickleError("it holds an array of objects or without bytes")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise PlainPickleError("it is damaged: an array with an impossible shape")
    kind = np.dtype(dtype.order + dtype.code)
    if math.prod(shape) * kind.itemsize != len(raw):
        raise PlainPickleError(f"it is damaged: an array of shape {shape} in {len(raw)} bytes")
    # With no elements one side may still be 2**62, which NumPy cannot hold.
    return np.frombuffer(raw, kind).reshape(shape if raw else (0,), order=order)


def _encode(text: Any, encoding: Any) -> bytes:
    if type(text) is not str or word(encoding) not in ("latin1", "latin-1"):
        raise PlainPickleError("it asks for a text encoding other than latin1")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise PlainPickleError("it is damaged: bytes that are not bytes") from error


def _bytes(value: Any = b"", encoding: Any = None) -> bytes:
    # bytearray(10**12) is legal Python: a number must never become a length here.
    return value if type(value) is bytes and encoding is None else _encode(value, encoding)


def _dtype(code: Any, *_: Any) -> DType:
    name = word(code)
    if name not in _DTYPE_CODES:
        raise PlainPickleError(f"it holds a NumPy array of type {(name or 'unknown')[:20]!r}")
    return DType(name)


def _reconstruct(kind: Any, shape: Any, code: Any) -> Array:
    # What NumPy writes for every array: an empty one of bytes, whose state follows.
    named = isinstance(kind, Symbol) and kind.kind == "ndarray"
    # A shape that is an array would compare with each of its numbers.
    if not named or type(shape) is not tuple or len(shape) != 1 or not _is_version(shape[0], 0):
        raise PlainPickleError("it is damaged: an array that does not begin as NumPy's do")
    if word(code) != "b":
        raise PlainPickleError("it is damaged: an array that does not begin as NumPy's do")
    return Array()


def _scalar(dtype: Any, raw: Any) -> int | bool:
    return _array(raw, dtype, (), "C").item()


def _frombuffer(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return _array(raw, dtype, shape, "F" if word(order) == "F" else "C")


_CALLS: dict[str, Callable[..., Any]] = {
    "encode": _encode,
    "bytes": _bytes,
    "dtype": _dtype,
    "reconstruct": _reconstruct,
    "scalar": _scalar,
    "frombuffer": _frombuffer,
}
_ARGUMENTS = {
    "encode": (2, 2),
    "bytes": (0, 2),
    "dtype": (1, 3),
    "reconstruct": (3, 3),
    "scalar": (2, 2),
    "frombuffer": (4, 4),
}
