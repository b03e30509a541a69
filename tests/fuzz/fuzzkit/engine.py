"""The mutation engine: the same reader, seed and number give the same damaged bytes."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Sequence

# Numbers at which lengths, shapes and counters break.
_EDGES = (0, 1, 2, 7, 8, 16, 63, 64, 127, 128, 255, 256, 1000, 4095, 32767, 32768, 65535, 65536,
          2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**48, 2**63 - 1, 2**64 - 1)  # fmt: skip
_TEXT_EDGES = (b"0", b"-1", b"1", b"2147483648", b"9223372036854775808", b"1e308", b"1e-320", b"NaN",
               b"-0", b"1e999", b"0.0000001", b"Infinity", b"9" * 400, b"\xd9\xa3", b"1_0")  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_FORMS = ("<B", "<H", ">H", "<I", ">I", "<Q", ">Q")
# Enough to pass every limit on levels, little enough to stay fast.
_MOST_REPEATS = 300


def damaged(seeds: Sequence[bytes], tokens: Sequence[bytes], key: str) -> tuple[int, bytes]:
    """Return the number of a seed and that seed after one to four mutations.

    Parameters
    ----------
    seeds : sequence of bytes
        Valid inputs.
    tokens : sequence of bytes
        Words of the format, and words that attacks use.
    key : str
        What the choices depend on, and nothing else.
    """
    rng = random.Random(key)
    which = rng.randrange(len(seeds))
    data = bytearray(seeds[which])
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        rng.choice(_MUTATIONS)(data, rng, seeds, tokens)
    return which, bytes(data)


def _at(data: bytearray, rng: random.Random) -> int:
    return rng.randrange(len(data) + 1)


def _slice(data: bytearray, rng: random.Random) -> slice:
    start = _at(data, rng)
    return slice(start, min(len(data), start + rng.choice((1, 2, 4, 8, 16, 64, 256))))


def _flip_bits(data, rng, seeds, tokens):
    for _ in range(rng.choice((1, 1, 2, 8))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_byte(data, rng, seeds, tokens):
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x20, 0x2E, 0x7F, 0x80, 0xFF))


def _cut(data, rng, seeds, tokens):
    del data[_at(data, rng) :]


def _remove(data, rng, seeds, tokens):
    del data[_slice(data, rng)]


def _double(data, rng, seeds, tokens):
    place = _slice(data, rng)
    data[place.start : place.start] = data[place]


def _repeat(data, rng, seeds, tokens):
    place = _slice(data, rng)
    place = slice(place.start, min(place.stop, place.start + 16))
    data[place.start : place.start] = bytes(data[place]) * rng.choice((3, 30, _MOST_REPEATS))


def _splice(data, rng, seeds, tokens):
    other = rng.choice(seeds)
    start = rng.randrange(len(other) + 1)
    data[_slice(data, rng)] = other[start : start + rng.choice((1, 4, 16, 64, 512))]


def _insert_token(data, rng, seeds, tokens):
    place = _at(data, rng)
    data[place:place] = rng.choice(tokens)


def _overwrite_token(data, rng, seeds, tokens):
    token = rng.choice(tokens)
    place = _at(data, rng)
    data[place : place + len(token)] = token


def _edge_number(data, rng, seeds, tokens):
    form = rng.choice(_FORMS)
    size = struct.calcsize(form)
    number = rng.choice(_EDGES) & (256**size - 1)
    place = _at(data, rng)
    data[place : place + size] = struct.pack(form, number)


def _text_number(data, rng, seeds, tokens):
    numbers = list(_NUMBER.finditer(bytes(data)))
    if numbers:
        found = rng.choice(numbers)
        data[found.start() : found.end()] = rng.choice(_TEXT_EDGES)


def _digit(data, rng, seeds, tokens):
    places = [i for i, code in enumerate(data) if 0x30 <= code <= 0x39]
    if places:
        data[rng.choice(places)] = 0x30 + rng.randrange(10)


def _swap_lines(data, rng, seeds, tokens):
    lines = bytes(data).split(b"\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    data[:] = b"\n".join(lines)


def _nothing(data, rng, seeds, tokens):
    """Leave the bytes as they are, so that whole files stay among the inputs."""


_MUTATIONS = (
    _flip_bits, _set_byte, _cut, _remove, _double, _repeat, _splice, _insert_token,
    _overwrite_token, _edge_number, _text_number, _digit, _swap_lines, _nothing,
)  # fmt: skip
