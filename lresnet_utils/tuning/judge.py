"""Does a build still decide as the reference does? Asked during the search, on part of the set."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.errors import DataError
from lresnet_utils.targets.embed import Embedding, embed
from lresnet_utils.verify.agreement import flipped_pairs, mcnemar_exact
from lresnet_utils.verify.intervals import pair_identities
from lresnet_utils.verify.protocol import fold_numbers, guide_protocol
from lresnet_utils.verify.scores import score_pairs, squared_l2

if TYPE_CHECKING:
    from lresnet_utils.targets.base import Session

FOLDS = 10
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Sample:
    """The pictures and pairs that builds are judged on.

    Attributes
    ----------
    faces : FaceSet
    images : ndarray of int, shape (m,)
        Picture numbers, ascending.
    left, right : ndarray of int, shape (n,)
        Places in `images`.
    same : ndarray of bool, shape (n,)
        True for genuine pairs.
    """

    faces: FaceSet
    images: np.ndarray
    left: np.ndarray
    right: np.ndarray
    same: np.ndarray

    def embed(self, session: Session, spec: Mapping[str, Any]) -> dict[str, Embedding]:
        """Return the embeddings of every variant, one view per picture."""
        return {
            variant: embed(
                np.asarray(self.faces.images(variant)[self.images]),
                session,
                channel_order=spec["channel_order"],
                normalisation=spec["normalisation"],
                flip=False,
            )
            for variant in self.faces.variants
        }


def draw_sample(faces: FaceSet, most_images: int) -> Sample:
    """Draw pairs of both classes, all folds and as many people as possible.

    Each class has its share of every fold, whatever order the pairs are in, and within it everyone
    gets a turn before anyone gets two. The same set gives the same pairs.

    Parameters
    ----------
    faces : FaceSet
    most_images : int
        So many pictures at most, but at least one pair of each class and fold. All pairs are
        taken when the set has no more pictures than that. Pairs of a picture that cannot be used
        are left out.

    Raises
    ------
    DataError
        When the usable pairs are of one class.
    """
    same, bad = faces.same, [image for image, _ in faces.failures]
    usable = np.flatnonzero(~(np.isin(faces.left, bad) | np.isin(faces.right, bad)))
    n_genuine = int(same[usable].sum())
    if not 0 < n_genuine < len(usable):
        raise DataError(
            f"No int8 build can be judged on {n_genuine:,} genuine and "
            f"{len(usable) - n_genuine:,} impostor pairs.",
            where=faces.name,
            fix="take a set with usable pairs of both kinds, or leave int8 targets out",
        )
    left, right, n, identity = faces.compared()
    people = pair_identities(left, right, same, n, identity)
    # Python promises these numbers for all versions; NumPy does not.
    dice = random.Random(0)  # noqa: S311 (a reproducible draw, not a secret)
    order = usable[np.argsort([dice.random() for _ in usable], kind="stable")]
    stratum = 2 * fold_numbers(faces.n_pairs, FOLDS) + same
    share = np.zeros(faces.n_pairs)
    for number in np.unique(stratum[usable]):
        own = order[stratum[order] == number]
        sides = np.stack([people.left[own], people.right[own]], axis=1).ravel()
        grouped = np.argsort(sides, kind="stable")
        starts = np.searchsorted(sides[grouped], sides, side="left")
        turn = (np.argsort(grouped) - starts).reshape(-1, 2).max(axis=1)
        share[own[np.argsort(turn, kind="stable")]] = np.arange(len(own)) / len(own)
    # Of pairs in this order, any number has every class and fold in its share, or one of it.
    order = order[np.argsort(share[order], kind="stable")]
    shown = np.stack([faces.left[order], faces.right[order]], axis=1).ravel()
    first = np.unique(shown, return_index=True)[1] // 2
    fitting = np.count_nonzero(np.bincount(first, minlength=len(order)).cumsum() <= most_images)
    pairs = np.sort(order[: max(fitting, np.count_nonzero(share[order] == 0))])
    images = np.unique([faces.left[pairs], faces.right[pairs]])
    left, right = (np.searchsorted(images, side[pairs]) for side in (faces.left, faces.right))
    return Sample(faces, images, left, right, same[pairs])


def judge(
    sample: Sample, reference: dict[str, Embedding], own: dict[str, Embedding], budget_points: float
) -> dict[str, Any]:
    """Compare a build's decisions with the reference's, variant by variant.

    Parameters
    ----------
    sample : Sample
    reference, own : dict of str to Embedding
        As :meth:`Sample.embed` gave them.
    budget_points : float
        Percentage points of accuracy that may be lost on any variant.

    Returns
    -------
    dict
        ``within_budget``: no variant loses more than the budget, and on none is the difference
        significant (exact McNemar test, p < 0.05, either way: a build that decides otherwise is
        another network even where it happens to do better). ``worst_loss_points``, ``worst_p``
        and ``variants`` with the numbers of each.
    """
    variants = {}
    for name, ours in own.items():
        theirs = reference[name]
        base, build = _decide(sample, theirs), _decide(sample, ours)
        both = base.acquired & build.acquired
        flips = flipped_pairs(
            base.distances, base.thresholds, build.distances, build.thresholds, sample.same, both
        )
        usable = ~(theirs.failed | ours.failed)
        cosine = 1 - squared_l2(theirs.vectors[usable], ours.vectors[usable]) / 2
        variants[name] = {
            "accuracy": build.accuracy,
            "reference_accuracy": base.accuracy,
            "lost": len(flips.lost),
            "gained": len(flips.gained),
            "mcnemar_p": mcnemar_exact(len(flips.lost), len(flips.gained)),
            "min_cosine": float(cosine.min()),
            "n_pairs": flips.n,
        }
    losses = [100 * (v["reference_accuracy"] - v["accuracy"]) for v in variants.values()]
    ps = [v["mcnemar_p"] for v in variants.values()]
    # Rounding of a mean over folds must not decide about a build that loses nothing.
    within = max(losses) <= budget_points + 1e-9 and min(ps) >= SIGNIFICANT
    return {
        "within_budget": bool(within),
        "worst_loss_points": float(max(losses)),
        "worst_p": float(min(ps)),
        "n_pairs": len(sample.same),
        "n_images": len(sample.images),
        "variants": variants,
    }


class _Decisions(NamedTuple):
    """Per pair the distance, whether it has one, and the threshold of its fold."""

    distances: np.ndarray
    acquired: np.ndarray
    thresholds: np.ndarray
    accuracy: float


def _decide(sample: Sample, embedding: Embedding) -> _Decisions:
    distances, acquired = score_pairs(
        embedding.vectors, embedding.failed, sample.left, sample.right
    )
    result = guide_protocol(distances, sample.same, folds=FOLDS, acquired=acquired)
    thresholds = result.best_thresholds[fold_numbers(len(distances), FOLDS)]
    return _Decisions(distances, acquired, thresholds, result.mean_accuracy)
