"""The guide's ten-fold protocol: a threshold from nine folds, the accuracy on the tenth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lresnet_utils.errors import EvaluationError
from lresnet_utils.text.language import message
from lresnet_utils.verify.scores import checked_scores


@dataclass(frozen=True)
class ProtocolResult:
    """What the guide's protocol finds; ``k`` is the number of folds.

    Attributes
    ----------
    accuracy : ndarray of float64, shape (k,)
        Fraction of right decisions in each test fold.
    best_thresholds : ndarray of float64, shape (k,)
        The threshold each fold was tested at, chosen on the other folds.
    tpr, fpr : ndarray of float64, shape (400,)
        Accepted fractions of genuine and impostor pairs per threshold, mean over the test folds.
    thresholds : ndarray of float64, shape (400,)
        The grid 0.00, 0.01 ... 3.99.
    n : int
        Pairs evaluated.
    errors : int
        Wrong decisions over all test folds.
    mean_accuracy, mean_threshold : float
        Means over folds, the two numbers that the guide prints.
    standard_error : float
        Standard error of the mean accuracy, ``s / sqrt(k)`` with ``s`` over ``k - 1``.
    """

    accuracy: np.ndarray
    best_thresholds: np.ndarray
    tpr: np.ndarray
    fpr: np.ndarray
    thresholds: np.ndarray
    n: int
    errors: int
    mean_accuracy: float
    mean_threshold: float
    standard_error: float


def guide_thresholds() -> np.ndarray:
    """Return the guide's grid ``arange(0, 4, 0.01)``: 400 thresholds, 0.00 to 3.99, float64."""
    return np.arange(0, 4, 0.01)


def fold_numbers(n: int, folds: int) -> np.ndarray:
    """Return the fold of each of `n` pairs: contiguous blocks, the first ``n % folds`` one longer.

    These are the test folds of scikit-learn's ``KFold(folds, shuffle=False)``. With a result of
    :func:`guide_protocol`, ``result.best_thresholds[fold_numbers(n, k)]`` is the threshold that
    each pair was decided at.

    Parameters
    ----------
    n, folds : int
        Numbers of pairs and of folds.

    Returns
    -------
    ndarray of int64, shape (n,)
        Numbers from 0 to ``folds - 1``, not decreasing.

    Raises
    ------
    EvaluationError
        When there are fewer than two folds, or more folds than pairs.

    Examples
    --------
    >>> fold_numbers(7, 3)
    array([0, 0, 0, 1, 1, 2, 2])
    """
    if not 2 <= folds <= n:
        raise EvaluationError(
            f"{n} pairs cannot be split into {folds} folds.",
            where="folds",
            fix=f"choose from 2 to {n} folds" if n >= 2 else "evaluate at least two pairs",
        )
    sizes = np.full(folds, n // folds)
    sizes[: n % folds] += 1
    return np.repeat(np.arange(folds), sizes)


def guide_protocol(
    distances: ArrayLike,
    same: ArrayLike,
    *,
    folds: int = 10,
    acquired: ArrayLike | None = None,
) -> ProtocolResult:
    """Evaluate pairs exactly as the guide's post-processing script does.

    For each fold the threshold with the best accuracy on the other folds is taken from a grid of
    400, the smallest one among equals; the fold is then decided at that threshold. A pair is
    accepted when its distance is strictly smaller than the threshold, so a distance on a grid
    point is a refusal at that point. Where a fold holds no genuine (impostor) pair, its true
    (false) positive rate counts as 0, as in the script; one class alone is therefore evaluated.

    The grid is met by one binary search per pair and integer counts, so the time does not grow
    with folds or thresholds; the numbers are those of the loop over both, to the last bit.

    Parameters
    ----------
    distances : array_like of float, shape (n,)
        Squared distances of unit embeddings.
    same : array_like of bool, shape (n,)
        True for genuine pairs.
    folds : int
        Number of folds. The guide's script uses 10, the training code it builds on 5.
    acquired : array_like of bool, shape (n,), optional
        Pairs that have a distance. Folds are cut by position among all pairs, then pairs that are
        not acquired are left out, so one lost image does not move the others to other folds.

    Returns
    -------
    ProtocolResult

    Raises
    ------
    EvaluationError
        When the scores cannot be used (see :func:`~lresnet_utils.verify.scores.checked_scores`),
        the folds do not fit, or a fold is left without an acquired pair.

    Notes
    -----
    The protocol is that of ``verifacation.py`` in TreB1eN/InsightFace_Pytorch, from David
    Sandberg's facenet, after the "View 2" of Labeled Faces in the Wild (Huang et al., 2007).

    Examples
    --------
    >>> result = guide_protocol([0.5, 1.8, 0.5, 1.9], [True, False, True, False], folds=2)
    >>> result.accuracy, result.best_thresholds
    (array([1., 1.]), array([0.51, 0.51]))
    """
    distances, same, acquired = checked_scores(distances, same, acquired)
    fold = fold_numbers(len(distances), folds)[acquired]
    thresholds = guide_thresholds()
    genuine = _accepted(distances[acquired], same[acquired], fold, thresholds, folds)
    impostor = _accepted(distances[acquired], ~same[acquired], fold, thresholds, folds)
    # The last column counts every pair of the class, accepted or not.
    n_genuine, n_impostor = genuine[:, -1], impostor[:, -1]
    n_pairs = n_genuine + n_impostor
    _check_folds(n_pairs)
    right = genuine[:, :-1] + (n_impostor[:, None] - impostor[:, :-1])
    # argmax gives the first of equals; counts decide as their quotients by one number would.
    best = np.argmax(right.sum(axis=0) - right, axis=1)
    right_at_best = right[np.arange(folds), best]
    accuracy = right_at_best / n_pairs
    return ProtocolResult(
        accuracy=accuracy,
        best_thresholds=thresholds[best],
        tpr=_fraction(genuine[:, :-1], n_genuine).mean(axis=0),
        fpr=_fraction(impostor[:, :-1], n_impostor).mean(axis=0),
        thresholds=thresholds,
        n=int(n_pairs.sum()),
        errors=int((n_pairs - right_at_best).sum()),
        mean_accuracy=float(accuracy.mean()),
        mean_threshold=float(thresholds[best].mean()),
        standard_error=float(accuracy.std(ddof=1) / np.sqrt(folds)),
    )


def exact_protocol(
    distances: ArrayLike,
    same: ArrayLike,
    *,
    folds: int = 10,
    acquired: ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Evaluate pairs as :func:`guide_protocol` does, with thresholds that any distances resolve.

    In place of the grid, each fold's threshold is the best of those between neighbouring
    distances of the other folds, the smallest among equals.

    Parameters
    ----------
    distances, same, folds, acquired
        As :func:`guide_protocol` takes them.

    Returns
    -------
    right : ndarray of bool, shape (n,)
        Which pairs are decided rightly; False where a pair was not acquired.
    thresholds : ndarray of float64, shape (folds,)
        The threshold that each fold was decided at.
    best : float
        The best threshold over all acquired pairs.

    Raises
    ------
    EvaluationError
        As :func:`guide_protocol` does.

    Examples
    --------
    >>> near = [0.001, 0.004, 0.002, 0.005]
    >>> right, thresholds, best = exact_protocol(near, [1, 0, 1, 0], folds=2)
    >>> right, thresholds, best
    (array([ True,  True,  True,  True]), array([0.0035, 0.0025]), 0.003)
    """
    distances, same, acquired = checked_scores(distances, same, acquired)
    fold = fold_numbers(len(distances), folds)
    _check_folds(np.bincount(fold[acquired], minlength=folds))
    order = np.flatnonzero(acquired)[np.argsort(distances[acquired], kind="stable")]
    thresholds = np.array(
        [_best_between(distances, same, order[fold[order] != f]) for f in range(folds)]
    )
    right = acquired & ((distances < thresholds[fold]) == same)
    return right, thresholds, _best_between(distances, same, order)


def _best_between(distances: np.ndarray, same: np.ndarray, order: np.ndarray) -> float:
    """Return the threshold with most right decisions; `order` names the pairs, nearest first."""
    d, genuine = distances[order], same[order]
    # Accepting the first k pairs; a threshold lies only between distances that differ.
    right = np.concatenate([[0], np.cumsum(np.where(genuine, 1, -1))])
    possible = np.concatenate([[True], d[1:] > d[:-1], [True]])
    k = int(np.argmax(np.where(possible, right, right.min() - 1)))
    if k == 0:
        return float(d[0])
    return float((d[k - 1] + d[k]) / 2) if k < len(d) else float(np.nextafter(d[-1], np.inf))


def _accepted(
    distances: np.ndarray, member: np.ndarray, fold: np.ndarray, thresholds: np.ndarray, folds: int
) -> np.ndarray:
    """Count the accepted members per fold and threshold; a last column counts all members."""
    # `distance < thresholds[j]` holds for exactly j >= first.
    first = np.searchsorted(thresholds, distances[member], side="right")
    width = len(thresholds) + 1
    counts = np.bincount(fold[member] * width + first, minlength=folds * width)
    return counts.reshape(folds, width).cumsum(axis=1)


def _fraction(counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    return counts / np.where(total == 0, 1, total)[:, None]


def _check_folds(n_pairs: np.ndarray) -> None:
    empty = np.flatnonzero(n_pairs == 0)
    if empty.size:
        raise EvaluationError(
            message(
                "{empty} of {folds} folds have no pair with a distance.",
                empty=empty.size,
                folds=len(n_pairs),
            ),
            where=message("fold {fold}", fold=empty[0] + 1),
            fix="use fewer folds, or find out why these images gave no embedding",
        )
