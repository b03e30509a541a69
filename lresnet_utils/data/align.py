"""Faces found and aligned to the ArcFace template: YuNet's five landmarks, one similarity.

The networks expect faces whose eyes, nose and mouth corners lie at fixed places of a 112x112
picture (the template of ArcFace, Deng et al. 2019, as in InsightFace's ``face_align.py``). YuNet
(Wu et al. 2023, OpenCV Zoo) finds the landmarks; a least-squares similarity transform (Umeyama,
IEEE TPAMI 13(4), 1991) brings them to the template.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np

from lresnet_utils.data.network_input import IMAGE_SIZE
from lresnet_utils.data.packaged import yunet_file

# Right eye, left eye, nose, right and left corner of the mouth (the subject's own right is on the
# picture's left), x and y in pixels of the 112x112 picture.
ARCFACE_TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)

MOST_OFF_PX = 4.0
"""By how much aligning a face once more may move it before it counts as not aligned, pixels."""
# YuNet was trained on faces of about 10 to 300 pixels; pictures are brought to this range first.
SHORTEST_SIDE = 224
LONGEST_SIDE = 640
_SCORE_THRESHOLD = 0.6
_NMS_THRESHOLD = 0.3
_LOCK = threading.Lock()


def find_and_align(image: np.ndarray) -> np.ndarray | None:
    """Find the face that a picture is of and bring it to the ArcFace template.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3) in BGR or (height, width) in grey
        Any size. Small pictures are enlarged for the detector only; the face is always cut from
        the picture as given. Of several faces the first of :func:`find_faces` is taken.

    Returns
    -------
    ndarray of uint8, shape (112, 112, 3), or None
        In the channel order of `image` (three equal channels for grey), black beyond its edge;
        ``None`` when no face is found. The same picture gives the same result every time.

    Raises
    ------
    ValueError
        When `image` is not a picture of this kind.
    DataError
        When the packaged detector is missing or is not the expected one.
    """
    faces = find_faces(image)
    return bring_to_template(image, faces[0]) if len(faces) else None


def bring_to_template(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return a face as 112x112, from its picture and its landmarks in it."""
    matrix = similarity(landmarks, ARCFACE_TEMPLATE)
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return cv2.warpAffine(_three_channels(image), matrix, size, flags=cv2.INTER_LINEAR)


def find_faces(image: np.ndarray, central: bool = False) -> np.ndarray:
    """Return the five landmarks of every face found, of the face that is meant first.

    Parameters
    ----------
    image : ndarray of uint8, shape (height, width, 3) in BGR or (height, width) in grey
    central : bool
        Whether the face nearest to the picture's middle is meant, as in LFW. Otherwise size is
        weighed against that distance as InsightFace's ``FaceAnalysis`` does: the area of the box
        minus twice the squared distance of its middle.

    Returns
    -------
    ndarray of float64, shape (n, 5, 2)
        x and y in pixels of `image`, in the order of :data:`ARCFACE_TEMPLATE`.

    Raises
    ------
    ValueError
        When `image` is not a picture of this kind.
    """
    image = _three_channels(image)
    height, width = image.shape[:2]
    scale = max(1.0, SHORTEST_SIDE / min(height, width))
    scale = min(scale, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    searched = cv2.resize(image, size, interpolation=way)
    with _LOCK:
        detector = _detector()
        detector.setInputSize(size)
        _, faces = detector.detect(searched)
    if faces is None or not np.isfinite(faces).all():
        return np.empty((0, 5, 2))
    faces = faces.astype(np.float64)
    sides = faces[:, 2:4]
    from_middle = ((faces[:, :2] + sides / 2 - np.array(size) / 2) ** 2).sum(axis=1)
    worth = -from_middle if central else sides.prod(axis=1) - 2 * from_middle
    landmarks = faces[np.argsort(-worth, kind="stable"), 4:14].reshape(-1, 5, 2)
    # Pixel centres: the middle of pixel 0 lies half a pixel inside the picture at either size.
    ratio = np.array([width, height]) / np.array(size)
    return (landmarks + 0.5) * ratio - 0.5


def alignment(images: np.ndarray, failed: Iterable[int] = (), most: int = 60) -> dict[str, Any]:
    """Return how far faces that should be aligned lie from the template.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 112, 112, 3), RGB
        At most `most` of them, evenly spaced, are looked at.
    failed : iterable of int
        Those that hold no picture.
    most : int
        About 10 ms each.

    Returns
    -------
    dict
        ``n`` faces found and ``n_no_face`` pictures without one; ``n_off``, the faces that are
        more than :data:`MOST_OFF_PX` off; ``median_px``, by how much
        aligning them once more would move the template's five points, mean over points and
        median over faces, and ``median_degrees``, by how much it would turn them, either way;
        both None where no face was found. A part of the faces stands for the set, so there is no
        interval.
    """
    usable = np.setdiff1d(np.arange(len(images)), np.array(list(failed), np.intp))
    places = np.linspace(0, len(usable) - 1, min(len(usable), most)).astype(int)
    rows = usable[np.unique(places)]
    found = [find_faces(np.ascontiguousarray(images[row][..., ::-1])) for row in rows]
    points = [faces[0] for faces in found if len(faces)]
    # The shape of a face differs from the template's; a similarity leaves that as it is.
    fits = [similarity(p, ARCFACE_TEMPLATE) for p in points]
    moved = [ARCFACE_TEMPLATE @ fit[:, :2].T + fit[:, 2] - ARCFACE_TEMPLATE for fit in fits]
    off = [np.linalg.norm(by, axis=1).mean() for by in moved]
    turned = [abs(np.degrees(np.arctan2(fit[1, 0], fit[0, 0]))) for fit in fits]
    return {
        "n": len(points),
        "n_no_face": len(found) - len(points),
        "n_off": int(sum(distance > MOST_OFF_PX for distance in off)),
        "limit_px": MOST_OFF_PX,
        "median_px": float(np.median(off)) if off else None,
        "median_degrees": float(np.median(turned)) if turned else None,
    }


def looks_off(found: Mapping[str, Any] | None) -> bool:
    """Say whether more than a quarter of the faces that :func:`alignment` found are off."""
    return bool(found) and found["n_off"] > found["n"] / 4


def aligned_again(images: np.ndarray) -> np.ndarray:
    """Return faces found anew and brought to the template; as they are where none is found.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 112, 112, 3), RGB

    Returns
    -------
    ndarray of the same shape and kind
    """
    again = images.copy()
    for row, image in enumerate(images):
        found = find_and_align(np.ascontiguousarray(image[..., ::-1]))
        if found is not None:
            again[row] = found[..., ::-1]
    return again


def similarity(source: np.ndarray, destination: np.ndarray) -> np.ndarray:
    """Return the least-squares similarity transform between two sets of points.

    Closed form of Umeyama (1991), equations 40 to 43: rotation, one scale, translation, never a
    reflection. OpenCV's ``estimateAffinePartial2D`` samples at random and is not used.

    Parameters
    ----------
    source, destination : ndarray, shape (n, 2)
        Corresponding points, n at least 2 and the source points not all equal.

    Returns
    -------
    ndarray of float64, shape (2, 3)
        The matrix that ``cv2.warpAffine`` takes.

    Raises
    ------
    ValueError
        When the shapes differ or the source points are all equal.

    Examples
    --------
    >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> np.round(similarity(square, 2 * square + [3, 4]), 12)
    array([[2., 0., 3.],
           [0., 2., 4.]])
    """
    source = np.asarray(source, np.float64)
    destination = np.asarray(destination, np.float64)
    if source.shape != destination.shape or source.ndim != 2 or source.shape[1] != 2:
        raise ValueError("source and destination must both be (n, 2)")
    source_mean, destination_mean = source.mean(axis=0), destination.mean(axis=0)
    centred = source - source_mean
    variance = (centred**2).sum() / len(source)
    if not variance > 0:
        raise ValueError("the source points are all equal")
    covariance = (destination - destination_mean).T @ centred / len(source)
    left, singular, right = np.linalg.svd(covariance)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    rotation = left @ np.diag(signs) @ right
    scaled = (singular * signs).sum() / variance * rotation
    return np.column_stack([scaled, destination_mean - scaled @ source_mean])


def _three_channels(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.size == 0:
        raise ValueError("the picture must be uint8 and not empty")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.ndim == 3 and image.shape[2] == 3:
        return image
    raise ValueError(f"the picture must be (height, width) or (height, width, 3), {image.shape}")


@functools.cache
def _detector() -> cv2.FaceDetectorYN:
    log = cv2.utils.logging
    level = log.setLogLevel(log.LOG_LEVEL_ERROR)  # OpenCV 5 warns of a default of its own here
    try:
        return cv2.FaceDetectorYN.create(
            str(yunet_file()), "", (320, 320), _SCORE_THRESHOLD, _NMS_THRESHOLD
        )
    finally:
        log.setLogLevel(level)
