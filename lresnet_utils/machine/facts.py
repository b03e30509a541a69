"""What a measurement ran on: processor, cores, instruction sets, memory, and who else used it."""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import os
import platform
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from lresnet_utils.text.language import message

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
    memory_gib = load_average = None
    with suppress(AttributeError, ValueError, OSError):
        memory_gib = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    with suppress(AttributeError, OSError):
        load_average = round(os.getloadavg()[0], 2)
    return {
        "cpu": (
            _cpuinfo().get("model name") or platform.processor() or platform.machine() or "unknown"
        ),
        "cores": usable_cores(),
        "flags": None if flags is None else [flag for flag in FLAGS_OF_INTEREST if flag in flags],
        "memory_gib": memory_gib,
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_average": load_average,
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
    with suppress(OSError, ValueError):  # no cgroup v2 here, or the quota is "max"
        quota, period = _CPU_QUOTA.read_text(encoding="ascii").split()
        cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    return cores


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
        return message("{variable} keeps oneDNN from bf16 instructions", variable=isa_limit())
    return "this processor has no bf16 instructions"


def _cpuinfo() -> dict[str, str]:
    """Read the fields of the first processor."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


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


# What else a machine did while something was timed on it.
#
# The load average counts the process that is timed and its own warm-up, and forgets slowly; so
# processor time is read before and after, and what this process used is taken off.

# Share of the usable processors that others may take before rates are called disturbed.
BUSY_SHARE = 0.05
# The system counts in hundredths of a second; over less than this the share would be noise.
LEAST_SECONDS = 1.0
_WORK = ("user", "nice", "system", "irq", "softirq")


@dataclass(frozen=True)
class Clock:
    """Processor time used so far, in seconds.

    Attributes
    ----------
    wall : float
        Time on the wall.
    busy : float
        Time for which any processor worked on anything.
    stolen : float
        Time that a host withheld from this virtual machine, 0 where the system does not tell.
    own : float
        Time used by this process, by the processes it started and waited for, and by others
        that work for it.
    """

    wall: float
    busy: float
    stolen: float
    own: float

    @classmethod
    def now(cls, workers: Sequence[int] = ()) -> Clock:
        """Read all four; `workers` are processes that work for this one, and still run."""
        every, own = psutil.cpu_times(), os.times()
        busy = sum(getattr(every, name, 0.0) for name in _WORK)
        used = own.user + own.system + own.children_user + own.children_system
        below = []
        for worker in workers:
            with suppress(psutil.Error):  # one that is gone has used nothing
                times = psutil.Process(worker).cpu_times()
                below.append(
                    times.user + times.system + times.children_user + times.children_system
                )
        used += sum(below)
        return cls(time.perf_counter(), busy, getattr(every, "steal", 0.0), used)


class LoadWatch:
    """Watch the machine while a block runs.

    Parameters
    ----------
    cores : int
        Processors that the timed work may use.
    workers : sequence of int
        Processes that do it for this one.

    Examples
    --------
    >>> with LoadWatch(2) as watch:
    ...     pass
    >>> watch.record()["refused"]
    'timed for 0.0 s, and the share of others shows only over 1 s or more'
    """

    def __init__(self, cores: int, workers: Sequence[int] = ()) -> None:
        self._cores = cores
        self._workers = workers
        self._start = self._end = Clock.now(workers)

    def __enter__(self) -> LoadWatch:
        self._start = Clock.now(self._workers)
        return self

    def __exit__(self, *_: object) -> None:
        self._end = Clock.now(self._workers)

    def record(self) -> dict[str, Any]:
        """Return what happened between the start and the end of the block; see :func:`load`."""
        return load(self._start, self._end, self._cores)


def load(start: Clock, end: Clock, cores: int) -> dict[str, Any]:
    """Return how many processors were kept busy by whom, on average between two readings.

    Parameters
    ----------
    start, end : Clock
    cores : int
        Processors that the timed work may use.

    Returns
    -------
    dict
        ``seconds``, ``cores``, ``own_cores``, ``other_cores`` and ``stolen_cores`` (processors,
        averages over the time, two decimals), ``busy`` (whether others and the host together took
        more than :data:`BUSY_SHARE` of `cores`); or ``seconds`` and ``refused``, why there is no
        answer. One reading each, so without interval.

    Examples
    --------
    >>> load(Clock(0, 0, 0, 0), Clock(10.0, 15, 1, 12), 2)
    {'seconds': 10.0, 'cores': 2, 'own_cores': 1.2, 'other_cores': 0.3, 'stolen_cores': 0.1,
     'busy': True}
    """
    seconds = round(end.wall - start.wall, 2)
    if seconds < LEAST_SECONDS:
        why = message(
            "timed for {seconds:.1f} s, and the share of others shows only over 1 s or more",
            seconds=seconds,
        )
        return {"seconds": seconds, "refused": why}
    own = (end.own - start.own) / seconds
    stolen = (end.stolen - start.stolen) / seconds
    # The two clocks tick apart, so a quiet machine can come out just below nothing.
    other = max(0.0, (end.busy - start.busy) / seconds - own)
    return {
        "seconds": seconds,
        "cores": cores,
        "own_cores": round(own, 2),
        "other_cores": round(other, 2),
        "stolen_cores": round(stolen, 2),
        "busy": other + stolen > BUSY_SHARE * cores,
    }
