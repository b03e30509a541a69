"""Performance logs of the vendors' tools, each read into one :class:`PerfRecord`.

A figure is worth what its clock covers, and no two of these tools use the same clock, so every
record says which. A log that is cut, edited or of a failed run is refused, naming the line.
"""

from __future__ import annotations

from pathlib import Path

from lresnet_utils.targets.vendor_logs.ascend_tools import (
    implied_batch_size,
    read_ais_bench,
    read_benchmark_pure,
    read_benchmark_vision,
    read_msame,
    samples,
)
from lresnet_utils.targets.vendor_logs.benchmark_app import read_benchmark_app
from lresnet_utils.targets.vendor_logs.record import PerfRecord, StageFigure, read_lines
from lresnet_utils.targets.vendor_logs.trtexec import read_trtexec

__all__ = [
    "READERS",
    "PerfRecord",
    "StageFigure",
    "implied_batch_size",
    "read_ais_bench",
    "read_benchmark_app",
    "read_benchmark_pure",
    "read_benchmark_vision",
    "read_log",
    "read_msame",
    "read_trtexec",
    "samples",
]

# The mark by which a tool's log is known, tried in this order: a tool's name may stand in the
# paths that another tool prints, so marks that are names come last.
READERS = {
    r"\[e2e\] throughputRate": read_benchmark_vision,
    r"ave_throughputRate": read_benchmark_pure,
    r"TensorRT\.trtexec|=== Performance summary ===|\[I\] Host Latency": read_trtexec,
    r"execution_results|\[Step \d+/\d+\]|Throughput:\s+\S+ FPS": read_benchmark_app,
    r"NPU_compute_time|aisbench|ais_bench": read_ais_bench,
    r"Inference average time|\bmsame\b": read_msame,
}


def read_log(path: Path | str, *, batch_size: int | None = None) -> PerfRecord:
    """Read a vendor's performance log of any known tool.

    Parameters
    ----------
    path : path
        The log.
    batch_size : int, optional
        Images per execution, where the log does not say or to check it.

    Raises
    ------
    DataError
        When the tool is not known, or its reader refuses the log.
    """
    log = read_lines(path)
    for mark, reader in READERS.items():
        if log.find(mark):
            return reader(path, batch_size=batch_size)
    raise log.refuse(
        "No known tool prints such a log.",
        0,
        fix="known: benchmark.x86_64, ais_bench, msame, trtexec, benchmark_app",
    )
