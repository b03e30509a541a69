"""The state of a plain pickle's reader: where it is, its stack and its memo."""

from __future__ import annotations

import struct
from typing import Any

from lresnet_utils.untrusted.plain_arrays import PlainPickleError

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
