"""The other channel order, embedded in ``4_infer`` and judged in ``5_evaluate``.

RGB and BGR is the field's silent mistake: a network fed in the wrong order still works, only less
well. One target embeds the set once more with red and blue exchanged, and the pairs tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from lresnet_utils.data.draw import one_per_block
from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.errors import EvaluationError
from lresnet_utils.run import RunFolder
from lresnet_utils.targets import get_target
from lresnet_utils.verify.orders import order_difference
from lresnet_utils.verify.scores import score_pairs

OTHER_ORDER = "other-channel-order"
"""Stands in the name of the embeddings' file where others have the image variant."""

# Fast and in fp32; the order matters to every target alike, so one is enough.
_PREFERRED = ("openvino-fp32", "onnxruntime-fp32", "torch-fp32")
_MOST_IMAGES = 256
_GREY = 3.0


def other_order(order: str) -> str:
    """Return "bgr" for "rgb" and the reverse."""
    return {"rgb": "bgr", "bgr": "rgb"}[order]


def colourfulness(images: np.ndarray) -> float:
    """Return how far red and blue are apart, in grey levels from 0 to 255.

    Parameters
    ----------
    images : uint8 array, shape (n, height, width, 3)
        At most 256 of them, from all parts of the set, are looked at.

    Returns
    -------
    float
        The mean absolute difference; exactly 0 for grey pictures, 1 or 2 for grey pictures that
        went through JPEG in colour.

    Examples
    --------
    >>> colourfulness(np.full((1, 2, 2, 3), 7, np.uint8))
    0.0
    """
    rows = one_per_block(len(images), min(len(images), _MOST_IMAGES))
    sample = np.asarray(images[rows], np.int16)
    return float(np.abs(sample[..., 0] - sample[..., 2]).mean())


def order_target(names: Iterable[str]) -> str | None:
    """Return the target that embeds the other order: fast and in fp32 where there is one."""
    able = [name for name in names if get_target(name).embeds_variants]
    return next((name for name in _PREFERRED if name in able), able[0] if able else None)


def why_not(faces: FaceSet, trained: bool, target: str | None) -> dict[str, Any] | None:
    """Return why the order cannot be tested at all, or None when it can."""
    if not trained:
        return {"refused": "the weights are random (seeded)"}
    colour = colourfulness(faces.images())
    if colour < _GREY:
        return {
            "refused": f"the faces are grey: red and blue differ by {colour:.1f} of 255 levels on "
            "average, so both orders are the same to the network",
            "colour_levels": colour,
        }
    if target is None:
        return {"refused": "no target embeds anything but the set as it is"}
    return None


def judge_order(
    run: RunFolder,
    faces: FaceSet,
    tested: dict[str, Any],
    used: tuple[np.ndarray, np.ndarray],
    *,
    batch_size: int,
    folds: int,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Compare both channel orders, pair by pair.

    Parameters
    ----------
    run, faces : RunFolder, FaceSet
        The run and its pairs.
    tested : dict
        What ``4_infer`` recorded as ``channel_test``.
    used : (float64 array, bool array), each of shape (n_pairs,)
        Distances and acquired pairs of the target with the order in use.
    batch_size, folds, replicates, seed
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    dict
        `tested` with the result of :func:`lresnet_utils.verify.orders.order_difference` and
        ``trained_on``, "rgb", "bgr" or None for cannot tell; or ``refused``.
    """
    path = run.embeddings(batch_size, tested["target"], OTHER_ORDER)
    arrays = run.arrays(path, stage="4_infer", batch_size=batch_size)
    left, right, _, _ = faces.compared()
    other = score_pairs(*faces.pooled(arrays["vectors"], arrays["failed"]), left, right)
    try:
        found = order_difference(
            used,
            other,
            left,
            right,
            faces.same,
            folds=folds,
            replicates=replicates,
            seed=seed,
        )
    except EvaluationError as error:
        return tested | {"refused": error.what}
    orders = {"used": tested["used_order"], "other": tested["other_order"], None: None}
    return tested | found | {"trained_on": orders[found["right"]]}
