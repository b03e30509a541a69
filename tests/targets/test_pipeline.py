"""Several lanes at once, and the time for which the network had work."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from lresnet_utils.targets import embed as module
from lresnet_utils.targets.base import Session
from lresnet_utils.targets.embed import Inference, PipelineParts, Timed, overlap

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
    parts = PipelineParts(Timed(read), Timed(lambda rows: [BATCH]), Inference(session), Timed(post))
    overlap((np.array([i]) for i in range(n)), parts, session.lanes)
    return parts


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
