import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lresnet_utils.comparison.page_data import PackedPairs, pack, thumbnail, unpack
from lresnet_utils.errors import DataError

FACE = thumbnail(np.zeros((112, 112, 3), np.uint8))


def example(seed=0, n=30, cells=3):
    rng = np.random.default_rng(seed)
    base = rng.uniform(0, 4, n)
    rows = [base + rng.normal(0, 10.0 ** -rng.integers(1, 12), n) for _ in range(cells)]
    for row in rows:
        row.clip(0, 4, out=row)
        row[rng.random(n) < 0.1] = np.nan
    return PackedPairs(
        sha256="ab" * 32,
        left=rng.integers(0, 99, n).astype(np.int32),
        right=rng.integers(0, 99, n).astype(np.int32),
        same=rng.random(n) < 0.5,
        distances={f"16/target-{i}": row for i, row in enumerate(rows)},
        pictures={3: FACE, 1: FACE},
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 5))
def test_what_is_packed_comes_back_to_the_last_bit(seed, n, cells):
    pairs = example(seed, n, cells)
    back = unpack(json.loads(json.dumps(pack(pairs), allow_nan=False)), where="x")
    assert back.sha256 == pairs.sha256 and back.pictures == pairs.pictures
    for name in ("left", "right", "same"):
        assert np.array_equal(getattr(back, name), getattr(pairs, name))
    assert list(back.distances) == list(pairs.distances)
    for name, row in pairs.distances.items():
        assert back.distances[name].tobytes() == row.tobytes()


def test_twelve_cells_of_3600_pairs_fit_a_mailed_page():
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 4, 3600)
    rows = {f"{b}/t{i}": base + rng.normal(0, 1e-7, 3600) for b in (1, 4, 16) for i in range(4)}
    pairs = example(n=3600)
    whole = PackedPairs(pairs.sha256, pairs.left, pairs.right, pairs.same, rows, {})
    assert len(json.dumps(pack(whole))) < 300_000


@pytest.mark.parametrize(
    "damage",
    [
        {"n_pairs": 31}, {"n_pairs": 0}, {"n_pairs": 10**12}, {"n_pairs": "many"}, {"schema": 2},
        {"distances": "AAAA"}, {"same": "not base64!"}, {"left": None}, {"cells": ["one"]},
        {"pictures": {"three": "AAAA"}}, {"pictures": []},
    ],
)  # fmt: skip
def test_damaged_data_are_refused_in_three_lines(damage):
    with pytest.raises(DataError, match="damaged") as error:
        unpack(pack(example()) | damage, where="page.html")
    assert "page.html" in str(error.value)
    with pytest.raises(DataError):
        unpack([1, 2], where="page.html")


def test_a_row_that_unpacks_to_more_than_announced_is_not_unpacked():
    small, large = pack(example(n=30)), pack(example(n=3000))
    with pytest.raises(DataError):
        unpack(small | {"distances": large["distances"]}, where="x")
