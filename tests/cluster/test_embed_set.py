"""A set in shards is the set in one piece, whoever embeds it and whatever happens to them."""

import contextlib
import os
import signal
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from lresnet_utils.cluster.embed_set import embed_set
from lresnet_utils.cluster.embedded import EmbeddedSet
from lresnet_utils.cluster.engine import Here
from lresnet_utils.cluster.records import open_records
from lresnet_utils.data.collection import FileFaces
from lresnet_utils.data.images import encode_png
from lresnet_utils.data.packaged import orl_files
from lresnet_utils.data.readers.folder import list_people
from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import read_json, write_json
from lresnet_utils.machine.locks import HELD, hold_machine
from lresnet_utils.targets.embed import embed

from .conftest import Projecting, Stub

N, SHARD = 45, 8


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    path = tmp_path_factory.mktemp("pixels") / "noise.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (N, 112, 112, 3), np.uint8))
    return path


@pytest.fixture(scope="module")
def whole(pixels):
    """Embed everything at once, without shards."""
    return embed(np.load(pixels), Projecting(0.0), **Stub().how).vectors


def vectors(embedded: EmbeddedSet) -> np.ndarray:
    return np.concatenate([np.load(embedded.shard(i)) for i in range(embedded.n_shards)])


@dataclass(frozen=True)
class Killed(Stub):
    """Notes every shard that is begun, and once ends its worker in the middle of one."""

    notes: Path = Path()

    @contextmanager
    def open(self, place):
        with (self.notes / "begun").open("a") as file:
            print(os.getpid(), file=file)
        with super().open(place) as embed_images:

            def embed_or_die(images, **how):
                found = embed_images(images, **how)
                mark = self.notes / "killed"
                if (self.notes / "begun").read_text().count("\n") >= 3:
                    # Of workers that come here at the same time, one makes the file.
                    with contextlib.suppress(FileExistsError):
                        mark.touch(exist_ok=False)
                        os.kill(os.getpid(), signal.SIGKILL)
                return found

            yield embed_or_die


# Runs lose a worker the other way round, in test_run_jobs: 2 shared, 4 sent.
@pytest.mark.parametrize(("n_workers", "files"), [(2, "sent"), (4, "shared")])
def test_a_worker_that_is_killed_costs_one_shard_again(
    engines, by_value, pixels, whole, tmp_path, n_workers, files
):
    by_value(sys.modules[__name__])
    engine = engines(n_workers, files)
    network = Killed(notes=tmp_path)
    found = embed_set(open_records(pixels), network, tmp_path / "set", engine, shard_size=SHARD)
    np.testing.assert_array_equal(vectors(found), whole)
    assert (tmp_path / "killed").exists()
    # Every shard was begun once, and the one that was lost once more. Where files are sent, so are
    # those that were finished but not fetched yet.
    more = (tmp_path / "begun").read_text().count("\n") - found.n_shards
    assert more == 1 if files == "shared" else 1 <= more <= 2 * n_workers
    names = {path.name for path in (tmp_path / "set").rglob("*")}
    shards = [f"{i:06d}" for i in range(6)]
    assert names == {"shards", "embedded.json"} | {s + e for s in shards for e in (".npy", ".json")}


def test_only_what_is_missing_or_damaged_is_embedded_again(pixels, whole, tmp_path):
    records = open_records(pixels)

    def again(**changed):
        return embed_set(records, Stub(**changed), tmp_path, Here(), shard_size=SHARD)

    first = again()
    np.testing.assert_array_equal(vectors(first), whole)
    assert (first.embedded, again().embedded) == (N, 0)
    first.shard(1).unlink()
    first.shard(3).write_bytes(first.shard(3).read_bytes()[:-1] + b"?")
    first.shard(4).with_suffix(".json").write_text("{")
    # An entry that states no file, or another, says nothing of this one.
    for number, files in ((0, {}), (2, {"../x": None})):
        entry = first.shard(number).with_suffix(".json")
        write_json(entry, read_json(entry) | {"files": files})
    assert again().embedded == 5 * SHARD
    np.testing.assert_array_equal(vectors(first), whole)
    assert again(described={"network": "another"}).embedded == N
    os.utime(pixels, (1, 1))
    assert again(described={"network": "another"}).embedded == N


def test_a_set_that_was_not_finished_is_not_opened(pixels, tmp_path):
    class Stopped(Stub):
        @contextmanager
        def open(self, place):
            if (tmp_path / "shards" / "000002.json").exists():
                raise KeyboardInterrupt
            with super().open(place) as embed_images:
                yield embed_images

    records = open_records(pixels)
    with pytest.raises(KeyboardInterrupt):
        embed_set(records, Stopped(), tmp_path, Here(), shard_size=SHARD)
    with pytest.raises(DataError, match="not finished"):
        EmbeddedSet.open(tmp_path)
    assert embed_set(records, Stub(), tmp_path, Here(), shard_size=SHARD).embedded == N - 3 * SHARD


def test_a_shard_waits_while_something_is_timed(pixels, tmp_path, monkeypatch):
    monkeypatch.delenv(HELD, raising=False)
    done = threading.Event()

    def embed_all():
        embed_set(open_records(pixels), Stub(), tmp_path, Here(), shard_size=N)
        done.set()

    with hold_machine(alone=True):
        thread = threading.Thread(target=embed_all)
        thread.start()
        assert not done.wait(0.5)
    thread.join(60)
    assert done.is_set()


@pytest.mark.parametrize("files", ["here", "shared", "sent"])
def test_people_in_folders_are_found_and_a_broken_picture_is_named(engines, tmp_path, files):
    engine = Here() if files == "here" else engines(2, files)
    images = np.random.default_rng(1).integers(0, 256, (5, 112, 112, 3), np.uint8)
    for number, (person, image) in enumerate(zip("aabbb", images, strict=True)):
        path = tmp_path / "people" / person / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(image))
    (tmp_path / "people" / "b" / "3.png").write_bytes(b"GIF89a")
    (tmp_path / "people" / "b" / "notes.txt").write_text("no picture")
    records = open_records(tmp_path / "people")
    found = embed_set(records, Stub(), tmp_path / "set", engine, shard_size=2)
    expected = embed(images, Projecting(0.0), **Stub().how).vectors
    expected[3] = 0
    np.testing.assert_array_equal(vectors(found), expected)
    assert found.identity().tolist() == [0, 0, 1, 1, 1]
    assert found.record["n_failed"] == 1
    record = read_json(found.shard(1).with_suffix(".json"))
    assert record["told"]["failures"] == {"3": "not a JPEG, PNG, BMP or WebP picture"}


def photograph(face, left, top):
    """Return a face twice as large on a wall of 400 x 300 pixels."""
    picture = np.full((300, 400, 3), 90, np.uint8)
    large = cv2.resize(face, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    picture[top : top + large.shape[0], left : left + large.shape[1]] = large
    return encode_png(picture)


@pytest.mark.parametrize("files", ["here", "sent"])
def test_people_are_read_as_a_run_reads_them(engines, tmp_path, files):
    """Hidden folders left out, photographs aligned, links within followed: one way for a face."""
    people = tmp_path / "people"
    for number, (person, path) in enumerate(orl_files()[:40]):
        face = cv2.imread(str(path))
        name = people / f"p{person}" / f"{number:02}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(photograph(face, 10 + 3 * number, 20))
    (people / "p0" / "aligned.png").write_bytes(encode_png(np.full((112, 112, 3), 7, np.uint8)))
    (people / "p1" / "link.png").symlink_to(people / "p2" / "25.png")
    for hidden in (people / ".thumbnails", people / "p1" / ".cache"):
        hidden.mkdir()
        (hidden / "x.png").write_bytes(encode_png(np.zeros((112, 112, 3), np.uint8)))
    (people / "empty").mkdir()
    listing = list_people(people, "all", 2)
    faces = FileFaces(people, listing.faces.names)
    read = [faces.face(index) for index in range(len(faces))]
    assert len(faces.n_faces) > 20
    images = np.stack([np.zeros((112, 112, 3), np.uint8) if f is None else f for f, _ in read])
    expected = embed(images, Projecting(0.0), **Stub().how).vectors
    failed = [index for index, (face, _) in enumerate(read) if face is None]
    expected[failed] = 0
    engine = Here() if files == "here" else engines(2, files)
    found = embed_set(open_records(people), Stub(), tmp_path / "set", engine, shard_size=9)
    np.testing.assert_array_equal(vectors(found), expected)
    assert found.identity().tolist() == listing.people.tolist()
    assert found.record["n_failed"] == len(failed)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "people" / "a").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(encode_png(np.zeros((112, 112, 3), np.uint8)))
    (tmp_path / "people" / "a" / "1.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match="leads out"):
        open_records(tmp_path / "people")


def test_of_a_file_too_large_for_a_picture_little_is_sent(engines, tmp_path, monkeypatch):
    monkeypatch.setattr("lresnet_utils.cluster.records.MAX_BYTES", 1000)
    (tmp_path / "people" / "a").mkdir(parents=True)
    (tmp_path / "people" / "a" / "1.png").write_bytes(bytes(5000))
    parts, _ = open_records(tmp_path / "people").shard(0, 1)
    assert parts["0"].length == 1001


@pytest.mark.parametrize(
    "content", [np.array([{}] * 3), np.zeros((0, 112, 112, 3), np.uint8), b"not an array", None]
)
def test_what_is_no_array_of_pictures_is_refused(tmp_path, content):
    path = tmp_path / "x.npy"
    if content is None:
        np.save(path, np.zeros((2, 112, 112, 3), np.uint8))
        path.write_bytes(path.read_bytes()[:-1])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(DataError, match="These are not pictures") as refused:
        open_records(path)
    assert len(str(refused.value).splitlines()) == 3


def test_a_bin_set_and_an_image_store_give_the_same_pictures(small_lfw, tmp_path):
    from lresnet_utils.data.source import build_source

    build_source(small_lfw, tmp_path / "faces")
    sources = {"bin": small_lfw, "store": tmp_path / "faces", "run": tmp_path}
    found = [
        embed_set(open_records(source), Stub(), tmp_path / name, Here(), shard_size=7)
        for name, source in sources.items()
    ]
    assert len({one.record["shards_sha256"] for one in found}) == 1
    with pytest.raises(DataError, match="not known who"):
        found[0].identity()


def test_what_is_no_set_of_pictures_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((3, 10, 10, 3), np.uint8))
    (tmp_path / "empty").mkdir()
    for path, said in (
        (tmp_path / "x.npy", "These are not pictures"),
        (tmp_path / "empty", "The folder holds no people"),
        (tmp_path / "none.bin", "This is no set of pictures"),
    ):
        with pytest.raises(DataError, match=said):
            open_records(path)


def test_an_overlong_name_is_no_set():
    with pytest.raises(DataError, match="File name too long"):
        open_records(Path("a" * 300 + ".bin"))
