"""What a checkpoint's container may hold, seen before PyTorch opens it.

``torch.load(weights_only=True)`` runs no code of a file, but it takes the file's word for sizes: it
does not compare checksums, views a record as long as the pickle says, and builds ``bytearray(n)``
for any n. So the container is read here first, with :mod:`zipfile` and :mod:`pickletools`, which
build nothing.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

MAX_PICKLE_BYTES = 32 * 2**20
MAX_RECORDS = 100_000

_ZIP = b"PK\x03\x04"
# The magic number of torch.save before PyTorch 1.6, pickled by protocol 2 or 3.
_OLD = tuple(b"\x80%c\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." % protocol for protocol in (2, 3))
_ELEMENT_BYTES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2,
    "Char": 1, "Byte": 1, "Bool": 1,
}  # fmt: skip
_STORAGES = {f"torch {kind}Storage": size for kind, size in _ELEMENT_BYTES.items()}
_NAMES = {
    "collections OrderedDict",
    "collections defaultdict",
    "torch Size",
    "torch device",
    "torch._utils _rebuild_parameter",
    "torch._utils _rebuild_tensor",
    "torch._utils _rebuild_tensor_v2",
    *_STORAGES,
}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
# Instructions that make an object without naming it by GLOBAL, which PyTorch never writes.
_STRANGE = {"INST", "OBJ", "NEWOBJ_EX", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "PERSID"}


class ContainerError(ValueError):
    """The container is damaged, or announces more than it holds."""


class MoreThanTensorsError(ValueError):
    """The pickle names something that no state dict needs."""


def check_container(path: Path) -> None:
    """See that a checkpoint is whole and asks for tensors of its own bytes only.

    Raises
    ------
    OSError
        When the file cannot be read.
    ContainerError
        When it is neither of PyTorch's two formats, a checksum is wrong, a record is compressed
        or missing, a storage is longer than its record, or a limit of this module is passed.
    MoreThanTensorsError
        When it holds other objects than tensors and plain containers.
    """
    with path.open("rb") as file:
        head = file.read(len(_OLD[0]))
        file.seek(0)
        if head.startswith(_ZIP):
            _check_zip(file, path.stat().st_size)
        elif head in _OLD:
            _check_old(file, path.stat().st_size)
        else:
            raise ContainerError("it is neither of PyTorch's two formats")


def _check_zip(file: BinaryIO, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if len(infos) > MAX_RECORDS or len({info.filename for info in infos}) != len(infos):
            raise ContainerError(f"it has over {MAX_RECORDS:,} records, or one twice")
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ContainerError("a record is compressed, as PyTorch never writes it")
        if sum(info.file_size for info in infos) > size:
            raise ContainerError("its records announce more bytes than it has")
        pickles = [info for info in infos if info.filename.endswith("/data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > MAX_PICKLE_BYTES:
            raise ContainerError(f"it has no data.pkl of at most {MAX_PICKLE_BYTES:,} bytes")
        if archive.testzip() is not None:
            raise ContainerError("a checksum is wrong")
        folder = pickles[0].filename.removesuffix("data.pkl")
        records = {info.filename: info.file_size for info in infos}
        for key, n_bytes in _storages(io.BytesIO(archive.read(pickles[0]))):
            if n_bytes > records.get(f"{folder}data/{key}", -1):
                raise ContainerError("a tensor is longer than its record")


def _check_old(file: BinaryIO, size: int) -> None:
    """Three pickles of its makers' machine, one of the tensors, one of their keys, then bytes."""
    total = 0
    for _ in range(5):
        found = dict(_storages(file))
        total += sum(found.values())
        if file.tell() > MAX_PICKLE_BYTES:
            raise ContainerError(f"its pickles have over {MAX_PICKLE_BYTES:,} bytes")
    if total > size:
        raise ContainerError("its tensors are longer than the file")


def _storages(stream: BinaryIO) -> Iterator[tuple[str, int]]:
    """Yield key and bytes of every storage that one pickle refers to."""
    recent: list[Any] = []  # the last plain values, with None for anything else
    memo: dict[int, Any] = {}
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            name = opcode.name
            if name in _STRANGE or (name == "GLOBAL" and argument not in _NAMES):
                raise MoreThanTensorsError(str(argument or name)[:80])
            if name in _PUTS:
                memo[argument] = recent[-1] if recent else None
            elif name in _GETS:
                recent.append(memo.get(argument))
            elif name == "BINPERSID":
                yield _storage(recent)
                recent.append(None)
            elif name == "TUPLE":
                recent.append(recent[-6:])
            elif name not in ("MARK", "PROTO"):
                recent.append(argument)
            del recent[:-7]
    except MoreThanTensorsError:
        raise
    except (ValueError, UnicodeDecodeError, OverflowError) as error:
        raise ContainerError(f"its pickle is damaged: {error}") from error


def _storage(recent: list[Any]) -> tuple[str, int]:
    """Read ``('storage', type, key, location, elements[, None])`` from the end of the values."""
    parts = list(recent[-1]) if recent and isinstance(recent[-1], list) else []
    if parts and parts[-1] is None:  # the older format ends with the absent part of a view
        parts = parts[:-1]
    if len(parts) < 5 or parts[-5] != "storage" or parts[-4] not in _STORAGES:
        raise ContainerError("it refers to something that is no tensor's storage")
    _, kind, key, _, elements = parts[-5:]
    if type(key) is not str or type(elements) is not int or elements < 0:
        raise ContainerError("a storage without a name or a length")
    return key, elements * _STORAGES[kind]


def is_own(state: Mapping[str, Any]) -> bool:
    """Tell whether every tensor has its own bytes for all its elements.

    A tensor of a million columns can be one stored number, repeated: 4 bytes in the file, and
    gigabytes wherever it is copied.
    """
    return all(
        tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
        for tensor in state.values()
    )
