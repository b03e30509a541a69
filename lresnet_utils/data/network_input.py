"""Pictures to network input: grey levels to the floats, order and layout a network wants."""

from __future__ import annotations

from typing import Literal

import numpy as np

from lresnet_utils.errors import ParamsError, nearest

IMAGE_SIZE = 112
CHANNEL_ORDERS = ("rgb", "bgr")
Normalisation = Literal["minus1_1", "centred_128", "zero_1", "raw"]
PIXEL_SCALES: dict[str, tuple[float, float]] = {
    "minus1_1": (127.5, 127.5),
    "centred_128": (127.5, 128.0),
    "zero_1": (0.0, 255.0),
    "raw": (0.0, 1.0),
}
"""What is subtracted from a grey level, and what the difference is divided by."""


def to_network_input(
    images: np.ndarray,
    *,
    channel_order: Literal["rgb", "bgr"],
    normalisation: Normalisation,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Turn RGB pictures into one batch of network input.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, height, width, 3)
        Pictures in RGB; 112x112 for the networks of this package.
    channel_order : {'rgb', 'bgr'}
        The order of the channels that the weights were trained with. The guide's scripts feed
        OpenCV's BGR pictures (``LResNet_preprocess.py``); InsightFace's own models want RGB.
    normalisation : {'minus1_1', 'centred_128', 'zero_1', 'raw'}
        How grey levels become numbers, see :data:`PIXEL_SCALES`. ``'minus1_1'`` is
        ``((x / 255) - 0.5) / 0.5`` in float32, step for step what torchvision's
        ``ToTensor`` and ``Normalize([.5, .5, .5], [.5, .5, .5])`` compute, so the bits are equal.
        ``'centred_128'`` is ``(x - 127.5) / 128``, ``'zero_1'`` is ``x / 255``, and ``'raw'``
        keeps the grey levels 0 to 255.
    out : ndarray of float32, shape (n, 3, height, width), optional
        Where to put the result; C-contiguous.

    Returns
    -------
    ndarray of float32, shape (n, 3, height, width)
        C-contiguous; `out` itself when it was given.

    Raises
    ------
    ParamsError
        When the order or the normalisation is not known.
    ValueError
        When `images` or `out` has another shape or type.

    Examples
    --------
    >>> black = np.zeros((2, 112, 112, 3), np.uint8)
    >>> batch = to_network_input(black, channel_order="bgr", normalisation="minus1_1")
    >>> batch.shape, batch.dtype.name, float(batch.max())
    ((2, 3, 112, 112), 'float32', -1.0)
    """
    for what, word, known in (
        ("channel order", channel_order, CHANNEL_ORDERS),
        ("normalisation", normalisation, PIXEL_SCALES),
    ):
        if word not in known:
            raise ParamsError(f"Unknown {what} {word!r}.", fix=nearest(str(word), known))
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(
            f"images must be uint8 (n, height, width, 3), not {images.dtype.name} {images.shape}"
        )
    n, height, width, _ = images.shape
    if out is None:
        out = np.empty((n, 3, height, width), np.float32)
    elif out.shape != (n, 3, height, width) or out.dtype != np.float32:
        raise ValueError(f"out must be float32 {(n, 3, height, width)}")
    elif not out.flags.c_contiguous:
        raise ValueError("out must be C-contiguous")
    if channel_order == "bgr":
        images = images[..., ::-1]
    # Bytes are moved before they become floats, which are four times as many.
    np.copyto(out, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    if normalisation == "minus1_1":
        # Three in-place steps, not one fused formula: another order of rounding changes last bits.
        np.divide(out, np.float32(255), out=out)
        np.subtract(out, np.float32(0.5), out=out)
        np.divide(out, np.float32(0.5), out=out)
        return out
    subtracted, divided = PIXEL_SCALES[normalisation]
    if subtracted:
        np.subtract(out, np.float32(subtracted), out=out)
    if divided != 1:
        np.divide(out, np.float32(divided), out=out)
    return out


def pixel_range(normalisation: Normalisation) -> tuple[float, float]:
    """Return what black and white become, the range of every input of the network.

    Examples
    --------
    >>> pixel_range("minus1_1"), pixel_range("raw")
    ((-1.0, 1.0), (0.0, 255.0))
    """
    subtracted, divided = PIXEL_SCALES[normalisation]
    return (0.0 - subtracted) / divided, (255.0 - subtracted) / divided


def flip(batch: np.ndarray) -> np.ndarray:
    """Mirror network input left to right, as the guide's second view of each face.

    Parameters
    ----------
    batch : ndarray, shape (..., width)
        Network input; the last axis runs from left to right.

    Returns
    -------
    ndarray, same shape and type
        A C-contiguous copy.

    Examples
    --------
    >>> flip(np.array([[1.0, 2.0, 3.0]]))
    array([[3., 2., 1.]])
    """
    return np.ascontiguousarray(batch[..., ::-1])
