"""MobileFaceNet as InsightFace_Pytorch trains it: an embedding for little arithmetic.

Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification on Mobile
Devices", CCBR 2018 (arXiv:1804.07573). Names and order of the parameters are those of
``MobileFaceNet`` in ``model.py`` of TreB1eN/InsightFace_Pytorch, so its published checkpoint
loads unchanged.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

EMBEDDING_SIZE = 512


def _convolution(
    channels_in: int,
    channels_out: int,
    *,
    kernel: int = 1,
    stride: int = 1,
    padding: int | None = None,
    groups: int = 1,
    activation: bool = True,
) -> nn.Sequential:
    """Return a convolution with batch normalisation and, unless it is linear, PReLU."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(
            channels_in,
            channels_out,
            kernel,
            stride=stride,
            padding=kernel // 2 if padding is None else padding,
            groups=groups,
            bias=False,
        ),
        bn=nn.BatchNorm2d(channels_out),
    )
    if activation:
        layers["prelu"] = nn.PReLU(channels_out)
    return nn.Sequential(layers)


class Bottleneck(nn.Module):
    """Widen by a 1x1 convolution, filter each channel, and project back without activation.

    Parameters
    ----------
    channels_in, channels_out : int
        Channels before and after.
    width : int
        Channels in between.
    stride : int
        Of the depthwise convolution.
    residual : bool
        Whether the input is added to the output; needs stride 1 and equal channels.
    """

    def __init__(
        self, channels_in: int, channels_out: int, width: int, *, stride: int, residual: bool
    ):
        super().__init__()
        self.conv = _convolution(channels_in, width)
        self.conv_dw = _convolution(width, width, kernel=3, stride=stride, groups=width)
        self.project = _convolution(width, channels_out, activation=False)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels_in, h, w) to (n, channels_out, h / stride, w / stride)."""
        out = self.project(self.conv_dw(self.conv(x)))
        return x + out if self.residual else out


class MobileFaceNet(nn.Module):
    """MobileFaceNet from a 112x112 face to a 512-dimensional unit vector.

    Parameters
    ----------
    embedding_size : int
        Numbers per face.

    Notes
    -----
    The output is divided by its length without a guard, as in the original: a zero vector gives
    NaN, which the embedding stage counts as a failure to acquire.

    Examples
    --------
    >>> with torch.device("meta"):
    ...     network = MobileFaceNet()
    >>> network(torch.zeros(2, 3, 112, 112, device="meta")).shape
    torch.Size([2, 512])
    """

    def __init__(self, embedding_size: int = EMBEDDING_SIZE):
        super().__init__()
        self.conv1 = _convolution(3, 64, kernel=3, stride=2)
        self.conv2_dw = _convolution(64, 64, kernel=3, groups=64)
        self.conv_23 = Bottleneck(64, 64, 128, stride=2, residual=False)
        self.conv_3 = _stage(64, 128, count=4)
        self.conv_34 = Bottleneck(64, 128, 256, stride=2, residual=False)
        self.conv_4 = _stage(128, 256, count=6)
        self.conv_45 = Bottleneck(128, 128, 512, stride=2, residual=False)
        self.conv_5 = _stage(128, 256, count=2)
        self.conv_6_sep = _convolution(128, 512)
        self.conv_6_dw = _convolution(512, 512, kernel=7, padding=0, groups=512, activation=False)
        self.conv_6_flatten = nn.Flatten()
        self.linear = nn.Linear(512, embedding_size, bias=False)
        self.bn = nn.BatchNorm1d(embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map faces (n, 3, 112, 112), BGR in [-1, 1], to unit vectors (n, embedding_size)."""
        for layer in self.children():
            x = layer(x)
        return x / torch.norm(x, 2, dim=1, keepdim=True)


def _stage(channels: int, width: int, *, count: int) -> nn.Sequential:
    """Return residual bottlenecks one after the other, under the original's name ``model``."""
    units = [Bottleneck(channels, channels, width, stride=1, residual=True) for _ in range(count)]
    return nn.Sequential(OrderedDict(model=nn.Sequential(*units)))
