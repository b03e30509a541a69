"""Variance of an error rate when pairs share people, and the interval that follows from it.

Two pairs that show one person are not independent: who is hard to recognise is so in all of his
pairs. The variance here counts the products of all pairs that share an identity, each once, as in
the plug-in estimator of Fogliato, Patil and Perona (IJCV 2024, arXiv 2306.01198), which is the
dyadic-robust variance of Aronow, Samii and Assenova (2015). `docs/intervals.md` shows the coverage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from lresnet_utils.verify.identities import PairIdentities
from lresnet_utils.verify.intervals import wilson

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


def adjusted_wilson(
    value: float, variance: Variance, n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return Wilson's interval with the effective number of pairs instead of their number.

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
    confidence : float
        Two-sided confidence, between 0 and 1.

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
        return wilson(n if value >= 1 else round(value * n), n, confidence)
    low, high = _score_interval(value, variance, confidence)
    share = unseen(n, confidence)
    low, high = min(low, value * (1 - share)), max(high, value + (1 - value) * share)
    return max(0.0, low), min(1.0, high)


def bounded_mean(
    value: float, variance: Variance, n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the interval of a mean of values from 0 to 1, which need not be counts.

    What was seen says how far the mean may be off (by Wilson's bound or the plain one, whichever
    is farther), except for pairs of a kind of which none was among `n`: their values may all be 0,
    or all be 1. Near an end nearly all of the doubt is theirs, as the few values seen there hardly
    differ. The two causes are independent, and their distances add up as such (MOVER; Zou and
    Donner 2008).

    Parameters
    ----------
    value, variance, n, confidence
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
    seen = student(variance.freedom, confidence) * math.sqrt(variance.value)
    low, high = _score_interval(value, variance, confidence)
    share = unseen(n, confidence)
    low = value - math.hypot(max(seen, value - low), value * share)
    high = value + math.hypot(max(seen, high - value), (1 - value) * share)
    return max(0.0, low), min(1.0, high)


def unseen(n: int, confidence: float = 0.95) -> float:
    """Return the largest share of pairs of which none may be among `n`: Wilson's bound of 0 of n.

    Examples
    --------
    >>> f"{unseen(1800):.4f}"
    '0.0021'
    """
    return wilson(0, n, confidence)[1]


def _score_interval(value: float, variance: Variance, confidence: float) -> tuple[float, float]:
    """Return Wilson's bounds with the effective number of pairs, which a variance of 0 has not."""
    if not 0 < value < 1 or not variance.value > 0:
        return value, value
    q = student(variance.freedom, confidence)
    weight = q * q * variance.value / (value * (1 - value))
    centre = (value + weight / 2) / (1 + weight)
    half = math.sqrt(q * q * variance.value + weight * weight / 4) / (1 + weight)
    return centre - half, centre + half


def student(freedom: float, confidence: float = 0.95) -> float:
    """Return the two-sided quantile of Student's t, of the normal for infinite `freedom`."""
    upper = (1 + confidence) / 2
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
