"""SFace, the small face network of the OpenCV Zoo, rebuilt from its packaged ONNX file.

Zhong et al., "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition", IEEE TIP
2021 (arXiv:2205.12010), with a MobileNet trunk and the same BatchNorm-Dropout-Linear-BatchNorm
output as the IR networks. The packaged file stores its weights in 8 bits with one scale per block;
few tools besides OpenCV read that, so the weights are expanded to float32 here and loaded into a
plain module, which then takes the same road to ONNX as any other network.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from lresnet_utils.data.packaged import sface_file
from lresnet_utils.errors import CheckpointError

EMBEDDING_SIZE = 128
TRUNK_EPS = 1e-3
OUTPUT_EPS = 2e-5
# Channels after the pointwise convolution and stride of the depthwise one, conv_2 to conv_14.
SEPARABLE = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
# What a node's inputs behind the first are.
_FIELDS = {
    "Conv": ("weight",),
    "Gemm": ("weight", "bias"),
    "PRelu": ("weight",),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
}


class SFace(nn.Module):
    """SFace from a 112x112 face, RGB in 0..255, to 128 numbers that are not normalised.

    The module names are those of the packaged file, so ``body.conv_3_dw.batchnorm`` is its
    ``conv_3_dw_batchnorm``.

    Examples
    --------
    >>> with torch.device("meta"):
    ...     network = SFace()
    >>> network(torch.zeros(2, 3, 112, 112, device="meta")).shape
    torch.Size([2, 128])
    """

    def __init__(self) -> None:
        super().__init__()
        blocks = OrderedDict(conv_1=_block(3, 32, kernel=3))
        channels = 32
        for number, (width, stride) in enumerate(SEPARABLE, start=2):
            blocks[f"conv_{number}_dw"] = _block(
                channels, channels, kernel=3, stride=stride, groups=channels
            )
            blocks[f"conv_{number}"] = _block(channels, width, kernel=1)
            channels = width
        self.body = nn.Sequential(blocks)
        self.output = nn.Sequential(
            OrderedDict(
                bn1=nn.BatchNorm2d(channels, eps=OUTPUT_EPS),
                dropout5=nn.Dropout(0.4),
                flatten=nn.Flatten(),
                pre_fc1=nn.Linear(channels * 7 * 7, EMBEDDING_SIZE),
                fc1=nn.BatchNorm1d(EMBEDDING_SIZE, eps=OUTPUT_EPS),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map faces (n, 3, 112, 112), RGB in 0..255 as float32, to vectors (n, 128)."""
        return self.output(self.body((x - 127.5) * 0.0078125))


def packaged_state_dict() -> dict[str, Tensor]:
    """Return the packaged weights as float32, under the names of :class:`SFace`.

    Every tensor of the file belongs to a node that names it; a block-quantised one is expanded as
    ``(q - zero_point) * scale`` (ONNX operator DequantizeLinear, version 21).

    Returns
    -------
    dict of str to Tensor
        A complete state dict of :class:`SFace`, float32 but for ``num_batches_tracked``.

    Raises
    ------
    DataError
        When the package is missing or its file is not the expected one.
    CheckpointError
        When the file's graph is not the network this module builds.
    """
    path = sface_file()
    graph = onnx.load(path).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    state: dict[str, Tensor] = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            quantised, scale, zero_point = (values[name] for name in node.input)
            values[node.output[0]] = dequantise(
                quantised, scale, zero_point, axis=options["axis"], block_size=options["block_size"]
            )
        elif node.op_type == "Reshape":
            values[node.output[0]] = values[node.input[0]].reshape(values[node.input[1]])
        else:
            fields = _FIELDS.get(node.op_type, ())
            tensors = {
                field: torch.tensor(values[name])
                for field, name in zip(fields, node.input[1:], strict=False)
            }
            if node.op_type == "PRelu":
                tensors["weight"] = tensors["weight"].flatten()
            if node.op_type == "BatchNormalization":
                tensors["num_batches_tracked"] = torch.tensor(0)
            block, _, layer = node.name.rpartition("_")
            of_body = block.startswith("conv_")
            prefix = f"body.{block}.{layer}" if of_body else f"output.{node.name}"
            state |= {f"{prefix}.{field}": tensor for field, tensor in tensors.items()}
    with torch.device("meta"):
        expected = SFace().state_dict().keys()
    if state.keys() != expected:
        raise CheckpointError("The packaged graph is not the SFace known here.", where=str(path))
    return state


def dequantise(
    quantised: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, *, axis: int, block_size: int
) -> np.ndarray:
    """Expand block-quantised integers to float32.

    Parameters
    ----------
    quantised : int8 array
        The stored integers, any shape.
    scale, zero_point : float32 and int8 arrays
        One value per block: the shape of `quantised` with `axis` divided by `block_size`,
        rounded up.
    axis : int
        The axis that is cut into blocks.
    block_size : int
        Length of a block along `axis`; the last block may be shorter.

    Returns
    -------
    float32 array
        ``(quantised - zero_point) * scale``, as DequantizeLinear version 21 defines it.

    Examples
    --------
    >>> q = np.array([[1, 2, 3, 4]], np.int8)
    >>> dequantise(q, np.float32([[0.5, 2]]), np.int8([[1, 0]]), axis=1, block_size=2)
    array([[0. , 0.5, 6. , 8. ]], dtype=float32)
    """
    length = quantised.shape[axis]

    def spread(blocks: np.ndarray) -> np.ndarray:
        return blocks.repeat(block_size, axis).take(np.arange(length), axis)

    # The difference of two int8 needs more than eight bits.
    centred = quantised.astype(np.int32) - spread(zero_point).astype(np.int32)
    return centred.astype(np.float32) * spread(scale)


def _block(
    channels_in: int, channels_out: int, *, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    convolution = nn.Conv2d(
        channels_in,
        channels_out,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=groups,
        bias=False,
    )
    return nn.Sequential(
        OrderedDict(
            conv2d=convolution,
            batchnorm=nn.BatchNorm2d(channels_out, eps=TRUNK_EPS),
            relu=nn.PReLU(channels_out),
        )
    )
