from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lresnet_utils.errors import EvaluationError
from lresnet_utils.machine.disk import to_json
from lresnet_utils.verify.health import failure_summary


def test_counts_and_rates_of_a_case_worked_by_hand():
    #            genuine: right, wrong, lost       impostor: right x3, wrong
    distances = [0.2, 1.5, np.nan, 1.6, 1.7, 1.8, 0.3]
    same = [1, 1, 1, 0, 0, 0, 0]
    acquired = [1, 1, 0, 1, 1, 1, 1]
    found = failure_summary(distances, same, 1.0, acquired=acquired, failed=[False] * 13 + [True])
    assert (found.n_images, found.n_failed_images) == (14, 1)
    assert (found.n_genuine, found.n_impostor) == (3, 4)
    assert (found.n_genuine_lost, found.n_impostor_lost) == (1, 0)
    assert (found.false_matches, found.false_non_matches) == (1, 1)
    assert (found.fta, found.fmr, found.fnmr) == (1 / 7, 1 / 4, 1 / 2)
    assert found.far == pytest.approx(1 / 4 * 6 / 7)
    assert found.frr == pytest.approx(1 / 7 + 1 / 2 * 6 / 7)


@given(st.integers(0, 2**32 - 1))
def test_losing_the_same_share_of_both_classes_makes_a_lost_pair_a_refusal(seed):
    rng = np.random.default_rng(seed)
    same = np.repeat([True, False], 20)
    acquired = np.tile(np.arange(20) >= 5, 2)
    distances = rng.uniform(0, 3, 40)
    found = failure_summary(distances, same, 1.5, acquired=acquired, failed=[False])
    accepted = (distances < 1.5) & acquired
    assert found.far == pytest.approx((accepted & ~same).sum() / 20)
    assert found.frr == pytest.approx((~accepted & same).sum() / 20)


def test_without_failures_the_rates_are_the_same():
    found = failure_summary(
        [0.5, 1.5, 1.5], [1, 1, 0], 1.0, acquired=[True] * 3, failed=np.zeros(6, bool)
    )
    assert found.fta == 0
    assert (found.far, found.frr) == (found.fmr, found.fnmr) == (0.0, 0.5)


def test_a_class_without_pairs_has_no_rate():
    found = failure_summary([0.5, 0.5], [1, 0], 1.0, acquired=[True, False], failed=[0, 1])
    assert (found.fmr, found.far) == (None, None)
    assert (found.fnmr, found.frr) == (0.0, 0.5)
    assert '"far": null' in to_json(asdict(found))


def test_bad_flags_and_thresholds_are_refused():
    with pytest.raises(EvaluationError, match="failure flag"):
        failure_summary([0.5], [1], 1.0, acquired=[1], failed=[3])
    with pytest.raises(EvaluationError, match="threshold"):
        failure_summary([0.5], [1], float("nan"), acquired=[1], failed=[0])
    with pytest.raises(EvaluationError, match="no pair"):
        failure_summary([np.nan], [1], 1.0, acquired=[0], failed=[1])
