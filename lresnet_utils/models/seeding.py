"""Random weights that are the same on every machine, for speed and agreement without a download."""

from __future__ import annotations

import hashlib
import math
import re

import numpy as np
import torch
from torch import Tensor, nn

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
            values = _draw(generator, layer, field, tuple(tensor.shape), gain)
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


def _draw(
    generator: np.random.Generator,
    layer: nn.Module,
    field: str,
    shape: tuple[int, ...],
    gain: float,
) -> np.ndarray:
    if field == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if isinstance(layer, nn.PReLU):
        return generator.uniform(0.1, 0.4, shape).astype(np.float32)
    if field == "running_var":
        return generator.uniform(0.5, 1.5, shape).astype(np.float32)
    if isinstance(layer, nn.modules.batchnorm._BatchNorm) and field == "weight":
        return (gain * generator.uniform(0.8, 1.2, shape)).astype(np.float32)
    values = generator.standard_normal(shape, dtype=np.float32)
    if field == "weight":
        values *= np.float32(math.sqrt(2 / math.prod(shape[1:])))
    else:
        values *= np.float32(0.1)
    return values
