"""What a measurement ran on: processor, cores, instruction sets, memory, load."""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import os
import platform
from pathlib import Path
from typing import Any

# Instruction sets that decide which arithmetic a runtime can use at full speed.
FLAGS_OF_INTEREST = (
    "avx2",
    "avx_vnni",
    "avx_ne_convert",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "amx_fp16",
    "asimd",
    "asimdhp",
    "asimddp",
    "sve",
    "bf16",
    "i8mm",
)
# Linux's names of the instructions that multiply bf16 numbers: Intel and AMD, then Arm.
BF16_FLAGS = ("amx_bf16", "avx512_bf16", "avx_ne_convert", "bf16")
# oneDNN, which PyTorch and OpenVINO compute with, can be held back by an environment variable:
# what each of its settings leaves of the above. Settings that are not here hold nothing back.
_ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
_BF16_UNDER = {
    **dict.fromkeys(
        ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"), frozenset()
    ),
    "AVX2_VNNI_2": frozenset({"avx_ne_convert"}),
    "AVX512_CORE_BF16": frozenset({"avx512_bf16"}),
    "AVX512_CORE_FP16": frozenset({"avx512_bf16"}),
}
_CPUINFO = Path("/proc/cpuinfo")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def machine() -> dict[str, Any]:
    """Describe this machine as far as speed depends on it.

    Returns
    -------
    dict
        ``cpu`` (model name), ``cores`` (CPUs this process may use, see :func:`usable_cores`),
        ``flags`` (the :data:`FLAGS_OF_INTEREST` it has, or None where the system does not tell),
        ``memory_gib`` (one decimal, or None), ``os`` and ``load_average`` (runnable processes
        averaged over the last minute, read now, or None). The load says how idle the machine
        was when this was called; call it before timing. ``isa_limit``: see :func:`isa_limit`.

    Examples
    --------
    >>> sorted(machine())
    ['cores', 'cpu', 'flags', 'isa_limit', 'load_average', 'memory_gib', 'os']
    """
    flags = cpu_flags()
    return {
        "cpu": (
            _cpuinfo().get("model name") or platform.processor() or platform.machine() or "unknown"
        ),
        "cores": usable_cores(),
        "flags": None if flags is None else [flag for flag in FLAGS_OF_INTEREST if flag in flags],
        "memory_gib": _memory_gib(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_average": _load_average(),
        "isa_limit": isa_limit(),
    }


def usable_cores() -> int:
    """Return how many CPUs this process may use at once.

    The CPUs of its affinity mask, or fewer where a container's quota (cgroup v2 ``cpu.max``)
    grants less time than that; a quota of one and a half CPUs counts as two.

    Examples
    --------
    >>> usable_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(cores, _quota_cores() or cores)


def cpu_flags() -> frozenset[str] | None:
    """Return the processor's feature names as Linux spells them, or None on other systems."""
    fields = _cpuinfo()
    names = fields.get("flags", fields.get("Features"))
    return None if names is None else frozenset(names.split())


def isa_limit() -> str | None:
    """Return what holds oneDNN back from instructions that the processor has, or None.

    Returns
    -------
    str or None
        Such as ``"ONEDNN_MAX_CPU_ISA=AVX2"``.
    """
    return next((f"{n}={os.environ[n]}" for n in _ISA_VARIABLES if os.environ.get(n)), None)


def bf16_instructions(known: frozenset[str] | None = None) -> str | None:
    """Return the instructions with which bf16 numbers are multiplied here, or None.

    Parameters
    ----------
    known : frozenset of str, optional
        The processor's feature names; its own when not given.

    Returns
    -------
    str or None
        One of :data:`BF16_FLAGS`, the fastest first; None where there is none, where the system
        does not tell, or where ``ONEDNN_MAX_CPU_ISA`` keeps the runtimes from using it.

    Examples
    --------
    >>> bf16_instructions(frozenset({"avx2"})) is None
    True
    """
    flags = cpu_flags() if known is None else known
    limit = (isa_limit() or "").partition("=")[2]
    allowed = _BF16_UNDER.get(limit.upper(), frozenset(BF16_FLAGS))
    return next((flag for flag in BF16_FLAGS if flag in (flags or ()) and flag in allowed), None)


def no_bf16() -> str:
    """Say why bf16 numbers are not multiplied natively here."""
    if isa_limit():
        return f"{isa_limit()} keeps oneDNN from bf16 instructions"
    return "this processor has no bf16 instructions"


def _cpuinfo() -> dict[str, str]:
    """Read the fields of the first processor."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _quota_cores() -> int | None:
    try:
        quota, period = _CPU_QUOTA.read_text(encoding="ascii").split()
        return max(1, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2 here, or the quota is "max"
        return None


def _memory_gib() -> float | None:
    try:
        bytes_ = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    return round(bytes_ / 2**30, 1)


def _load_average() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def version_of(distribution: str) -> str | None:
    """Return an installed package's version, or None when it is not installed.

    Examples
    --------
    >>> version_of("no-such-package") is None
    True
    """
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
