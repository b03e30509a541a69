"""How much of the processor others used while something was measured."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STAT = Path("/proc/stat")
# Fields of /proc/stat in which a processor works for somebody, stolen time included: user, nice,
# system, irq, softirq, steal.
_BUSY = (1, 2, 3, 6, 7, 8)


@contextmanager
def others_share() -> Iterator[dict[str, float | None]]:
    """Yield a dict that holds, after the block, ``others_cpu_share``.

    The processor time that other processes and the host took, as a share of all cores' time; None
    where the system does not tell.
    """
    found: dict[str, float | None] = {"others_cpu_share": None}
    before = _clocks()
    yield found
    after = _clocks()
    if before and after:
        found["others_cpu_share"] = share(before, after, os.cpu_count() or 1)


def share(
    before: tuple[float, float, float], after: tuple[float, float, float], cores: int
) -> float:
    """Return others' share of all cores' time between two readings of :func:`_clocks`."""
    wall, busy, own = (end - start for end, start in zip(after, before, strict=True))
    # The system counts in hundredths of a second, so an idle machine may seem to owe us time.
    return max(0.0, busy - own) / (wall * cores)


def _clocks() -> tuple[float, float, float] | None:
    """Return wall-clock time, busy time of all processors and own processor time, seconds."""
    try:
        fields = _STAT.read_text(encoding="ascii").splitlines()[0].split()
        busy = sum(int(fields[field]) for field in _BUSY) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return time.perf_counter(), busy, time.process_time()
