"""Error rates over all thresholds: ROC, equal error rate, acceptance at a false accept rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import auc, roc_curve

from lresnet_utils.errors import EvaluationError
from lresnet_utils.text.language import NONE, message
from lresnet_utils.verify.intervals import wilson
from lresnet_utils.verify.scores import checked_scores


@dataclass(frozen=True)
class Roc:
    """A receiver operating characteristic at the exact distances, without a grid.

    Attributes
    ----------
    fmr, tmr : ndarray of float64, shape (m,)
        False and true match rates, from (0, 0) to (1, 1), not decreasing. Points halfway between
        their neighbours are left out, so the curve is the same and short.
    thresholds : ndarray of float64, shape (m,)
        Increasing distances: ``distance < thresholds[i]`` gives exactly point ``i``.
    auc : float
        Area under the curve.
    eer : float
        Equal error rate: where FMR = FNMR on the straight lines between the curve's points.
    eer_threshold : float
        Threshold of the attained point with the smallest ``|FMR - FNMR|``, the smaller one of
        two equals.
    n_genuine, n_impostor : int
        Pairs of each class.
    """

    fmr: np.ndarray
    tmr: np.ndarray
    thresholds: np.ndarray
    auc: float
    eer: float
    eer_threshold: float
    n_genuine: int
    n_impostor: int


def roc(distances: ArrayLike, same: ArrayLike) -> Roc:
    """Compute the ROC, its area and its equal error rate with scikit-learn's ``roc_curve``.

    Parameters
    ----------
    distances : array_like of float, shape (n,)
        Squared distances of acquired pairs.
    same : array_like of bool, shape (n,)
        True for genuine pairs.

    Returns
    -------
    Roc

    Raises
    ------
    EvaluationError
        When the scores cannot be used or one of the two classes is absent.

    Examples
    --------
    >>> curve = roc([0.2, 0.4, 0.9, 0.3], [True, True, False, False])
    >>> curve.auc, curve.eer
    (0.75, 0.5)
    """
    distances, same, _ = checked_scores(distances, same)
    n_genuine = int(same.sum())
    n_impostor = len(same) - n_genuine
    if not n_genuine or not n_impostor:
        raise EvaluationError(
            message(
                "A ROC needs both classes; there are {n_genuine} genuine and {n_impostor} "
                "impostor pairs.",
                n_genuine=n_genuine,
                n_impostor=n_impostor,
            )
        )
    fmr, tmr, scores = roc_curve(same, -distances, drop_intermediate=False)
    # scikit-learn accepts `distance <= -score`; the next float makes that a strict `<`. Its first
    # point, at an infinite score, accepts nothing, which no distance below 0 says as well.
    thresholds = np.append(0.0, np.nextafter(-scores[1:], np.inf))
    false_matches, true_matches = np.rint(fmr * n_impostor), np.rint(tmr * n_genuine)
    # Not 1 - tmr, whose rounding would tell equal rates apart.
    fnmr = (n_genuine - true_matches) / n_genuine
    eer, eer_threshold = equal_error(fmr, fnmr, thresholds)
    corner = _corners(false_matches, true_matches)
    fmr, tmr = fmr[corner], tmr[corner]
    return Roc(
        fmr=fmr,
        tmr=tmr,
        thresholds=thresholds[corner],
        auc=float(auc(fmr, tmr)),
        eer=eer,
        eer_threshold=eer_threshold,
        n_genuine=n_genuine,
        n_impostor=n_impostor,
    )


def error_rates(
    distances: ArrayLike, same: ArrayLike, thresholds: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return accuracy, FMR and FNMR at each of the given thresholds.

    Parameters
    ----------
    distances : array_like of float, shape (n,)
        Squared distances of acquired pairs.
    same : array_like of bool, shape (n,)
        True for genuine pairs.
    thresholds : array_like of float, shape (m,)
        Any thresholds, in any order; a pair is accepted when ``distance < threshold``.

    Returns
    -------
    accuracy, fmr, fnmr : ndarray of float64, shape (m,)
        Fractions. The rate of a class without pairs is NaN.

    Raises
    ------
    EvaluationError
        When the scores cannot be used or a threshold is NaN.

    Examples
    --------
    >>> error_rates([0.2, 0.4, 0.9, 0.3], [True, True, False, False], [0.4, 0.5])
    (array([0.5 , 0.75]), array([0.5, 0.5]), array([0.5, 0. ]))
    """
    distances, same, _ = checked_scores(distances, same)
    thresholds = np.asarray(thresholds, dtype=np.float64)
    if thresholds.ndim != 1 or np.isnan(thresholds).any():
        raise EvaluationError("Thresholds must be a list of numbers.")
    genuine, impostor = np.sort(distances[same]), np.sort(distances[~same])
    false_non_matches = len(genuine) - np.searchsorted(genuine, thresholds, side="left")
    false_matches = np.searchsorted(impostor, thresholds, side="left")
    accuracy = (len(distances) - false_non_matches - false_matches) / len(distances)
    return accuracy, _rate(false_matches, len(impostor)), _rate(false_non_matches, len(genuine))


def tar_at_far(
    distances: ArrayLike, same: ArrayLike, far_targets: Iterable[float]
) -> list[dict[str, Any]]:
    """Return the true accept rate at each false accept rate that the data can resolve.

    The threshold is the largest one whose false match rate does not exceed the target; it is the
    distance of an impostor pair, which the strict comparison still refuses. With fewer than
    ``1 / far`` impostor pairs the target lies below what one pair weighs, and it is refused.

    Parameters
    ----------
    distances : array_like of float, shape (n,)
        Squared distances of acquired pairs.
    same : array_like of bool, shape (n,)
        True for genuine pairs.
    far_targets : iterable of float
        Targets between 0 and 1, both excluded.

    Returns
    -------
    list of dict
        Per target, in the given order: ``far``, ``achieved_far``, ``tar``, ``low`` and ``high``
        (95 % interval of `tar`), ``n_genuine``, ``n_impostor``, ``threshold``, ``method``; or
        ``far`` and ``refused``, the reason in one sentence.

    Raises
    ------
    EvaluationError
        When the scores cannot be used or a target is not between 0 and 1.

    Examples
    --------
    >>> rows = tar_at_far([0.2, 0.4, 0.9, 0.3], [True, True, False, False], [0.5, 0.1])
    >>> rows[0]["achieved_far"], rows[0]["tar"], rows[0]["threshold"]
    (0.5, 1.0, 0.9)
    >>> rows[1]
    {'far': 0.1, 'refused': '2 impostor pairs resolve no rate below 0.5.'}
    """
    distances, same, _ = checked_scores(distances, same)
    genuine, impostor = np.sort(distances[same]), np.sort(distances[~same])
    return [_tar_row(genuine, impostor, float(far)) for far in far_targets]


def _tar_row(genuine: np.ndarray, impostor: np.ndarray, far: float) -> dict[str, Any]:
    if not 0 < far < 1:
        raise EvaluationError(f"A false accept rate lies between 0 and 1, not at {far}.")
    if not len(genuine) or not len(impostor):
        absent = "impostor" if len(genuine) else "genuine"
        return {"far": far, "refused": message("There are no {kind} pairs.", kind=absent)}
    allowed = budget(far, len(impostor))
    if allowed < 1:
        return {"far": far, "refused": unresolved(len(impostor))}
    threshold = impostor[allowed]
    accepted = int(np.searchsorted(genuine, threshold, side="left"))
    low, high = wilson(accepted, len(genuine))
    return {
        "far": far,
        "achieved_far": int(np.searchsorted(impostor, threshold, side="left")) / len(impostor),
        "tar": accepted / len(genuine),
        "low": low,
        "high": high,
        "n_genuine": len(genuine),
        "n_impostor": len(impostor),
        "threshold": float(threshold),
        "method": "Wilson 95 %, pairs taken as independent, threshold from the same pairs",
    }


def unresolved(n_impostor: int) -> str:
    """Say why a false accept rate below one in `n_impostor` is refused."""
    return message(
        "{n:,} impostor pairs resolve no rate below {least:.3g}.",
        n=n_impostor,
        least=1 / n_impostor,
    )


def budget(far: float, n: int) -> int:
    """Return the largest count below `n` whose share of `n` does not exceed `far`.

    Examples
    --------
    >>> budget(0.29, 100), budget(0.001, 300)
    (29, 0)
    """
    count = min(int(far * n) + 1, n - 1)
    # The product is rounded (0.29 * 100 < 29), so the share itself decides.
    while count / n > far:
        count -= 1
    return count


def equal_error(fmr: np.ndarray, fnmr: np.ndarray, thresholds: np.ndarray) -> tuple[float, float]:
    """Return the EER on the lines between attained points, and the nearest point's threshold.

    Parameters
    ----------
    fmr, fnmr, thresholds : ndarray of float64, shape (m,)
        Neighbouring points in order of the threshold; FMR is smaller at the first and not at the
        last.

    Returns
    -------
    eer, threshold : float

    Examples
    --------
    >>> equal_error(np.array([0, 0.5, 1]), np.array([1, 0.25, 0]), np.array([0, 1, 2]))
    (0.4, 1.0)
    """
    # The gap rises from -1 to 1 and strictly so, as every point accepts at least one pair more.
    gap = fmr - fnmr
    after = int(np.argmax(gap >= 0))
    before = after - 1
    weight = -gap[before] / (gap[after] - gap[before])
    eer = fmr[before] + weight * (fmr[after] - fmr[before])
    nearest = before if -gap[before] <= gap[after] else after
    return float(eer), float(thresholds[nearest])


def _corners(false_matches: np.ndarray, true_matches: np.ndarray) -> np.ndarray:
    """Mark the ends, the first threshold and every point not halfway between its neighbours.

    These are the points that scikit-learn keeps with ``drop_intermediate=True``.
    """
    keep = np.ones(len(false_matches), bool)
    keep[2:-1] = (np.diff(false_matches[1:], 2) != 0) | (np.diff(true_matches[1:], 2) != 0)
    return keep


def _rate(count: np.ndarray, n: int) -> np.ndarray:
    return count / n if n else np.full(count.shape, np.nan)


# Single numbers of a whole curve: decidability and minimum cost.

# Share of genuine attempts; a miss and a false accept cost 1 each, as in NIST's evaluations.
PRIORS = (0.5, 0.01, 0.001)
NO_INTERVAL = message(NONE, why="its threshold is chosen on the same pairs")


def decidability(distances: ArrayLike, same: ArrayLike) -> dict[str, Any]:
    """Return d-prime: how many pooled standard deviations the class means are apart.

    Parameters
    ----------
    distances : array_like of float, shape (n,)
        Squared distances of acquired pairs.
    same : array_like of bool, shape (n,)
        True for genuine pairs.

    Returns
    -------
    dict
        ``value`` with ``n_genuine`` and ``n_impostor``, or ``refused``.

    Notes
    -----
    ``|mean_i - mean_g| / sqrt((var_i + var_g) / 2)``, Daugman (2000), with variances over ``n``.

    Examples
    --------
    >>> decidability([0.0, 1.0, 3.0, 4.0], [True, True, False, False])["value"]
    6.0
    """
    distances, same, _ = checked_scores(distances, same)
    genuine, impostor = distances[same], distances[~same]
    if not len(genuine) or not len(impostor):
        return {"refused": "It needs pairs of both classes."}
    spread = math.sqrt((genuine.var() + impostor.var()) / 2)
    if spread == 0:
        return {"refused": "All distances of a class are equal."}
    return {
        "value": float(abs(impostor.mean() - genuine.mean()) / spread),
        "n_genuine": len(genuine),
        "n_impostor": len(impostor),
        "interval": None,
        "interval_reason": message(NONE, why="it describes these scores"),
    }


def minimum_cost(
    curve: Roc,
    priors: Iterable[float] = PRIORS,
    *,
    cost_miss: float = 1.0,
    cost_false_accept: float = 1.0,
) -> list[dict[str, Any]]:
    """Return the least detection cost over all thresholds, for stated costs.

    Parameters
    ----------
    curve : Roc
        Its corners hold the minimum, since the cost is linear in both rates.
    priors : iterable of float
        Shares of genuine attempts, between 0 and 1.
    cost_miss, cost_false_accept : float
        Positive.

    Returns
    -------
    list of dict
        Per prior: ``prior``, both costs, ``value`` (normalised so that deciding without looking
        costs 1), ``threshold``, ``fmr``, ``fnmr``. The threshold is the smallest of equally good
        ones.

    Raises
    ------
    EvaluationError
        When a prior or a cost is out of range.

    Examples
    --------
    >>> from lresnet_utils.verify.curves import roc
    >>> (row,) = minimum_cost(roc([0.1, 0.9, 0.5, 2.0], [1, 1, 0, 0]), [0.5])
    >>> row["value"], row["fmr"], row["fnmr"]
    (0.5, 0.0, 0.5)
    """
    rows = []
    for prior in priors:
        if not 0 < prior < 1 or min(cost_miss, cost_false_accept) <= 0:
            raise EvaluationError("A prior lies between 0 and 1, and costs are positive.")
        miss, accept = cost_miss * prior, cost_false_accept * (1 - prior)
        fnmr = 1 - curve.tmr
        cost = (miss * fnmr + accept * curve.fmr) / min(miss, accept)
        # Rounding must not choose among equals.
        best = int(np.argmax(cost <= cost.min() * (1 + 1e-12)))
        rows.append(
            {
                "prior": prior,
                "cost_miss": cost_miss,
                "cost_false_accept": cost_false_accept,
                "value": float(cost[best]),
                "threshold": float(curve.thresholds[best]),
                "fmr": float(curve.fmr[best]),
                "fnmr": float(fnmr[best]),
                "interval": None,
                "interval_reason": NO_INTERVAL,
            }
        )
    return rows
