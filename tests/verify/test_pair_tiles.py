"""However the pairs are cut and on whichever kernel they are scored, the bits are the same."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lresnet_utils.verify.all_pairs import Rows, count, keep, tiles
from lresnet_utils.verify.scores import unit_rows

BINS = 1 << 12


def sample(n=60, size=33, seed=0):
    rng = np.random.default_rng(seed)
    x = unit_rows(rng.normal(size=(n, size)).astype(np.float32))
    return Rows.of(x, rng.integers(0, 5, n))


@settings(max_examples=20)
@given(n=st.integers(0, 40), side=st.integers(1, 41))
def test_tiles_hold_every_pair_once(n, side):
    held = np.zeros((n, n), int)
    for a, b in tiles(n, side):
        block = np.ones((a.stop - a.start, b.stop - b.start), int)
        held[a, b] += np.triu(block, 1) if a == b else block
    np.testing.assert_array_equal(held, np.triu(np.ones((n, n), int), 1))


@settings(max_examples=15)
@given(side=st.integers(1, 60), seed=st.integers(0, 3))
def test_the_sum_over_tiles_does_not_depend_on_the_tiles(side, seed):
    rows = sample(seed=seed)
    parts = [(rows[a], None if a == b else rows[b]) for a, b in tiles(len(rows), side)]
    whole = count(rows, None, BINS)
    np.testing.assert_array_equal(sum(count(*part, BINS) for part in parts), whole)
    assert whole.sum() == 60 * 59 // 2
    wanted = [int(np.argmax(whole[0])), int(np.argmax(whole[1]))]
    kept = [keep(*part, BINS, wanted) for part in parts]
    for number, expected in enumerate(keep(rows, None, BINS, wanted)):
        for column, scores in enumerate(expected):
            found = np.sort(np.concatenate([part[number][column] for part in kept]))
            np.testing.assert_array_equal(found, np.sort(scores))
            assert len(scores) == whole[column][wanted[number]]


def test_scores_are_exact_in_any_order_of_adding():
    rows = sample(size=512)
    forward = rows.vectors @ rows.vectors.T
    shuffled = np.random.default_rng(1).permutation(512)
    backward = np.einsum("id,jd->ij", rows.vectors[:, shuffled], rows.vectors[:, shuffled])
    np.testing.assert_array_equal(forward, backward)
    whole = np.rint(rows.vectors * 2**26).astype(np.int64)
    np.testing.assert_array_equal(forward * 2**52, (whole @ whole.T).astype(np.float64))


def test_rounding_to_the_grid_moves_a_component_by_half_a_step():
    x = unit_rows(np.random.default_rng(2).normal(size=(9, 512)))
    assert np.abs(Rows.of(x, np.zeros(9, int)).vectors - x).max() <= 2.0**-27
