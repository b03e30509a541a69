"""Variants of the same faces, from clean to hard.

On clean faces a good network makes so few errors that a loss of precision is invisible. The same
pairs made harder show it, so every target is asked about the same degraded pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from lresnet_utils.data.network_input import IMAGE_SIZE

NOISE_SIGMA = 40.0
BLUR_SIGMA = 3.0
JPEG_QUALITY = 10
_NOISE_SEED = 0


@dataclass(frozen=True)
class Variant:
    """One variant of the faces.

    Attributes
    ----------
    name : str
        As in params files and file names.
    label : str
        For figures and tables.
    description : str
        What was done, in one sentence.
    apply : callable or None
        ``apply(image, index)`` takes one aligned face, uint8 (112, 112, 3) RGB, and its index in
        the set, and returns a new picture of the same kind. ``None`` where the pixels come from a
        file: ``'aligned'`` from the set itself, ``'plain'`` from a second one.
    """

    name: str
    label: str
    description: str
    apply: Callable[[np.ndarray, int], np.ndarray] | None = None


def low_resolution(image: np.ndarray, size: int) -> np.ndarray:
    """Shrink a face by averaging areas and enlarge it again linearly.

    Parameters
    ----------
    image : ndarray of uint8, shape (112, 112, 3)
    size : int
        Side of the small picture, in pixels.

    Returns
    -------
    ndarray of uint8, shape (112, 112, 3)

    Examples
    --------
    >>> low_resolution(np.full((112, 112, 3), 9, np.uint8), 28).max().item()
    9
    """
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_LINEAR)


def noise(image: np.ndarray, index: int, sigma: float = NOISE_SIGMA) -> np.ndarray:
    """Add Gaussian noise, independent for each pixel and channel, and clip to 0 to 255.

    Parameters
    ----------
    image : ndarray of uint8
    index : int
        The picture's index in its set: the seed, so that a picture gets the same noise whatever
        is computed before it.
    sigma : float
        Standard deviation in grey levels.

    Returns
    -------
    ndarray of uint8, same shape
    """
    generator = np.random.default_rng([_NOISE_SEED, index])
    noisy = image + generator.normal(0.0, sigma, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def blur(image: np.ndarray, sigma: float = BLUR_SIGMA) -> np.ndarray:
    """Blur with a Gaussian of standard deviation `sigma` pixels.

    Parameters
    ----------
    image : ndarray of uint8, shape (112, 112, 3)
    sigma : float

    Returns
    -------
    ndarray of uint8, shape (112, 112, 3)
    """
    return cv2.GaussianBlur(image, (0, 0), sigma)


def recompress(image: np.ndarray, quality: int = JPEG_QUALITY) -> np.ndarray:
    """Encode as JPEG and decode again.

    Parameters
    ----------
    image : ndarray of uint8, shape (112, 112, 3), RGB
    quality : int
        libjpeg's quality, 0 to 100.

    Returns
    -------
    ndarray of uint8, shape (112, 112, 3), RGB
    """
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("aligned", "aligned", "Faces as the set holds them."),
        Variant("plain", "not aligned", "Pictures resized to 112x112 without finding the face."),
        Variant(
            "res28",
            "28 px",
            "Shrunk to 28x28 by area averaging and enlarged linearly.",
            lambda image, index: low_resolution(image, 28),
        ),
        Variant(
            "res16",
            "16 px",
            "Shrunk to 16x16 by area averaging and enlarged linearly.",
            lambda image, index: low_resolution(image, 16),
        ),
        Variant(
            "noise40",
            "noise σ 40",
            "Gaussian noise with a standard deviation of 40 grey levels in each channel.",
            noise,
        ),
        Variant(
            "blur",
            "blur σ 3",
            "Blurred by a Gaussian with a standard deviation of 3 pixels.",
            lambda image, index: blur(image),
        ),
        Variant(
            "jpeg",
            "JPEG quality 10",
            "Encoded as JPEG of quality 10 and decoded again.",
            lambda image, index: recompress(image),
        ),
    )
}
