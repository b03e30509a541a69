"""One target's scores on one image variant, and the numbers that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.errors import EvaluationError
from lresnet_utils.machine.disk import read_json
from lresnet_utils.text.language import NONE, message
from lresnet_utils.verify.agreement import mcnemar_exact
from lresnet_utils.verify.curves import Roc, decidability, minimum_cost, roc, tar_at_far
from lresnet_utils.verify.intervals import (
    LEAST_IDENTITIES,
    PairDependence,
    PairIdentities,
    adjusted_wilson,
    share_variance,
    wilson,
)
from lresnet_utils.verify.protocol import (
    ProtocolResult,
    exact_protocol,
    fold_numbers,
    guide_protocol,
    guide_thresholds,
)
from lresnet_utils.verify.uncertainty import Uncertainty, uncertainty

NAIVE = "Wilson 95 % over pairs, taken as independent"
FEW = message(
    NONE,
    why="so few impostor pairs decide that the true threshold may lie below all of them; more "
    "impostor pairs or a higher rate would give one",
)
UNMOVED = message(NONE, why="no bootstrap draw moves it, as the classes hardly overlap")


@dataclass(frozen=True)
class Scored:
    """One target's distances on one image variant, and what the protocol makes of them.

    Attributes
    ----------
    distances : ndarray of float64, shape (n_pairs,)
        Squared L2 distances; NaN where a pair was not acquired.
    acquired : ndarray of bool, shape (n_pairs,)
        Pairs that have a distance.
    failed : ndarray of bool, shape (n_images,)
        Images without an embedding.
    protocol : ProtocolResult
        The guide's ten-fold evaluation.
    curve : Roc or None
        None where a class is absent; then `no_curve` says so.
    no_curve : str or None
        Why there is no curve.
    intervals : Uncertainty or None
        None where there is no curve or there are too few people; then `no_intervals` says so.
    no_intervals : str or None
        Why there are none.
    """

    distances: np.ndarray
    acquired: np.ndarray
    failed: np.ndarray
    protocol: ProtocolResult
    curve: Roc | None
    no_curve: str | None
    intervals: Uncertainty | None
    no_intervals: str | None

    def folds(self) -> np.ndarray:
        """Return the fold of each pair."""
        return fold_numbers(len(self.distances), len(self.protocol.best_thresholds))

    def pair_thresholds(self) -> np.ndarray:
        """Return the threshold that each pair was decided at: its fold's."""
        return self.protocol.best_thresholds[self.folds()]


def scored_pairs(
    distances: np.ndarray,
    acquired: np.ndarray,
    failed: np.ndarray,
    same: np.ndarray,
    identities: PairIdentities | None,
    *,
    folds: int,
    far_targets: list[float],
    replicates: int,
    seed: int,
) -> Scored:
    """Evaluate distances by the guide's protocol, with a curve and intervals where there can be.

    Parameters
    ----------
    distances, acquired, failed
        As :class:`Scored` holds them.
    same : ndarray of bool, shape (n_pairs,)
        True for genuine pairs.
    identities : PairIdentities or None
        Of all pairs; None where nobody knows.
    folds, far_targets, replicates, seed
        As declared in :class:`lresnet_utils.params.Params` (`replicates` as ``bootstrap``).

    Returns
    -------
    Scored
    """
    protocol = guide_protocol(distances, same, folds=folds, acquired=acquired)
    curve = intervals = no_curve = no_intervals = None
    try:
        curve = roc(distances[acquired], same[acquired])
        if identities is None:
            raise EvaluationError("It is not known who is in the pairs.")
        intervals = uncertainty(
            distances[acquired],
            same[acquired],
            fold_numbers(len(distances), folds)[acquired],
            protocol.best_thresholds,
            curve,
            identities.take(acquired),
            accuracy=protocol.mean_accuracy,
            far_targets=far_targets,
            replicates=replicates,
            seed=seed,
        )
    except EvaluationError as error:
        no_intervals = error.what
        no_curve = None if curve else error.what
    return Scored(distances, acquired, failed, protocol, curve, no_curve, intervals, no_intervals)


def headline(scored: Scored, same: np.ndarray) -> dict[str, Any]:
    """Return accuracy, threshold, EER and AUC as `results.json` holds them, each with its n."""
    protocol, curve, found = scored.protocol, scored.curve, scored.intervals
    low, high = wilson(protocol.n - protocol.errors, protocol.n)
    naive = {"low": low, "high": high, "interval": NAIVE}
    about = (
        {}
        if found is None
        else {
            "design_effect": found.design_effect,
            "people": found.people,
            "people_wrong": found.people_wrong,
        }
    )
    # Count the folds that hold acquired pairs of one class only.
    fold, folds = scored.folds()[scored.acquired], len(scored.protocol.best_thresholds)
    labels = same[scored.acquired]
    per_class = [np.bincount(fold[labels == own], minlength=folds) for own in (True, False)]
    return {
        "accuracy": {
            "value": protocol.mean_accuracy,
            **(_given(found.accuracy, scored, protocol.mean_accuracy) if found else naive),
            "n": protocol.n,
            "errors": protocol.errors,
            "naive": naive,
            **about,
            "folds": protocol.accuracy,
            "standard_error": protocol.standard_error,
            "standard_error_of": "mean over folds, s / sqrt(k) with s over k - 1",
            "exact": _exact(scored, same),
            "one_class_folds": int((np.minimum(*per_class) == 0).sum()),
        },
        "threshold": {
            "value": protocol.mean_threshold,
            **_given(found and found.threshold, scored),
            "folds": protocol.best_thresholds,
        },
        "eer": _of_curve(scored, curve and curve.eer, found and found.eer)
        | ({} if curve is None else {"threshold": curve.eer_threshold}),
        "auc": _of_curve(scored, curve and curve.auc, found and found.auc),
    }


def _exact(scored: Scored, same: np.ndarray) -> dict[str, Any]:
    """Return what thresholds between the distances give, beside those of the guide's grid."""
    folds, acquired = len(scored.protocol.best_thresholds), scored.acquired
    right, _, best = exact_protocol(scored.distances, same, folds=folds, acquired=acquired)
    by_grid = acquired & ((scored.distances < scored.pair_thresholds()) == same)
    n_right, n = int(right.sum()), int(acquired.sum())
    low, high = wilson(n_right, n)
    lower, upper = np.quantile(scored.distances[acquired], (0.25, 0.75))
    step = float(guide_thresholds()[1])
    return {
        "value": n_right / n,
        "low": low,
        "high": high,
        "interval": NAIVE,
        "n": n,
        "errors": n - n_right,
        "threshold": best,
        "mcnemar_p": mcnemar_exact(int((by_grid & ~right).sum()), int((right & ~by_grid).sum())),
        "steps": float((upper - lower) / step),
    }


def points(scored: Scored, same: np.ndarray, far_targets: list[float]) -> dict[str, Any]:
    """Return the operating points: TAR at each FAR, minimum costs, and d-prime."""
    fold = scored.folds()[scored.acquired]
    distances, same = scored.distances[scored.acquired], same[scored.acquired]
    if scored.curve is None:
        return {"tar_at_far": [], "minimum_cost": [], "decidability": {"refused": scored.no_curve}}
    # The interval over people stands in the place of the naive one, which stays beside it.
    rows = []
    for row in tar_at_far(distances, same, far_targets):
        if "refused" not in row:
            naive = {"low": row["low"], "high": row["high"], "interval": row["method"]}
            if scored.intervals is None:
                row |= {"naive": naive, "interval": row["method"]}
            elif (found := scored.intervals.tar[row["far"]]) is None:
                none = {"low": None, "high": None, "interval": None, "interval_reason": FEW}
                row |= none | {"method": FEW, "naive": naive}
            else:
                method = message(
                    "{method}; threshold from the same pairs", method=scored.intervals.method
                )
                row |= _interval(found, method) | {"method": method, "naive": naive}
        rows.append(row)
    fewest = int(np.bincount(fold, ~same).min())
    return {
        "fold_resolution": {"n_impostor": fewest, "far": 1 / fewest if fewest else None},
        "tar_at_far": rows,
        "minimum_cost": minimum_cost(scored.curve),
        "decidability": decidability(distances, same),
    }


def _of_curve(scored: Scored, value: float | None, ends: Any) -> dict[str, Any]:
    if scored.curve is None:
        return {"refused": scored.no_curve}
    counts = {"n_genuine": scored.curve.n_genuine, "n_impostor": scored.curve.n_impostor}
    return {"value": value} | counts | _given(ends, scored, value)


def _given(ends: Any, scored: Scored, value: float | None = None) -> dict[str, Any]:
    if scored.intervals is None:
        return {"interval": None, "interval_reason": message(NONE, why=scored.no_intervals)}
    if ends is None:
        return {"interval": None, "interval_reason": UNMOVED}
    return _interval(ends, UNSEEN if value in (0, 1) else scored.intervals.method)


def _interval(ends: tuple[float, float], method: str) -> dict[str, Any]:
    return {"low": ends[0], "high": ends[1], "interval": method}


# What a threshold that was fixed beforehand does on these pairs.

# Squared distances of unit vectors end at 4; a rule may put a threshold just beyond.
_FARTHEST = 5.0

CLUSTERED = "95 %, Wilson with the effective number of pairs, people as clusters"
UNSEEN = "95 %, Wilson over pairs: without an error nothing shows whether errors gather on people"
INDEPENDENT = "95 %, Wilson, pairs taken as independent: too few people to tell how they differ"


def rates_at_threshold(
    distances: np.ndarray, same: np.ndarray, threshold: float, identities: PairIdentities
) -> dict[str, Any]:
    """Return accuracy, FMR and FNMR at one threshold, each with its interval.

    The threshold must not come from these pairs: only then do the intervals say how the next set
    of such people will fare.

    Parameters
    ----------
    distances : ndarray of float64, shape (n,)
        Squared distances of acquired pairs.
    same : ndarray of bool, shape (n,)
        True for genuine pairs.
    threshold : float
        A pair is accepted when ``distance < threshold``.
    identities : PairIdentities
        Of these pairs.

    Returns
    -------
    dict
        ``threshold``, and ``accuracy``, ``fmr``, ``fnmr``: each ``value``, ``low``, ``high``,
        ``errors``, ``n``, ``interval``, or ``refused`` where the class is absent.

    Examples
    --------
    >>> people = PairIdentities(np.arange(8), np.arange(8), 8, "known")
    >>> rates = rates_at_threshold(np.full(8, 0.5), np.ones(8, bool), 1.0, people)
    >>> rates["fnmr"]["errors"], rates["fmr"]["refused"]
    (0, 'There are no impostor pairs.')
    """
    wrong = (distances < threshold) != same
    return {
        "threshold": float(threshold),
        "accuracy": _share(wrong, np.ones(len(same), bool), identities, "pairs", right=True),
        "fmr": _share(wrong, ~same, identities, "impostor pairs"),
        "fnmr": _share(wrong, same, identities, "genuine pairs"),
    }


def _share(
    wrong: np.ndarray, of: np.ndarray, identities: PairIdentities, what: str, *, right: bool = False
) -> dict[str, Any]:
    counted, n = wrong[of], int(of.sum())
    if not n:
        return {"refused": message("There are no {what}.", what=what)}
    errors = int(counted.sum())
    value = (n - errors) / n if right else errors / n
    pairs = PairDependence(identities.take(of))
    if pairs.count < LEAST_IDENTITIES:
        ends, method = wilson(n - errors if right else errors, n), INDEPENDENT
    else:
        ends = adjusted_wilson(value, share_variance(counted, pairs), n)
        method = CLUSTERED if 0 < value < 1 else UNSEEN
    return {"value": value, "low": ends[0], "high": ends[1], "errors": errors, "n": n} | {
        "interval": method
    }


def threshold_of(results: Path, shown: str) -> Callable[[str, int], float]:
    """Read the thresholds that another run chose on its own pairs.

    Parameters
    ----------
    results : path
        That run's ``results.json``.
    shown : str
        How messages name the file.

    Returns
    -------
    callable
        ``(target, batch_size)`` to the mean threshold of that run's cell: the same batch size if
        it has one, otherwise its largest; raises :class:`EvaluationError` when the run has no
        such target.

    Raises
    ------
    EvaluationError
        When the file is missing or not a run's results.
    """
    fix = "give a number, or the path of a finished run's results.json"
    if not results.is_file():
        raise EvaluationError("There is no such results file.", where=shown, fix=fix)
    content = read_json(results)
    try:
        cells = [cell for cell in content["cells"] if cell.get("threshold")]
        good = all(
            isinstance(cell["target"], str)
            and type(cell["batch_size"]) is int
            and type(cell["threshold"]["value"]) in (int, float)
            and abs(cell["threshold"]["value"]) <= _FARTHEST
            for cell in cells
        )
    except (KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise EvaluationError("The file holds no run's results.", where=shown, fix=fix)

    def find(target: str, batch_size: int) -> float:
        own = [cell for cell in cells if cell["target"] == target]
        if not own:
            raise EvaluationError(
                message("That run has no threshold of {target}.", target=target), where=shown
            )
        own.sort(key=lambda cell: (cell["batch_size"] == batch_size, cell["batch_size"]))
        return float(own[-1]["threshold"]["value"])

    return find
