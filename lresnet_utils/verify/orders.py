"""One network fed in two ways: which of them is right, as far as the pairs can tell."""

from __future__ import annotations

from typing import Any

import numpy as np

from lresnet_utils.verify.agreement import flipped_pairs, mcnemar_exact
from lresnet_utils.verify.difference import hull, tango
from lresnet_utils.verify.paired import WeightedScores, paired_bootstrap, sampling_units
from lresnet_utils.verify.protocol import fold_numbers, guide_protocol

_LEAST_REPLICATES = 100


def order_difference(
    used: tuple[np.ndarray, np.ndarray],
    other: tuple[np.ndarray, np.ndarray],
    left: np.ndarray,
    right: np.ndarray,
    same: np.ndarray,
    *,
    folds: int,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Return how accurate a network is either way, and the difference with its interval.

    Parameters
    ----------
    used, other : (float64 array, bool array), each of shape (n,)
        Squared distances of the pairs, and which pairs have one.
    left, right : int array, shape (n,)
        The images of each pair.
    same : bool array, shape (n,)
        True for genuine pairs.
    folds, replicates, seed : int
        Of the guide's protocol and of the paired bootstrap.

    Returns
    -------
    dict
        ``used`` and ``other`` (accuracy and wrong pairs by the guide's protocol, over the pairs
        that both have), ``difference`` (other minus used: value, low, high, n, McNemar's exact p,
        interval) and ``right``: "used", "other", or None where the interval covers 0.

    Raises
    ------
    EvaluationError
        When too few pairs are left for the folds.
    """
    both = used[1] & other[1]
    fold = fold_numbers(len(same), folds)
    results = [guide_protocol(d, same, folds=folds, acquired=both) for d, _ in (used, other)]
    thresholds = [result.best_thresholds[fold] for result in results]
    flips = flipped_pairs(used[0], thresholds[0], other[0], thresholds[1], same, both)
    scores = [WeightedScores(d[both], same[both], fold[both]) for d, _ in (used, other)]
    units = sampling_units(left, right, same).only(both)
    drawn = paired_bootstrap(
        *scores, units, replicates=max(replicates, _LEAST_REPLICATES), seed=seed
    )
    gained, lost = len(flips.gained), len(flips.lost)
    low, high = hull(drawn.accuracy, tango(gained, lost, flips.n))
    right_one = "other" if low > 0 else "used" if high < 0 else None
    return {
        "used": _accuracy(results[0]),
        "other": _accuracy(results[1]),
        "difference": {
            "value": (gained - lost) / flips.n,
            "low": low,
            "high": high,
            "n": flips.n,
            "mcnemar_p": mcnemar_exact(lost, gained),
            "interval": f"{drawn.words}; joined with Tango's score interval",
        },
        "right": right_one,
    }


def _accuracy(result: Any) -> dict[str, Any]:
    return {"value": result.mean_accuracy, "errors": result.errors, "n": result.n}
