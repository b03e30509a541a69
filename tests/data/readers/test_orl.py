"""The demo's set: its pairs, its bytes, and what the packaged network makes of it."""

import pickle
from collections import Counter

import cv2
import numpy as np
import pytest
from sklearn.model_selection import KFold

from lresnet_utils.data.collection import Asked
from lresnet_utils.data.images import decode
from lresnet_utils.data.pack import pack
from lresnet_utils.data.packaged import orl_files, sface_file
from lresnet_utils.data.readers import orl
from lresnet_utils.data.readers.bin import read_bin
from lresnet_utils.data.readers.orl import orl_pairs


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orl")
    steps = []
    asked = Asked(folder=folder, progress=lambda *step: steps.append(step))
    collection = orl.read("orl", asked)
    assert steps == [(i, 400) for i in range(1, 401)]
    return collection


def test_folds_are_balanced_and_share_nobody():
    left, right, same = orl_pairs()
    assert left.dtype == right.dtype == np.int32 and same.dtype == bool
    seen = []
    for _, test in KFold(10, shuffle=False).split(left):
        assert len(test) == 360 and same[test].sum() == 180
        seen.append(set(left[test] // 10) | set(right[test] // 10))
        assert same[test[:180]].all(), "genuine pairs first, as in lfw.bin"
    assert all(len(people) == 4 for people in seen)
    assert set.union(*seen) == set(range(40))


def test_pairs_are_distinct_and_every_genuine_pair_is_there():
    left, right, same = orl_pairs()
    assert (left < right).all()
    assert len(set(zip(left.tolist(), right.tolist(), strict=True))) == 3600
    assert same.sum() == 40 * 45
    np.testing.assert_array_equal(same, left // 10 == right // 10)


def test_all_faces_are_found_and_the_pairs_are_right(built):
    assert len(built.faces) == len(built.faces.n_faces) == len(built.plain) == 400
    assert (len(built.same), built.same.sum()) == (3600, 1800)
    np.testing.assert_array_equal(built.people[built.left] == built.people[built.right], built.same)
    assert "AT&T Laboratories Cambridge" in built.credit
    assert built.faces.file.name == "orl.bin" and built.plain.file.name == "orl_plain.bin"


def test_both_files_hold_the_pairs(built):
    left, right, same = orl_pairs()
    aligned, plain = read_bin(built.faces.file), read_bin(built.plain.file)
    np.testing.assert_array_equal(aligned.same, same)
    np.testing.assert_array_equal(plain.same, same)
    files = orl_files()
    for slot, image in ((0, left[0]), (1, right[0]), (7198, left[-1]), (7199, right[-1])):
        grey = cv2.imread(str(files[image][1]), cv2.IMREAD_GRAYSCALE)
        expected = cv2.resize(grey, (112, 112))
        np.testing.assert_array_equal(decode(plain.encoded[slot])[0][..., 1], expected)
    assert len(set(aligned.encoded)) == len(set(plain.encoded)) == 400


def test_bytes_are_the_same_on_every_run(built, tmp_path):
    again = orl.read("orl", Asked(folder=tmp_path))
    assert again.faces.file.read_bytes() == built.faces.file.read_bytes()
    assert again.plain.file.read_bytes() == built.plain.file.read_bytes()


def test_a_face_that_is_not_found_is_left_empty(tmp_path, monkeypatch):
    calls = iter(range(400))
    face = np.zeros((112, 112, 3), np.uint8)
    monkeypatch.setattr(orl, "find_and_align", lambda grey: None if next(calls) == 3 else face)
    found = orl.read("orl", Asked(folder=tmp_path))
    assert set(range(400)) - found.faces.n_faces.keys() == {3}
    assert found.faces.face(3)[0] is None and found.plain.face(3)[1] is None
    slot = 2 * int(np.flatnonzero(found.left == 3)[0])
    assert read_bin(found.faces.file).encoded[slot] == b""
    assert decode(read_bin(found.plain.file).encoded[slot])[1] is None


def test_the_packaged_network_tells_these_people_apart(built):
    """A check of alignment, channels and labels together, on the first two folds."""
    net = cv2.dnn.readNetFromONNX(str(sface_file()))
    content = read_bin(built.faces.file)
    vectors = {}
    for picture in content.encoded[: 2 * 720]:
        if picture not in vectors:
            image = decode(picture)[0].astype(np.float32).transpose(2, 0, 1)[None]
            net.setInput(image, "data")
            features = net.forward()[0].astype(np.float64)
            vectors[picture] = features / np.linalg.norm(features)
    pairs = np.array([vectors[picture] for picture in content.encoded[: 2 * 720]])
    distances = ((pairs[0::2] - pairs[1::2]) ** 2).sum(axis=1)
    same = content.same[:720]
    best = max(((distances < t) == same).mean() for t in np.arange(0, 4, 0.01))
    assert best > 0.995


def test_the_demo_packs_into_what_insightface_reads(built, tmp_path):
    """An independent reader, as recognition/arcface_torch/eval/verification.py reads a set."""
    packed = pack("orl", tmp_path / "orl.bin")
    assert packed.n_aligned == 400 and packed.path.read_bytes() == built.faces.file.read_bytes()
    with packed.path.open("rb") as file:
        bins, issame = pickle.load(file, encoding="bytes")
    decoded = {b: cv2.imdecode(np.frombuffer(b, np.uint8), cv2.IMREAD_COLOR) for b in set(bins)}
    assert len(bins) == 2 * len(issame)
    assert (len(issame), sum(issame), packed.folds) == (3600, 1800, 10)
    assert {image.shape for image in decoded.values()} == {(112, 112, 3)}
    # Distinct faces that genuine pairs join are the people: 40 of ten, four to a fold.
    joined = {}
    for a, b, same in zip(bins[::2], bins[1::2], issame, strict=True):
        if same:
            group = joined.get(a, {a}) | joined.get(b, {b})
            joined.update(dict.fromkeys(group, group))
    people = {frozenset(group) for group in joined.values()}
    assert Counter(map(len, people)) == {10: 40}
    for fold in range(10):
        slots = bins[720 * fold : 720 * (fold + 1)]
        assert len({frozenset(joined[key]) for key in slots}) == 4
