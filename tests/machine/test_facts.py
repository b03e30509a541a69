"""The machine's description against files with known content."""

import os

import pytest

from lresnet_utils.machine import facts as module
from lresnet_utils.machine.disk import to_json


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
