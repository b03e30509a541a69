"""Two networks along their whole road; ``python benchmarks/networks.py`` does it for all."""

import pytest
from networks import LIMIT, TARGETS, road


@pytest.mark.parametrize(("name", "batch_size"), [("mobilefacenet", 1), ("mobilefacenet", 16)])
def test_every_build_gives_pytorchs_embeddings(name, batch_size, tmp_path):
    row = road(name, batch_size, tmp_path)
    assert row["parameters"] == 1_200_512
    for target in TARGETS:
        assert 0 < row[target] < LIMIT
    assert max(row["simplified"], row["prepared"]) < LIMIT
