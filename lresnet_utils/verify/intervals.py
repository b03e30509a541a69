"""Confidence intervals for a proportion and for a mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike
from scipy import special
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lresnet_utils.errors import EvaluationError


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of the proportion ``k / n``.

    Its coverage is near `confidence` on average. It takes the `n` cases as independent: pairs
    that share a person are not quite, and the true interval is then wider (Fogliato et al., 2024,
    arXiv 2306.01198).

    Parameters
    ----------
    k, n : int
        Cases counted, of how many.
    confidence : float
        Two-sided confidence, between 0 and 1.

    Returns
    -------
    low, high : float
        Bounds as fractions; exactly 0 for ``k = 0`` and exactly 1 for ``k = n``.

    Raises
    ------
    EvaluationError
        Unless ``0 <= k <= n``, ``n >= 1`` and ``0 < confidence < 1``.

    Notes
    -----
    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
    (1927); without continuity correction.

    Examples
    --------
    The guide's 14 errors in 6,000 pairs:

    >>> low, high = wilson(6000 - 14, 6000)
    >>> f"{low:.5f} {high:.5f}"
    '0.99609 0.99861'
    """
    k, n = _whole(k, n)
    z = float(special.ndtri(_upper(confidence)))
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    # At the ends the formula is exactly 0 or 1; rounding must not say otherwise.
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Clopper-Pearson ("exact") interval of the proportion ``k / n``.

    Its coverage is never below `confidence` for independent cases, so it is wider than
    :func:`wilson`.

    Parameters
    ----------
    k, n : int
        Cases counted, of how many.
    confidence : float
        Two-sided confidence, between 0 and 1.

    Returns
    -------
    low, high : float
        Bounds as fractions; exactly 0 for ``k = 0`` and exactly 1 for ``k = n``.

    Raises
    ------
    EvaluationError
        Unless ``0 <= k <= n``, ``n >= 1`` and ``0 < confidence < 1``.

    Notes
    -----
    Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26 (1934), through quantiles of the beta distribution.

    Examples
    --------
    >>> low, high = clopper_pearson(14, 6000)
    >>> f"{low:.5f} {high:.5f}"
    '0.00128 0.00391'
    """
    k, n = _whole(k, n)
    upper = _upper(confidence)
    low = 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, 1 - upper))
    high = 1.0 if k == n else float(special.betaincinv(k + 1, n - k, upper))
    return low, high


def student_t(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the mean of `values` and its Student t interval.

    Parameters
    ----------
    values : array_like of float, shape (n,)
        At least two repeats of a measurement.
    confidence : float
        Two-sided confidence, between 0 and 1.

    Returns
    -------
    mean, low, high : float
        ``mean ± t s / sqrt(n)``, with ``s`` and ``t`` over ``n - 1`` degrees of freedom.

    Raises
    ------
    EvaluationError
        When there are fewer than two values, one is not finite, or `confidence` is not between
        0 and 1.

    Examples
    --------
    >>> mean, low, high = student_t([1.0, 2.0, 3.0])
    >>> f"{mean:.3f} {low:.3f} {high:.3f}"
    '2.000 -0.484 4.484'
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise EvaluationError(
            "A Student t interval needs a list of at least two finite values.",
            fix="repeat the measurement",
        )
    mean = float(values.mean())
    t = float(special.stdtrit(len(values) - 1, _upper(confidence)))
    half = t * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def _whole(k: int, n: int) -> tuple[int, int]:
    whole = isinstance(k, Integral) and isinstance(n, Integral)
    if not whole or not (n >= 1 and 0 <= k <= n):
        raise EvaluationError(f"{k} of {n} is not a proportion of whole cases.")
    # NumPy's narrow integers would overflow in a product.
    return int(k), int(n)


def _upper(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise EvaluationError(f"A confidence lies between 0 and 1, not at {confidence}.")
    return (1 + confidence) / 2


# Who is on each side of a pair: known identities, or those that the pairs themselves reveal.

KNOWN = "known identities"
RECOVERED = "identities recovered from genuine pairs and repeated images"


@dataclass(frozen=True)
class PairIdentities:
    """The identity on the left and on the right of each pair.

    Attributes
    ----------
    left, right : ndarray of int64, shape (n,)
        Numbers of identities, from 0 on.
    count : int
        Identities in all; some may be in no pair.
    source : str
        Where they come from, in words.
    """

    left: np.ndarray
    right: np.ndarray
    count: int
    source: str

    def take(self, pairs: np.ndarray) -> PairIdentities:
        """Return those of the chosen pairs (a mask or pair numbers)."""
        return PairIdentities(self.left[pairs], self.right[pairs], self.count, self.source)


def pair_identities(
    left: ArrayLike,
    right: ArrayLike,
    same: ArrayLike,
    n_images: int,
    identity: ArrayLike | None = None,
) -> PairIdentities:
    """Tell the identity on each side of every pair.

    A ``.bin`` set says only which pairs are genuine. Two images of a genuine pair show one person,
    and an image that the set repeats is one image, so the connected components of the genuine
    pairs over distinct images are its identities as far as the set reveals them: two components
    may still be one person.

    Parameters
    ----------
    left, right : array_like of int, shape (n,)
        Numbers of distinct images; a repeated image has one number.
    same : array_like of bool, shape (n,)
        True for genuine pairs.
    n_images : int
        Distinct images.
    identity : array_like of int, shape (n_images,), optional
        The person in each image, where it is known.

    Returns
    -------
    PairIdentities

    Raises
    ------
    EvaluationError
        When the sides do not fit together.

    Examples
    --------
    >>> found = pair_identities([0, 1, 3], [1, 2, 0], [True, True, False], 4)
    >>> found.left, found.right, found.count
    (array([0, 0, 1]), array([0, 0, 0]), 2)
    """
    left, right = np.asarray(left, np.int64), np.asarray(right, np.int64)
    same = np.asarray(same, bool)
    if left.ndim != 1 or not left.shape == right.shape == same.shape:
        raise EvaluationError(
            f"Sides {left.shape} and {right.shape} and labels {same.shape} do not fit together."
        )
    if identity is not None:
        known = np.unique(np.asarray(identity), return_inverse=True)[1]
        return PairIdentities(known[left], known[right], int(known.max()) + 1, KNOWN)
    edges = (np.ones(int(same.sum()), np.int8), (left[same], right[same]))
    count, found = connected_components(coo_array(edges, (n_images, n_images)), directed=False)
    found = found.astype(np.int64)
    return PairIdentities(found[left], found[right], int(count), RECOVERED)


# Variance of an error rate when pairs share people, and the interval that follows from it.
#
# Two pairs that show one person are not independent: who is hard to recognise is so in all of his
# pairs. The variance here counts the products of all pairs that share an identity, each once, as in
# the plug-in estimator of Fogliato, Patil and Perona (IJCV 2024, arXiv 2306.01198), which is the
# dyadic-robust variance of Aronow, Samii and Assenova (2015). `docs/intervals.md` shows the
# coverage.

# Below this the products of pairs that share a person say nothing about their spread.
LEAST_IDENTITIES = 5


@dataclass(frozen=True)
class Variance:
    """The variance of an estimate, and how well it is known.

    Attributes
    ----------
    value : float
        With the dependence of pairs that share an identity.
    naive : float
        With all pairs taken as independent.
    freedom : float
        Degrees of freedom of `value` as a multiple of a chi-square (Satterthwaite); infinite when
        the pairs show no dependence at all.
    """

    value: float
    naive: float
    freedom: float

    def plus(self, other: float) -> Variance:
        """Return this variance with that of an independent source added."""
        return Variance(self.value + other, self.naive, self.freedom)


class PairDependence:
    """Which pairs share an identity, ready for the variance of any estimate over these pairs.

    Parameters
    ----------
    identities : PairIdentities
        Who is on each side of the pairs.
    """

    def __init__(self, identities: PairIdentities) -> None:
        people, members = np.unique(
            np.concatenate([identities.left, identities.right]), return_inverse=True
        )
        self.left, self.right = members.reshape(2, -1)
        self.count = len(people)
        self.across = self.left != self.right
        low, high = np.minimum(self.left, self.right), np.maximum(self.left, self.right)
        dyads, self.dyad = np.unique(low * self.count + high, return_inverse=True)
        self.dyad_across = dyads // self.count != dyads % self.count

    def variance(self, influence: np.ndarray) -> Variance:
        """Return the variance of an estimate whose error is the sum of `influence` over pairs.

        Parameters
        ----------
        influence : ndarray of float64, shape (n,)
            What each pair adds to the estimate's deviation; sums to zero. For a share ``k / n``
            it is ``(counted - k / n) / n``.

        Returns
        -------
        Variance

        Examples
        --------
        Three people with two genuine pairs each, of which one person fails in both:

        >>> people = np.array([0, 0, 1, 1, 2, 2])
        >>> pairs = PairDependence(PairIdentities(people, people, 3, "known"))
        >>> wrong = np.array([1, 1, 0, 0, 0, 0])
        >>> found = pairs.variance((wrong - 1 / 3) / 6)
        >>> round(found.value / found.naive, 2)
        3.0
        """
        person = self._per_person(influence)
        dyad = np.square(np.bincount(self.dyad, influence))
        squares = np.square(person)
        # A pair of two people is in both people's sums, so its own square is counted twice.
        shared = squares.sum() - dyad[self.dyad_across].sum()
        small_sample = self.count / max(1, self.count - 1)
        own = self._per_person(np.square(influence), halved=True)
        naive = float(own.sum())
        value = max(float(shared), float(dyad.sum())) * small_sample
        return Variance(value, naive, _freedom(squares, own, naive))

    def _per_person(self, values: np.ndarray, *, halved: bool = False) -> np.ndarray:
        part = np.where(self.across, values / 2, values) if halved else values
        total = np.bincount(self.left, part, self.count)
        return total + np.bincount(self.right, np.where(self.across, part, 0.0), self.count)


def share_variance(counted: np.ndarray, pairs: PairDependence) -> Variance:
    """Return the variance of the share of `counted` pairs among those of `pairs`."""
    return pairs.variance((counted - counted.mean()) / len(counted))


def adjusted_wilson(value: float, variance: Variance, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval with the effective number of pairs instead of their number.

    The effective number is that of independent pairs with the same variance. With the variance's
    degrees of freedom, Student's t takes the place of the normal quantile. A variance that comes
    out smaller than that of `n` independent pairs does not make the interval tighter than it is
    where no pair fails, see :func:`unseen`.

    Parameters
    ----------
    value : float
        The estimate, between 0 and 1.
    variance : Variance
        Of the estimate.
    n : int
        Pairs behind it. Where the estimate is 0 or 1 no dependence can be seen, and the interval
        is Wilson's for `n` independent pairs.

    Returns
    -------
    low, high : float

    Examples
    --------
    >>> plain = Variance(0.1 * 0.9 / 50, 0.1 * 0.9 / 50, math.inf)
    >>> low, high = adjusted_wilson(0.1, plain, 50)
    >>> expected = wilson(5, 50)
    >>> bool(np.allclose([low, high], expected))
    True
    """
    if not 0 < value < 1 or not variance.value > 0:
        return wilson(n if value >= 1 else round(value * n), n)
    low, high = _score_interval(value, variance)
    share = unseen(n)
    low, high = min(low, value * (1 - share)), max(high, value + (1 - value) * share)
    return max(0.0, low), min(1.0, high)


def bounded_mean(value: float, variance: Variance, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a mean of values from 0 to 1, which need not be counts.

    What was seen says how far the mean may be off (by Wilson's bound or the plain one, whichever
    is farther), except for pairs of a kind of which none was among `n`: their values may all be 0,
    or all be 1. Near an end nearly all of the doubt is theirs, as the few values seen there hardly
    differ. The two causes are independent, and their distances add up as such (MOVER; Zou and
    Donner 2008).

    Parameters
    ----------
    value, variance, n
        As for :func:`adjusted_wilson`.

    Returns
    -------
    low, high : float
        Never tighter than :func:`~lresnet_utils.verify.intervals.wilson` for `n` of `n`.

    Examples
    --------
    >>> low, high = bounded_mean(1.0, Variance(0.0, 0.0, math.inf), 100)
    >>> bool(np.allclose([low, high], wilson(100, 100)))
    True
    """
    seen = student(variance.freedom) * math.sqrt(variance.value)
    low, high = _score_interval(value, variance)
    share = unseen(n)
    low = value - math.hypot(max(seen, value - low), value * share)
    high = value + math.hypot(max(seen, high - value), (1 - value) * share)
    return max(0.0, low), min(1.0, high)


def unseen(n: int) -> float:
    """Return the largest share of pairs of which none may be among `n`: Wilson's bound of 0 of n.

    Examples
    --------
    >>> f"{unseen(1800):.4f}"
    '0.0021'
    """
    return wilson(0, n)[1]


def _score_interval(value: float, variance: Variance) -> tuple[float, float]:
    """Return Wilson's bounds with the effective number of pairs, which a variance of 0 has not."""
    if not 0 < value < 1 or not variance.value > 0:
        return value, value
    q = student(variance.freedom)
    weight = q * q * variance.value / (value * (1 - value))
    centre = (value + weight / 2) / (1 + weight)
    half = math.sqrt(q * q * variance.value + weight * weight / 4) / (1 + weight)
    return centre - half, centre + half


def student(freedom: float) -> float:
    """Return the two-sided 95 % quantile of Student's t, of the normal for infinite `freedom`."""
    upper = _upper(0.95)
    return float(
        special.stdtrit(freedom, upper) if math.isfinite(freedom) else special.ndtri(upper)
    )


def _freedom(squares: np.ndarray, own: np.ndarray, naive: float) -> float:
    """Return twice the squared mean over the variance of the design effect's estimate.

    Normal sums give the number of people; a few people who bring all the errors give less; pairs
    without a sign of dependence leave nothing to estimate.
    """
    if naive <= 0:
        return math.inf
    spread = np.square(squares - squares.sum() / naive * own).sum()
    return math.inf if spread <= 0 else max(2.0, 2 * squares.sum() ** 2 / spread)
