"""The machine's description against files with known content."""

import os
import resource
import subprocess
import sys
import time

import pytest

from lresnet_utils.machine import facts as module
from lresnet_utils.machine.disk import to_json
from lresnet_utils.machine.facts import Clock, LoadWatch, load


@pytest.fixture
def fake(tmp_path, monkeypatch):
    def write(cpuinfo=None, quota=None):
        for name, content in (("_CPUINFO", cpuinfo), ("_CPU_QUOTA", quota)):
            path = tmp_path / name
            if content is not None:
                path.write_text(content)
            monkeypatch.setattr(module, name, path)

    return write


def test_the_processor_is_read_from_the_system(fake):
    first = "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nflags\t\t: fpu amx_int8 avx2\n"
    fake(f"{first}\n{first.replace('Some', 'Other')}")
    described = module.machine()
    assert described["cpu"] == "Some CPU @ 2.0GHz"
    assert described["flags"] == ["avx2", "amx_int8"]
    assert module.cpu_flags() == {"fpu", "amx_int8", "avx2"}


def test_arm_calls_its_flags_features(fake):
    fake("processor\t: 0\nFeatures\t: asimd bf16 sve\n")
    assert module.machine()["flags"] == ["asimd", "sve", "bf16"]


def test_an_unknown_system_is_described_all_the_same(fake, monkeypatch):
    fake()
    monkeypatch.delattr(os, "getloadavg")
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.delattr(os, "sched_getaffinity")
    described = module.machine()
    assert described["flags"] is None and described["memory_gib"] is None
    assert described["load_average"] is None
    assert described["cpu"] and described["cores"] == os.cpu_count()


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("150000 100000", 2), ("100000 100000", 1), ("1000 100000", 1), ("max 100000", 8), ("", 8)],
)
def test_a_containers_quota_bounds_the_cores(quota, cores, fake, monkeypatch):
    fake(quota=quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert module.usable_cores() == cores


def test_the_description_is_plain_json():
    described = module.machine()
    assert to_json(described)
    assert 0.1 < described["memory_gib"] < 1e6


@pytest.mark.parametrize(
    ("limit", "flags", "found"),
    [
        (None, {"avx512_bf16", "amx_bf16"}, "amx_bf16"),
        ("AVX512_CORE_BF16", {"avx512_bf16", "amx_bf16"}, "avx512_bf16"),
        ("avx2", {"avx512_bf16", "amx_bf16"}, None),
        ("AVX512_CORE_BF16", {"avx2"}, None),
        ("DEFAULT", {"bf16"}, "bf16"),
        (None, {"avx2"}, None),
    ],
)
def test_bf16_is_used_where_flags_and_onednns_limit_allow_it(monkeypatch, limit, flags, found):
    for name in module._ISA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert module.bf16_instructions(frozenset(flags)) == found


# The share of others while something is timed, against work that is known.


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
