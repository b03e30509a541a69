"""Templates against a loop over media, and their CSV."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lresnet_utils.data.face_set import Templates
from lresnet_utils.data.images import encode_png
from lresnet_utils.data.pack import pack
from lresnet_utils.data.source import build_source, check_source, sample_faces
from lresnet_utils.errors import DataError, ParamsError


def by_loop(rows, vectors, failed, count):
    """Mean within each medium, mean of the media, then length one."""
    pooled, lost = np.zeros((count, vectors.shape[1])), np.zeros(count, bool)
    for template in range(count):
        media = sorted({m for t, m, _ in rows if t == template})
        means = [
            np.mean([vectors[i] for i in used], axis=0)
            for medium in media
            if (used := [i for t, m, i in rows if (t, m) == (template, medium) and not failed[i]])
        ]
        lost[template] = not means
        if means:
            mean = np.mean(means, axis=0)
            pooled[template] = mean / np.linalg.norm(mean)
    return pooled, lost


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_pooling_is_the_mean_of_the_media_and_leaves_failures_out(seed):
    rng = np.random.default_rng(seed)
    count, n_images, n_rows = 4, 9, 20
    template = np.concatenate([np.arange(count), rng.integers(0, count, n_rows)]).astype(np.int32)
    medium = (template * 3 + rng.integers(0, 3, len(template))).astype(np.int32)
    image = rng.integers(0, n_images, len(template)).astype(np.int32)
    vectors = rng.normal(size=(n_images, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    failed = rng.random(n_images) < 0.3
    vectors[failed] = 0
    one = np.zeros(1, np.int32)
    pooled, lost = Templates(template, medium, image, one, one, count).pool(vectors, failed)
    rows = list(zip(template.tolist(), medium.tolist(), image.tolist(), strict=True))
    expected, expected_lost = by_loop(rows, vectors, failed, count)
    np.testing.assert_array_equal(lost, expected_lost)
    np.testing.assert_allclose(pooled, expected, atol=1e-12)


def test_media_that_cancel_out_are_a_failure():
    rows = (np.zeros(2, np.int32), np.arange(2), np.arange(2))
    pair = np.zeros(1, np.int32)
    pooled, lost = Templates(*rows, pair, pair, 1).pool(
        np.array([[1.0, 0], [-1, 0]]), np.zeros(2, bool)
    )
    assert lost.tolist() == [True] and not pooled.any()


@pytest.fixture
def ijb(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(5):
        face = rng.integers(0, 256, (112, 112, 3), np.uint8)
        (tmp_path / f"{number}.png").write_bytes(encode_png(face))
    rows = ["template,medium,image,person", "7,a,0.png,x", "7,a,1.png,x", "7,b,2.png,x"]
    rows += ["9,a,3.png,y", "3,c,4.png,x"]
    (tmp_path / "set.csv").write_text("\n".join(rows))
    (tmp_path / "pairs.csv").write_text("left,right,same\n7,3,1\n9,7,0\n")
    return tmp_path


def test_a_csv_of_templates_becomes_a_store_that_pools(ijb):
    store = build_source(ijb / "set.csv", ijb / "store", pairs=str(ijb / "pairs.csv"))
    assert store.record["kind"] == "CSV of templates" and store.record["n_templates"] == 3
    left, right, n, identity = store.compared()
    assert (left.tolist(), right.tolist(), n, identity.tolist()) == ([0, 1], [2, 0], 3, [0, 1, 0])
    assert store.slots().tolist() == [0, 1, 2, 3, 4]
    vectors = np.eye(5)
    pooled, lost = store.pooled(vectors, np.zeros(5, bool))
    np.testing.assert_allclose(pooled[0], np.array([0.25, 0.25, 0.5, 0, 0]) / np.sqrt(0.375))
    assert not lost.any()
    assert store.pairs_with(1).tolist() == [True, True] and store.pairs_with(4).tolist() == [
        True,
        False,
    ]
    np.testing.assert_array_equal(sample_faces(ijb / "set.csv", 2), store.images()[:2])


def test_the_fingerprint_of_templates_is_of_their_pictures_not_their_names(ijb):
    def mark(folder):
        store = build_source(ijb / "set.csv", ijb / folder, pairs=str(ijb / "pairs.csv"))
        return store.record["pairs_sha256"]

    first = mark("a")
    text = (ijb / "set.csv").read_text()
    (ijb / "set.csv").write_text(text.replace("\n7,", "\n70,"))
    (ijb / "pairs.csv").write_text("left,right,same\n70,3,1\n9,70,0\n")
    assert mark("b") == first
    (ijb / "set.csv").write_text(text.replace("7,b,2.png", "7,a,2.png").replace("\n7,", "\n70,"))
    assert mark("c") != first, "another medium is another template"


def test_templates_need_their_pairs_and_fit_no_bin(ijb):
    with pytest.raises(ParamsError, match="needs the pairs of its templates"):
        check_source(ijb / "set.csv")
    (ijb / "pairs.csv").write_text("left,right,same\n7,8,1\n")
    with pytest.raises(DataError, match="unknown template '8'"):
        check_source(ijb / "set.csv", str(ijb / "pairs.csv"))
    (ijb / "pairs.csv").write_text("left,right,same\n7,3,1\n")
    with pytest.raises(DataError, match="pairs of pictures, not of templates"):
        pack(ijb / "set.csv", ijb / "a.bin", pairs=str(ijb / "pairs.csv"))
