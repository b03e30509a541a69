"""The image store against the pictures that went into it."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from lresnet_utils.data.collection import Asked, EncodedFaces, collect, distinct
from lresnet_utils.data.degrade import VARIANTS
from lresnet_utils.data.images import decode, encode_png
from lresnet_utils.data.readers import bin as bin_file
from lresnet_utils.data.readers.bin import write_bin
from lresnet_utils.data.source import build_source
from lresnet_utils.data.store import open_store, write_store
from lresnet_utils.errors import DataError, ParamsError, RunError

N = 7


def faces(seed, n=N):
    generator = np.random.default_rng(seed)
    small = generator.integers(0, 256, (n, 14, 14, 3), np.uint8)
    return np.repeat(np.repeat(small, 8, 1), 8, 2)


SLOTS = [0, 1, 2, 0, 3, 4, 4, 5, 1, 6]
SAME = [True, False, True, False, True]


def test_what_a_screen_would_obey_does_not_stay_in_a_sets_name(tmp_path):
    path = tmp_path / "a\x1b[31m\n\u202eb.bin"
    write_bin(path, [encode_png(face) for face in faces(1)[:4]], [True, False])
    assert build_source(path, tmp_path / "x").name == "a\\u001b[31m \\u202eb"
    assert build_source(path, tmp_path / "y", name="c\0").name == "c\\u0000"


def two_sides(path, plain, folder, variants):
    """Build a store of a set and its plain companion, as the demo's reader gives both."""
    aligned, other = (bin_file.read_bin(file).encoded for file in (path, plain))
    listed = bin_file.read(path, Asked())
    sides = np.arange(len(aligned)).reshape(-1, 2).T
    listed = dataclasses.replace(
        listed,
        faces=EncodedFaces(aligned, path),
        plain=EncodedFaces(other, plain),
        left=sides[0],
        right=sides[1],
    )
    return write_store(collect(listed), folder, name="small", source="s", variants=variants)


@pytest.fixture
def sets(tmp_path):
    """A set of five pairs over seven pictures; picture 3 is damaged. And its plain companion."""
    encoded = [encode_png(face) for face in faces(1)]
    encoded[3] = encoded[3][:50]
    plain = [encode_png(face) for face in faces(2)]
    return (
        write_bin(tmp_path / "small.bin", [encoded[i] for i in SLOTS], SAME),
        write_bin(tmp_path / "plain.bin", [plain[i] for i in SLOTS], SAME),
    )


def test_pictures_pairs_and_failures(sets, tmp_path):
    store = build_source(sets[0], tmp_path / "store", name="small")
    expected = faces(1)
    expected[3] = 0
    np.testing.assert_array_equal(store.images(), expected)
    assert store.n_images == N and store.n_pairs == 5 and store.variants == ("aligned",)
    np.testing.assert_array_equal(store.left, SLOTS[0::2])
    np.testing.assert_array_equal(store.right, SLOTS[1::2])
    assert store.left.dtype == np.int32 and store.same.tolist() == SAME
    assert store.failures == ((3, "damaged: it ends too soon"),)
    assert store.sha256 == hashlib.sha256(sets[0].read_bytes()).hexdigest()


def test_the_fingerprint_is_of_pictures_and_labels_not_of_names_or_packing(sets, tmp_path):
    encoded = [encode_png(face) for face in faces(1)]
    encoded[3] = encoded[3][:50]
    again = write_bin(tmp_path / "again.bin", [bytearray(encoded[i]) for i in SLOTS], SAME)
    mine = [
        build_source(path, tmp_path / path.stem, name=path.stem).record["pairs_sha256"]
        for path in (sets[0], again)
    ]
    assert mine[0] == mine[1]
    joined = b"".join(
        hashlib.sha256(encoded[SLOTS[2 * i]]).digest()
        + hashlib.sha256(encoded[SLOTS[2 * i + 1]]).digest()
        + bytes([SAME[i]])
        for i in range(5)
    )
    assert mine[0] == hashlib.sha256(joined).hexdigest()
    # Another label, another order of pairs, another picture.
    others = [
        ([encoded[i] for i in SLOTS], [not SAME[0], *SAME[1:]]),
        ([encoded[i] for i in (*SLOTS[2:], *SLOTS[:2])], [*SAME[1:], SAME[0]]),
        ([encoded[6], *(encoded[i] for i in SLOTS[1:])], SAME),
    ]
    for number, (slots, same) in enumerate(others):
        path = write_bin(tmp_path / f"other{number}.bin", slots, same)
        other = build_source(path, tmp_path / path.stem).record["pairs_sha256"]
        assert other != mine[0]


def test_people_are_kept_per_picture_where_the_source_knows_them(sets, tmp_path):
    person = np.array([7, 7, 8, 9, 9, 9, 8])
    listed = dataclasses.replace(bin_file.read(sets[0], Asked()), people=person)
    store = write_store(collect(listed), tmp_path / "store", name="small", source="s")
    assert store.identity.tolist() == person.tolist()
    assert build_source(sets[0], tmp_path / "other").identity is None


def test_images_are_mapped_and_read_only(sets, tmp_path):
    images = build_source(sets[0], tmp_path / "store").images()
    assert isinstance(images, np.memmap) and images.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_the_record_counts(sets, tmp_path):
    store = build_source(sets[0], tmp_path / "store")
    record = json.loads((tmp_path / "store" / "set.json").read_text())
    assert record == store.describe()
    assert (record["n_slots"], record["n_images"], record["repeated_slots"]) == (10, 7, 3)
    assert (record["n_pairs"], record["n_genuine"], record["n_impostor"]) == (5, 3, 2)
    assert record["failures"] == [{"image": 3, "reason": "damaged: it ends too soon"}]
    assert record["name"] == "small" and record["source"] == sets[0].as_posix()
    assert store.labels() == {"aligned": "aligned"}


def test_every_variant_is_made_from_the_aligned_pixels(sets, tmp_path):
    store = two_sides(sets[0], sets[1], tmp_path / "store", VARIANTS)
    assert store.variants == tuple(VARIANTS)
    clean = store.images("aligned")
    for name, variant in VARIANTS.items():
        images = store.images(name)
        assert not images[3].any(), "a picture that failed is zeros in every variant"
        for index in set(range(N)) - {3}:
            if variant.apply:
                np.testing.assert_array_equal(images[index], variant.apply(clean[index], index))
    np.testing.assert_array_equal(store.images("plain")[5], faces(2)[5])


def test_a_second_build_gives_the_same_bytes(sets, tmp_path):
    def contents(folder):
        build_source(sets[0], folder, variants=["noise40"])
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b") == contents(tmp_path / "a")
    assert set(first) == {"set.json", "pairs.npz", "images_aligned.npy", "images_noise40.npy"}


def test_progress_counts_distinct_pictures(sets, tmp_path):
    steps = []
    build_source(sets[0], tmp_path / "store", progress=lambda *step: steps.append(step))
    assert steps == [(i, N) for i in range(1, N + 1)]


def test_pictures_equal_in_one_set_only_stay_apart(tmp_path):
    """Two faces that were not found are equal (empty) when aligned, but two pictures."""
    good = [encode_png(face) for face in faces(1, 4)]
    a = write_bin(tmp_path / "a.bin", [b"", b"", good[2], good[3]], [True, False])
    b = write_bin(tmp_path / "b.bin", good, [True, False])
    store = two_sides(a, b, tmp_path / "store", ["plain"])
    assert store.n_images == 4 and store.failures == ((0, "empty"), (1, "empty"))


def test_a_failure_of_the_plain_picture_fails_the_picture(sets, tmp_path):
    broken = write_bin(tmp_path / "p.bin", [b"GIF" if i == 0 else encode_png(faces(2)[i])
                                            for i in SLOTS], SAME)  # fmt: skip
    store = two_sides(sets[0], broken, tmp_path / "store", ["plain"])
    assert store.failures[0] == (0, "not aligned: not a JPEG, PNG, BMP or WebP picture")
    assert not store.images("aligned")[0].any()


def test_what_does_not_fit_is_refused(sets, tmp_path):
    other = write_bin(tmp_path / "o.bin", [b"a", b"b"], [True])
    with pytest.raises(ParamsError, match="'plain' needs"):
        build_source(sets[0], tmp_path / "store", variants=["plain"])
    with pytest.raises(ParamsError, match="did you mean 'res28'"):
        build_source(sets[0], tmp_path / "store", variants=["res82"])
    with pytest.raises(DataError, match="No picture of the set can be used"):
        build_source(other, tmp_path / "store")


def test_unknown_variant_of_a_store(sets, tmp_path):
    store = build_source(sets[0], tmp_path / "store")
    with pytest.raises(DataError, match="no variant 'noise40'"):
        store.images("noise40")


def test_a_store_that_cannot_be_written(sets, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError):
        build_source(sets[0], tmp_path / "file")


def test_a_stopped_rebuild_leaves_no_store(sets, tmp_path):
    build_source(sets[0], tmp_path / "store")

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_source(sets[0], tmp_path / "store", progress=stop)
    with pytest.raises(DataError, match="no image store"):
        open_store(tmp_path / "store")
    assert not [path for path in (tmp_path / "store").iterdir() if path.name.startswith(".")]


def damage(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-20])


def test_damage_is_told(sets, tmp_path):
    folder = tmp_path / "store"
    for name in ("set.json", "pairs.npz", "images_aligned.npy"):
        build_source(sets[0], folder)
        damage(folder, name)
        with pytest.raises(DataError):
            open_store(folder).images()
    build_source(sets[0], folder)
    record = json.loads((folder / "set.json").read_text())
    for change in ({"n_images": 3}, {"n_pairs": 4}, {"variants": 1}, {"failures": None}):
        (folder / "set.json").write_text(json.dumps(record | change))
        with pytest.raises(DataError, match="damaged"):
            open_store(folder)


def test_distinct_against_a_dictionary():
    generator = np.random.default_rng(0)
    encoded = [bytes([value]) for value in generator.integers(0, 9, 60)]
    slots, image_of_slot = distinct(encoded)
    order = list(dict.fromkeys(encoded))
    assert [encoded[slot] for slot in slots] == order
    assert [order[image] for image in image_of_slot] == encoded
    assert all(decode(value)[0] is None for value in order)
