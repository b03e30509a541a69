"""The networks that can be named in a parameter file, and how their inputs must look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from lresnet_utils.errors import ParamsError, nearest
from lresnet_utils.models import ir_se, sface


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
    normalisation : {"minus1_1", "raw"}
        ``minus1_1`` is ``(x / 255 - 0.5) / 0.5``; ``raw`` keeps 0..255 as float32.
    source : str
        Where the definition comes from.
    """

    name: str
    build: Callable[[], nn.Module]
    embedding_size: int
    channel_order: Literal["rgb", "bgr"]
    normalisation: Literal["minus1_1", "raw"]
    source: str


_IR_SOURCE = (
    "Deng et al., ArcFace, CVPR 2019 (arXiv:1801.07698); model.py of TreB1eN/InsightFace_Pytorch"
)
_SFACE_SOURCE = (
    "Zhong et al., SFace, IEEE TIP 2021 (arXiv:2205.12010); "
    "face_recognition_sface_2021dec of the OpenCV Zoo"
)


def _ir(mode: str, layers: int) -> Architecture:
    return Architecture(
        name=f"{mode}{layers}",
        build=partial(ir_se.Backbone, layers, mode=mode),
        embedding_size=ir_se.EMBEDDING_SIZE,
        # The original decodes its images with OpenCV and never reorders the channels.
        channel_order="bgr",
        normalisation="minus1_1",
        source=_IR_SOURCE,
    )


ARCHITECTURES: dict[str, Architecture] = {
    known.name: known
    for known in (
        *(_ir(mode, layers) for mode in ir_se.MODES for layers in ir_se.UNITS_PER_STAGE),
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
