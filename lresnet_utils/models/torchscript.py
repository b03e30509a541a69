"""The weights inside a TorchScript file, without running any of its code.

``torch.jit.load`` compiles and can run the code that such a file carries. Only the weights are
wanted here, since the network itself is built by this package; so the file's ``data.pkl`` is read
by the same machine as other pickles, with a few more instructions. A class of the file becomes a
plain record of its attributes, and a tensor is copied from bytes that the file really holds. The
layout is documented in PyTorch's ``torch/csrc/jit/docs/serialization.md``.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lresnet_utils.data.plain_arrays import PlainPickleError, word
from lresnet_utils.data.plain_machine import Machine
from lresnet_utils.data.plain_pickle import STEPS, interpret
from lresnet_utils.errors import CheckpointError

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
_LISTS = {"build_intlist", "build_tensorlist", "build_doublelist", "build_boollist"}
# Networks of the field have a few thousand.
_MOST_ATTRIBUTES = 200_000


@dataclass(eq=False)
class _Name:
    """A name the file refers to; only a name, never the object of that name."""

    kind: str
    name: str


@dataclass(eq=False)
class _Module:
    """A module or other object of the file: its attributes, in order."""

    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class _Storage:
    """A member of the archive that holds numbers."""

    dtype: torch.dtype
    key: str
    numel: int


@dataclass(eq=False)
class _View:
    """A tensor: where it lies in its storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def is_torchscript(path: Path) -> bool:
    """Say whether a file is a TorchScript archive rather than one of plain tensors.

    Both are zip files with a ``data.pkl``; only TorchScript adds its code's constants.
    """
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path | str) -> dict[str, Tensor]:
    """Read the weights of a file written by :func:`torch.jit.save`.

    Parameters
    ----------
    path : path
        The archive.

    Returns
    -------
    dict of str to Tensor
        Every tensor under the name it has in the module's state dict.

    Raises
    ------
    CheckpointError
        When the file is damaged, holds other things than TorchScript writes, or was frozen, which
        moves the weights into the code and drops their names.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _weights(archive)
    except CheckpointError as error:
        raise CheckpointError(error.what, where=str(path), fix=error.fix) from error
    except (PlainPickleError, zipfile.BadZipFile, KeyError, EOFError, OSError) as error:
        raise CheckpointError(
            f"The TorchScript file cannot be read: {error}.",
            where=str(path),
            fix="compare its size and hash with the source's, or save the network's state dict",
        ) from error


def _weights(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    constants = next(name for name in archive.namelist() if name.endswith("/constants.pkl"))
    root = constants.removesuffix("constants.pkl")
    module = interpret(_stored(archive, f"{root}data.pkl"), _STEPS)
    storages: dict[str, Tensor] = {}
    state: dict[str, Tensor] = {}
    for name, view in _tensors(module):
        key = view.storage.key
        if key not in storages:
            storages[key] = _numbers(archive, f"{root}data/{key}", view.storage)
        state[name] = _tensor(storages[key], view)
    if not state:
        raise CheckpointError(
            "The TorchScript file holds no named weights; freezing moves them into its code.",
            fix="save the network's state dict, or the TorchScript before torch.jit.freeze",
        )
    return state


def _tensors(root: Any) -> Iterator[tuple[str, _View]]:
    """Yield every tensor below a module with its dotted name."""
    waiting = [("", root)]
    visited = 0
    while waiting:
        prefix, module = waiting.pop()
        if not isinstance(module, _Module):
            raise PlainPickleError("it holds no module")
        for name, inner in module.attributes.items():
            visited += 1
            # Modules may be shared, or even contain themselves, so names can outgrow the file.
            if visited > _MOST_ATTRIBUTES:
                raise PlainPickleError(f"its modules have more than {_MOST_ATTRIBUTES} attributes")
            if isinstance(inner, _View):
                yield prefix + name, inner
            elif isinstance(inner, _Module):
                waiting.append((f"{prefix}{name}.", inner))


def _stored(archive: zipfile.ZipFile, member: str) -> bytes:
    """Return a member's bytes; PyTorch never compresses, and what is compressed could explode."""
    info = archive.getinfo(member)
    if info.compress_type != zipfile.ZIP_STORED:
        raise PlainPickleError(f"{member} is compressed")
    return archive.read(info)


def _numbers(archive: zipfile.ZipFile, member: str, storage: _Storage) -> Tensor:
    raw = _stored(archive, member)
    if len(raw) != storage.numel * storage.dtype.itemsize:
        raise PlainPickleError(f"{member} has {len(raw)} bytes, not those of its numbers")
    if not raw:
        return torch.empty(0, dtype=storage.dtype)
    return torch.frombuffer(bytearray(raw), dtype=storage.dtype)


def _tensor(numbers: Tensor, view: _View) -> Tensor:
    count = math.prod(view.size)
    steps = zip(view.size, view.stride, strict=True)
    last = view.offset + sum((n - 1) * step for n, step in steps)
    if count > len(numbers) or (count and last >= len(numbers)):
        raise PlainPickleError("it holds a tensor that does not lie in its storage")
    return numbers.as_strided(view.size, view.stride, view.offset).clone().contiguous()


def _global(machine: Machine) -> None:
    module, name = word(machine.line()), word(machine.line())
    if module.startswith("__torch__"):
        kind = "module"
    elif module == "torch" and name in _DTYPES:
        kind = "storage"
    elif (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
        kind = "tensor"
    elif (module, name) == ("collections", "OrderedDict"):
        kind = "dict"
    elif module == "torch.jit._pickle" and name in _LISTS:
        kind = "list"
    else:
        wanted = f"{module}.{name}".encode("ascii", "backslashreplace").decode()[:80]
        raise PlainPickleError(f"it asks for {wanted}, which is not data")
    machine.push(_Name(kind, name))


def _new_object(machine: Machine) -> None:
    machine.pop()
    if getattr(machine.pop(), "kind", None) != "module":
        raise PlainPickleError("it makes an object of no module")
    machine.spend()
    machine.push(_Module())


def _build(machine: Machine) -> None:
    state, target = machine.pop(), machine.top()
    if not isinstance(target, _Module) or type(state) is not dict:
        raise PlainPickleError("it sets the state of what is no module")
    target.attributes = state


def _dictionary(machine: Machine) -> None:
    machine.spend()
    machine.push({})


def _set_items(machine: Machine, items: list[Any]) -> None:
    target = machine.top()
    # Keys of other types than text only occur in attributes that hold no weights.
    names, values = items[::2], items[1::2]
    if type(target) is not dict or len(names) != len(values):
        raise PlainPickleError("it is damaged: entries for what is no dictionary")
    target.update((k, v) for k, v in zip(names, values, strict=True) if type(k) is str)


def _reduce(machine: Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    kind = getattr(function, "kind", None)
    if type(arguments) is not tuple:
        raise PlainPickleError("it calls something in a wrong way")
    if kind == "tensor":
        machine.push(_view(arguments))
    elif kind == "dict":
        machine.spend()
        machine.push({})
    elif kind == "list" and len(arguments) == 1:
        machine.push(arguments[0])
    else:
        raise PlainPickleError("it calls something that is not a known name")


def _view(arguments: tuple[Any, ...]) -> _View:
    storage, offset, size, stride = (*arguments[:4], *(None,) * (4 - len(arguments)))
    whole = isinstance(storage, _Storage) and type(size) is type(stride) is tuple
    if not (whole and len(size) == len(stride) <= 8 and _counts(offset, *size, *stride)):
        raise PlainPickleError("it is damaged: a tensor without a shape")
    return _View(storage, offset, size, stride)


def _persistent(machine: Machine) -> None:
    found = machine.pop()
    if type(found) is not tuple or len(found) != 5 or found[0] != "storage":
        raise PlainPickleError("it refers to something that is no storage")
    _, kind, key, _, numel = found
    if getattr(kind, "kind", None) != "storage" or type(key) is not str or not _counts(numel):
        raise PlainPickleError("it refers to a storage of no known type")
    machine.push(_Storage(_DTYPES[kind.name], key, numel))


def _counts(*values: Any) -> bool:
    return all(type(value) is int and 0 <= value < 2**40 for value in values)


_STEPS = STEPS | {
    key[0]: step
    for key, step in {
        b"c": _global,
        b"\x81": _new_object,
        b"b": _build,
        b"}": _dictionary,
        b"s": lambda m: _set_items(m, [m.pop(), m.pop()][::-1]),
        b"u": lambda m: _set_items(m, m.pop_to_mark()),
        b"R": _reduce,
        b"Q": _persistent,
    }.items()
}
