"""The improved-residual networks of InsightFace_Pytorch, IR and IR-SE with 50, 100 or 152 layers.

The network that the guide calls LResNet100E-IR is ``Backbone(100, mode="ir_se")``: "L" is the
112x112 input with a stride-1 stem, "E" the BatchNorm-Dropout-Linear-BatchNorm output of Deng et
al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019
(arXiv:1801.07698), "SE" the squeeze-and-excitation of Hu et al., CVPR 2018 (arXiv:1709.01507).
Names and order of the parameters are those of ``model.py`` in TreB1eN/InsightFace_Pytorch, so its
published checkpoints load unchanged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lresnet_utils.errors import ParamsError, nearest

EMBEDDING_SIZE = 512
UNITS_PER_STAGE = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3), 152: (3, 8, 36, 3)}
STAGE_CHANNELS = ((64, 64), (64, 128), (128, 256), (256, 512))
MODES = ("ir", "ir_se")
SE_REDUCTION = 16


class SqueezeExcitation(nn.Module):
    """Scale every channel by a gate computed from the channels' means.

    Parameters
    ----------
    channels : int
        Channels in and out; the hidden layer has ``channels // 16``.

    Examples
    --------
    >>> SqueezeExcitation(64)(torch.zeros(2, 64, 7, 7)).shape
    torch.Size([2, 64, 7, 7])
    """

    def __init__(self, channels: int):
        super().__init__()
        hidden = channels // SE_REDUCTION
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, hidden, kernel_size=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(hidden, channels, kernel_size=1, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` (n, channels, h, w) with every channel scaled by its gate in (0, 1)."""
        return x * self.sigmoid(self.fc2(self.relu(self.fc1(self.avg_pool(x)))))


class ResidualUnit(nn.Module):
    """BN-Conv-PReLU-Conv-BN, with or without squeeze-and-excitation, added to a shortcut.

    Parameters
    ----------
    channels_in, channels_out : int
        Channels before and after. Equal counts sub-sample the shortcut, others project it.
    stride : int
        Stride of the second convolution and of the shortcut.
    squeeze : bool
        Whether the residual path ends with :class:`SqueezeExcitation`.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, *, squeeze: bool):
        super().__init__()
        if channels_in == channels_out:
            # A 1x1 pooling sub-samples without parameters; with stride 1 it is the identity, and
            # it stays a MaxPool so that the exported graph has the operators of the original.
            self.shortcut_layer: nn.Module = nn.MaxPool2d(kernel_size=1, stride=stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )
        layers = [
            nn.BatchNorm2d(channels_in),
            nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
            nn.PReLU(channels_out),
            nn.Conv2d(
                channels_out, channels_out, kernel_size=3, stride=stride, padding=1, bias=False
            ),
            nn.BatchNorm2d(channels_out),
        ]
        if squeeze:
            layers.append(SqueezeExcitation(channels_out))
        self.res_layer = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels_in, h, w) to (n, channels_out, h / stride, w / stride)."""
        return self.res_layer(x) + self.shortcut_layer(x)


class Backbone(nn.Module):
    """An IR or IR-SE network from a 112x112 face to a 512-dimensional unit vector.

    Parameters
    ----------
    num_layers : {50, 100, 152}
        The name of the depth. ("100" and "152" have 49 and 50 units.)
    drop_ratio : float
        Dropout before the last linear layer; without effect in evaluation mode.
    mode : {"ir_se", "ir"}
        With or without squeeze-and-excitation.

    Raises
    ------
    ParamsError
        When the depth or the mode does not exist.

    Notes
    -----
    The output is divided by its length without a guard, as in the original: a zero vector gives
    NaN, which the embedding stage counts as a failure to acquire.

    Examples
    --------
    >>> with torch.device("meta"):
    ...     network = Backbone(100, mode="ir_se")
    >>> sum(p.numel() for p in network.parameters()), len(network.state_dict())
    (65502016, 772)
    """

    def __init__(self, num_layers: int, drop_ratio: float = 0.6, mode: str = "ir_se"):
        super().__init__()
        if num_layers not in UNITS_PER_STAGE:
            depths = ", ".join(map(str, UNITS_PER_STAGE))
            raise ParamsError(
                f"There is no IR network with {num_layers} layers.", fix=f"known: {depths}"
            )
        if mode not in MODES:
            raise ParamsError(f"There is no IR mode {mode!r}.", fix=nearest(mode, MODES))
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.PReLU(64),
        )
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(drop_ratio),
            nn.Flatten(),
            nn.Linear(512 * 7 * 7, EMBEDDING_SIZE),
            nn.BatchNorm1d(EMBEDDING_SIZE),
        )
        units: list[ResidualUnit] = []
        for (before, after), count in zip(STAGE_CHANNELS, UNITS_PER_STAGE[num_layers], strict=True):
            units.append(ResidualUnit(before, after, 2, squeeze=mode == "ir_se"))
            units += [
                ResidualUnit(after, after, 1, squeeze=mode == "ir_se") for _ in range(count - 1)
            ]
        self.body = nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        """Map faces (n, 3, 112, 112), BGR in [-1, 1], to unit vectors (n, 512)."""
        x = self.output_layer(self.body(self.input_layer(x)))
        return x / torch.norm(x, 2, dim=1, keepdim=True)
