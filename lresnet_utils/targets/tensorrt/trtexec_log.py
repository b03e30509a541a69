"""The log of NVIDIA's ``trtexec``: TensorRT 7 (one figure a line), 8, 10 and later.

Definitions are those of TensorRT's ``samples/common/sampleReporting.cpp``: latency is H2D +
compute + D2H, throughput is queries over host wall time. With an explicit batch (every ONNX file)
one query is one *batch*; with an implicit batch (``--batch=N``, TensorRT 8 and older) the tool
has multiplied by N itself. For a loaded engine it prints ``Batch: 1`` whatever batch was built
in, so the input binding's first dimension counts. TensorRT 7 multiplies by zero for an explicit
batch and prints ``throughput: 0 qps``; the rate is then computed from its own totals.

Only ``[I]`` lines are results: with ``--verbose`` the tool explains the same names as ``[V]``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from lresnet_utils.targets.tool_log import (
    COUNT,
    NUMBER,
    Log,
    PerfRecord,
    agreed_batch_size,
    read_lines,
)
from lresnet_utils.text.language import message

CLOCK = (
    "queries over host wall time, from the first query put in to the last one done, times the "
    "batch size; made-up input already in host memory, copies to and from the GPU {transfers}; "
    "without reading files, preprocessing and post-processing"
)
LATENCY_CLOCK = (
    "copy to the GPU + compute + copy back, per batch; 'gpu_compute_' is the compute alone, "
    "'enqueue_' the host's time to put a batch in"
)

_LEVEL = re.compile(r"\[([FEWIV])\] ?")
_CLOCKS = {
    "Latency": "",
    "End-to-End Host Latency": "end_to_end_",
    "Enqueue Time": "enqueue_",
    "H2D Latency": "h2d_",
    "GPU Compute Time": "gpu_compute_",
    "D2H Latency": "d2h_",
}
# The totals have six digits, and single-precision sums behind them; a lost digit is 10 % or more.
_ROUNDING = 0.02
_OLD_CLOCKS = {"Host Latency": "", "Enqueue Time": "enqueue_", "GPU Compute": "gpu_compute_"}
_STATISTIC = re.compile(
    rf"(min|max|mean|median|percentile\((\d{{1,3}})%\)) = ({NUMBER}) ms", re.ASCII
)


@dataclass(frozen=True)
class _Summary:
    """The performance summary: rates, milliseconds by statistic, the rate's line, notes."""

    qps: float
    queries_per_s: float  # from its totals: compute over mean compute, over wall time
    latency_ms: dict[str, float]
    line: int
    notes: tuple[str, ...]


def read_trtexec(path: Path | str, *, batch_size: int | None = None) -> PerfRecord:
    """Read the log that ``trtexec`` printed.

    Parameters
    ----------
    path : path
        The whole log, standard output and error together.
    batch_size : int, optional
        Images per execution, checked against the log; needed where the log does not show it.

    Raises
    ------
    DataError
        When the log is cut, of a failed run or of several runs, or contradicts `batch_size`.
    """
    log = read_lines(path)
    failed = log.find(r"&&&& FAILED")
    if failed:
        error = log.find(r"\[E\] ")
        raise log.refuse("trtexec reports that it failed.", (error or failed)[0][0])
    for mark in (r"&&&& RUNNING", r"&&&& PASSED"):
        if len(runs := log.find(mark)) > 1:
            raise log.refuse("The log holds several runs.", runs[1][0], fix="give one file per run")
    lines = []  # what the tool gives as results, without its time and a logger's
    for text in log.lines:
        level = _LEVEL.search(text)
        lines.append(text if not level else text[level.end() :] if level[1] == "I" else "")
    results = Log(log.path, tuple(lines), log.sha256)
    old = bool(results.find(r"^Host Latency\s*$"))
    summary = _old_summary(results) if old else _summary(results)
    said, line, per_image, batch_notes = _said_batch(results)
    batch = agreed_batch_size(log, said, batch_size, line)
    computed = summary.queries_per_s * (batch if per_image else 1)
    if not math.isclose(summary.qps, computed, rel_tol=_ROUNDING):
        raise log.refuse(
            f"{summary.qps:g} qps is not what the totals give, {computed:g} (total compute / mean "
            "compute / wall time): a figure is lost or changed.",
            summary.line,
            fix="give the tool's whole, unedited log",
        )
    notes = [*summary.notes, *batch_notes]
    version = log.find(rf"\[TensorRT v({COUNT})\]")
    if version:
        notes.insert(0, f"TensorRT v{version[0][1][1]}")
    notes += [match[1] for _, match in log.find(r"\[W\] \* (.+)$")]
    transfers = "left out (--noDataTransfers)" if log.find("--noDataTransfers") else "included"
    return PerfRecord(
        tool="trtexec",
        batch_size=batch,
        throughput_ips=summary.qps * (1 if per_image else batch),
        throughput_clock=message(CLOCK, transfers=transfers),
        latency_ms=summary.latency_ms,
        latency_clock=LATENCY_CLOCK,
        source=log.path.as_posix(),
        sha256=log.sha256,
        notes=tuple(notes),
    )


def _said_batch(log: Log) -> tuple[int | None, int | None, bool, tuple[str, ...]]:
    """Find the batch size that the log shows, its line, whether qps counts images, and notes.

    An image's binding has four dimensions with an explicit batch and three with an implicit one.
    """
    printed = log.find(rf"^Batch: ({COUNT})\s*$")
    bound = log.find(
        rf"[Ii]nput binding for .+ with dimensions ({COUNT})((?:x{COUNT})+)(?: is created\.)?\s*$"
    )
    shapes = log.find(rf"--shapes='?\"?[^\s:]+:({COUNT})x")
    explicit = any(match[2].count("x") > 2 for _, match in bound)
    count = int(printed[0][1][1]) if printed else 0
    implicit = any(match[2].count("x") == 2 for _, match in bound) and not explicit
    if count > 1 and explicit:
        raise log.refuse(
            f"The engine's batch is in its binding, and --batch={count} was given besides: the "
            "throughput counts something else.",
            printed[0][0],
            fix="time it again without --batch",
        )
    if count > 1 or (count and implicit):
        note = "implicit batch: the tool's qps already counts images"
        return count, printed[0][0], True, (note,)
    if count and not bound and not shapes:
        return None, None, False, ("the log prints 'Batch: 1', as for any loaded engine",)
    sizes = {int(match[1]) for _, match in bound or shapes}
    if len(sizes) != 1:  # none is shown, or the inputs differ
        return None, None, False, ()
    size, line = sizes.pop(), (bound or shapes)[0][0]
    note = message(
        "the log prints 'Batch: {count}', but its input binding has a batch of {size}",
        count=count,
        size=size,
    )
    return size, line, False, (note,) if count and count != size else ()


def _summary(log: Log) -> _Summary:
    """Read the summary of TensorRT 8 and later: one clock a line."""
    log.one(r"^=== Performance summary ===", "=== Performance summary ===")
    line, found = log.one(rf"^Throughput: ({NUMBER}) qps\s*$", "Throughput: ... qps")
    latency_ms = {}
    for clock, prefix in _CLOCKS.items():
        required = clock in ("Latency", "Enqueue Time", "GPU Compute Time")
        if not required and not log.find(f"^{re.escape(clock)}: "):
            continue
        at, match = log.one(f"^{re.escape(clock)}: (.*)$", f"{clock}: ...")
        figures = {}
        for part in match[1].strip().split(", "):
            figure = _STATISTIC.fullmatch(part)
            if not figure:
                raise log.refuse("The line of figures is cut or of an unknown form.", at)
            name = f"p{figure[2]}" if figure[2] else {"median": "p50"}.get(figure[1], figure[1])
            figures[prefix + name] = log.number(figure[3], part, at, allow_zero=True)
        # The four, and at least one percentile.
        if not {f"{prefix}{name}" for name in ("min", "max", "mean", "p50")} < set(figures):
            raise log.refuse("The line of figures is cut: a statistic is missing.", at)
        log.require_order(figures, prefix, at)
        latency_ms |= figures
    wall, compute = (
        log.one(rf"^{total}: ({NUMBER}) s\s*$", f"{total}: ... s")
        for total in ("Total Host Walltime", "Total GPU Compute Time")
    )
    qps = log.number(found[1], "The throughput", line)
    return _Summary(qps, _queries(log, latency_ms, wall, compute)[1], latency_ms, line, ())


def _old_summary(log: Log) -> _Summary:
    """Read the summary of TensorRT 7: one figure a line, under a heading for each clock."""
    starts = {clock: log.one(rf"^{clock}\s*$", clock)[0] for clock in _OLD_CLOCKS}
    latency_ms: dict[str, float] = {}
    for clock, prefix in _OLD_CLOCKS.items():
        names = (
            ("min", "max", "median")
            if clock == "Enqueue Time"
            else ("min", "max", "mean", "median", "percentile")
        )
        for offset, name in enumerate(names, 1):
            line = starts[clock] + offset
            text = log.lines[line] if line < len(log.lines) else ""
            match = re.match(rf"{name}: ({NUMBER}) ms(?: at (\d{{1,3}})%)?", text, re.ASCII)
            if not match or (name == "percentile" and not match[2]):
                raise log.refuse(f"This should be '{name}' of {clock}, whole.", line)
            key = {"median": "p50", "percentile": f"p{match[2]}"}.get(name, name)
            latency_ms[prefix + key] = log.number(match[1], name, line, allow_zero=True)
        log.require_order(latency_ms, prefix, starts[clock])
    line, found = log.one(rf"^throughput: ({NUMBER}) qps\s*$", "throughput: ... qps")
    at, wall = log.one(rf"^walltime: ({NUMBER}) s\s*$", "walltime: ... s")
    end, total = log.one(rf"^total compute time: ({NUMBER}) s\s*$", "total compute time: ... s")
    qps = log.number(found[1], "The throughput", line, allow_zero=True)
    queries, rate = _queries(log, latency_ms, (at, wall), (end, total))
    if qps:
        return _Summary(qps, rate, latency_ms, line, ())
    note = f"the tool printed 0 qps; {queries} queries = total compute time / mean compute time"
    return _Summary(rate, rate, latency_ms, line, (note,))


def _queries(
    log: Log,
    latency_ms: dict[str, float],
    wall: tuple[int, re.Match[str]],
    compute: tuple[int, re.Match[str]],
) -> tuple[int, float]:
    """Return how many queries were timed, and how many a second, from the tool's totals."""
    total = log.number(compute[1][1], "The total compute time", compute[0])
    mean = log.number(str(latency_ms["gpu_compute_mean"]), "The mean compute", compute[0])
    queries = round(1000 * total / mean)
    return queries, queries / log.number(wall[1][1], "The walltime", wall[0])
