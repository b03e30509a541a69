"""Timed work has the machine alone, other work shares it, and nobody overtakes who waits."""

import tempfile
import threading

import pytest

from lresnet_utils.exclusive import HELD, machine
from lresnet_utils.lock import owner


@pytest.fixture(autouse=True)
def own_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.delenv(HELD, raising=False)


class Worker(threading.Thread):
    """Holds the machine from its turn until it is told to end."""

    def __init__(self, alone):
        super().__init__(daemon=True)
        self.alone, self.heard = alone, []
        self.has, self.waits, self.done = (threading.Event() for _ in range(3))
        self.start()

    def run(self):
        with machine(alone=self.alone, waiting=self.wait_for):
            self.has.set()
            self.done.wait(120)

    def wait_for(self, holder):
        self.heard.append(holder)
        self.waits.set()

    def end(self):
        self.done.set()
        self.join(120)
        assert not self.is_alive()


def test_work_that_times_nothing_shares_and_waits_for_who_is_alone():
    first, second = Worker(alone=False), Worker(alone=False)
    assert first.has.wait(120) and second.has.wait(120)
    timing = Worker(alone=True)
    assert timing.waits.wait(120) and not timing.has.is_set()
    # It came later, so it must not go before.
    late = Worker(alone=False)
    assert late.waits.wait(120)
    first.end()
    second.end()
    assert timing.has.wait(120) and not late.has.is_set()
    late.heard.clear()
    late.waits.clear()
    assert late.waits.wait(120)
    assert f"process {owner()['pid']}" in late.heard[0]
    timing.end()
    assert late.has.wait(120)
    late.end()


def test_giving_up_frees_the_turn():
    class GaveUpError(Exception):
        pass

    def give_up(holder):
        raise GaveUpError

    with machine(alone=True), pytest.raises(GaveUpError), machine(alone=True, waiting=give_up):
        pass
    with machine(alone=False), machine(alone=False) as waited:
        assert waited < 60


def test_whoever_works_for_a_holder_locks_nothing(monkeypatch, tmp_path):
    with machine(alone=True):
        monkeypatch.setenv(HELD, "held")
        with machine(alone=True) as waited:
            assert waited == 0
