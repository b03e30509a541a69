import numpy as np
import pytest

from lresnet_utils.errors import EvaluationError
from lresnet_utils.machine.disk import write_json
from lresnet_utils.verify.intervals import PairIdentities, wilson
from lresnet_utils.verify.scored_pairs import (
    CLUSTERED,
    INDEPENDENT,
    UNSEEN,
    rates_at_threshold,
    threshold_of,
)


def test_rates_are_counts_and_people_with_many_errors_widen_the_interval():
    same = np.arange(400) % 2 == 0
    distances = np.where(same, 0.5, 1.5)
    distances[:40] = 1.0
    person = np.arange(400) // 20
    found = rates_at_threshold(distances, same, 0.9, PairIdentities(person, person, 20, "known"))
    assert (found["fnmr"]["errors"], found["fnmr"]["n"]) == (20, 200)
    assert (found["fmr"]["errors"], found["fmr"]["value"]) == (0, 0.0)
    assert found["fmr"]["interval"] == UNSEEN
    assert found["accuracy"]["value"] == 1 - 20 / 400
    assert found["fnmr"]["interval"] == CLUSTERED
    low, high = wilson(20, 200)
    assert found["fnmr"]["high"] - found["fnmr"]["low"] > 2 * (high - low)
    few = rates_at_threshold(distances, same, 0.9, PairIdentities(person % 2, person % 2, 2, "k"))
    assert few["fnmr"]["interval"] == INDEPENDENT
    assert (few["fnmr"]["low"], few["fnmr"]["high"]) == (low, high)


def test_another_runs_threshold_is_that_of_the_same_cell_or_its_largest_batch(tmp_path):
    cells = [
        {"target": "a", "batch_size": b, "threshold": {"value": v}} for b, v in ((1, 1.1), (8, 1.2))
    ]
    path = write_json(tmp_path / "results.json", {"cells": [*cells, {"target": "b"}]})
    find = threshold_of(path, "r")
    assert (find("a", 1), find("a", 8), find("a", 4)) == (1.1, 1.2, 1.2)
    with pytest.raises(EvaluationError, match="no threshold of b"):
        find("b", 1)
    with pytest.raises(EvaluationError, match="no such results"):
        threshold_of(tmp_path / "absent.json", "absent.json")
    with pytest.raises(EvaluationError, match="no run's results"):
        threshold_of(write_json(tmp_path / "other.json", [1]), "other.json")
