import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.scores import worst_pairs


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_equal_to_sorting_a_plain_list(seed, k):
    rng = np.random.default_rng(seed)
    distances = rng.choice([0.5, 1.0, 1.4, 1.5, 2.0], 25)
    same, acquired = rng.random(25) < 0.5, rng.random(25) < 0.8
    acquired[0] = True
    distances[~acquired] = np.nan
    used = [i for i in range(25) if acquired[i]]
    genuine = sorted((i for i in used if same[i]), key=lambda i: (-distances[i], i))
    impostor = sorted((i for i in used if not same[i]), key=lambda i: (distances[i], i))
    worst = worst_pairs(distances, same, 1.4, k, acquired=acquired)
    assert worst.genuine.tolist() == genuine[:k]
    assert worst.impostor.tolist() == impostor[:k]
    assert worst.genuine_wrong.tolist() == [not distances[i] < 1.4 for i in genuine[:k]]
    assert worst.impostor_wrong.tolist() == [bool(distances[i] < 1.4) for i in impostor[:k]]
    assert worst.n_genuine_wrong == sum(not distances[i] < 1.4 for i in genuine)
    assert worst.n_impostor_wrong == sum(bool(distances[i] < 1.4) for i in impostor)


@pytest.mark.parametrize(("threshold", "k"), [(1.4, -1), (float("nan"), 3)])
def test_impossible_requests_are_refused(threshold, k):
    with pytest.raises(EvaluationError, match="Cannot list"):
        worst_pairs([0.5, 1.5], [True, False], threshold, k)
