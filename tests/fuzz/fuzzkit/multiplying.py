"""Files whose structures multiply: the bytes of an input are choices, of which a file is built.

Damage at random hardly ever makes a kilobyte that stands for gigabytes. Here it changes how often
something is named again, how deep it is nested and how large it says it is, in files that are whole
otherwise.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import random
import warnings
import zipfile
from pathlib import Path

import numpy as np

from fuzzkit.subject import Seed, Subject, write
from lresnet_utils.data.readers.bin import read_bin
from lresnet_utils.errors import LResNetError
from lresnet_utils.machine.disk import read_arrays, read_json
from lresnet_utils.models.checkpoint import read_checkpoint
from lresnet_utils.untrusted.yaml import load_yaml


class Choices:
    """What an input decides: the same bytes give the same choices, and others any others."""

    def __init__(self, data: bytes) -> None:
        self._random = random.Random(data)

    def below(self, n: int) -> int:
        """Return a number of 0 to n - 1."""
        return self._random.randrange(n)

    def size(self, most: int) -> int:
        """Return 1, 2, 4 and so on up to 2**most."""
        return 1 << self.below(most + 1)


def _seeds(read):
    """Return a function that finds the first few inputs of which a whole file is made."""

    def find(folder: Path) -> list[Seed]:
        whole = []
        for number in itertools.count():
            seed = Seed(b"%d" % number)
            with contextlib.suppress(LResNetError):
                read(seed.data, seed, folder)
                whole.append(seed)
            if len(whole) == 3:
                return whole

    return find


# --- pickles by hand ---------------------------------------------------------------------------


def _text(text: bytes) -> bytes:
    return b"X" + len(text).to_bytes(4, "little") + text


def _whole(number: int) -> bytes:
    return b"\x8a\x08" + min(number, 2**63 - 1).to_bytes(8, "little")


def _tuple(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def _put(what: bytes, place: int) -> bytes:
    return what + b"r" + place.to_bytes(4, "little")


def _get(place: int) -> bytes:
    return b"j" + place.to_bytes(4, "little")


def _called(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + _tuple(*arguments) + b"R"


# --- weights -----------------------------------------------------------------------------------

_ORDERED = _called("collections", "OrderedDict")
_STORAGE = 0


def _tensor(kind: int, number: int, numel: int) -> bytes:
    """A view: whole, one of many that overlap, turned, one number repeated, or beyond its bytes."""
    offset, size, stride = {
        0: (0, [numel], [1]),
        1: (number % numel, [numel - number % numel], [1]),
        2: (0, [1, numel], [1, 1]),
        3: (0, [numel, 4096], [0, 0]),
        4: (0, [2**20, 2**20], [1, 1]),
        5: (number % numel, [numel - number % numel, 1], [1, numel]),
        6: (0, [numel // 2 + 1] * 2, [1, 0]),
    }[kind]
    shape = [_tuple(*map(_whole, numbers)) for numbers in (size, stride)]
    storage = _get(_STORAGE)
    return _called("torch._utils", "_rebuild_tensor_v2", storage, _whole(offset), *shape, b"\x89", _ORDERED)  # fmt: skip


def _weights_file(data: bytes) -> bytes:
    choices = Choices(data)
    scripted, numel, n_names = choices.below(2), choices.size(19), choices.size(9)
    told = numel << (40 * (choices.below(8) == 7))
    storage = _tuple(_text(b"storage"), b"ctorch\nFloatStorage\n", _text(b"0"), _text(b"cpu"), _whole(told))  # fmt: skip
    one = choices.below(3) == 0
    kind = choices.below(7)
    tensors = [_tensor(kind, i, numel) for i in range(1 if one else n_names)]
    entries = b"".join(
        _text(b"w%d" % i) + (_get(1) if one and i else _put(tensors[i], 1) if one else tensors[i])
        for i in range(n_names)
    )
    again = b"]" + _put(b"", 2) + b"(" + (_text(b"k") + _whole(7) + b"\x86") * choices.size(8)
    again += b"e0" + (_called("collections", "OrderedDict", _get(2)) + b"0") * (choices.size(9) - 1)
    body = b"\x80\x02" + _put(storage + b"Q", _STORAGE) + b"0" + again
    if scripted:
        body += _put(b"c__torch__\nNet\n)\x81}(" + entries + b"ub", 9) + b"0"
        depth, longer = choices.below(50), b"n" * choices.size(10)
        for level in range(depth):
            inner = b"c__torch__\nNet\n)\x81}(" + _text(longer) + _get(9 + level)
            if choices.below(2):
                inner += _text(b"b") + _get(9 + level)
            body += _put(inner + b"ub", 10 + level) + b"0"
        last = 9 + depth
        if choices.below(8) == 7:  # a module that contains itself
            body += _get(last) + b"}(" + _text(longer) + _get(last) + b"ub0"
        body += _get(last) + b"."
    else:
        body += b"}(" + entries + b"u."
    bomb = b"\x80\x02cbuiltins\nbytearray\n" + _tuple(_whole(600_000_000)) + b"R."
    members = [("m/data.pkl", body), ("m/data/0", bytes(4 * numel))]
    members += [("m/constants.pkl", b"\x80\x02).")] * scripted
    more = choices.below(8)
    members += {1: [("m/Data.pkl", bomb)], 2: [("m/data.pkl", bomb)], 3: [("M/DATA.PKL", bomb)]}.get(more, [])  # fmt: skip
    if more in (1, 4):
        members.reverse()
    return _zipped(members, zipfile.ZIP_DEFLATED if more == 5 else zipfile.ZIP_STORED)


def _zipped(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", compression) as archive:
        warnings.simplefilter("ignore")  # that a name is there twice
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def _weights_read(data, seed, folder):
    return read_checkpoint(write(folder, "w.pth", _weights_file(data))).state


def _weights_check(data, seed, value):
    """What is in memory is no more than twice the file, and no number is made up."""
    own = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in value.values()}  # fmt: skip
    assert sum(own.values()) <= 3 * len(_weights_file(data))
    assert all(not tensor.any() for tensor in value.values())


# --- .bin sets ---------------------------------------------------------------------------------


def _bin_file(data: bytes) -> bytes:
    choices = Choices(data)
    n_pairs, length, times = choices.size(8), choices.size(18), choices.size(8)
    raw, kind = b"a" * length, choices.below(5)
    start = _put(_text(raw), 0) + b"0" + _put(b"B" + length.to_bytes(4, "little") + raw, 1) + b"0"
    encoded = _called("_codecs", "encode", _get(0), _text(b"latin1"))
    dtype = _called("numpy", "dtype", _text(b"u1"), b"K\x00", b"K\x01")
    dtype += _tuple(b"K\x03", _text(b"|"), b"NNN", *[_whole(0)] * 3) + b"b"
    shape = _get(5) if choices.below(4) == 3 else _tuple(_whole(length))
    array = _called("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", _tuple(b"K\x00"), b"U\x01b")  # fmt: skip
    array += _tuple(b"K\x01", shape, dtype, b"\x89", _get(1)) + b"b"
    picture = {0: _get(1), 1: encoded, 2: array, 3: _get(2), 4: b"C\x01x"}[kind]
    laughs = _put(b")", 2) + b"0"
    for _ in range(choices.below(60)):
        laughs += _put(_tuple(*[_get(2)] * 8), 2) + b"0"
    start += _put(_called("numpy.core.numeric", "_frombuffer", b"C\x01a", dtype, _tuple(b"K\x01"), b"U\x01C"), 5) + b"0"  # fmt: skip
    pictures = b"](" + picture * min(times, 2 * n_pairs)
    pictures += _get(1) * max(0, 2 * n_pairs - times) + b"e"
    labels = b"](" + b"\x88" * n_pairs + b"e"
    body = b"\x80\x03" + start + laughs + pictures + labels + b"\x86."
    return body


def _bin_read(data, seed, folder):
    return read_bin(write(folder, "set.bin", _bin_file(data)))


def _bin_check(data, seed, value):
    """Distinct pictures take no more than the file, and are what it repeats."""
    distinct = {id(picture): picture for picture in value.encoded}.values()
    assert sum(map(len, distinct)) <= 3 * len(_bin_file(data))
    assert all(set(picture) <= set(b"ax") for picture in distinct)


# --- text --------------------------------------------------------------------------------------


def _yaml_file(data: bytes) -> bytes:
    choices = Choices(data)
    form, levels, width = choices.below(6), choices.size(7), choices.size(8)
    if form == 0:  # every line names the one before several times
        lines = ["a0: &a0 [x]" if choices.below(2) else "a0: [x]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
        return "\n".join(lines).encode()
    if form == 1:
        return ("a: " + "[" * levels + "]" * levels).encode()
    if form == 2:
        return "".join(" " * i + "a:\n" for i in range(levels)).encode() + b" " * levels + b"b: 1"
    if form == 3:
        return ("a: " + "- " * levels + "1").encode()
    if form == 4:
        return b"a: &a {b: 1}\nc:\n" + b"  <<: *a\n" * width
    return ("a: [" + ", ".join("1" * width for _ in range(levels)) + "]").encode()


def _yaml_read(data, seed, folder):
    return load_yaml(write(folder, "p.yaml", _yaml_file(data)))


def _json_file(data: bytes) -> bytes:
    choices = Choices(data)
    form, levels, width = choices.below(5), choices.size(17), choices.size(17)
    return {
        0: b"[" * levels + b"]" * levels,
        1: b'{"a":' * levels + b"1" + b"}" * levels,
        2: b"[" + b",".join([b"[]"] * width) + b"]",
        3: b'{"a":1' + b',"a":1' * (width - 1) + b"}",
        4: b"[" + b"1" * width + b"]",
    }[form]


def _json_read(data, seed, folder):
    return read_json(write(folder, "any.json", _json_file(data)))


def _text_check(file):
    def check(data, seed, value):
        """Written out again it is no longer than the file and what plain text needs."""
        assert len(json.dumps(value)) <= 4 * len(file(data)) + 100

    return check


# --- array files -------------------------------------------------------------------------------


def _npz_file(data: bytes) -> bytes:
    choices = Choices(data)
    n_names, numel = choices.size(10), choices.size(14)
    shape = {0: (numel,), 1: (numel, 2**20), 2: (2**31, 2**31), 3: (0, 2**62)}[choices.below(4)]
    npy = io.BytesIO()
    about = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(npy, about)
    npy.write(bytes(4 * numel if math.prod(shape) else 0))
    names = {0: "a{}.npy", 1: "A.npy", 2: "a{}.NPY"}[choices.below(3)]
    members = [(names.format(i), npy.getvalue()) for i in range(n_names)]
    packed = zipfile.ZIP_DEFLATED if choices.below(4) == 3 else zipfile.ZIP_STORED
    whole = bytearray(_zipped(members[:64], packed))
    if choices.below(4) == 3:  # every entry of the directory is the first member
        place = whole.find(b"PK\x01\x02")
        while place >= 0:
            whole[place + 42 : place + 46] = bytes(4)
            place = whole.find(b"PK\x01\x02", place + 4)
    return bytes(whole)


def _npz_read(data, seed, folder):
    return read_arrays(write(folder, "a.npz", _npz_file(data)))


def _npz_check(data, seed, value):
    assert sum(array.nbytes for array in value.values()) <= len(_npz_file(data))


SUBJECTS = {
    name: Subject(_seeds(read), read, check)
    for name, read, check in (
        ("many-weights", _weights_read, _weights_check),
        ("many-pictures", _bin_read, _bin_check),
        ("many-yaml", _yaml_read, _text_check(_yaml_file)),
        ("many-json", _json_read, _text_check(_json_file)),
        ("many-arrays", _npz_read, _npz_check),
    )
}
