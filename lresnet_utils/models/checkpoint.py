"""Reading weights without running any code of the file, and loading them with clear refusals."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lresnet_utils.errors import CheckpointError
from lresnet_utils.models.architectures import ARCHITECTURES
from lresnet_utils.models.container import MoreThanTensorsError, check_container, is_own

# Where training scripts put the network's weights inside a larger checkpoint.
_WRAPPERS = ("model", "state_dict")
_PARALLEL_PREFIX = "module."
# Files of PyTorch 0.4 have no such counters, and evaluation never reads them.
_OPTIONAL_SUFFIX = "num_batches_tracked"
_SHOWN_KEYS = 3
_RESAVE = (
    "on a machine where you trust the file: "
    "torch.save(torch.load(OLD, weights_only=False, map_location='cpu')['model'], NEW)"
)


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint; nothing but tensors is ever unpickled.

    A bare state dict, ``{"model": state_dict}`` and ``{"state_dict": state_dict}`` are understood,
    and the ``module.`` that data-parallel training puts before every name is removed.

    Parameters
    ----------
    path : path
        A file written by :func:`torch.save`, in its present or its older format.

    Returns
    -------
    dict of str to Tensor
        The tensors on the CPU, in the order of the file.

    Raises
    ------
    CheckpointError
        When the file is missing, damaged, is no checkpoint, or holds more than tensors. The
        guide's patched training saves its whole configuration as Python objects, for one; reading
        those means running code of the file, so the message says how to re-save the weights alone.
    """
    path = Path(path)
    state = _unwrapped(_load_tensors(path))
    if not (_is_state_dict(state) and is_own(state)):
        raise CheckpointError(
            "The file holds no network weights (a dict of names to tensors).",
            where=str(path),
            fix="save the network with torch.save(network.state_dict(), path)",
        )
    if all(key.startswith(_PARALLEL_PREFIX) for key in state):
        state = {key.removeprefix(_PARALLEL_PREFIX): tensor for key, tensor in state.items()}
    return dict(state)


def load_into(
    module: nn.Module, state: Mapping[str, Tensor], *, where: str, assign: bool = False
) -> nn.Module:
    """Load weights into a network, every name and shape checked first.

    Parameters
    ----------
    module : nn.Module
        The network; changed in place only when everything fits.
    state : mapping of str to Tensor
        The weights. ``num_batches_tracked`` may be missing.
    where : str
        The file the weights come from, for the message.
    assign : bool
        Use the tensors themselves instead of copying them, which also fills a network built on
        the ``meta`` device.

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
    broken = [key for key, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(
            f"Weights are NaN or infinite: {_sample(broken)}.",
            where=where,
            fix="use another checkpoint of the training",
        )
    complete = {
        key: state.get(key, torch.zeros((), dtype=torch.int64)) for key in module.state_dict()
    }
    module.load_state_dict(complete, assign=assign)
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
    names = []
    for name, known in sorted(ARCHITECTURES.items()):
        with torch.device("meta"):
            expected = _shapes(known.build().state_dict())
        if not _differences(expected, given):
            names.append(name)
    return names


def _load_tensors(path: Path) -> Any:
    try:
        check_container(path)
        with warnings.catch_warnings():
            # About pickle versions and TorchScript; both end in an error of ours where they matter.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError("The weights file does not exist.", where=str(path)) from error
    except MoreThanTensorsError as error:
        raise _more_than_tensors(path) from error
    except pickle.UnpicklingError as error:
        # PyTorch raises this both for a refused object and for bytes that are no pickle at all;
        # only a refusal names what was refused.
        if "GLOBAL" in str(error):
            raise _more_than_tensors(path) from error
        raise _not_a_checkpoint(path) from error
    except Exception as error:  # a damaged file can fail anywhere in the zip or pickle readers
        raise _not_a_checkpoint(path) from error


def _more_than_tensors(path: Path) -> CheckpointError:
    return CheckpointError(
        "The checkpoint holds more than tensors, and reading it would run its code.",
        where=str(path),
        fix=_RESAVE,
    )


def _not_a_checkpoint(path: Path) -> CheckpointError:
    return CheckpointError(
        "The file is damaged or is no PyTorch checkpoint.",
        where=str(path),
        fix="compare its size and hash with the source's, and copy it again",
    )


def _unwrapped(content: Any) -> Any:
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return content[key]
    return content


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) and _is_plain(value) for key, value in content.items())
    )


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.device.type == "cpu"
        and value.layout == torch.strided
        and not value.is_quantized
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
