"""Scores as files that other tools read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lresnet_utils.machine.disk import write_text
from lresnet_utils.verify.intervals import PairIdentities

CSV_HEADER = "pair,label,score,distance,left_image,right_image,left_identity,right_identity,fold"


def write_csv(
    path: Path,
    distances: np.ndarray,
    same: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    identities: PairIdentities,
    fold: np.ndarray,
) -> Path:
    """Write one line per pair, with a header.

    ``label`` is 1 for genuine; ``score`` is the cosine similarity ``1 - distance / 2``, empty with
    ``distance`` where a pair was not acquired; numbers are written so that they read back exactly.

    Parameters
    ----------
    path : Path
    distances : ndarray of float64, shape (n,)
        Squared distances of unit embeddings; NaN where a pair was not acquired.
    same : ndarray of bool, shape (n,)
    left, right : ndarray of int, shape (n,)
        Image numbers.
    identities : PairIdentities
        Of these pairs.
    fold : ndarray of int, shape (n,)
        From 0 on.

    Returns
    -------
    Path
    """
    columns = (distances, same, left, right, identities.left, identities.right, fold)
    lines = [CSV_HEADER]
    for pair, (d, label, a, b, person, other, f) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        score, distance = ("", "") if d != d else (repr(1 - d / 2), repr(d))
        lines.append(f"{pair},{int(label)},{score},{distance},{a},{b},{person},{other},{f}")
    return write_text(path, "\n".join(lines) + "\n")


def write_four_columns(
    path: Path,
    distances: np.ndarray,
    same: np.ndarray,
    right: np.ndarray,
    identities: PairIdentities,
) -> Path:
    """Write bob's four columns: claimed identity, real identity, probe, similarity.

    bob takes a line as genuine when the first two are equal. Where a label contradicts the
    identities, the label decides and the real identity gets a suffix. A pair that was not acquired
    has the score ``nan``, which bob counts as a failure to acquire.

    Parameters
    ----------
    path : Path
    distances, same, right, identities
        As in :func:`write_csv`.

    Returns
    -------
    Path
    """
    lines = []
    columns = (distances, same, right, identities.left, identities.right)
    for d, label, probe, claimed, real in zip(*(c.tolist() for c in columns), strict=True):
        shown = f"{claimed}" if label else f"{real}" + "_labelled_other" * (claimed == real)
        lines.append(f"{claimed} {shown} image{probe} {1 - d / 2!r}")
    return write_text(path, "\n".join(lines) + "\n")
