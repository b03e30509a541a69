"""Images that gave no embedding, and what they do to the error rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.scores import checked_scores


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
