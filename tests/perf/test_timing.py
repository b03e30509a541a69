"""Turns, counts and failures of timing, with a clock and sessions made for it."""

import threading

import numpy as np
import pytest

from lresnet_utils.errors import TargetError
from lresnet_utils.perf import timing as module
from lresnet_utils.perf.timing import Timing, time_sessions

BATCH = np.zeros((4, 3, 112, 112), np.float32)


class Clock:
    def __init__(self):
        self.now = 10**9

    def perf_counter_ns(self):
        return self.now


class Timed:
    """A session that takes a known time by the clock, and notes when it was called."""

    lanes = 1

    def __init__(self, clock, name, log, milliseconds, fail_after=None):
        self.clock, self.name, self.log = clock, name, log
        self.milliseconds, self.fail_after, self.calls = milliseconds, fail_after, 0

    def infer(self, batch):
        self.calls += 1
        if self.fail_after is not None and self.calls > self.fail_after:
            raise RuntimeError("device lost.\nlong trace")
        self.clock.now += self.milliseconds * 10**6
        self.log.append(self.name)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def turns(log):
    return [name for i, name in enumerate(log) if i == 0 or log[i - 1] != name]


def test_known_times_give_known_figures(clock):
    log = []
    sessions = {"slow": Timed(clock, "slow", log, 50), "fast": Timed(clock, "fast", log, 20)}
    timings = time_sessions(sessions, BATCH, warmup=3, seconds=0.1, repeats=2)
    assert list(timings) == ["slow", "fast"]
    slow, fast = timings.values()
    assert [list(repeat) for repeat in slow.latencies_ms] == [[50, 50], [50, 50]]
    assert [list(repeat) for repeat in fast.latencies_ms] == [[20] * 5] * 2
    np.testing.assert_allclose(slow.throughput_ips, 4 / 0.05)
    np.testing.assert_allclose(fast.throughput_ips, 4 / 0.02)
    # Three untimed batches before the first turn, one before the second.
    assert sessions["slow"].calls == 3 + 2 + 1 + 2
    assert sessions["fast"].calls == 3 + 5 + 1 + 5


def test_sessions_take_turns_and_the_order_moves_on(clock):
    log = []
    sessions = {name: Timed(clock, name, log, 30) for name in "abc"}
    time_sessions(sessions, BATCH, warmup=1, seconds=0.01, repeats=3)
    assert turns(log) == list("abcbcacab")


def test_without_warmup_everything_is_timed(clock):
    session = Timed(clock, "a", [], 30)
    timing = time_sessions({"a": session}, BATCH, warmup=0, seconds=0.001, repeats=3)["a"]
    assert session.calls == sum(len(repeat) for repeat in timing.latencies_ms) == 3


def test_a_session_that_breaks_does_not_stop_the_others(clock):
    sessions = {
        "good": Timed(clock, "good", [], 10),
        "bad": Timed(clock, "bad", [], 10, fail_after=3),
    }
    timings = time_sessions(sessions, BATCH, warmup=1, seconds=0.02, repeats=4)
    assert len(timings["good"].latencies_ms) == 4
    assert timings["bad"].failure == "device lost"
    assert len(timings["bad"].latencies_ms) == 1
    assert sessions["bad"].calls == 5 - 1
    with pytest.raises(TargetError, match="device lost"):
        timings["bad"].require_complete()
    timings["good"].require_complete()


def test_progress_counts_every_turn(clock):
    seen = []
    sessions = {name: Timed(clock, name, [], 5) for name in "ab"}
    time_sessions(
        sessions,
        BATCH,
        warmup=0,
        seconds=0.001,
        repeats=2,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_nothing_timed_is_refused():
    assert time_sessions({}, BATCH, warmup=0, seconds=1, repeats=2) == {}
    with pytest.raises(TargetError, match="Nothing was timed"):
        Timing(1, (), ()).require_complete()


def test_the_real_clock_adds_up():
    class Quick:
        lanes = 1

        def infer(self, batch):
            return batch.sum()

    timing = time_sessions({"q": Quick()}, BATCH, warmup=0, seconds=0.01, repeats=2)["q"]
    for latencies, seconds in zip(timing.latencies_ms, timing.seconds, strict=True):
        assert seconds >= 0.01
        assert latencies.sum() / 1e3 == pytest.approx(seconds, rel=1e-9)


class LaneClock(threading.local):
    """A clock for each thread."""

    now = 10**9

    def perf_counter_ns(self):
        return self.now


class Lanes:
    """A session of which each inference takes 20 ms, and whose lanes begin together."""

    def __init__(self, lanes, clock, fail_after=None):
        self.lanes, self.clock, self.fail_after = lanes, clock, fail_after
        self.changed, self.running, self.most, self.calls = threading.Condition(), 0, 0, 0

    def infer(self, batch):
        with self.changed:
            self.calls += 1
            self.running += 1
            self.most = max(self.most, self.running)
            fail = self.fail_after is not None and self.calls > self.fail_after
            self.changed.notify_all()
            assert self.changed.wait_for(lambda: self.most == self.lanes, 60)
            self.clock.now += 20 * 10**6
            self.running -= 1
        if fail:
            raise RuntimeError("device lost")


@pytest.fixture
def lane_clock(monkeypatch):
    clock = LaneClock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_all_lanes_work_at_the_same_time_and_their_rates_add_up(lane_clock):
    session = Lanes(3, lane_clock)
    timing = time_sessions({"s": session}, BATCH, warmup=1, seconds=0.1, repeats=2)["s"]
    assert session.most == 3
    for latencies, rate in zip(timing.latencies_ms, timing.throughput_ips, strict=True):
        assert list(latencies) == [20] * 15
        assert rate == pytest.approx(3 * 4 / 0.020)


def test_a_failure_in_one_lane_ends_the_turn(lane_clock):
    session = Lanes(2, lane_clock, fail_after=7)
    timing = time_sessions({"s": session}, BATCH, warmup=1, seconds=60, repeats=1)["s"]
    assert timing.failure == "device lost"
    assert session.running == 0
