"""The share of others while something is timed, against work that is known."""

import resource
import subprocess
import sys
import time

import pytest

from lresnet_utils.machine.load import Clock, LoadWatch, load

BURN = "import time; end = time.process_time() + 1.2\nwhile time.process_time() < end: pass"


@pytest.mark.parametrize(
    ("other", "stolen", "busy"), [(0.0, 0.0, False), (0.9, 0.0, False), (1.2, 0.0, True),
                                  (0.0, 1.2, True), (0.6, 0.6, True)],
)  # fmt: skip
def test_more_than_a_twentieth_of_the_usable_cores_is_busy(other, stolen, busy):
    found = load(Clock(5, 100, 7, 40), Clock(15, 118 + other, 7 + stolen, 58), cores=2)
    assert found["busy"] is busy
    assert found["own_cores"] == 1.8
    assert found["other_cores"] == pytest.approx(other / 10, abs=0.006)
    assert found["stolen_cores"] == pytest.approx(stolen / 10, abs=0.006)


def test_clocks_that_tick_apart_give_no_negative_share():
    assert load(Clock(0, 0, 0, 0), Clock(2, 1.98, 0, 2), 2)["other_cores"] == 0


def test_too_short_a_time_is_refused():
    found = load(Clock(0, 0, 0, 0), Clock(0.4, 9, 0, 0), 2)
    assert "busy" not in found and "0.4 s" in found["refused"]


def spent():
    """Processor time of this process and of the children that it waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def test_another_process_is_seen_and_a_child_that_was_waited_for_is_ours():
    """The same burning child: while it is not waited for it is another, afterwards it is ours."""
    before = spent()
    with LoadWatch(1) as watch:
        child = subprocess.Popen([sys.executable, "-c", BURN])
        while child.poll() is None:
            time.sleep(0.02)
    ours = watch.record()
    # Starting Python costs what it costs on a busy machine; shares have two decimals.
    slack = 0.03 + 0.01 * ours["seconds"]
    assert 1.2 - slack < ours["own_cores"] * ours["seconds"] < spent() - before + slack
    with LoadWatch(1) as watch:
        child = subprocess.Popen([sys.executable, "-c", BURN.replace("1.2", "4")])
        time.sleep(1.6)
    child.kill()
    child.wait()
    theirs = watch.record()
    assert theirs["other_cores"] > 0.2 and theirs["busy"]
