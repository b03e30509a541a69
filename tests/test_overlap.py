"""Several lanes at once, and the time for which the network had work."""

import threading
import time

import numpy as np
import pytest

from lresnet_utils.overlap import Inference, Parts, Timed, overlap
from lresnet_utils.targets.session import Session

BATCH = np.zeros((1, 3, 112, 112), np.float32)


class Sleeper(Session):
    """Takes a fixed time per batch and remembers how many it worked on at once."""

    def __init__(self, lanes, seconds):
        super().__init__(1, 1, lanes)
        self.seconds, self.now, self.most, self.done = seconds, 0, 0, 0
        self.lock = threading.Lock()

    def _run(self, batch):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
            self.done += 1
        return batch[:, 0, :1, 0]


def push(n, session, read=lambda rows: rows, post=lambda rows, views: None):
    parts = Parts(Timed(read), Timed(lambda rows: [BATCH]), Inference(session), Timed(post))
    overlap((np.array([i]) for i in range(n)), parts, session.lanes)
    return parts


@pytest.mark.parametrize("lanes", [1, 3])
def test_all_lanes_work_and_order_is_kept(lanes):
    order = []
    with Sleeper(lanes, 0.01) as session:
        push(12, session, post=lambda rows, views: order.append(int(rows[0])))
    assert session.most == lanes and session.done == 12
    assert order == list(range(12))


def test_inference_time_is_wall_time_with_any_lane_at_work():
    with Sleeper(2, 0.02) as session:
        inference = Inference(session)
        futures = [inference.submit(BATCH) for _ in range(4)]
        for future in futures:
            future.result()
        time.sleep(0.1)  # nothing to do: not counted
        inference.submit(BATCH).result()
        inference.stop()
    # Two rounds of two at once, and one alone: sleeping is never shorter than asked for.
    assert 0.06 <= inference.seconds < 0.1 + 5 * 0.02


def test_stopping_drops_what_waits_and_ends_what_runs():
    with Sleeper(1, 0.02) as session:
        inference = Inference(session)
        futures = [inference.submit(BATCH) for _ in range(5)]
        inference.stop()
        assert session.now == 0 and session.done < 5
        assert all(future.done() for future in futures)


def test_a_failure_leaves_no_inference_running():
    def read(rows):
        if rows[0] == 3:
            raise OSError("disk gone")
        return rows

    with Sleeper(2, 0.02) as session:
        with pytest.raises(OSError, match="disk gone"):
            push(50, session, read=read)
        assert session.now == 0 and session.done <= 3
