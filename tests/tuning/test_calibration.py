"""Which faces int8's ranges come from: spread, the same each time, without labels."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.tuning.int8 import choose_calibration, spread

SPEC = {"channel_order": "bgr", "normalisation": "minus1_1"}


@given(m=st.integers(1, 60), n=st.integers(1, 80), k=st.integers(1, 4))
def test_spread_takes_distinct_pictures_of_every_variant(m, n, k):
    variants = tuple("abcd"[:k])
    shares = spread(np.arange(m) * 3, n, variants)
    assert sum(map(len, shares.values())) <= n
    for rows in shares.values():
        assert len(set(rows)) == len(rows) and set(rows) <= set(range(0, 3 * m, 3))
    # One from each of as many equal parts of the set as there are pictures.
    n = min(n, k * m)
    chosen = sorted(row // 3 for rows in shares.values() for row in rows)
    assert all(i * m // n <= row < -(-(i + 1) * m // n) for i, row in enumerate(chosen))


def test_left_and_right_sides_are_both_calibrated_on():
    """A set that pairs passport photos with camera pictures takes turns: left, right, left."""
    rows = spread(np.arange(12_800), 128, ("aligned",))["aligned"]
    assert 0.3 < (rows % 2).mean() < 0.7


def test_the_pixels_are_those_that_the_network_sees(faces):
    chosen = choose_calibration(faces, 10, **SPEC)
    assert chosen.inputs.shape == (10, 3, 112, 112) and chosen.inputs.dtype == np.float32
    assert list(chosen.chosen) == ["aligned", "res28"]
    expected = [
        to_network_input(np.asarray(faces.images(variant)[rows]), **SPEC)
        for variant, rows in chosen.chosen.items()
    ]
    assert np.array_equal(chosen.inputs, np.concatenate(expected))
    again = choose_calibration(faces, 10, **SPEC)
    assert again.describe() == chosen.describe()
    assert chosen.describe()["labels_used"] is False


def test_labels_and_failed_pictures_play_no_part(faces):
    other = replace(faces, same=~faces.same, left=faces.right, right=faces.left)
    plain, swapped = (choose_calibration(f, 8, **SPEC).chosen for f in (faces, other))
    assert plain == swapped
    broken = replace(faces, failures=((0, "cut short"), (3, "cut short")))
    used = choose_calibration(broken, 200, **SPEC).chosen["aligned"]
    assert 0 not in used and 3 not in used and 1 in used
