"""The pipeline against a plain loop: every picture once, in its place, or with a reason."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.errors import TargetError
from lresnet_utils.machine.disk import to_json
from lresnet_utils.targets import embed as module
from lresnet_utils.targets.base import Session
from lresnet_utils.targets.embed import (
    AHEAD,
    BEHIND,
    WAITING,
    Inference,
    embed,
    overlap,
)

SIZE = 6
OPTIONS = {"channel_order": "bgr", "normalisation": "minus1_1"}


class Projection(Session):
    """Stand-in network: a fixed random projection of every 16th pixel, in NumPy."""

    def __init__(self, batch_size, spoil=None, lanes=1):
        super().__init__(batch_size, SIZE, lanes)
        self.matrix = np.random.default_rng(3).normal(size=(3 * 7 * 7, SIZE)).astype(np.float32)
        self.spoil = spoil
        self.inputs = 0

    def run(self, batch):
        self.inputs += len(batch)
        # Half-pixel steps, so that a mirrored picture gives other values than the picture.
        pixels = batch[:, :, ::16, 3::16].reshape(len(batch), -1)
        features = (pixels[:, :, None] * self.matrix).sum(axis=1)
        return features if self.spoil is None else self.spoil(batch, features)


def faces(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 112, 112, 3), dtype=np.uint8)


def expected(images, flip):
    """Embed one picture at a time, without any pipeline."""
    session = Projection(1)
    rows = []
    for image in images:
        plain = to_network_input(image[None], **OPTIONS)
        views = [plain, np.ascontiguousarray(plain[..., ::-1])] if flip else [plain]
        units = [v / np.linalg.norm(v) for v in (session.infer(x)[0] for x in views)]
        total = np.sum(units, axis=0)
        rows.append(total / np.linalg.norm(total))
    return np.array(rows)


@settings(max_examples=15)
@given(
    n=st.integers(1, 9), batch_size=st.integers(1, 5), lanes=st.integers(1, 3), flip=st.booleans()
)
def test_the_pipeline_equals_a_plain_loop(n, batch_size, lanes, flip):
    images = faces(n)
    with Projection(batch_size, lanes=lanes) as session:
        result = embed(images, session, flip=flip, **OPTIONS)
    assert result.vectors.dtype == np.float32
    np.testing.assert_allclose(result.vectors, expected(images, flip), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(result.vectors, axis=1), 1, atol=1e-6)
    assert not result.failed.any() and result.reasons == {}
    assert {rate["n"] for rate in result.stages.to_json().values()} == {n * (1 + flip)}


@pytest.mark.parametrize("mode", ["r", "c"])
def test_a_memory_map_gives_the_same_bits(tmp_path, mode):
    images = faces(7)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode=mode)
    if mode == "c":  # changes that are in memory only must not be given back with the pages
        mapped[4] = images[4] = 255 - images[4]
    a = embed(images[1:], Projection(2), flip=True, **OPTIONS)
    b = embed(mapped[1:], Projection(2), flip=True, **OPTIONS)
    assert np.array_equal(a.vectors, b.vectors)


def test_pages_of_a_map_are_given_back(tmp_path):
    np.save(tmp_path / "images.npy", faces(400))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    most = []

    def spoil(batch, features):
        most.append(resident_kib(tmp_path / "images.npy"))
        return features

    embed(mapped, Projection(8, spoil), flip=False, **OPTIONS)
    # The file has 14700 KiB; the system maps pages in pieces of up to 2048 KiB.
    assert max(most) <= 4096


def resident_kib(path):
    """How much of a mapped file counts as this process's memory."""
    smaps = Path("/proc/self/smaps")
    if not smaps.exists():
        pytest.skip("only Linux tells which pages are in memory")
    inside = smaps.read_text().split(str(path))[1:]
    return sum(int(part.split("Rss:")[1].split()[0]) for part in inside)


def test_embeddings_are_written_as_they_come_in_order():
    images, blocks, seen = faces(12), [], []

    def spoil(batch, features):
        seen.append(sum(map(len, blocks)))
        return features

    failures = ((0, "a"), (4, "b"), (5, "c"), (11, "d"))
    how = {"flip": False, "failures": failures} | OPTIONS
    with Projection(1, spoil) as session:
        result = embed(images, session, write=blocks.append, **how)
    assert result.vectors is None and len(result.failed) == 12
    whole = embed(images, Projection(1), **how).vectors
    assert np.array_equal(np.concatenate(blocks), whole) and not whole[[0, 4, 5, 11]].any()
    assert {block.dtype.name for block in blocks} == {"float32"}
    # However slow writing is, so many of the eight are written before the last one is run.
    assert seen[-1] >= 8 - (1 + WAITING) - BEHIND > 0


def test_a_set_without_pictures_writes_an_empty_block():
    blocks = []
    embed(faces(0), Projection(2), flip=False, write=blocks.append, **OPTIONS)
    assert [block.shape for block in blocks] == [(0, SIZE)]


def test_padding_is_run_but_not_counted():
    session = Projection(4)
    result = embed(faces(5), session, flip=False, **OPTIONS)
    assert session.inputs == 8
    assert result.stages.infer.n == 5 and len(result.vectors) == 5


def test_known_failures_are_not_run():
    images, session = faces(6), Projection(2)
    result = embed(
        images, session, flip=False, failures=((4, "cut short"), (1, "not an image")), **OPTIONS
    )
    assert session.inputs == 4
    assert result.failed.tolist() == [False, True, False, False, True, False]
    assert result.reasons == {1: "not an image", 4: "cut short"}
    assert not result.vectors[[1, 4]].any()
    kept = [0, 2, 3, 5]
    np.testing.assert_allclose(result.vectors[kept], expected(images[kept], False), atol=1e-6)


def test_a_set_of_failures_has_no_rate():
    failures = [(0, "a"), (1, "b")]
    result = embed(faces(2), Projection(2), flip=True, failures=failures, **OPTIONS)
    assert result.failed.all()
    assert result.stages.e2e.images_per_second is None and result.stages.e2e.n == 0
    assert to_json(result.stages.to_json())


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, "not finite"), (np.inf, "not finite"), (-np.inf, "not finite"), (0.0, "zero")],
)
@pytest.mark.parametrize("where", ["first view", "second view"])
def test_a_bad_output_fails_its_picture_only(value, reason, where):
    calls = []

    def spoil(batch, features):
        calls.append(len(batch))
        if len(calls) == (3 if where == "first view" else 4):  # second batch
            features[1] = value
        return features

    images = faces(6)
    result = embed(images, Projection(2, spoil), flip=True, **OPTIONS)
    assert list(result.reasons) == [3] and reason in result.reasons[3]
    assert result.failed.nonzero()[0].tolist() == [3] and not result.vectors[3].any()
    good = [0, 1, 2, 4, 5]
    np.testing.assert_allclose(result.vectors[good], expected(images[good], True), atol=1e-6)


def test_one_bad_number_of_a_row_is_enough():
    def spoil(batch, features):
        features[0, 2] = np.nan
        return features

    assert embed(faces(1), Projection(1, spoil), flip=False, **OPTIONS).failed.all()


def test_views_that_cancel_out_fail():
    calls = []

    def spoil(batch, features):
        calls.append(1)
        return np.full_like(features, 1.0 if len(calls) % 2 else -1.0)

    result = embed(faces(1), Projection(1, spoil), flip=True, **OPTIONS)
    assert "cancel" in result.reasons[0]


class Broken:
    """Pictures whose storage fails from a given picture on."""

    def __init__(self, images, bad):
        self.images, self.bad, self.reads = images, bad, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, rows):
        self.reads += 1
        if self.bad in rows:
            raise OSError("disk gone")
        return self.images[rows]


def test_a_failing_read_stops_everything_and_is_raised():
    threads = threading.active_count()
    images = Broken(faces(60), 10)
    with Projection(1) as session, pytest.raises(OSError, match="disk gone"):
        embed(images, session, flip=False, **OPTIONS)
    assert session.inputs <= 10 and images.reads <= 15
    assert threading.active_count() <= threads


def test_a_failing_inference_stops_everything_and_is_raised():
    def spoil(batch, features):
        raise TargetError("device lost")

    threads = threading.active_count()
    images = Broken(faces(60), -1)
    with Projection(1, spoil) as session, pytest.raises(TargetError, match="device lost"):
        embed(images, session, flip=True, **OPTIONS)
    # Both views of the batches that are made ahead or given to the session, at the very most.
    assert session.inputs <= 2 * (1 + WAITING) and images.reads <= 2 + WAITING + AHEAD
    assert threading.active_count() <= threads


def test_a_failing_post_processing_is_raised_soon():
    threads = threading.active_count()
    session = Projection(1, lambda batch, features: features.astype(object))
    with session, pytest.raises(TypeError):
        embed(faces(60), session, flip=False, **OPTIONS)
    assert session.inputs <= 2 + BEHIND + WAITING + 1
    assert threading.active_count() <= threads


def test_reading_runs_only_a_few_batches_ahead():
    images = Broken(faces(40), -1)
    lead = []

    def spoil(batch, features):
        time.sleep(0.002)
        lead.append(images.reads - len(lead))
        return features

    embed(images, Projection(1, spoil), flip=False, **OPTIONS)
    assert len(lead) == 40 and max(lead) <= 1 + WAITING + AHEAD


def test_rates_are_the_same_measurement_both_ways():
    result = embed(faces(4), Projection(2), flip=True, **OPTIONS)
    figures = result.stages.to_json()
    assert list(figures) == ["e2e", "data_read", "preprocess", "infer", "post"]
    for rate in figures.values():
        assert rate["images_per_second"] * rate["ms_per_image"] == pytest.approx(1000)
    # The wall clock holds all of the inference.
    assert figures["e2e"]["ms_per_image"] >= figures["infer"]["ms_per_image"]


# Several lanes at once, and the time for which the network had work.

BATCH = np.zeros((1, 3, 112, 112), np.float32)


class Gated(Session):
    """Works on a batch until the gate is open, and counts."""

    def __init__(self, lanes):
        super().__init__(1, 1, lanes)
        self.now, self.most, self.done = 0, 0, 0
        self.changed, self.open = threading.Condition(), False

    def run(self, batch):
        with self.changed:
            self.now += 1
            self.most = max(self.most, self.now)
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.open, 60)
            self.now -= 1
            self.done += 1
        return batch[:, 0, :1, 0]

    def at_work(self, n):
        """Wait until so many batches are worked on at once."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.now == n, 60)

    def let(self, through=True):
        with self.changed:
            self.open = through
            self.changed.notify_all()


def push(n, session, read=lambda rows: rows, post=lambda rows, views: None):
    rows = (np.array([i]) for i in range(n))
    return overlap(rows, session, read=read, preprocess=lambda rows: [BATCH], post=post)


@pytest.mark.parametrize("lanes", [1, 3])
def test_all_lanes_work_and_order_is_kept(lanes):
    order = []
    with Gated(lanes) as session, ThreadPoolExecutor(1) as pool:
        how = {"post": lambda rows, views: order.append(int(rows[0]))}
        pushing = pool.submit(push, 12, session, **how)
        session.at_work(lanes)
        session.let()
        pushing.result()
    assert session.most == lanes and session.done == 12
    assert order == list(range(12))


def test_inference_time_is_wall_time_with_any_lane_at_work(monkeypatch):
    clock = SimpleNamespace(now=5.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(module, "time", clock)
    with Gated(2) as session:
        inference = Inference(session)
        # Two at once for three seconds, nothing for a hundred, then one for four.
        for batches, lasts, pause in ((2, 3, 100), (1, 4, 0)):
            session.let(False)
            for _ in range(batches):
                inference.submit(BATCH)
            session.at_work(batches)
            clock.now += lasts
            session.let()
            inference.stop()
            clock.now += pause
    assert inference.seconds == 7


def test_stopping_drops_what_waits_and_ends_what_runs():
    with Gated(1) as session:
        inference = Inference(session)
        futures = [inference.submit(BATCH) for _ in range(5)]
        session.at_work(1)
        # The one that runs goes on until the others were dropped.
        futures[-1].add_done_callback(lambda _: session.let())
        inference.stop()
        assert session.now == 0 and session.done == 1
        assert [future.cancelled() for future in futures] == [False] + 4 * [True]


def test_a_failure_leaves_no_inference_running():
    def read(rows):
        if rows[0] == 3:
            session.let()
            raise OSError("disk gone")
        return rows

    with Gated(2) as session:
        with pytest.raises(OSError, match="disk gone"):
            push(50, session, read=read)
        assert session.now == 0 and session.done <= 3
