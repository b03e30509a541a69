"""The improved residual networks of InsightFace's ``arcface_torch``, with 18 to 200 layers.

Duta et al., "Improved Residual Networks for Image and Video Recognition", ICPR 2020
(arXiv:2004.04989), with the BatchNorm-Dropout-Linear-BatchNorm output of Deng et al., "ArcFace",
CVPR 2019 (arXiv:1801.07698). Names and order of the parameters are those of
``recognition/arcface_torch/backbones/iresnet.py`` in deepinsight/insightface, so its published
``backbone.pth`` files load unchanged. Those trained with ``fp16=True`` hold the same float32
tensors: mixed precision was a matter of training, not of the file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lresnet_utils.errors import ParamsError

EMBEDDING_SIZE = 512
UNITS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    100: (3, 13, 30, 3),
    200: (6, 26, 60, 6),
}
STAGE_CHANNELS = (64, 128, 256, 512)
_STEM_CHANNELS = 64


class IResNetUnit(nn.Module):
    """BN-Conv-BN-PReLU-Conv-BN added to a shortcut; nothing comes after the sum.

    Unlike the unit of the IR networks it has a batch normalisation between the first convolution
    and PReLU, and its shortcut is projected wherever it sub-samples.

    Parameters
    ----------
    channels_in, channels_out : int
        Channels before and after.
    stride : int
        Stride of the second convolution and of the shortcut.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.prelu = nn.PReLU(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels_in, h, w) to (n, channels_out, h / stride, w / stride)."""
        out = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        out = self.bn3(self.conv2(out))
        return out + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """An ``iresnet`` from a 112x112 face to 512 numbers that are not normalised.

    Parameters
    ----------
    num_layers : {18, 34, 50, 100, 200}
        The name of the depth.
    drop_ratio : float
        Dropout before the last linear layer; without effect in evaluation mode.

    Raises
    ------
    ParamsError
        When the depth does not exist.

    Notes
    -----
    The scale of ``features``, the last batch normalisation, was held at 1 in training; it is read
    from the checkpoint like any other weight.

    Examples
    --------
    >>> with torch.device("meta"):
    ...     network = IResNet(50)
    >>> sum(p.numel() for p in network.parameters()), len(network.state_dict())
    (43590848, 475)
    """

    def __init__(self, num_layers: int, drop_ratio: float = 0.0):
        super().__init__()
        if num_layers not in UNITS_PER_STAGE:
            depths = ", ".join(map(str, UNITS_PER_STAGE))
            raise ParamsError(
                f"There is no iresnet with {num_layers} layers.", fix=f"known: {depths}"
            )
        self.conv1 = nn.Conv2d(3, _STEM_CHANNELS, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM_CHANNELS)
        self.prelu = nn.PReLU(_STEM_CHANNELS)
        channels = _STEM_CHANNELS
        units = UNITS_PER_STAGE[num_layers]
        for number, (width, count) in enumerate(zip(STAGE_CHANNELS, units, strict=True), start=1):
            # Units of which the first sub-samples
            first = IResNetUnit(channels, width, stride=2)
            rest = (IResNetUnit(width, width, stride=1) for _ in range(count - 1))
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
            channels = width
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(drop_ratio)
        self.fc = nn.Linear(channels * 7 * 7, EMBEDDING_SIZE)
        self.features = nn.BatchNorm1d(EMBEDDING_SIZE)

    def forward(self, x: Tensor) -> Tensor:
        """Map faces (n, 3, 112, 112), RGB in [-1, 1], to vectors (n, 512)."""
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(self.dropout(torch.flatten(self.bn2(x), 1))))
