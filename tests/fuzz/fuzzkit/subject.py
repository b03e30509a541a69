"""What a fuzzed reader is: its seeds, how it is called, and what it owes for what it accepts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lresnet_utils.errors import LResNetError

# Words that attacks on any reader use.
ATTACKS = (
    b"../../../../tmp/x", b"/etc/passwd", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800",
    b"os.system", b"__import__('os').system('id')", b"cos\nsystem\n(S'id'\ntR.", b"<script>",
    b"]]]]]]]]", b"[" * 200, b"{" * 200, b"(" * 200, b"\r\n", b"\n", b"\t", b"\x1b[31m", b" " * 300,
    b"%s%n", b"${x}", b"1e999", b"NaN", b"Infinity", b"-1", b"\xe2\x80\xae",
)  # fmt: skip


@dataclass(frozen=True)
class Seed:
    """A valid input, and what its reader and check need to know beside its bytes."""

    data: bytes
    about: Any = None


@dataclass(frozen=True)
class Subject:
    """A reader under test.

    Attributes
    ----------
    seeds : callable
        Given a folder of its own, returns valid inputs; each must be accepted as it is.
    read : callable
        ``read(data, seed, folder)`` gives bytes to the reader and returns what it made of them.
    check : callable
        ``check(data, seed, value)`` compares what was accepted with what the bytes say, by other
        means than the reader's; an exception means damage that was accepted in silence.
    tokens : tuple of bytes
        Words of the format.
    errors : tuple of exception types
        What the reader may raise: the project's own errors, three lines at most.
    """

    seeds: Callable[[Path], list[Seed]]
    read: Callable[[bytes, Seed, Path], Any]
    check: Callable[[bytes, Seed, Any], None]
    tokens: tuple[bytes, ...] = ()
    errors: tuple[type[Exception], ...] = (LResNetError,)


def write(folder: Path, name: str, data: bytes) -> Path:
    """Write a file for a reader and return its path."""
    path = folder / name
    path.write_bytes(data)
    return path
