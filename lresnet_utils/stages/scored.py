"""One target's scores on one image variant, and the numbers that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lresnet_utils.verify.curves import Roc
from lresnet_utils.verify.intervals import wilson
from lresnet_utils.verify.protocol import ProtocolResult, fold_numbers

EER_INTERVAL = (
    "none: its threshold is chosen on the same pairs, so a binomial interval is too narrow"
)


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
    """

    distances: np.ndarray
    acquired: np.ndarray
    failed: np.ndarray
    protocol: ProtocolResult
    curve: Roc | None
    no_curve: str | None

    def pair_thresholds(self) -> np.ndarray:
        """Return the threshold that each pair was decided at: its fold's."""
        protocol = self.protocol
        folds = fold_numbers(len(self.distances), len(protocol.best_thresholds))
        return protocol.best_thresholds[folds]


def headline(scored: Scored) -> dict[str, Any]:
    """Return accuracy, threshold, EER and AUC as `results.json` holds them, each with its n."""
    protocol, curve = scored.protocol, scored.curve
    low, high = wilson(protocol.n - protocol.errors, protocol.n)
    return {
        "accuracy": {
            "value": protocol.mean_accuracy,
            "low": low,
            "high": high,
            "n": protocol.n,
            "errors": protocol.errors,
            "interval": "Wilson 95 % over pairs, taken as independent",
            "folds": protocol.accuracy,
            "standard_error": protocol.standard_error,
        },
        "threshold": {"value": protocol.mean_threshold, "folds": protocol.best_thresholds},
        "eer": _eer(scored),
        "auc": {"refused": scored.no_curve}
        if curve is None
        else {"value": curve.auc, "n_genuine": curve.n_genuine, "n_impostor": curve.n_impostor},
    }


def _eer(scored: Scored) -> dict[str, Any]:
    curve = scored.curve
    if curve is None:
        return {"refused": scored.no_curve}
    return {
        "value": curve.eer,
        "threshold": curve.eer_threshold,
        "n_genuine": curve.n_genuine,
        "n_impostor": curve.n_impostor,
        "interval": None,
        "interval_reason": EER_INTERVAL,
    }
