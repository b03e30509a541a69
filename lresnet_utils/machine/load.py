"""What else a machine did while something was timed on it.

The load average counts the process that is timed and its own warm-up, and forgets slowly; so
processor time is read before and after, and what this process used is taken off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import psutil

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
        used += sum(_used(worker) for worker in workers)
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end = Clock.now(self._workers)

    def record(self) -> dict[str, Any]:
        """Return what happened between the start and the end of the block; see :func:`load`."""
        return load(self._start, self._end, self._cores)


def _used(pid: int) -> float:
    """Return the processor time of a process and of those it waited for; 0 when it is gone."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


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
        why = f"timed for {seconds:.1f} s, and the share of others shows only over 1 s or more"
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
