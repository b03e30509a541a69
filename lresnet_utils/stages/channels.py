"""Whether pixels come as the network was trained: embedded in ``4_infer``, judged after it.

Channel order and scale are the field's silent mistakes: a network fed in the wrong order or in
-1..1 in place of 0..255 still works, only less well. One target embeds the set once more with red
and blue exchanged, and a sample of it in every other order and scale, and the pairs tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from lresnet_utils.data.draw import one_per_block
from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.data.network_input import PIXEL_SCALES
from lresnet_utils.errors import EvaluationError
from lresnet_utils.run import RunFolder
from lresnet_utils.targets import get_target
from lresnet_utils.tuning.judge import FOLDS, Sample, draw_sample
from lresnet_utils.verify.orders import order_difference
from lresnet_utils.verify.scores import score_pairs

OTHER_ORDER = "other-channel-order"
"""Stands in the name of the embeddings' file where others have the image variant."""

ALIGNED = "aligned"
"""Third part of a way of feeding pixels in which the faces are found and aligned anew."""
INPUTS = "input-test"
"""Stands there for the sample in every order and scale."""
RANDOM = "the weights are random (seeded)"
NO_TARGET = "no target embeds anything but the set as it is"
_ALPHA = 0.05
_SAMPLE_IMAGES = 160
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


def input_ways(order: str, normalisation: str, colour: float) -> list[tuple[str, str]]:
    """Return the ways of feeding pixels that are tried, the one in use first.

    Examples
    --------
    >>> input_ways("rgb", "raw", colour=0.0)
    [('rgb', 'raw'), ('rgb', 'minus1_1'), ('rgb', 'centred_128'), ('rgb', 'zero_1')]
    >>> len(input_ways("rgb", "raw", colour=40.0))
    8
    """
    orders = [order] if colour < _GREY else [order, other_order(order)]
    ways = [(o, scale) for o in orders for scale in PIXEL_SCALES]
    return [(order, normalisation), *(w for w in ways if w != (order, normalisation))]


def input_sample(faces: FaceSet) -> Sample:
    """Return the pairs that every way of feeding pixels is tried on."""
    return draw_sample(faces, _SAMPLE_IMAGES)


def judge_inputs(
    run: RunFolder,
    faces: FaceSet,
    tested: dict[str, Any],
    *,
    batch_size: int,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Compare every way of feeding pixels with the one in use, pair by pair.

    Parameters
    ----------
    run, faces : RunFolder, FaceSet
        The run and its pairs.
    tested : dict
        What ``4_infer`` recorded as ``input_test``.
    batch_size, replicates, seed
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    dict
        `tested` with ``ways``, per way its accuracy and the difference to the one in use;
        ``better`` where the interval excludes 0 and McNemar's exact p is below 0.05 over the
        number of ways; ``right``, "other" where one is better, else "used"; ``best`` and the
        ``difference`` of the best way, or of the one that may be best by its interval;
        ``aligned``, the way with faces aligned anew where that was tried; or ``refused``.
    """
    sample, scored = input_sample(faces), []
    path = run.embeddings(batch_size, tested["target"], INPUTS)
    arrays = run.arrays(path, stage="4_infer", batch_size=batch_size)
    for way in tested["ways"]:
        name = "_".join(way)
        rows = arrays[f"vectors_{name}"], arrays[f"failed_{name}"]
        scored.append(score_pairs(*rows, sample.left, sample.right))
    pairs = (sample.left, sample.right, sample.same)
    how = {"folds": FOLDS, "replicates": replicates, "seed": seed}
    used, *others = scored
    try:
        found = [order_difference(used, other, *pairs, **how) for other in others]
    except EvaluationError as error:
        return tested | {"refused": error.what}
    ways = [{"way": list(w)} | f for w, f in zip(tested["ways"][1:], found, strict=True)]
    for way in ways:
        p = way["difference"]["mcnemar_p"]
        way["better"] = way["right"] == "other" and p < _ALPHA / len(ways)
    inputs = [way for way in ways if ALIGNED not in way["way"]]
    # The furthest upper end among ways that are not better tells what the sample cannot exclude.
    better = [way for way in inputs if way["better"]]
    best = max(better or inputs, key=lambda way: way["difference"]["value" if better else "high"])
    keys = ("model.channel_order", "model.normalisation")
    changes = zip(keys, tested["ways"][0], best["way"], strict=True)
    return tested | {
        "ways": ways,
        "right": "other" if better else "used",
        "used": input_name(tested["ways"][0]),
        "best": input_name(best["way"] if better else tested["ways"][0]),
        "difference": best["difference"],
        "set_to": ", ".join(f"{key}: {new}" for key, old, new in changes if old != new),
        "aligned": next((way for way in ways if ALIGNED in way["way"]), None),
        "n_images": len(sample.images),
        "n_pairs": len(sample.same),
    }


def input_name(way: Sequence[str]) -> str:
    """Return a way of feeding pixels as readers see it, such as "RGB, minus1_1"."""
    return ", ".join((way[0].upper(), *way[1:]))


def why_not(faces: FaceSet, trained: bool, target: str | None) -> dict[str, Any] | None:
    """Return why the order cannot be tested at all, or None when it can."""
    if not trained:
        return {"refused": RANDOM}
    colour = colourfulness(faces.images())
    if colour < _GREY:
        return {
            "refused": f"the faces are grey: red and blue differ by {colour:.1f} of 255 levels on "
            "average, so both orders are the same to the network",
            "colour_levels": colour,
        }
    if target is None:
        return {"refused": NO_TARGET}
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
