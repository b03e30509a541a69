"""A network with its weights in it, and where they come from."""

from __future__ import annotations

import hashlib
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lresnet_utils.data.packaged import SFACE_SHA256
from lresnet_utils.errors import ParamsError
from lresnet_utils.machine.disk import atomic_path, sha256_file
from lresnet_utils.models.architectures import Architecture, architecture
from lresnet_utils.models.checkpoint import Checkpoint, load_into, read_checkpoint
from lresnet_utils.models.sface import packaged_state_dict

SEEDED = "seeded"
PACKAGED = "packaged"
_PACKAGED_ARCHITECTURE = "sface"


@dataclass(frozen=True)
class Network:
    """A loaded network, ready to infer.

    Attributes
    ----------
    module : nn.Module
        In evaluation mode, without gradients, float32 on the CPU.
    architecture : Architecture
        Its definition and the input it wants.
    weights : str
        ``seeded``, ``packaged`` or the name of the weights file.
    sha256 : str
        Of the weights file's bytes; for seeded weights, of the tensors.
    trained : bool
        False for seeded weights: speed can be measured with them, accuracy cannot.
    n_parameters : int
        Trainable numbers; statistics of batch normalisation are not counted.
    ignored : tuple of str
        What else the weights file holds: entries of a training's checkpoint, tensors of its
        classification head.
    """

    module: nn.Module
    architecture: Architecture
    weights: str
    sha256: str
    trained: bool
    n_parameters: int
    ignored: tuple[str, ...] = ()


def load_network(architecture_name: str, weights: Path | str, *, seed: int = 0) -> Network:
    """Build a network and fill it with weights.

    Parameters
    ----------
    architecture_name : str
        A name of :data:`lresnet_utils.models.architectures.ARCHITECTURES`.
    weights : path or {"seeded", "packaged"}
        A checkpoint file (see :func:`lresnet_utils.models.checkpoint.read_checkpoint`), random
        weights, or the weights of the installed data package (``sface``).
    seed : int
        Of the seeded weights; not used otherwise.

    Returns
    -------
    Network
        The network and the identity of its weights.

    Raises
    ------
    ParamsError
        When the architecture is unknown or has no packaged weights.
    CheckpointError
        When the checkpoint is missing, unsafe, damaged or made for another network.

    Examples
    --------
    >>> network = load_network("sface", "packaged")
    >>> network.n_parameters, network.trained
    (9642880, True)
    """
    known = architecture(architecture_name)
    if weights == SEEDED:
        with torch.device("meta"):
            shapes = known.build()
        checkpoint = Checkpoint(seeded_state_dict(shapes, seed=seed))
        label, sha256 = SEEDED, state_dict_sha256(checkpoint.state)
    elif weights == PACKAGED:
        if known.name != _PACKAGED_ARCHITECTURE:
            raise ParamsError(
                f"Only {_PACKAGED_ARCHITECTURE} has packaged weights, not {known.name}.",
                where="weights",
                fix="name a checkpoint file, or 'seeded' to measure speed without one",
            )
        checkpoint, label, sha256 = Checkpoint(packaged_state_dict()), PACKAGED, SFACE_SHA256
    else:
        path = Path(weights)
        checkpoint, label, sha256 = read_checkpoint(path), path.name, sha256_file(path)
    module = _filled(known, checkpoint.state, where=label)
    return Network(
        module=module,
        architecture=known,
        weights=label,
        sha256=sha256,
        trained=label != SEEDED,
        n_parameters=sum(parameter.numel() for parameter in module.parameters()),
        ignored=checkpoint.ignored,
    )


def save_network(network: Network, path: Path | str) -> Path:
    """Write the network's bare state dict; the same weights give the same bytes.

    Parameters
    ----------
    network : Network
        The network to save.
    path : path
        The file to make, whole or not at all.

    Returns
    -------
    Path
        `path`; read it with :func:`restore_network`, or with ``torch.load(weights_only=True)``.
    """
    state = {key: tensor.contiguous() for key, tensor in network.module.state_dict().items()}
    # Given a path, torch.save writes the (temporary) file's name into the archive; given a file, it
    # says "unexpected pos" of a full disk.
    whole = io.BytesIO()
    torch.save(state, whole)
    with atomic_path(path) as temporary:
        temporary.write_bytes(whole.getbuffer())
    return Path(path)


def restore_network(architecture_name: str, path: Path | str) -> nn.Module:
    """Return the module that :func:`save_network` saved, in evaluation mode without gradients.

    Raises
    ------
    ParamsError
        When the architecture is unknown.
    CheckpointError
        When the file is missing, damaged or belongs to another architecture.
    """
    return _filled(architecture(architecture_name), read_checkpoint(path).state, where=str(path))


def _filled(known: Architecture, state: dict[str, Tensor], *, where: str) -> nn.Module:
    # A tensor of many names is converted once: nothing is known yet of how many there are.
    converted = {
        number: tensor.float() if tensor.is_floating_point() else tensor
        for number, tensor in {id(tensor): tensor for tensor in state.values()}.items()
    }
    state = {key: converted[id(tensor)] for key, tensor in state.items()}
    with torch.device("meta"):  # initial weights would cost a second and be thrown away
        module = known.build()
    load_into(module, state, where=where)
    return module.eval().requires_grad_(False)


# Random weights that are the same on every machine, for speed and agreement without a download.

# Scale of a residual path beside its shortcut. At 0.5 activations grow until the gates of 49 units
# saturate, and rounding errors come out 300 times larger; at 0.2 the network neither amplifies
# nor forgets a change of its input.
_RESIDUAL_GAIN = 0.2
# The batch normalisations at the end of residual paths: of IR units, iresnet units and
# MobileFaceNet's bottlenecks.
_RESIDUAL_ENDS = re.compile(r"(res_layer\.4|\.bn3|\.model\.\d+\.project\.bn)$")


def seeded_state_dict(module: nn.Module, *, seed: int) -> dict[str, Tensor]:
    """Return random weights for `module`, statistics of batch normalisation included.

    Convolutions and linear layers are drawn as He et al., ICCV 2015 (arXiv:1502.01852), so that
    activations keep their size from layer to layer. Everything that a graph optimiser could fold
    or drop (means, variances, scales, slopes, biases) differs from the value that would make it
    vanish, so a runtime that gets one of them wrong is seen.

    Parameters
    ----------
    module : nn.Module
        Gives names and shapes; is not changed and may live on the ``meta`` device.
    seed : int
        Of NumPy's PCG64, whose streams are the same on every platform; PyTorch's global generator
        is neither read nor moved.

    Returns
    -------
    dict of str to Tensor
        float32 tensors (int64 for ``num_batches_tracked``) in the order of the module.

    Examples
    --------
    >>> seeded_state_dict(nn.Linear(2, 1), seed=0)["weight"].shape
    torch.Size([1, 2])
    """
    generator = np.random.default_rng(seed)
    state: dict[str, Tensor] = {}
    for prefix, layer in module.named_modules():
        gain = _RESIDUAL_GAIN if _RESIDUAL_ENDS.search(prefix) else 1.0
        own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
        for field, tensor in own:
            shape = tuple(tensor.shape)
            if field == "num_batches_tracked":
                values = np.zeros(shape, np.int64)
            elif isinstance(layer, nn.PReLU):
                values = generator.uniform(0.1, 0.4, shape).astype(np.float32)
            elif field == "running_var":
                values = generator.uniform(0.5, 1.5, shape).astype(np.float32)
            elif isinstance(layer, nn.modules.batchnorm._BatchNorm) and field == "weight":
                values = (gain * generator.uniform(0.8, 1.2, shape)).astype(np.float32)
            else:
                values = generator.standard_normal(shape, dtype=np.float32)
                spread = math.sqrt(2 / math.prod(shape[1:])) if field == "weight" else 0.1
                values *= np.float32(spread)
            state[f"{prefix}.{field}".lstrip(".")] = torch.from_numpy(values)
    return {key: state[key] for key in module.state_dict()}


def state_dict_sha256(state: dict[str, Tensor]) -> str:
    """Return the SHA-256 of names, shapes, types and values, independent of the file format."""
    digest = hashlib.sha256()
    for key in sorted(state):
        array = state[key].detach().cpu().contiguous().numpy()
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data if array.ndim else array.tobytes())
    return digest.hexdigest()
