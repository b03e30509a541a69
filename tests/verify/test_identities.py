import numpy as np
import pytest

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.intervals import KNOWN, RECOVERED, pair_identities


def test_genuine_pairs_and_repeated_images_join_people():
    found = pair_identities([0, 2, 4, 1], [1, 3, 0, 4], [True, True, False, True], 6)
    # 0-1 and 1-4 are genuine, so 0, 1, 4 are one person; the impostor pair 4-0 joins nothing.
    assert found.left[0] == found.right[3] == found.left[2] == found.right[2]
    assert found.left[1] == found.right[1] != found.left[0]
    assert (found.count, found.source) == (3, RECOVERED)


def test_random_genuine_pairs_recover_the_people():
    rng = np.random.default_rng(0)
    person = rng.integers(0, 20, 200)
    left, right = rng.integers(0, 200, (2, 40_000))
    same = person[left] == person[right]
    found = pair_identities(left, right, same, 200)
    known = pair_identities(left, right, same, 200, person)
    assert found.count == known.count == 20
    assert known.source == KNOWN
    assert len(np.unique(np.stack([found.left, known.left]), axis=1).T) == 20
    assert ((found.left == found.right) == same).all()


def test_sides_that_do_not_fit_are_refused():
    with pytest.raises(EvaluationError, match="do not fit"):
        pair_identities([0, 1], [1], [True, False], 2)
