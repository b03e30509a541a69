"""Pickles that hold only data, read without Python's unpickler.

A pickle is a program, and ``.bin`` sets come from strangers. This reader knows the opcodes of
protocols 0 to 5 that build lists, tuples, numbers, text and bytes, and it *recognises* the few
names that NumPy arrays and Python 2 byte strings need. A name never becomes a Python object:
nothing is imported, no function named by the file is called, and every allocation is a copy of
bytes that the file really holds. Which opcodes there are, and how the argument of each is read,
says Python's own :mod:`pickletools`.
"""

from __future__ import annotations

import codecs
import io
import math
import pickletools
import re
from dataclasses import dataclass
from functools import partialmethod
from typing import Any

import numpy as np

# A set of 2 GB has some 350,000 pictures, of up to 25 instructions each; more would take minutes.
MAX_INSTRUCTIONS = 10_000_000
# A backslash, itself not escaped, before anything that Python 2's repr() does not put there.
_WRONG_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\[^\\'\"nrtx]")
_DTYPE_CODES = ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")
_MAX_DIMENSIONS = 8
_MARK = object()

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
"""What a plain pickle may name: each stands for one small function of this module."""

_REFUSED = {
    opcode: told
    for told, opcodes in {
        "a dictionary": "EMPTY_DICT DICT SETITEM SETITEMS",
        "a set": "EMPTY_SET ADDITEMS FROZENSET",
        "an object of a class": "INST OBJ NEWOBJ NEWOBJ_EX",
        "a reference to something outside the file": "PERSID BINPERSID",
        "a registered extension": "EXT1 EXT2 EXT4",
        "a buffer outside the file": "NEXT_BUFFER READONLY_BUFFER",
        "a decimal number written as text": "FLOAT",
    }.items()
    for opcode in opcodes.split()
}


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
    return PicklePlayer(data).only()


def word(value: Any) -> str | None:
    """Return text, or Python 2's ``str``, as text; ``None`` for anything else."""
    if type(value) is bytes:
        return value.decode("latin-1")
    return value if type(value) is str else None


def take_line(stream: io.BytesIO) -> bytes:
    """Return the bytes up to the next end of line, without it."""
    return pickletools.read_stringnl(stream, decode=False, stripquotes=False)


# `pickletools.genops` is not used whole: it reads the argument of what is refused too, takes
# Python 2's strings for ASCII, and its numbers and names as text are laxer than any pickle.
_READERS = {
    code.encode("latin-1"): (opcode.name, opcode.arg and opcode.arg.reader)
    for code, opcode in pickletools.code2op.items()
} | {
    b"c": ("GLOBAL", lambda stream: (take_line(stream), take_line(stream))),
    **{
        code: (name, take_line)
        for code, name in {
            b"I": "INT",
            b"L": "LONG",
            b"S": "STRING",
            b"p": "PUT",
            b"g": "GET",
        }.items()
    },
}


class PicklePlayer:
    """Carries out pickles that follow each other in some bytes, with a stack and a memo of its own.

    An instruction is carried out by the method that has its name in :mod:`pickletools`, and gets
    its argument; one without a method is refused. A reader of another kind of file adds methods.

    Parameters
    ----------
    data : bytes
    start : int
        Where the first pickle begins.
    """

    def __init__(self, data: bytes, start: int = 0) -> None:
        self.stream = io.BytesIO(data)
        self.stream.seek(start)
        self.size = len(data)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        # Containers and memo entries are the only opcodes that cost far more than the bytes they
        # take; a real set has one for every ten bytes at most.
        self._budget = self.size // 3 + 100
        # Whatever is made of the file's bytes is made once of each: what is remembered could
        # otherwise be made again and again.
        # Old protocols hold an array as text, which becomes bytes and then numbers.
        self._room = 2 * self.size
        self._steps = {
            code: (name, reader, getattr(type(self), f"do_{name.lower()}", None))
            for code, (name, reader) in _READERS.items()
        }

    def only(self) -> Any:
        """Return what the one pickle holds, behind which nothing may follow.

        Raises
        ------
        PlainPickleError
            As :func:`load_plain`.
        """
        value = self.next()
        surplus = self.size - self.stream.tell()
        if surplus:
            raise PlainPickleError(f"it goes on for {surplus} bytes after its end")
        return value

    def next(self) -> Any:
        """Return what the next pickle holds; see :meth:`only`."""
        self.stack, self.memo = [], {}
        read, steps = self.stream.read, self._steps
        for _ in range(MAX_INSTRUCTIONS):
            code = read(1)
            if code == b".":
                break
            if code not in steps:
                raise PlainPickleError(
                    f"it holds an unknown instruction (0x{code.hex()}), which is not plain data"
                    if code
                    else "it is cut short: it has no end"
                )
            name, reader, step = steps[code]
            if step is None:
                told = _REFUSED.get(name, f"the instruction {name}")
                raise MoreThanDataError(f"it holds {told}, which is not plain data")
            if reader is None:
                step(self)
                continue
            try:
                argument = reader(self.stream)
            except ValueError as error:
                if not read(1):
                    what = "it is cut short in the middle of an instruction"
                    raise PlainPickleError(what) from error
                raise PlainPickleError(f"it is damaged: {error}") from error
            step(self, argument)
        else:
            raise PlainPickleError(f"it has over {MAX_INSTRUCTIONS:,} instructions")
        if len(self.stack) != 1:
            raise PlainPickleError("it is damaged: its instructions leave loose ends")
        return _finished(self.pop())

    # The stack, and what instructions may cost.

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the top value, which must not be a mark."""
        if not self.stack or self.stack[-1] is _MARK:
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
            if item is _MARK:
                return items[::-1]
            items.append(item)
        raise PlainPickleError("it is damaged: an instruction finds no mark")

    def spend(self) -> None:
        """Count one container or memo entry."""
        self._budget -= 1
        if self._budget < 0:
            raise PlainPickleError("it holds more structure than a file of its size can need")

    def occupy(self, n: int) -> None:
        """Count `n` bytes that an instruction made of others."""
        self._room -= n
        if self._room < 0:
            raise PlainPickleError("it makes more bytes than a file of its size can need")

    # The instructions, by their names in pickletools.

    def do_proto(self, protocol: int) -> None:
        if protocol > 5:
            raise PlainPickleError(f"it is a pickle of protocol {protocol}; 0 to 5 are known")

    def do_frame(self, length: int) -> None:
        missing = length - (self.size - self.stream.tell())
        if missing > 0:
            raise PlainPickleError(f"it is cut short: {missing} more bytes are announced")

    do_binint = do_binint1 = do_binint2 = do_binfloat = push
    do_binbytes = do_short_binbytes = do_binbytes8 = push
    do_unicode = do_binunicode = do_short_binunicode = do_binunicode8 = push

    def do_bytearray8(self, raw: bytearray) -> None:
        self.push(bytes(raw))

    def do_binstring(self, raw: str) -> None:
        self.push(raw.encode("latin-1"))

    do_short_binstring = do_binstring

    def do_string(self, line: bytes) -> None:
        quoted = line.rstrip()
        if len(quoted) < 2 or quoted[:1] != quoted[-1:] or quoted[:1] not in b"\"'":
            raise PlainPickleError("it is damaged: a string without quotes")
        try:
            if _WRONG_ESCAPE.search(quoted):
                raise ValueError("an escape that Python 2 does not write")
            self.push(codecs.escape_decode(quoted[1:-1])[0])
        except ValueError as error:
            raise PlainPickleError("it is damaged: a string with wrong escapes") from error

    def do_int(self, line: bytes) -> None:
        text = line.removesuffix(b"L")
        if text in (b"00", b"01"):
            self.push(text == b"01")
            return
        if len(text) > 20 or not text.removeprefix(b"-").isdigit():
            raise PlainPickleError(f"it is damaged: {word(text)[:20]!r} where a number should be")
        self.push(int(text))

    do_long = do_int

    def do_long1(self, value: int) -> None:
        # NumPy's generators have states of 128 bits without a sign, written in 17 bytes.
        if not -(2**135) <= value < 2**135:
            raise PlainPickleError("it holds a number of more than 128 bits")
        self.push(value)

    do_long4 = do_long1

    do_none = partialmethod(push, None)
    do_newtrue = partialmethod(push, True)
    do_newfalse = partialmethod(push, False)
    do_empty_tuple = partialmethod(push, ())
    do_mark = partialmethod(push, _MARK)

    def do_pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop()

    do_pop_mark = pop_to_mark

    def do_dup(self) -> None:
        self.push(self.top())

    def do_tuple(self) -> None:
        items = self.pop_to_mark()
        self.spend()
        self.push(tuple(map(_finished, items)))

    def tuple_of(self, n: int) -> None:
        items = [self.pop() for _ in range(n)]
        self.spend()
        self.push(tuple(map(_finished, reversed(items))))

    do_tuple1 = partialmethod(tuple_of, 1)
    do_tuple2 = partialmethod(tuple_of, 2)
    do_tuple3 = partialmethod(tuple_of, 3)

    def do_empty_list(self) -> None:
        self.spend()
        self.push([])

    def do_list(self) -> None:
        items = self.pop_to_mark()
        self.spend()
        self.push([*map(_finished, items)])

    def extend(self, items: list[Any]) -> None:
        """Append values to the list on top."""
        target = self.top()
        if type(target) is not list:
            raise PlainPickleError("it is damaged: something is appended to what is not a list")
        target.extend(map(_finished, items))

    def do_append(self) -> None:
        self.extend([self.pop()])

    def do_appends(self) -> None:
        self.extend(self.pop_to_mark())

    def do_binput(self, index: int) -> None:
        self.spend()
        self.memo[index] = self.top()

    do_long_binput = do_binput

    def do_put(self, line: bytes) -> None:
        self.do_binput(_index(line))

    def do_memoize(self) -> None:
        self.do_binput(len(self.memo))

    def do_binget(self, index: int) -> None:
        if index not in self.memo:
            raise PlainPickleError(
                f"it is damaged: it refers to item {index}, which does not exist"
            )
        self.push(self.memo[index])

    do_long_binget = do_binget

    def do_get(self, line: bytes) -> None:
        self.do_binget(_index(line))

    def do_global(self, lines: tuple[bytes, bytes]) -> None:
        self.push(_symbol(*map(word, lines)))

    def do_stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise PlainPickleError("it is damaged: a name that is not text")
        self.push(_symbol(module, name))

    def do_reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Symbol) or type(arguments) is not tuple:
            raise PlainPickleError("it calls something that is not a known name")
        fewest, most, rebuild = _CALLS.get(function.kind, (0, -1, None))
        if not fewest <= len(arguments) <= most:
            raise PlainPickleError(f"it is damaged: {function.kind} is called in a wrong way")
        made = rebuild(*arguments)
        self.occupy(len(made) if type(made) is bytes else getattr(made, "nbytes", 0))
        self.push(made)

    def do_build(self) -> None:
        state, target = self.pop(), self.pop()
        if isinstance(target, DType):
            known = type(state) is tuple and 8 <= len(state) <= 9 and _is_version(state[0], 4)
            order = word(state[1]) if known else None
            if order not in ("|", "<", ">", "=") or any(part is not None for part in state[2:5]):
                raise PlainPickleError("it holds a structured NumPy type, which is not plain data")
            target.order = order  # of the type itself, which several arrays may refer to
        else:
            if not (isinstance(target, Array) and type(state) is tuple and len(state) == 5):
                raise PlainPickleError("it sets the state of an object, which is not plain data")
            version, shape, dtype, fortran, raw = state
            if not _is_version(version, 1):
                raise PlainPickleError("it is damaged: an array of an unknown version")
            order = "F" if type(fortran) in (bool, int) and fortran else "C"
            target.values = _array(raw, dtype, shape, order)
            self.occupy(target.values.nbytes)
        self.push(target)


def _finished(value: Any) -> Any:
    """Return `value` itself, or the array of an :class:`Array`, whose content must be there."""
    if not isinstance(value, Array):
        return value
    if value.values is None:
        raise PlainPickleError("it holds an array without content")
    return value.values


def _index(line: bytes) -> int:
    if not line.isdigit() or len(line) > 10:
        raise PlainPickleError("it is damaged: a reference that is not a number")
    return int(line)


def _symbol(module: str, name: str) -> Symbol:
    kind = SYMBOLS.get(f"{module} {name}")
    if kind is None:
        raise not_data(module, name)
    return Symbol(kind)


def not_data(module: str, name: str) -> MoreThanDataError:
    """Return the error for a name that is not known."""
    wanted = f"{module}.{name}".encode("ascii", "backslashreplace").decode()[:80]
    return MoreThanDataError(f"it asks for {wanted}, which is not data")


def _is_version(value: Any, newest: int) -> bool:
    return type(value) is int and 0 <= value <= newest


# What the known names give, from data only: neither NumPy's nor Python's own constructors see what
# a file asks for.


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
    empty = type(shape) is tuple and len(shape) == 1 and _is_version(shape[0], 0)
    if not (named and empty and word(code) == "b"):
        raise PlainPickleError("it is damaged: an array that does not begin as NumPy's do")
    return Array()


# How many arguments each name takes at least and at most, and what it gives for them.
_CALLS = {
    "encode": (2, 2, _encode),
    "bytes": (0, 2, _bytes),
    "dtype": (1, 3, _dtype),
    "reconstruct": (3, 3, _reconstruct),
    "scalar": (2, 2, lambda dtype, raw: _array(raw, dtype, (), "C").item()),
    "frombuffer": (
        4,
        4,
        lambda raw, dtype, shape, order: _array(
            raw, dtype, shape, "F" if word(order) == "F" else "C"
        ),
    ),
}
