"""What is odd about a set of pairs, and what that does to the numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lresnet_utils.errors import EvaluationError
from lresnet_utils.text.language import message
from lresnet_utils.verify.intervals import PairIdentities
from lresnet_utils.verify.scores import checked_scores

_SHOWN = 50


@dataclass(frozen=True)
class Oddity:
    """One thing found.

    Attributes
    ----------
    finding : str
        What was looked for, in a few words.
    evidence : str
        What was counted.
    consequence : str
        What it means for the numbers.
    harmless : bool
        True when nothing speaks against the numbers.
    pairs : list of int
        Numbers of the pairs concerned, at most 50.
    """

    finding: str
    evidence: str
    consequence: str
    harmless: bool
    pairs: list[int]

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a plain dict."""
        return asdict(self)


def set_health(
    left: np.ndarray,
    right: np.ndarray,
    same: np.ndarray,
    fold: np.ndarray,
    identities: PairIdentities,
    distances: np.ndarray | None = None,
) -> list[Oddity]:
    """Examine a set of pairs.

    Parameters
    ----------
    left, right : ndarray of int, shape (n,)
        Numbers of distinct images.
    same : ndarray of bool, shape (n,)
        True for genuine pairs.
    fold : ndarray of int, shape (n,)
        Fold of each pair.
    identities : PairIdentities
        Of these pairs.
    distances : ndarray of float64, shape (n,), optional
        Squared distances by a trusted network, NaN where there is none; they show which labels
        are doubtful.

    Returns
    -------
    list of Oddity
        Always the same questions, in the same order.
    """
    found: list[Oddity] = []

    def say(finding: str, evidence: str, harmless: str | None, words: str, pairs=()) -> None:
        """Note one answer: `harmless` is what it means where nothing speaks against the numbers."""
        shown = [int(pair) for pair in pairs[:_SHOWN]] if harmless is None else []
        sound = harmless is not None
        found.append(Oddity(finding, evidence, harmless if sound else words, sound, shown))

    n, genuine = len(same), int(same.sum())
    shares = np.bincount(fold, same) / np.bincount(fold)
    balanced = abs(genuine / n - 0.5) <= 0.05 and np.ptp(shares) <= 0.1
    say(
        "Class balance",
        message(
            "{genuine:,} genuine and {impostor:,} impostor pairs; {least:.1%} to "
            "{most:.1%} genuine per fold.",
            genuine=genuine,
            impostor=n - genuine,
            least=shares.min(),
            most=shares.max(),
        ),
        "Accuracy weighs both errors alike." if balanced else None,
        message(
            "Accuracy weighs the larger class more: always saying the same reaches {share:.1%}.",
            share=max(genuine, n - genuine) / n,
        ),
    )

    distinct, crossing = _folds_of(np.concatenate([left, right]), fold)
    words = (
        "Pairs that share an image succeed and fail together; the intervals here allow for it, "
        "those over pairs are too narrow."
    )
    if crossing:
        words = message(
            "{first} {rest}",
            first=words,
            rest="Thresholds are partly chosen on the images that they are tested on.",
        )
    say(
        "Repeated images",
        message(
            "{distinct:,} distinct images fill {slots:,} places; {crossing:,} images are "
            "in more than one fold.",
            distinct=distinct,
            slots=2 * n,
            crossing=crossing,
        ),
        "No image counts twice." if distinct == 2 * n else None,
        words,
    )

    key = np.stack([np.minimum(left, right), np.maximum(left, right)])
    _, inverse, counts = np.unique(key, axis=1, return_inverse=True, return_counts=True)
    inverse = inverse.ravel()
    labels = np.bincount(inverse, same)
    conflict = ((labels > 0) & (labels < counts))[inverse]
    surplus = int((counts - 1).sum())
    words = "Repeated pairs add to n but not to what is known."
    if conflict.any():
        words = message(
            "{first} {rest}",
            first=words,
            rest="A pair with both labels is wrong once whatever the network says.",
        )
    say(
        "Repeated pairs",
        message(
            "{repeated:,} pairs repeat another; {contradicting:,} of all are labelled both.",
            repeated=surplus,
            contradicting=int(conflict.sum()),
        ),
        None if surplus else "Every pair counts once.",
        words,
        np.flatnonzero(counts[inverse] > 1),
    )

    equal = left == right
    impostor = equal & ~same
    words = "Such a genuine pair is right whatever the network is."
    if impostor.any():
        words = message(
            "{first} {rest}",
            first=words,
            rest="Such an impostor pair is a wrong label: an error at every threshold.",
        )
    say(
        "Same picture on both sides",
        message(
            "{n:,} pairs show one picture twice, {impostor:,} of them labelled impostor.",
            n=int(equal.sum()),
            impostor=int(impostor.sum()),
        ),
        None if equal.any() else "No pair is decided by copy.",
        words,
        np.flatnonzero(equal),
    )

    one = identities.left == identities.right
    odd = np.flatnonzero((one & ~same & ~equal) | (~one & same))
    say(
        "Contradicting labels",
        message("{n:,} labels contradict the {source}.", n=len(odd), source=identities.source),
        None if len(odd) else "The labels agree with each other.",
        message(
            "At least one label of each chain is wrong: up to {n:,} errors are the set's "
            "and not the network's.",
            n=len(odd),
        ),
        odd,
    )

    people, crossing = _folds_of(np.concatenate([identities.left, identities.right]), fold)
    say(
        "People across folds",
        message(
            "{crossing:,} of {people:,} people are in more than one fold ({source}).",
            crossing=crossing,
            people=people,
            source=identities.source,
        ),
        None if crossing else "Thresholds are tested on people that they were not chosen on.",
        "Thresholds are tested on people that they were chosen on, so accuracy may be a little "
        "too good, and the spread between folds understates the uncertainty.",
    )

    if distances is None:
        return found
    # Pairs that look more like the other class's middle than like their own.
    name = "Labels to look at"
    known = ~np.isnan(distances)
    if not (known & same).any() or not (known & ~same).any():
        say(name, "One class is absent.", "No label can be doubted.", "")
        return found
    near, far = (np.median(distances[known & own]) for own in (same, ~same))
    with np.errstate(invalid="ignore"):
        beyond = np.where(same, (distances - far), (near - distances))
    doubtful = np.flatnonzero(known & (beyond >= 0))
    doubtful = doubtful[np.argsort(-beyond[doubtful], kind="stable")]
    say(
        name,
        message(
            "{n:,} pairs lie beyond the median of the other class ({genuine:.2f} "
            "genuine, {impostor:.2f} impostor).",
            n=len(doubtful),
            genuine=near,
            impostor=far,
        ),
        None if len(doubtful) else "No label stands out as wrong.",
        message(
            "If these labels are wrong, {n:,} errors ({share:.2%} of all pairs) are the "
            "set's; no network can score above that without learning them.",
            n=len(doubtful),
            share=len(doubtful) / n,
        ),
        doubtful,
    )
    return found


def _folds_of(members: np.ndarray, fold: np.ndarray) -> tuple[int, int]:
    """Count the images or people on both sides of pairs, and those of more than one fold."""
    used = np.unique(np.stack([members, np.concatenate([fold, fold])]), axis=1)
    folds = np.unique(used[0], return_counts=True)[1]
    return len(folds), int((folds > 1).sum())


# Images that gave no embedding, and what they do to the error rates.


@dataclass(frozen=True)
class FailureSummary:
    """Failures to acquire, with error rates before and after counting them.

    Rates are fractions, or ``None`` when no acquired pair of the class exists.

    Attributes
    ----------
    n_images, n_failed_images : int
        Images tried, and those that gave no embedding.
    n_genuine, n_impostor : int
        Pairs tried.
    n_genuine_lost, n_impostor_lost : int
        Pairs not acquired because an image failed.
    fta : float
        Failure-to-acquire rate: pairs lost of pairs tried, both classes together.
    false_matches, false_non_matches : int
        Wrong decisions among acquired impostor and genuine pairs.
    fmr, fnmr : float or None
        Those of the acquired impostor and genuine pairs.
    far, frr : float or None
        ``FAR = FMR (1 - FTA)`` and ``FRR = FTA + FNMR (1 - FTA)``: a lost pair is a refusal.
    """

    n_images: int
    n_failed_images: int
    n_genuine: int
    n_impostor: int
    n_genuine_lost: int
    n_impostor_lost: int
    fta: float
    false_matches: int
    false_non_matches: int
    fmr: float | None
    fnmr: float | None
    far: float | None
    frr: float | None


def failure_summary(
    distances: ArrayLike,
    same: ArrayLike,
    threshold: float,
    *,
    acquired: ArrayLike,
    failed: ArrayLike,
) -> FailureSummary:
    """Count failures and give the error rates that a user of the system meets.

    Parameters
    ----------
    distances : array_like of float, shape (n,)
        Squared distances; any value where a pair was not acquired.
    same : array_like of bool, shape (n,)
        True for genuine pairs.
    threshold : float
        A pair is accepted when ``distance < threshold``.
    acquired : array_like of bool, shape (n,)
        True where both images gave an embedding.
    failed : array_like of bool, shape (m,)
        True for each image that gave none.

    Returns
    -------
    FailureSummary

    Raises
    ------
    EvaluationError
        When the scores cannot be used, no pair was acquired, or a flag is no truth value.

    Notes
    -----
    The rates are those of ISO/IEC 19795-1:2021. Its formulas take one failure rate for both
    classes, here that of all pairs; the counts per class show whether that is fair.

    Examples
    --------
    >>> summary = failure_summary([0.2, 9.9, 1.8, 0.3], [1, 1, 0, 0], 1.0,
    ...                           acquired=[1, 0, 1, 1], failed=[0, 0, 0, 1])
    >>> summary.fta, summary.far, summary.frr
    (0.25, 0.375, 0.25)
    """
    distances, same, acquired = checked_scores(distances, same, acquired)
    failed = np.asarray(failed)
    if failed.ndim != 1 or not np.isin(failed, (0, 1)).all():
        raise EvaluationError("Each image needs a failure flag that is true or false.")
    if np.isnan(threshold):
        raise EvaluationError("The threshold is not a number.")
    accepted = distances < threshold
    fta = int((~acquired).sum()) / len(acquired)
    false_matches = int((accepted & ~same & acquired).sum())
    false_non_matches = int((~accepted & same & acquired).sum())
    fmr = _rate(false_matches, int((~same & acquired).sum()))
    fnmr = _rate(false_non_matches, int((same & acquired).sum()))
    return FailureSummary(
        n_images=len(failed),
        n_failed_images=int(failed.sum()),
        n_genuine=int(same.sum()),
        n_impostor=int((~same).sum()),
        n_genuine_lost=int((same & ~acquired).sum()),
        n_impostor_lost=int((~same & ~acquired).sum()),
        fta=fta,
        false_matches=false_matches,
        false_non_matches=false_non_matches,
        fmr=fmr,
        fnmr=fnmr,
        far=None if fmr is None else fmr * (1 - fta),
        frr=None if fnmr is None else fta + fnmr * (1 - fta),
    )


def _rate(count: int, n: int) -> float | None:
    return count / n if n else None
