"""Reading weights without running any code of the file, and loading them with clear refusals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lresnet_utils.errors import CheckpointError
from lresnet_utils.models.architectures import ARCHITECTURES
from lresnet_utils.models.container import Container, Name, OtherTensorsError, View
from lresnet_utils.untrusted.bytes import open_regular
from lresnet_utils.untrusted.pickle import MoreThanDataError

# Where training scripts put the network's weights inside a larger checkpoint.
_WRAPPERS = ("model", "state_dict", "state_dict_backbone", "model_state_dict", "backbone", "net")
# What data-parallel training and classes around the backbone put before every name.
_PREFIXES = ("module.", "backbone.")
# The classifier that training adds behind the embedding: InsightFace_Pytorch's ArcFace and
# Am_softmax (`kernel`), arcface_torch's partial FC, and what others call theirs.
_HEADS = re.compile(r"(head|margin|classifier|arcface|softmax_fc|partial_fc|loss)\.|kernel$")
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Files of PyTorch 0.4 have no such counters, and evaluation never reads them.
_OPTIONAL_SUFFIX = "num_batches_tracked"
MAX_HEADER_BYTES = 8 * 2**20
_SHOWN_KEYS = 3
_RESAVE = (
    "on a machine where you trust the file: "
    "torch.save(torch.load(OLD, weights_only=False, map_location='cpu')['model'], NEW)"
)


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file, and what else the file holds.

    Attributes
    ----------
    state : dict of str to Tensor
        The network's tensors on the CPU, in the order of the file.
    ignored : tuple of str
        Names that were left out: other entries of the training's checkpoint, and tensors of its
        classification head, which an embedding does not need.
    """

    state: dict[str, Tensor]
    ignored: tuple[str, ...] = ()


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read the tensors of a checkpoint; nothing but tensors is ever unpickled.

    A bare state dict and one inside a training's checkpoint (``model``, ``state_dict``,
    ``state_dict_backbone``, ...) are understood. The ``module.`` that data-parallel training puts
    before every name and a ``backbone.`` are removed, and the classification head is left out.

    Parameters
    ----------
    path : path
        A file written by :func:`torch.save`, in its present or its older format, by
        :func:`torch.jit.save` (whose code is not run) or by safetensors.

    Returns
    -------
    Checkpoint
        The tensors, and the names of what was left out.

    Raises
    ------
    CheckpointError
        When the file is missing, damaged, is no checkpoint, or holds more than tensors. The
        guide's patched training saves its whole configuration as Python objects, for one; reading
        those means running code of the file, so the message says how to re-save the weights alone.
    """
    path = Path(path)
    state, ignored = _load_tensors(path)
    if not _are(Tensor, state):
        raise CheckpointError(
            "The file holds no network weights (a dict of names to tensors).",
            where=str(path),
            fix="save the network with torch.save(network.state_dict(), path), and TorchScript "
            "before torch.jit.freeze, which moves the weights into its code",
        )
    heads: list[str] = []
    for prefix in ("", *_PREFIXES):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
        heads += [key for key in state if _HEADS.match(key)]
        state = {key: tensor for key, tensor in state.items() if not _HEADS.match(key)}
    if not state:
        raise CheckpointError(
            "The file holds only the classification head of a training.",
            where=str(path),
            fix="name the network's own file, which the same training saved beside it",
        )
    return Checkpoint(state, (*ignored, *heads))


def load_into(module: nn.Module, state: Mapping[str, Tensor], *, where: str) -> nn.Module:
    """Load weights into a network, every name and shape checked first.

    The network uses the tensors themselves, so that one on the ``meta`` device is filled too.

    Parameters
    ----------
    module : nn.Module
        The network; changed in place only when everything fits.
    state : mapping of str to Tensor
        The weights. ``num_batches_tracked`` may be missing.
    where : str
        The file the weights come from, for the message.

    Returns
    -------
    nn.Module
        `module`.

    Raises
    ------
    CheckpointError
        When names are missing, left over or of another shape, or a weight is NaN or infinite. If
        the weights fit another known architecture, the message names it.
    """
    expected = _shapes(module.state_dict())
    given = _shapes(state)
    problems = _differences(expected, given)
    if problems:
        fit = fitting_architectures(state)
        fix = f"these weights fit architecture {' or '.join(fit)}" if fit else None
        what = f"The weights do not fit the network: {'; '.join(problems)}."
        raise CheckpointError(what, where=where, fix=fix)
    floats = [key for key, old in module.state_dict().items() if old.is_floating_point()]
    other = [f"{key} ({state[key].dtype})" for key in floats if state[key].dtype not in _FLOATS]
    if other:
        raise CheckpointError(
            f"Weights are other numbers than floats of 16 bits or more: {_sample(other)}.",
            where=where,
            fix="save the network before it is quantised: quantised numbers mean nothing alone",
        )
    broken = [key for key in floats if not torch.isfinite(state[key].float()).all()]
    if broken:
        raise CheckpointError(
            f"Weights are NaN or infinite: {_sample(broken)}.",
            where=where,
            fix="use another checkpoint of the training",
        )
    complete = {
        key: state.get(key, torch.zeros((), dtype=torch.int64)) for key in module.state_dict()
    }
    module.load_state_dict(complete, assign=True)
    return module


def fitting_architectures(state: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the known architectures whose names and shapes `state` has.

    Examples
    --------
    >>> with torch.device("meta"):
    ...     state = ARCHITECTURES["ir_se50"].build().state_dict()
    >>> fitting_architectures(state)
    ['ir_se50']
    """
    given = _shapes(state)
    return [name for name in sorted(ARCHITECTURES) if not _differences(_expected(name), given)]


@cache
def _expected(architecture: str) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return _shapes(ARCHITECTURES[architecture].build().state_dict())


def _load_tensors(path: Path) -> tuple[Any, list[str]]:
    """Return the network's part of a file, and the names of the other parts."""
    try:
        opened = open_regular(path)
    except FileNotFoundError as error:
        raise CheckpointError("The weights file does not exist.", where=str(path)) from error
    except (OSError, ValueError) as error:  # Python's word for a zero byte in a name is the latter
        raise CheckpointError(
            f"The weights file cannot be read: {getattr(error, 'strerror', None) or error}.",
            where=str(path),
            fix="name a file that you may read, by a path that the system takes",
        ) from error
    try:
        with opened as file:
            if path.suffix == ".safetensors":
                if int.from_bytes(file.read(8), "little") > MAX_HEADER_BYTES:
                    raise ValueError(f"its header has over {MAX_HEADER_BYTES:,} bytes")
                return load_file(path), []
            container = Container(file)
            state, ignored = container.content, []
            for key in _WRAPPERS:  # a training's checkpoint holds other parts too
                if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
                    ignored = [str(other) for other in state if other != key]
                    state = state[key]
                    break
            for part in (state, *(state.values() if isinstance(state, Mapping) else ())):
                if isinstance(part, Name):
                    raise MoreThanDataError(f"it holds a {part.name} in place of weights")
            if _are(View, state):
                state = container.tensors(state)
            return state, ignored
    except OtherTensorsError as error:
        kind, fix = error.args
        what = f"The checkpoint holds tensors that are {kind}; only plain ones are read."
        raise CheckpointError(what, where=str(path), fix=fix) from error
    except MoreThanDataError as error:
        raise CheckpointError(
            f"The checkpoint holds more than tensors, and reading it would run its code: {error}.",
            where=str(path),
            fix=_RESAVE,
        ) from error
    except Exception as error:  # a damaged file can fail anywhere in the zip or pickle readers
        form = "safetensors file" if path.suffix == ".safetensors" else "PyTorch checkpoint"
        reason = getattr(error, "strerror", None) or f"{error}".rstrip(".") or "it ends too soon"
        raise CheckpointError(
            f"The file is damaged or is no {form}: {reason}.",
            where=str(path),
            fix="compare its size and hash with the source's, and copy it again",
        ) from error


def _are(kind: type, content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) and isinstance(value, kind) for key, value in content.items())
    )


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _differences(
    expected: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]]
) -> list[str]:
    missing = [k for k in expected if k not in given and not k.endswith(_OPTIONAL_SUFFIX)]
    surplus = [k for k in given if k not in expected]
    reshaped = [
        f"{key} {given[key]} instead of {shape}"
        for key, shape in expected.items()
        if key in given and given[key] != shape
    ]
    kinds = (("missing", missing), ("not in the network", surplus), ("other shape", reshaped))
    return [f"{len(keys)} {kind}: {_sample(keys)}" for kind, keys in kinds if keys]


def _sample(keys: Iterable[str]) -> str:
    keys = list(keys)
    shown = ", ".join(keys[:_SHOWN_KEYS])
    return f"{shown}, ..." if len(keys) > _SHOWN_KEYS else shown
