"""Sources: samples equal the store, and what is missing is told."""

import numpy as np
import pytest

from lresnet_utils.data.collection import Collection, EncodedFaces
from lresnet_utils.data.images import decode, encode_png
from lresnet_utils.data.pack import pack
from lresnet_utils.data.readers.bin import read_bin, write_bin
from lresnet_utils.data.source import (
    READERS,
    build_source,
    check_source,
    describe_source,
    sample_faces,
)
from lresnet_utils.errors import DataError, ParamsError


@pytest.fixture
def small(tmp_path):
    generator = np.random.default_rng(4)
    pictures = [encode_png(np.full((112, 112, 3), int(v), np.uint8))
                for v in generator.choice(256, 5, replace=False)]  # fmt: skip
    pictures[2] = b"damaged"
    slots = [0, 0, 1, 2, 1, 3, 4, 0]
    return write_bin(tmp_path / "small.bin", [pictures[i] for i in slots], [True] * 4)


def test_samples_of_a_file_are_the_first_of_its_store(small, tmp_path):
    images = build_source(small, tmp_path / "store").images()
    for n in (0, 1, 3, 5):
        sample = sample_faces(small, n)
        assert sample.shape == (n, 112, 112, 3) and sample.dtype == np.uint8
        np.testing.assert_array_equal(sample, images[:n])


def test_a_small_set_is_repeated(small):
    sample = sample_faces(str(small), 12)
    np.testing.assert_array_equal(sample[5:10], sample[:5])
    np.testing.assert_array_equal(sample[10:], sample[:2])


def test_samples_of_the_demo_are_the_first_of_its_store(tmp_path):
    store = build_source("orl", tmp_path, name="ORL", variants=("plain",))
    assert store.name == "ORL" and store.source == "orl" and "AT&T" in store.credit
    assert store.n_images == 400 and store.failures == ()
    np.testing.assert_array_equal(sample_faces("orl", 18), store.images()[:18])
    assert (tmp_path / "orl.bin").is_file() and (tmp_path / "orl_plain.bin").is_file()


def test_describe(small):
    assert describe_source("orl").kind == "orl"
    described = describe_source(small)
    assert described.path == small and described.title == "small"


def test_a_missing_lfw_says_where_it_comes_from(tmp_path):
    with pytest.raises(DataError) as caught:
        describe_source(tmp_path / "data" / "lfw.bin")
    assert "section 4.1" in str(caught.value) and len(str(caught.value).splitlines()) == 3
    with pytest.raises(DataError, match="'orl'"):
        sample_faces("absent.bin", 3)


def test_a_kind_of_set_is_one_function_and_one_line(tmp_path, monkeypatch):
    """A toy: a file whose bytes are the grey levels of pictures, two for each pair."""

    def read(path, asked):
        asked.require_own_faces("a toy")
        grey = path.read_bytes()
        pictures = [encode_png(np.full((112, 112, 3), level, np.uint8)) for level in grey]
        left, right = np.arange(len(grey)).reshape(-1, 2).T
        return Collection(EncodedFaces(pictures), left, right, np.array([True, False]))

    monkeypatch.setitem(READERS, "toy", read)
    path = tmp_path / "four.toy"
    path.write_bytes(bytes([10, 20, 10, 30]))
    assert check_source(path, folds=2) is None
    store = build_source(path, tmp_path / "store")
    assert store.images()[:, 0, 0, 0].tolist() == [10, 20, 30] and store.name == "four"
    assert store.left.tolist() == [0, 0] and store.right.tolist() == [1, 2]
    assert sample_faces(path, 2)[:, 0, 0, 0].tolist() == [10, 20]
    packed = read_bin(pack(path, tmp_path / "four.bin").path)
    assert [decode(picture)[0][0, 0, 0] for picture in packed.encoded] == [10, 20, 10, 30]
    with pytest.raises(ParamsError, match="pairs of a toy are its own"):
        build_source(path, tmp_path / "store", pairs="view2")
