"""Single numbers of a whole curve: decidability and minimum cost."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.curves import Roc
from lresnet_utils.verify.scores import checked_scores

# Share of genuine attempts; a miss and a false accept cost 1 each, as in NIST's evaluations.
PRIORS = (0.5, 0.01, 0.001)
NO_INTERVAL = "none: its threshold is chosen on the same pairs"


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
        "interval_reason": "none: it describes these scores",
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
