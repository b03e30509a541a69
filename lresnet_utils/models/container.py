"""The tensors of PyTorch's files, read without PyTorch's readers and without running any code.

``torch.load(weights_only=True)`` runs no code of a file, but it takes the file's word for sizes and
finds records whatever the case of their names; ``torch.jit.load`` compiles and can run the code
that a TorchScript file carries. So both kinds are read here, and what is checked is what is read:
the pickles by the same machine as other pickles, with a few more instructions, and the numbers from
bytes that the file really holds. A class of the file becomes a plain record of its attributes. The
layouts are documented in PyTorch's ``torch/csrc/jit/docs/serialization.md``.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import torch
from torch import Tensor

from lresnet_utils.untrusted.arrays import read_member, records_of
from lresnet_utils.untrusted.pickle import (
    SYMBOLS,
    MoreThanDataError,
    PicklePlayer,
    PlainPickleError,
    not_data,
    word,
)

MAX_PICKLE_BYTES = 16 * 2**20
MAX_RECORDS = 100_000
# Tied weights are one view under two names; a flat parameter beside its parts is twice its bytes.
MOST_TIMES = 2
# Networks of the field have a few thousand names of some 50 characters.
MAX_NAME_BYTES = 10_000_000
_NAME_COST = 50

_ZIP = b"PK\x03\x04"
# The magic number of torch.save before PyTorch 1.6, pickled by protocol 2 or 3.
_OLD = tuple(b"\x80%c\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." % protocol for protocol in (2, 3))
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_KINDS = {
    "torch._utils _rebuild_tensor": "tensor",
    "torch._utils _rebuild_tensor_v2": "tensor",
    "torch._utils _rebuild_parameter": "parameter",
    "torch._utils _rebuild_parameter_with_state": "parameter",
    "collections OrderedDict": "dict",
    "collections defaultdict": "dict",
    **{f"torch {name}": "storage" for name in _DTYPES},
    # What stands beside the weights: schedules, scores, types, states of random numbers. None of
    # it is made, so that a number can never become a length.
    **dict.fromkeys(
        (
            *SYMBOLS,
            "collections Counter",
            *(f"__builtin__ {name}" for name in ("set", "complex")),
            "torch Size",
            "torch device",
            *(
                f"torch {name}"
                for name in dir(torch)
                if isinstance(getattr(torch, name), torch.dtype)
            ),
            *(f"torch.jit._pickle build_{of}list" for of in ("int", "tensor", "double", "bool")),
            "torch.jit._pickle restore_type_tag",
        ),
        "other",
    ),
}

_BEFORE = "save the network before it is quantised: its state_dict() then holds plain floats"
_AGAIN = (
    "torch.save({{k: v.{} for k, v in torch.load(OLD, weights_only=True).items()}}, NEW), "
    "where OLD is a bare state dict"
)
# Tensors whose numbers are no plain floats, by what makes them, and the road to such.
_OTHER_TENSORS = {
    "_rebuild_tensor_v3": ("float8 or of unsigned integers", _BEFORE),
    "_rebuild_qtensor": ("quantised", _BEFORE),
    "_rebuild_sparse_tensor": ("sparse", _AGAIN.format("to_dense()")),
    "_rebuild_nested_tensor": ("nested", "save each of their parts under a name of its own"),
    "_rebuild_meta_tensor_no_storage": ("without numbers", "save it from another device than meta"),
}


class OtherTensorsError(PlainPickleError):
    """Tensors of a kind that is not read: what they are, and what to do."""


@dataclass(eq=False)
class Name:
    """A name the file refers to, or what it makes by it; never the object of that name."""

    kind: str
    name: str


@dataclass(eq=False)
class _Module:
    """A module or other object of a TorchScript file: its attributes, in order."""

    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class _Storage:
    """A record of the file that holds numbers."""

    dtype: torch.dtype
    key: str
    numel: int

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class View:
    """A tensor: where it lies in its storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Container:
    """A file of tensors, of which nothing but the names and shapes is in memory.

    Parameters
    ----------
    file : binary file
        At its beginning, and open for as long as tensors are read.

    Attributes
    ----------
    content : object
        Dicts, lists, numbers and text, with a :class:`View` in the place of each tensor. For
        TorchScript, a dict of its module's tensors under their names in the state dict.

    Raises
    ------
    MoreThanDataError
        When it holds other objects than tensors and plain containers.
    PlainPickleError, zipfile.BadZipFile, KeyError
        When it is damaged, of an unknown format, or a limit of this module is passed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._storages: dict[str, _Storage] = {}
        head = file.read(MAX_PICKLE_BYTES)
        if head.startswith(_ZIP):
            self.content, self._bytes_of = self._zip()
        elif head.startswith(_OLD):
            self.content, self._bytes_of = self._old(head)
        else:
            raise PlainPickleError("it is in neither of PyTorch's two formats")

    def tensors(self, views: Mapping[str, View]) -> dict[str, Tensor]:
        """Read tensors; those that are one view of the file are one tensor.

        Raises
        ------
        PlainPickleError
            When a view does not lie in its storage, or all of them together would take more than
            `MOST_TIMES` the bytes of the file. Nothing is read before that is known.
        """
        distinct = list(dict.fromkeys(views.values()))
        wanted = 0
        for view in distinct:
            count = math.prod(view.size)
            steps = zip(view.size, view.stride, strict=True)
            last = view.offset + sum((n - 1) * step for n, step in steps)
            if count and last >= view.storage.numel:
                raise PlainPickleError("it holds a tensor that does not lie in its storage")
            wanted += count * view.storage.dtype.itemsize
        if wanted > MOST_TIMES * self._size:
            raise PlainPickleError(
                f"its tensors overlap, and would take over {MOST_TIMES} times the file's bytes"
            )
        numbers: dict[_Storage, Tensor] = {}
        for storage in dict.fromkeys(view.storage for view in distinct):
            raw = self._bytes_of(storage)
            if len(raw) != storage.nbytes:
                raise PlainPickleError(f"record {storage.key} has not the bytes of its numbers")
            empty = torch.empty(0, dtype=storage.dtype)
            numbers[storage] = torch.frombuffer(raw, dtype=storage.dtype) if raw else empty
        made = {
            view: numbers[view.storage].as_strided(view.size, view.stride, view.offset).contiguous()
            for view in distinct
        }
        return {name: made[view] for name, view in views.items()}

    def _zip(self) -> tuple[Any, Callable[[_Storage], bytearray]]:
        archive = zipfile.ZipFile(self._file)
        infos = records_of(archive)
        # What is compressed could explode. PyTorch compresses only code, which is not read.
        stored = {i.filename: i for i in infos if i.compress_type == zipfile.ZIP_STORED}
        if len(infos) > MAX_RECORDS or len({info.filename for info in infos}) != len(infos):
            raise PlainPickleError(f"it has over {MAX_RECORDS:,} records, or one twice")
        if sum(info.file_size for info in stored.values()) > self._size:
            raise PlainPickleError("its records announce more bytes than it has")

        def record(name: str) -> bytearray:
            if name not in stored:
                raise PlainPickleError(f"its record {name[:80]} is missing or compressed")
            return read_member(archive, stored[name])

        pickles = [info for info in infos if info.filename.endswith("/data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
            raise PlainPickleError(f"it has no data.pkl of at most {MAX_PICKLE_BYTES:,} bytes")
        root = pickles[0].filename.removesuffix("data.pkl")
        orders = [info.filename for info in infos if info.filename == f"{root}byteorder"]
        if any(record(name) != b"little" for name in orders):
            raise PlainPickleError("its numbers are in another order of bytes")

        def bytes_of(storage: _Storage) -> bytearray:
            return record(f"{root}data/{storage.key}")

        data = bytes(record(pickles[0].filename))
        if all(info.filename != f"{root}constants.pkl" for info in infos):
            return _TensorPickle(data, self._storages).only(), bytes_of
        try:  # TorchScript alone writes constants
            return _of_module(_TensorPickle(data, self._storages).only()), bytes_of
        except MoreThanDataError as error:
            raise PlainPickleError(str(error)) from error

    def _old(self, head: bytes) -> tuple[Any, Callable[[_Storage], bytearray]]:
        """Four pickles behind the magic number, the last one of keys; then the storages."""
        pickles = _TensorPickle(head, self._storages, start=len(_OLD[0]))
        _, about, content, keys = (pickles.next() for _ in range(4))
        if type(about) is not dict or about.get("little_endian") is not True:
            raise PlainPickleError("its numbers are in another order of bytes")
        if type(keys) is not list or len(keys) > MAX_RECORDS:
            raise PlainPickleError(f"it has over {MAX_RECORDS:,} records, or no list of them")
        starts: dict[str, int] = {}
        position = pickles.stream.tell()
        for key in keys:
            storage = self._storages.get(key) if type(key) is str else None
            if storage is None or key in starts:
                raise PlainPickleError("a record is of no tensor, or there twice")
            self._file.seek(position)
            if int.from_bytes(self._file.read(8), "little") != storage.numel:
                raise PlainPickleError(f"record {key} has another length than its tensor")
            starts[key] = position + 8
            position += 8 + storage.nbytes
            if position > self._size:
                raise PlainPickleError("its tensors are longer than the file")

        def bytes_of(storage: _Storage) -> bytearray:
            self._file.seek(starts[storage.key])
            raw = bytearray(storage.nbytes)
            return raw[: self._file.readinto(raw)]

        return content, bytes_of


def _of_module(root: Any) -> dict[str, View]:
    """Return every tensor below a module under its dotted name."""
    if not isinstance(root, _Module):
        raise PlainPickleError("it holds no module")
    found: dict[str, View] = {}
    waiting = [("", root)]
    left = MAX_NAME_BYTES
    while waiting:
        prefix, module = waiting.pop()
        for name, inner in module.attributes.items():
            # Modules may be shared, or even contain themselves, so names can outgrow the file.
            left -= _NAME_COST + len(prefix) + len(name)
            if left < 0:
                raise PlainPickleError("its modules have more names than any network")
            if isinstance(inner, View):
                found[prefix + name] = inner
            elif isinstance(inner, _Module):
                waiting.append((f"{prefix}{name}.", inner))
    return found


class _TensorPickle(PicklePlayer):
    """Pickles of tensors: beside plain data, dictionaries and records of a module's attributes.

    Parameters
    ----------
    storages : dict of str to _Storage
        Filled with what the pickles refer to.
    """

    def __init__(self, data: bytes, storages: dict[str, _Storage], start: int = 0) -> None:
        super().__init__(data, start)
        self._storages = storages

    def do_short_binstring(self, raw: str) -> None:
        """Python 2's strings, which here are names."""
        self.push(raw.encode("latin-1").decode("utf-8"))

    def do_global(self, lines: tuple[bytes, bytes]) -> None:
        module, name = map(word, lines)
        if module == "torch._utils" and name in _OTHER_TENSORS:
            raise OtherTensorsError(*_OTHER_TENSORS[name])
        kind = "module" if module.startswith("__torch__") else _KINDS.get(f"{module} {name}")
        if kind is None:
            raise not_data(module, name)
        self.push(Name(kind, name))

    def do_newobj(self) -> None:
        self.pop()
        kind = getattr(self.pop(), "kind", None)
        if kind not in ("module", "dict"):
            raise MoreThanDataError("it makes an object of no module")
        self.spend()
        self.push(_Module() if kind == "module" else {})

    def do_build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, _Module) and type(state) is dict:
            target.attributes = state
        elif not isinstance(target, (dict, Name, _Module)):  # to these it gives what is of no use
            raise PlainPickleError("it sets the state of what is no module")

    def do_empty_dict(self) -> None:
        self.spend()
        self.push({})

    def do_setitem(self) -> None:
        value, name = self.pop(), self.pop()
        self.fill([(name, value)])

    def do_setitems(self) -> None:
        items = self.pop_to_mark()
        if len(items) % 2:
            raise PlainPickleError("it is damaged: entries for what is no dictionary")
        self.fill(zip(items[::2], items[1::2], strict=True))

    def fill(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        """Give the dictionary on top its entries."""
        target = self.top()
        if type(target) is not dict:
            raise PlainPickleError("it is damaged: entries for what is no dictionary")
        # Keys of other types than text only occur in what holds no weights.
        target.update((key, value) for key, value in pairs if type(key) is str)

    def do_reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        kind = getattr(function, "kind", None)
        if type(arguments) is not tuple:
            raise PlainPickleError("it calls something in a wrong way")
        if kind == "tensor":
            storage, offset, size, stride = (*arguments[:4], *(None,) * (4 - len(arguments)))
            whole = isinstance(storage, _Storage) and type(size) is type(stride) is tuple
            if not (whole and len(size) == len(stride) <= 8 and _counts(offset, *size, *stride)):
                raise PlainPickleError("it is damaged: a tensor without a shape")
            if len(arguments) > 6 and arguments[6]:
                raise PlainPickleError("it holds a tensor whose signs are to be changed on reading")
            self.push(View(storage, offset, size, stride))
        elif kind == "dict":
            self.do_empty_dict()
            for pairs in arguments:
                if type(pairs) is not list or any(
                    type(pair) not in (list, tuple) or len(pair) != 2 for pair in pairs
                ):
                    raise PlainPickleError("it is damaged: a dictionary of what are no entries")
                for _ in pairs:  # one list can fill many dictionaries
                    self.spend()
                self.fill(pairs)
        elif kind == "parameter" and arguments:
            self.push(arguments[0])
        elif kind == "other":
            self.push(function)
        else:
            raise PlainPickleError("it calls something that is not a known name")

    def do_binpersid(self) -> None:
        found = self.pop()
        if type(found) is not tuple or len(found) not in (5, 6) or found[0] != "storage":
            raise PlainPickleError("it refers to something that is no storage")
        _, kind, key, _, numel, *part = found
        if getattr(kind, "kind", None) != "storage" or type(key) is not str or not _counts(numel):
            raise PlainPickleError("it refers to a storage of no known type")
        storage = self._storages.setdefault(key, _Storage(_DTYPES[kind.name], key, numel))
        # The older format ends with a part of a storage, which no file of its last years has.
        same = (storage.dtype, storage.numel) == (_DTYPES[kind.name], numel)
        if not same or part not in ([], [None]):
            raise PlainPickleError("its tensors disagree about a storage")
        self.push(storage)


def _counts(*values: Any) -> bool:
    return all(type(value) is int and 0 <= value < 2**40 for value in values)
