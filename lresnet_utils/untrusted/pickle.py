"""Pickles that hold only data, read without Python's unpickler.

A pickle is a program, and ``.bin`` sets come from strangers. This reader knows the opcodes of
protocols 0 to 5 (as Python's ``pickletools`` documents them) that build lists, tuples, numbers,
text and bytes, and it *recognises* the few names that NumPy arrays and Python 2 byte strings need.
A name never becomes a Python object: nothing is imported, no function named by the file is called,
and every allocation is a copy of bytes that the file really holds.
"""

from __future__ import annotations

import codecs
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# A set of 2 GB has some 350,000 pictures, of up to 25 instructions each; more would take minutes.
MAX_INSTRUCTIONS = 10_000_000
# A backslash, itself not escaped, before anything that Python 2's repr() does not put there.
_WRONG_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\[^\\'\"nrtx]")


def load_plain(data: bytes) -> Any:
    """Return what a pickle holds when that is plain data.

    Parameters
    ----------
    data : bytes
        One whole pickle, any protocol from 0 to 5.

    Returns
    -------
    object
        Lists, tuples, ``None``, booleans, integers, floats, ``str``, ``bytes`` (Python 2's ``str``
        and ``bytearray`` become ``bytes``) and read-only NumPy arrays of booleans or integers.

    Raises
    ------
    PlainPickleError
        When the bytes end too soon, go on after the end, are damaged, or ask for anything else;
        the message names what was asked for.

    Examples
    --------
    >>> import pickle
    >>> load_plain(pickle.dumps(([b"a", b"b"], [True])))
    ([b'a', b'b'], [True])
    >>> load_plain(pickle.dumps(print))
    Traceback (most recent call last):
    lresnet_utils.untrusted.pickle.MoreThanDataError: it asks for builtins.print, which is not
    data
    """
    return interpret(data, STEPS)


def interpret(data: bytes, steps: dict[int, Callable[[Machine], None]]) -> Any:
    """Return what a pickle holds, each instruction carried out by one of `steps`.

    Parameters
    ----------
    data : bytes
        One whole pickle.
    steps : dict of int to callable
        For every instruction that is allowed, what it does to the machine: :data:`STEPS`, or
        those and others for a reader of its own kind of file.

    Raises
    ------
    PlainPickleError
        As :func:`load_plain`.
    """
    machine = Machine(data)
    value = one_pickle(machine, steps)
    surplus = len(data) - machine.position
    if surplus:
        raise PlainPickleError(f"it goes on for {surplus} bytes after its end")
    return value


def one_pickle(machine: Machine, steps: dict[int, Callable[[Machine], None]]) -> Any:
    """Return what the next of several pickles holds; see :func:`interpret`."""
    machine.stack, machine.memo = [], {}
    for _ in range(MAX_INSTRUCTIONS):
        if (opcode := machine.take(1)[0]) == _STOP:
            break
        step = steps.get(opcode)
        if step is None:
            name = _REFUSED.get(opcode, f"an unknown instruction (0x{opcode:02x})")
            kind = MoreThanDataError if opcode in _REFUSED else PlainPickleError
            raise kind(f"it holds {name}, which is not plain data")
        step(machine)
    else:
        raise PlainPickleError(f"it has over {MAX_INSTRUCTIONS:,} instructions")
    if len(machine.stack) != 1:
        raise PlainPickleError("it is damaged: its instructions leave loose ends")
    return finished(machine.pop())


def _append(machine: Machine, items: list[Any]) -> None:
    target = machine.top()
    if type(target) is not list:
        raise PlainPickleError("it is damaged: something is appended to what is not a list")
    target.extend(finished(item) for item in items)


def _build(machine: Machine) -> None:
    state, target = machine.pop(), machine.pop()
    machine.push(set_state(target, state))
    if isinstance(target, Array):
        machine.occupy(target.values.nbytes)


def _reduce(machine: Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    made = call(function, arguments)
    machine.occupy(getattr(made, "nbytes", 0) if type(made) is not bytes else len(made))
    machine.push(made)


def _symbol(machine: Machine, module: Any, name: Any) -> None:
    kind = SYMBOLS.get(f"{module} {name}")
    if kind is None:
        wanted = f"{module}.{name}".encode("ascii", "backslashreplace").decode()[:80]
        raise MoreThanDataError(f"it asks for {wanted}, which is not data")
    machine.push(Symbol(kind))


def _global(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    _symbol(machine, word(module), word(name))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if type(name) is not str or type(module) is not str:
        raise PlainPickleError("it is damaged: a name that is not text")
    _symbol(machine, module, name)


def _index(machine: Machine) -> int:
    text = machine.line()
    if not text.isdigit() or len(text) > 10:
        raise PlainPickleError("it is damaged: a reference that is not a number")
    return int(text)


def _put(machine: Machine, index: int) -> None:
    machine.spend()
    machine.memo[index] = machine.top()


def _get(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        raise PlainPickleError(f"it is damaged: it refers to item {index}, which does not exist")
    machine.push(machine.memo[index])


def _tuple(machine: Machine, items: list[Any]) -> None:
    machine.spend()
    machine.push(tuple(finished(item) for item in items))


def _list(machine: Machine, items: list[Any]) -> None:
    machine.spend()
    machine.push([finished(item) for item in items])


def _decimal(machine: Machine) -> None:
    text = machine.line().removesuffix(b"L")
    if text in (b"00", b"01"):
        machine.push(text == b"01")
        return
    if len(text) > 20 or not text.removeprefix(b"-").isdigit():
        raise PlainPickleError(f"it is damaged: {word(text)[:20]!r} where a number should be")
    machine.push(int(text))


def _long(machine: Machine, n: int) -> None:
    if not 0 <= n <= 17:  # NumPy's generators have states of 128 bits without a sign
        raise PlainPickleError("it holds a number of more than 128 bits")
    machine.push(int.from_bytes(machine.take(n), "little", signed=True))


def _string(machine: Machine) -> None:
    quoted = machine.line().rstrip()
    if len(quoted) < 2 or quoted[:1] != quoted[-1:] or quoted[:1] not in b"\"'":
        raise PlainPickleError("it is damaged: a string without quotes")
    try:
        if _WRONG_ESCAPE.search(quoted):
            raise ValueError("an escape that Python 2 does not write")
        machine.push(codecs.escape_decode(quoted[1:-1])[0])
    except ValueError as error:
        raise PlainPickleError("it is damaged: a string with wrong escapes") from error


def _unicode(machine: Machine, raw: bytes, encoding: str) -> None:
    errors = "surrogatepass" if encoding == "utf-8" else "strict"
    try:
        machine.push(str(raw, encoding, errors))
    except UnicodeDecodeError as error:
        raise PlainPickleError("it is damaged: text that is not text") from error


def _protocol(machine: Machine) -> None:
    protocol = machine.number("B")
    if protocol > 5:
        raise PlainPickleError(f"it is a pickle of protocol {protocol}; 0 to 5 are known")


def _frame(machine: Machine) -> None:
    length = machine.number("Q")
    missing = length - (len(machine.data) - machine.position)
    if missing > 0:
        raise PlainPickleError(f"it is cut short: {missing} more bytes are announced")


def _raw(form: str) -> Callable[[Machine], None]:
    return lambda machine: machine.push(machine.take(_length(machine, form)))


def _length(machine: Machine, form: str) -> int:
    length = machine.number(form)
    if length < 0:
        raise PlainPickleError("it is damaged: a negative length")
    return length


def _utf8(form: str) -> Callable[[Machine], None]:
    return lambda machine: _unicode(machine, machine.take(_length(machine, form)), "utf-8")


STEPS: dict[int, Callable[[Machine], None]] = {
    key[0]: step
    for key, step in {
        b"(": lambda m: m.push(MARK),
        b"0": lambda m: m.stack.pop() if m.stack else m.pop(),
        b"1": lambda m: m.pop_to_mark(),
        b"2": lambda m: m.stack.extend([m.pop()] * 2),
        b"N": lambda m: m.push(None),
        b"I": _decimal,
        b"L": _decimal,
        b"J": lambda m: m.push(m.number("i")),
        b"K": lambda m: m.push(m.number("B")),
        b"M": lambda m: m.push(m.number("H")),
        b"\x8a": lambda m: _long(m, m.number("B")),
        b"\x8b": lambda m: _long(m, m.number("i")),
        b"\x88": lambda m: m.push(True),
        b"\x89": lambda m: m.push(False),
        b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
        b"S": _string,
        b"T": _raw("i"),
        b"U": _raw("B"),
        b"B": _raw("I"),
        b"C": _raw("B"),
        b"\x8e": _raw("Q"),
        b"\x96": _raw("Q"),
        b"V": lambda m: _unicode(m, m.line(), "raw-unicode-escape"),
        b"X": _utf8("I"),
        b"\x8c": _utf8("B"),
        b"\x8d": _utf8("Q"),
        b")": lambda m: m.push(()),
        b"t": lambda m: _tuple(m, m.pop_to_mark()),
        b"\x85": lambda m: _tuple(m, [m.pop()]),
        b"\x86": lambda m: _tuple(m, [m.pop(), m.pop()][::-1]),
        b"\x87": lambda m: _tuple(m, [m.pop(), m.pop(), m.pop()][::-1]),
        b"]": lambda m: _list(m, []),
        b"l": lambda m: _list(m, m.pop_to_mark()),
        b"a": lambda m: _append(m, [m.pop()]),
        b"e": lambda m: _append(m, m.pop_to_mark()),
        b"p": lambda m: _put(m, _index(m)),
        b"q": lambda m: _put(m, m.number("B")),
        b"r": lambda m: _put(m, m.number("I")),
        b"\x94": lambda m: _put(m, len(m.memo)),
        b"g": lambda m: _get(m, _index(m)),
        b"h": lambda m: _get(m, m.number("B")),
        b"j": lambda m: _get(m, m.number("I")),
        b"c": _global,
        b"\x93": _stack_global,
        b"R": _reduce,
        b"b": _build,
        b"\x80": _protocol,
        b"\x95": _frame,
    }.items()
}
"""What each instruction of a plain pickle does, by its opcode."""

_STOP = ord(".")
_REFUSED = {
    opcode: name
    for name, opcodes in {
        "a dictionary": b"}dsu",
        "a set": b"\x8f\x90\x91",
        "an object of a class": b"io\x81\x92",
        "a reference to something outside the file": b"PQ",
        "a registered extension": b"\x82\x83\x84",
        "a buffer outside the file": b"\x97\x98",
        "a decimal number written as text": b"F",
    }.items()
    for opcode in opcodes
}


# The state of a plain pickle's reader: where it is, its stack and its memo.

MARK = object()


class Machine:
    """Bytes with a position, a stack and a memo."""

    def __init__(self, data: bytes):
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        # Containers and memo entries are the only opcodes that cost far more than the bytes they
        # take; a real set has one for every ten bytes at most.
        self.budget = len(data) // 3 + 100
        # Whatever is made of the file's bytes is made once of each: what is remembered could
        # otherwise be made again and again.
        # Old protocols hold an array as text, which becomes bytes and then numbers.
        self.room = 2 * len(data)

    def take(self, n: int) -> bytes:
        """Return the next `n` bytes, which must be there."""
        end = self.position + n
        if end > len(self.data):
            missing = end - len(self.data)
            raise PlainPickleError(f"it is cut short: {missing} more bytes are announced")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def line(self) -> bytes:
        """Return the bytes up to the next end of line, without it."""
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise PlainPickleError("it is cut short in the middle of a line")
        piece = self.data[self.position : end]
        self.position = end + 1
        return piece

    def number(self, form: str) -> int:
        """Return the next little-endian number of a :mod:`struct` format."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the top value, which must not be a mark."""
        if not self.stack or self.stack[-1] is MARK:
            raise PlainPickleError("it is damaged: an instruction finds nothing to work on")
        return self.stack.pop()

    def top(self) -> Any:
        """Return the top value and leave it there."""
        value = self.pop()
        self.push(value)
        return value

    def pop_to_mark(self) -> list[Any]:
        """Take the values above the topmost mark, and the mark."""
        items = []
        while self.stack:
            item = self.stack.pop()
            if item is MARK:
                return items[::-1]
            items.append(item)
        raise PlainPickleError("it is damaged: an instruction finds no mark")

    def spend(self) -> None:
        """Count one container or memo entry."""
        self.budget -= 1
        if self.budget < 0:
            raise PlainPickleError("it holds more structure than a file of its size can need")

    def occupy(self, n: int) -> None:
        """Count `n` bytes that an instruction made of others."""
        self.room -= n
        if self.room < 0:
            raise PlainPickleError("it makes more bytes than a file of its size can need")


# What a plain pickle may name: NumPy arrays and bytes, rebuilt from data only.
#
# Each name that a pickle may use stands for one small function of this module, never for the object
# of that name, so that neither NumPy's nor Python's own constructors see what a file asks for.


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
