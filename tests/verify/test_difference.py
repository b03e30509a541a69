import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.paired import hull, tango, verdict


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(0, 0, 50), (3, 9, 60), (0, 5, 40), (7, 0, 30), (10, 10, 25)]
)
def test_tangos_ends_solve_the_score_equation(gained, lost, n):
    """The constrained likelihood is maximised numerically, without Tango's closed form."""

    def score(delta):
        def minus(q):
            cells = np.array([q + delta, q, 1 - 2 * q - delta])
            counts = np.array([gained, lost, n - gained - lost])
            return -np.sum(counts[counts > 0] * np.log(np.maximum(cells[counts > 0], 1e-300)))

        low, high = max(0.0, -delta), (1 - delta) / 2
        q = optimize.minimize_scalar(
            minus, bounds=(low, high), method="bounded", options={"xatol": 1e-13}
        ).x
        return (gained - lost - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))

    z = stats.norm.ppf(0.975)
    low, high = tango(gained, lost, n)
    assert low < (gained - lost) / n < high
    assert score(low) == pytest.approx(z, abs=2e-3)
    assert score(high) == pytest.approx(-z, abs=2e-3)
    assert tango(lost, gained, n) == pytest.approx((-high, -low), abs=1e-9)


@given(st.integers(1, 200), st.data())
def test_tango_holds_its_estimate_and_stays_inside_minus_one_to_one(n, data):
    gained = data.draw(st.integers(0, n))
    lost = data.draw(st.integers(0, n - gained))
    low, high = tango(gained, lost, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1


def test_without_a_change_the_interval_is_what_n_pairs_leave_open():
    z2 = stats.norm.ppf(0.975) ** 2
    for n in (24, 3600, 6000):
        assert tango(0, 0, n) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)))
    with pytest.raises(EvaluationError, match="impossible"):
        tango(3, 3, 5)


def test_the_joined_interval_takes_the_wider_end_on_each_side():
    drawn = np.linspace(-0.02, 0.10, 1001)
    assert hull(drawn, (-0.05, 0.01)) == pytest.approx((-0.05, 0.097))
    assert hull(np.array([np.nan, np.nan]), (-0.1, 0.2)) == (-0.1, 0.2)


@given(
    st.floats(-0.5, 0.5), st.floats(0, 0.5), st.floats(0.001, 0.5), st.integers(0, 9),
    st.integers(0, 9),
)  # fmt: skip
def test_the_verdict_follows_its_rule(low, width, margin, lost, gained):
    high = low + width
    word = verdict(low, high, margin, lost=lost, gained=gained)
    sure = stats.binomtest(lost, lost + gained).pvalue < 0.05 if lost + gained else False
    open_ = low <= 0 <= high and not (-margin < low and high < margin)
    assert (word == "equivalent") == (-margin < low and high < margin)
    if word == "worse":
        assert high < 0 and low <= -margin
    if word == "better":
        assert low > 0 and high >= margin
    assert (word == "worse on these pairs") == (open_ and sure and lost > gained)
    assert (word == "better on these pairs") == (open_ and sure and lost < gained)
    assert (word == "not enough data") == (open_ and not sure)
    with pytest.raises(EvaluationError, match="margin"):
        verdict(low, high, 0.0)
