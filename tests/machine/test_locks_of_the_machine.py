"""Timed work has the machine alone, other work shares it, and nobody overtakes who waits."""

import os
import subprocess
import sys
import threading

import pytest

from lresnet_utils.errors import RunError
from lresnet_utils.machine import locks
from lresnet_utils.machine.locks import HELD, hold_machine, owner


@pytest.fixture(autouse=True)
def own_machine(tmp_path, monkeypatch):
    for name in ("turn", "held"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(locks, "_PLACES", ((tmp_path / "turn", tmp_path / "held"),))
    monkeypatch.delenv(HELD, raising=False)


class Worker(threading.Thread):
    """Holds the machine from its turn until it is told to end."""

    def __init__(self, alone):
        super().__init__(daemon=True)
        self.alone, self.heard = alone, []
        self.has, self.waits, self.done = (threading.Event() for _ in range(3))
        self.start()

    def run(self):
        with hold_machine(alone=self.alone, waiting=self.wait_for):
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
    while not any(f"process {owner()['pid']}" in holder for holder in list(late.heard)):
        late.waits.clear()
        assert late.waits.wait(120)
    timing.end()
    assert late.has.wait(120)
    late.end()


def test_giving_up_frees_the_turn():
    class GaveUpError(Exception):
        pass

    def give_up(holder):
        raise GaveUpError

    with (
        hold_machine(alone=True),
        pytest.raises(GaveUpError),
        hold_machine(alone=True, waiting=give_up),
    ):
        pass
    with hold_machine(alone=False), hold_machine(alone=False) as waited:
        assert waited < 60


def test_whoever_works_for_a_holder_locks_nothing(monkeypatch, tmp_path):
    with hold_machine(alone=True):
        monkeypatch.setenv(HELD, "held")
        with hold_machine(alone=True) as waited:
            assert waited == 0


@pytest.mark.parametrize("value", ["", "0"])
def test_an_empty_value_or_zero_says_that_nobody_holds_the_machine(monkeypatch, value):
    monkeypatch.setenv(HELD, value)
    with hold_machine(alone=True):
        other = Worker(alone=True)
        assert other.waits.wait(120)
    other.end()


def test_private_folders_for_temporary_files_do_not_part_the_machine(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.delenv(HELD, raising=False)
    code = (
        "from lresnet_utils.machine.locks import hold_machine as machine\n"
        "with machine(alone=True): print(1, flush=True); input()"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}

    class StoppedError(Exception):
        pass

    def told(holder):
        if f"process {other.pid}" in holder:  # and not somebody else's, who is in the same line
            raise StoppedError(holder)

    with subprocess.Popen([sys.executable, "-c", code], **how) as other:
        assert other.stdout.readline() == "1\n"
        with (
            pytest.raises(StoppedError, match=f"process {other.pid}"),
            hold_machine(alone=True, waiting=told),
        ):
            pass
        other.communicate("\n")
    assert list(tmp_path.glob("lresnet*")) == []


def test_another_users_work_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(locks, "_PATIENCE_S", -1)
    with hold_machine(alone=True):
        heard = Worker(alone=False)
        assert heard.waits.wait(30)
        monkeypatch.setattr(os, "getuid", lambda: -2)
        with (
            pytest.raises(RunError, match=f"process {os.getpid()}") as refused,
            hold_machine(alone=True),
        ):
            pass
        monkeypatch.undo()
    assert HELD in refused.value.fix
    # One's own is, as one can end it.
    assert heard.has.wait(30)
    heard.end()
