"""The networks that can be named in a parameter file, and how their inputs must look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from lresnet_utils.data.network_input import Normalisation
from lresnet_utils.errors import ParamsError, nearest
from lresnet_utils.models import ir_se, iresnet, mobilefacenet, sface


@dataclass(frozen=True)
class Architecture:
    """A network that can be built, and the input its published weights were trained with.

    Attributes
    ----------
    name : str
        The name used in parameter files.
    build : callable
        Returns the network with fresh weights, on torch's current default device.
    embedding_size : int
        Numbers per face in the output.
    channel_order : {"rgb", "bgr"}
        Order of the colour channels.
    normalisation : str
        A key of :data:`lresnet_utils.data.network_input.PIXEL_SCALES`.
    source : str
        Where the definition comes from.
    others : tuple of (str, str, str)
        Makers whose weights have the same names and shapes but want another input: maker, channel
        order and normalisation.
    """

    name: str
    build: Callable[[], nn.Module]
    embedding_size: int
    channel_order: Literal["rgb", "bgr"]
    normalisation: Normalisation
    source: str
    others: tuple[tuple[str, str, Normalisation], ...] = ()


_IR_SOURCE = (
    "Deng et al., ArcFace, CVPR 2019 (arXiv:1801.07698); model.py of TreB1eN/InsightFace_Pytorch"
)
_IRESNET_SOURCE = (
    "Duta et al., ICPR 2020 (arXiv:2004.04989); "
    "recognition/arcface_torch/backbones/iresnet.py of deepinsight/insightface"
)
_MOBILE_SOURCE = (
    "Chen et al., MobileFaceNets, CCBR 2018 (arXiv:1804.07573); "
    "model.py of TreB1eN/InsightFace_Pytorch"
)
_SFACE_SOURCE = (
    "Zhong et al., SFace, IEEE TIP 2021 (arXiv:2205.12010); "
    "face_recognition_sface_2021dec of the OpenCV Zoo"
)


ARCHITECTURES: dict[str, Architecture] = {
    known.name: known
    for known in (
        *(
            Architecture(
                name=f"{mode}{layers}",
                build=partial(ir_se.Backbone, layers, mode=mode),
                embedding_size=ir_se.EMBEDDING_SIZE,
                # The original decodes its images with OpenCV and never reorders the channels.
                channel_order="bgr",
                normalisation="minus1_1",
                source=_IR_SOURCE,
                # It reads its images with Pillow, which gives RGB.
                others=(("face.evoLVe", "rgb", "minus1_1"),),
            )
            for mode in ir_se.MODES
            for layers in ir_se.UNITS_PER_STAGE
        ),
        *(
            Architecture(
                name=f"iresnet{layers}",
                build=partial(iresnet.IResNet, layers),
                embedding_size=iresnet.EMBEDDING_SIZE,
                # InsightFace's own data loaders reorder OpenCV's BGR to RGB.
                channel_order="rgb",
                normalisation="minus1_1",
                source=_IRESNET_SOURCE,
                # It reads its images with OpenCV, and leaves them between 0 and 1.
                others=(("MagFace", "bgr", "zero_1"),),
            )
            for layers in iresnet.UNITS_PER_STAGE
        ),
        Architecture(
            name="mobilefacenet",
            build=mobilefacenet.MobileFaceNet,
            embedding_size=mobilefacenet.EMBEDDING_SIZE,
            # Trained by the same scripts, on the same images, as the IR networks.
            channel_order="bgr",
            normalisation="minus1_1",
            source=_MOBILE_SOURCE,
        ),
        Architecture(
            name="sface",
            build=sface.SFace,
            embedding_size=sface.EMBEDDING_SIZE,
            channel_order="rgb",
            normalisation="raw",
            source=_SFACE_SOURCE,
        ),
    )
}


def architecture(name: str) -> Architecture:
    """Return the architecture called `name`.

    Raises
    ------
    ParamsError
        When there is none; the message names the nearest.

    Examples
    --------
    >>> architecture("ir_se100").embedding_size
    512
    >>> architecture("ir_se10")
    Traceback (most recent call last):
        ...
    lresnet_utils.errors.ParamsError: There is no architecture 'ir_se10'.
      to do: did you mean 'ir_se100'?
    """
    if name not in ARCHITECTURES:
        raise ParamsError(f"There is no architecture {name!r}.", fix=nearest(name, ARCHITECTURES))
    return ARCHITECTURES[name]
