"""All pairs of a set in shards give the numbers of all pairs in memory, to the last bit."""

import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from lresnet_utils.cluster import embedded as pairs
from lresnet_utils.cluster.embedded import EmbeddedSet, all_pairs_of, shard_ledger
from lresnet_utils.cluster.engine import Here
from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import write_json
from lresnet_utils.verify.all_pairs import all_pairs

FARS = [0.1, 0.01, 1e-9]
BINS = 1 << 12


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Write 150 embeddings of 12 people in shards of 16; three failed, one shard wholly."""
    rng = np.random.default_rng(0)
    identity = rng.integers(0, 12, 150).astype(np.int32)
    x = rng.normal(size=(12, 32))[identity] + rng.normal(size=(150, 32))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    failed = np.r_[np.arange(32, 48), 7, 60, 149]
    x[failed] = 0
    folder = tmp_path_factory.mktemp("set")
    (folder / "shards").mkdir()
    for number, start in enumerate(range(0, 150, 16)):
        shard = folder / "shards" / f"{number:06d}.npy"
        np.save(shard, x[start : start + 16])
        shard_ledger(folder).write(shard.stem, {}, [shard], {})
    np.save(folder / "identity.npy", identity)
    about = {"n_images": 150, "n_failed": len(failed), "embedding_size": 32, "shard_size": 16}
    write_json(folder / "embedded.json", about)
    kept = np.setdiff1d(np.arange(150), failed)
    return EmbeddedSet.open(folder), all_pairs(x[kept], identity[kept], FARS, bins=BINS)


@pytest.mark.parametrize(
    ("side", "files"),
    [(16, "here"), (48, "here"), (1000, "here"), (48, "shared"), (48, "sent")],
)
def test_equal_to_all_pairs_in_memory(engines, monkeypatch, sample, side, files):
    embedded, expected = sample
    monkeypatch.setattr(pairs, "_SIDE", side)
    engine = Here() if files == "here" else engines(2, files)
    told = []
    found = all_pairs_of(
        embedded, FARS, engine, bins=BINS, progress=lambda *done: told.append(done)
    )
    for field in fields(found):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, field.name
    assert found.n_images == 131
    assert told[-1][0] == told[-1][1] == len(told)


@pytest.fixture
def copied(sample, tmp_path):
    return Path(shutil.copytree(sample[0].folder, tmp_path / "set"))


def told(folder):
    with pytest.raises(DataError) as refused:
        all_pairs_of(EmbeddedSet.open(folder), FARS, Here(), bins=BINS)
    assert str(refused.value).splitlines()[0] == "The embedded set is damaged."
    assert "run lresnet embed again" in refused.value.fix
    return Path(refused.value.where)


@pytest.mark.parametrize(
    "content",
    [
        np.zeros((16, 32)),
        np.zeros((16, 31), np.float32),
        np.zeros((15, 32), np.float32),
        np.asfortranarray(np.ones((16, 32), np.float32)),
        np.array([[{}] * 32] * 16),
        None,
    ],
)
def test_a_shard_that_is_no_shard_is_named(copied, content):
    shard = copied / "shards" / "000003.npy"
    if content is None:
        shard.write_bytes(shard.read_bytes() + b"x")
    else:
        np.save(shard, content, allow_pickle=True)
    assert told(copied) == shard


def test_what_is_missing_or_of_another_form_is_named(copied):
    identity, manifest = copied / "identity.npy", copied / "embedded.json"
    shard = copied / "shards" / "000003.npy"
    shard.rename(copied / "kept")
    assert told(copied) == shard
    (copied / "kept").rename(shard)
    shard.with_suffix(".json").write_text("[]")
    assert told(copied) == shard
    np.save(identity, np.zeros(149, np.int32))
    assert told(copied) == identity
    manifest.write_text('{"n_images": 150, "n_failed": 0, "shard_size": "16"}')
    assert told(copied) == manifest
