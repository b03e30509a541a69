"""What a threshold that was fixed beforehand does on these pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.errors import EvaluationError
from lresnet_utils.machine.disk import read_json
from lresnet_utils.verify.dependence import (
    LEAST_IDENTITIES,
    PairDependence,
    adjusted_wilson,
    share_variance,
)
from lresnet_utils.verify.identities import PairIdentities
from lresnet_utils.verify.intervals import wilson

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
        return {"refused": f"There are no {what}."}
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
        good = all(_has_threshold(cell) for cell in cells)
    except (KeyError, TypeError, AttributeError):
        good = False
    if not good:
        raise EvaluationError("The file holds no run's results.", where=shown, fix=fix)

    def find(target: str, batch_size: int) -> float:
        own = [cell for cell in cells if cell["target"] == target]
        if not own:
            raise EvaluationError(f"That run has no threshold of {target}.", where=shown)
        own.sort(key=lambda cell: (cell["batch_size"] == batch_size, cell["batch_size"]))
        return float(own[-1]["threshold"]["value"])

    return find


def _has_threshold(cell: dict[str, Any]) -> bool:
    value = cell["threshold"]["value"]
    return (
        type(cell["target"]) is str
        and type(cell["batch_size"]) is int
        and type(value) in (int, float)
        and abs(value) <= _FARTHEST
    )
