import numpy as np
import pytest

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.curves import decidability, minimum_cost, roc


@pytest.mark.parametrize("seed", range(5))
def test_the_least_cost_is_that_of_trying_every_threshold(seed):
    rng = np.random.default_rng(seed)
    same = np.arange(60) % 3 == 0
    distances = np.clip(rng.normal(np.where(same, 0.9, 1.6), 0.4), 0, 4).round(1)
    rows = minimum_cost(roc(distances, same), [0.5, 0.01], cost_miss=10)
    for row in rows:
        prior = row["prior"]
        costs = []
        for cut in [0.0, *np.nextafter(distances, 9)]:
            fnmr, fmr = np.mean(distances[same] >= cut), np.mean(distances[~same] < cut)
            costs.append(10 * prior * fnmr + (1 - prior) * fmr)
        assert row["value"] == pytest.approx(min(costs) / min(10 * prior, 1 - prior))
        assert row["fmr"] == np.mean(distances[~same] < row["threshold"])
        assert row["fnmr"] == pytest.approx(np.mean(distances[same] >= row["threshold"]))


def test_impossible_costs_are_refused():
    curve = roc([0.1, 0.9], [True, False])
    with pytest.raises(EvaluationError):
        minimum_cost(curve, [1.0])
    with pytest.raises(EvaluationError):
        minimum_cost(curve, [0.5], cost_miss=0)


def test_decidability_needs_two_spread_classes():
    assert "refused" in decidability([0.1, 0.2], [True, True])
    assert "refused" in decidability([0.1, 0.2], [True, False])
