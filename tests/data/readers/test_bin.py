""".bin sets: written, read back, read as InsightFace does, damaged, hostile."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lresnet_utils.data.readers.bin import BinSet, read_bin, write_bin
from lresnet_utils.errors import DataError

PAIRS = st.lists(
    st.tuples(st.binary(max_size=30), st.binary(max_size=30), st.booleans()), min_size=1
)


def insightface_reader(path):
    """As recognition/arcface_torch/eval/verification.py opens a set."""
    with path.open("rb") as file:
        return pickle.load(file, encoding="bytes")


def sample():
    generator = np.random.default_rng(3)
    pictures = [generator.bytes(int(n)) for n in generator.integers(20, 90, 12)]
    return pictures, [True, False, True, True, False, False]


def write(path, value, protocol=2):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@settings(max_examples=50)
@given(PAIRS)
def test_round_trip(tmp_path_factory, pairs):
    path = tmp_path_factory.mktemp("bins") / "set.bin"
    encoded = [picture for pair in pairs for picture in pair[:2]]
    same = [pair[2] for pair in pairs]
    assert write_bin(path, encoded, same) == path
    content = read_bin(path)
    assert isinstance(content, BinSet)
    assert content.encoded == encoded
    assert content.same.tolist() == same and content.same.dtype == bool
    assert insightface_reader(path) == (encoded, same)


def test_same_arguments_same_bytes_and_repeats_stored_once(tmp_path):
    picture = os.urandom(5000)
    for name in ("a.bin", "b.bin"):
        # Equal content in different objects, as a decoder gives it.
        write_bin(tmp_path / name, [bytes(bytearray(picture)) for _ in range(40)], [True] * 20)
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
    assert (tmp_path / "a.bin").stat().st_size < 6000
    content = read_bin(tmp_path / "a.bin")
    assert content.encoded == [picture] * 40
    assert len({id(slot) for slot in content.encoded}) == 1


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "kind",
    [bytes, bytearray, lambda b: np.frombuffer(b, np.uint8),
     lambda b: np.frombuffer(b, np.uint8).reshape(-1, 1)],
    ids=["bytes", "bytearray", "(N,)", "(N, 1)"],
)  # fmt: skip
@pytest.mark.parametrize("labels", [list, tuple, np.array, lambda x: [np.bool_(v) for v in x]])
def test_every_way_that_sets_are_stored(tmp_path, protocol, kind, labels):
    pictures, same = sample()
    path = write(tmp_path / "s.bin", ([kind(p) for p in pictures], labels(same)), protocol)
    content = read_bin(path)
    assert content.encoded == pictures and content.same.tolist() == same
    assert all(type(picture) is bytes for picture in content.encoded)


def test_a_set_written_by_python_2(tmp_path):
    """As cPickle.dump((bins, issame_list), file, 2) wrote it: str pictures and bool labels."""
    path = tmp_path / "py2.bin"
    path.write_bytes(b"\x80\x02]q\x01(U\x02\xff\xd8U\x03a\x00be]q\x02\x88a\x86q\x03.")
    content = read_bin(path)
    assert content.encoded == [b"\xff\xd8", b"a\x00b"] and content.same.tolist() == [True]
    assert insightface_reader(path) == (content.encoded, [True])


@pytest.mark.parametrize("protocol", [0, 2, 3, 4])
def test_cut_short_anywhere_is_refused(tmp_path, protocol):
    pictures, same = sample()
    whole = pickle.dumps((pictures, same), protocol)
    path = tmp_path / "cut.bin"
    for end in [*range(0, len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"cut\.bin"):
            read_bin(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(DataError, match="4 bytes after its end"):
        read_bin(path)


class Touches:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_set_runs_nothing(tmp_path, protocol):
    marker = tmp_path / "run"
    pictures, same = sample()
    for value in (
        Touches(marker),
        ([*pictures, Touches(marker)], same),
        (pictures, Touches(marker)),
    ):
        path = write(tmp_path / "bad.bin", value, protocol)
        with pytest.raises(DataError, match=r"asks for \w+\.system") as caught:
            read_bin(path)
        assert not marker.exists()
        assert len(str(caught.value).splitlines()) <= 3 and "bad.bin" in str(caught.value)


@pytest.mark.parametrize(
    "value, message",
    [
        (([b"a"] * 3, [True]), "3 pictures do not make 1 pairs"),
        (([b"a"] * 2, [True, False]), "2 pictures do not make 2 pairs"),
        (([], []), "no pairs"),
        ([b"a", b"b"], "not a list"),
        (([b"a", b"b"],), "two parts"),
        (b"lfw", "two parts"),
        (([b"a", "b"], [True]), "picture 1"),
        (([b"a", None], [True]), "picture 1"),
        (([b"a", np.zeros((4, 4), np.uint8)], [True]), "picture 1"),
        (([b"a", np.zeros(4, np.int64)], [True]), "picture 1"),
        (([b"a", np.array(3, np.uint8)], [True]), "picture 1"),
        (([b"a", b"b"], [2]), "label of pair 0"),
        (([b"a", b"b"], ["True"]), "label of pair 0"),
        (([b"a", b"b"], True), "labels"),
        (([b"a", b"b"], np.array(True)), "labels"),
        (([b"a", b"b"], np.ones((1, 2), bool)), "labels"),
    ],
)
def test_what_is_not_a_set_of_pairs_is_refused(tmp_path, value, message):
    with pytest.raises(DataError, match=message):
        read_bin(write(tmp_path / "odd.bin", value, 4))


def test_missing_empty_and_folder(tmp_path):
    (tmp_path / "empty.bin").touch()
    for name in ("absent.bin", "empty.bin", "."):
        with pytest.raises(DataError):
            read_bin(tmp_path / name)


def test_wrong_counts_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="3 pictures for 1 pairs"):
        write_bin(tmp_path / "x.bin", [b"a"] * 3, [True])
    assert list(tmp_path.iterdir()) == []
