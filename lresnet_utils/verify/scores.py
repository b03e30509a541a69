"""From embeddings to distances of pairs, in double precision; and scores as others read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from lresnet_utils.errors import EvaluationError
from lresnet_utils.machine.disk import write_text
from lresnet_utils.text.language import message
from lresnet_utils.verify.intervals import PairIdentities

# Float32 and bfloat16 runtimes normalise to within this; raw embeddings (length about 20) do not.
_UNIT_TOLERANCE = 1e-2
# Rows scored at once: 4096 x 512 float64 values are 16 MiB, whatever the number of pairs.
_CHUNK = 4096


def unit_rows(x: ArrayLike) -> np.ndarray:
    """Scale every row to Euclidean length one, in float64.

    Rows are first scaled by a power of two, which is exact, so that no finite row overflows or
    vanishes when it is squared.

    Parameters
    ----------
    x : array_like, shape (n, d)
        Embeddings of any real dtype.

    Returns
    -------
    ndarray of float64, shape (n, d)
        A row of zeros stays zeros; a row that holds NaN or infinity becomes all NaN.

    Raises
    ------
    EvaluationError
        When `x` is not two-dimensional.

    Examples
    --------
    >>> unit_rows([[3, 4], [0, 0]])
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    rows = _rows(x, "x")
    largest = np.abs(rows).max(axis=1, initial=0.0, keepdims=True)
    finite = np.isfinite(largest)
    exponent = np.frexp(np.where(finite, largest, 1.0))[1]
    rows = np.ldexp(np.where(finite, rows, np.nan), -exponent)
    length = np.sqrt(np.square(rows).sum(axis=1, keepdims=True))
    return rows / np.where(length == 0.0, 1.0, length)


def squared_l2(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Return the squared Euclidean distance of each row of `a` to the same row of `b`.

    Everything is computed in float64. Float32 distances would be rounded before they meet the
    threshold, and a pair on a grid point could then change sides with the NumPy version.

    Parameters
    ----------
    a, b : array_like, shape (n, d)
        Embeddings of any real dtype; they are not normalised here.

    Returns
    -------
    ndarray of float64, shape (n,)
        The distances; for unit rows ``2 - 2 cos``, between 0 and 4.

    Raises
    ------
    EvaluationError
        When the shapes differ or are not two-dimensional.

    Examples
    --------
    >>> squared_l2([[1, 0], [1, 0]], [[0, 1], [-1, 0]])
    array([2., 4.])
    """
    a, b = _rows(a, "a"), _rows(b, "b")
    if a.shape != b.shape:
        raise EvaluationError(f"Embeddings of shapes {a.shape} and {b.shape} cannot be compared.")
    return np.square(a - b).sum(axis=1)


def score_pairs(
    vectors: ArrayLike, failed: ArrayLike, left: ArrayLike, right: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Score pairs of images by the distance of their unit embeddings.

    Memory does not grow with the number of pairs beyond the two results.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
        One unit embedding per image. They are used as they are, not normalised again, as in the
        guide's post-processing.
    failed : array_like of bool, shape (n,)
        True where an image gave no embedding; its row is not looked at.
    left, right : array_like of int, shape (m,)
        The image numbers of the two sides of each pair.

    Returns
    -------
    distances : ndarray of float64, shape (m,)
        Squared distances; NaN where either side failed.
    acquired : ndarray of bool, shape (m,)
        True where both sides have an embedding.

    Raises
    ------
    EvaluationError
        When shapes do not fit, a pair names an image that does not exist, or a row that is not
        marked as failed is not of unit length.

    Examples
    --------
    >>> distances, acquired = score_pairs(np.eye(3), [False, False, True], [0, 0], [1, 2])
    >>> distances, acquired
    (array([ 2., nan]), array([ True, False]))
    """
    vectors, failed = np.asarray(vectors), np.asarray(failed)
    if vectors.ndim != 2 or failed.shape != vectors.shape[:1] or failed.dtype != bool:
        raise EvaluationError(
            f"Embeddings {vectors.shape} need one true or false failure flag per row, "
            f"not {failed.dtype} {failed.shape}."
        )
    for start in range(0, len(vectors), _CHUNK):
        rows = vectors[start : start + _CHUNK].astype(np.float64)
        length = np.sqrt(np.square(rows).sum(axis=1))
        # "not within" rather than "outside", so that NaN is refused as well.
        wrong = ~(np.abs(length - 1.0) <= _UNIT_TOLERANCE) & ~failed[start : start + _CHUNK]
        if wrong.any():
            first = int(np.argmax(wrong))
            raise EvaluationError(
                message("An embedding has length {length:.6g} instead of 1.", length=length[first]),
                where=message("image {image}", image=start + first),
                fix="normalise the embeddings, or mark the image as failed",
            )
    sides = []
    for side in (left, right):
        numbers = np.asarray(side)
        if numbers.ndim != 1 or (numbers.size and not np.issubdtype(numbers.dtype, np.integer)):
            raise EvaluationError("A side of the pairs must be a list of image numbers.")
        # Negative numbers would count from the end without a word.
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < len(vectors)):
            raise EvaluationError(
                f"The pairs name images {numbers.min()} to {numbers.max()}, "
                f"but there are {len(vectors)} embeddings (0 to {len(vectors) - 1})."
            )
        sides.append(numbers.astype(np.intp))
    left, right = sides
    if left.shape != right.shape:
        raise EvaluationError(f"{len(left)} left sides do not pair with {len(right)} right sides.")
    acquired = ~(failed[left] | failed[right])
    distances = np.full(len(left), np.nan)
    scored = np.flatnonzero(acquired)
    for start in range(0, len(scored), _CHUNK):
        rows = scored[start : start + _CHUNK]
        distances[rows] = squared_l2(vectors[left[rows]], vectors[right[rows]])
    return distances, acquired


def checked_scores(
    distances: ArrayLike, same: ArrayLike, acquired: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distances, labels and acquired flags as arrays that can be evaluated, or refuse them.

    Parameters
    ----------
    distances : array_like, shape (n,)
        Squared distances, converted to float64. Where `acquired` is False any value may stand.
    same : array_like of bool, shape (n,)
        True for genuine pairs; zeros and ones are accepted.
    acquired : array_like of bool, shape (n,), optional
        Which pairs have a distance; all of them when not given.

    Returns
    -------
    distances : ndarray of float64, shape (n,)
    same : ndarray of bool, shape (n,)
    acquired : ndarray of bool, shape (n,)

    Raises
    ------
    EvaluationError
        When there is no acquired pair, lengths differ, a flag is neither true nor false, or an
        acquired distance is negative or not finite.
    """
    distances = np.asarray(distances, dtype=np.float64)
    same = _flags(same, "same")
    acquired = np.ones(same.shape, bool) if acquired is None else _flags(acquired, "acquired")
    if distances.ndim != 1 or not distances.shape == same.shape == acquired.shape:
        raise EvaluationError(
            f"Distances {distances.shape}, labels {same.shape} and acquired flags "
            f"{acquired.shape} do not fit together; each needs one entry per pair."
        )
    if not acquired.any():
        raise EvaluationError("There is no pair to evaluate.")
    wrong = acquired & ~(np.isfinite(distances) & (distances >= 0))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise EvaluationError(
            message(
                "{n} distances are negative or not finite, first {first}.",
                n=int(wrong.sum()),
                first=distances[first],
            ),
            where=message("pair {pair}", pair=first),
            fix="pass squared distances, and mark pairs without a score as not acquired",
        )
    return distances, same, acquired


def _rows(x: ArrayLike, name: str) -> np.ndarray:
    # C order fixes the order of summation, hence the last bit, whatever the caller's layout.
    rows = np.ascontiguousarray(x, dtype=np.float64)
    if np.ndim(x) != 2:
        raise EvaluationError(f"Embeddings must be rows of a table; {name} is {np.ndim(x)}-d.")
    return rows


def _flags(values: ArrayLike, name: str) -> np.ndarray:
    flags = np.asarray(values)
    if flags.dtype != bool and not np.isin(flags, (0, 1)).all():
        raise EvaluationError(f"Every entry of {name!r} must be true or false.")
    return flags.astype(bool)


# The pairs to look at first: genuine ones that look unlike, impostors that look alike.


@dataclass(frozen=True)
class WorstPairs:
    """Pair numbers, the worst first.

    Attributes
    ----------
    genuine : ndarray of int64
        Genuine pairs with the largest distances.
    impostor : ndarray of int64
        Impostor pairs with the smallest distances.
    genuine_wrong, impostor_wrong : ndarray of bool
        For each of those, whether the threshold decides it wrongly.
    n_genuine_wrong, n_impostor_wrong : int
        Wrong decisions among all pairs of the class, listed or not.
    """

    genuine: np.ndarray
    impostor: np.ndarray
    genuine_wrong: np.ndarray
    impostor_wrong: np.ndarray
    n_genuine_wrong: int
    n_impostor_wrong: int


def worst_pairs(
    distances: ArrayLike,
    same: ArrayLike,
    threshold: float,
    k: int,
    *,
    acquired: ArrayLike | None = None,
) -> WorstPairs:
    """List the `k` worst genuine and the `k` worst impostor pairs.

    These are where wrong labels and damaged images show up. Equal distances are listed in the
    order of the pairs.

    Parameters
    ----------
    distances : array_like of float, shape (n,)
        Squared distances.
    same : array_like of bool, shape (n,)
        True for genuine pairs.
    threshold : float
        A pair is accepted when ``distance < threshold``.
    k : int
        How many of each class; fewer are listed when the class is smaller.
    acquired : array_like of bool, shape (n,), optional
        Pairs that have a distance; all of them when not given.

    Returns
    -------
    WorstPairs

    Raises
    ------
    EvaluationError
        When the scores cannot be used, `k` is negative or the threshold is not a number.

    Examples
    --------
    >>> worst = worst_pairs([0.2, 1.6, 1.8, 0.9], [True, True, False, False], 1.4, 1)
    >>> worst.genuine, worst.impostor, worst.impostor_wrong
    (array([1]), array([3]), array([ True]))
    """
    distances, same, acquired = checked_scores(distances, same, acquired)
    if k < 0 or np.isnan(threshold):
        raise EvaluationError(f"Cannot list {k} pairs at the threshold {threshold}.")
    wrong = ((distances < threshold) != same) & acquired
    genuine = _first(np.flatnonzero(same & acquired), -distances, k)
    impostor = _first(np.flatnonzero(~same & acquired), distances, k)
    return WorstPairs(
        genuine=genuine,
        impostor=impostor,
        genuine_wrong=wrong[genuine],
        impostor_wrong=wrong[impostor],
        n_genuine_wrong=int((wrong & same).sum()),
        n_impostor_wrong=int((wrong & ~same).sum()),
    )


def _first(pairs: np.ndarray, key: np.ndarray, k: int) -> np.ndarray:
    return pairs[np.argsort(key[pairs], kind="stable")[:k]]


# Scores as files that other tools read.

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
