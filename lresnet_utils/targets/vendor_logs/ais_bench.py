"""Logs of ``ais_bench`` (also ``msit benchmark``) and of ``msame``.

Forms read: ``*_summary.json`` with ``percentile(99%)`` or ``P99``; the screen log with one line
or one table per clock (Ascend/tools and Ascend/msit, ``infer/summary.py``); msame's screen log.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.targets.vendor_logs.record import (
    NUMBER,
    START,
    Log,
    PerfRecord,
    agreed_batch_size,
    read_lines,
)

AIS_CLOCK = (
    "1000 x batch size / mean execution time on the device; without copies to and from the "
    "device, reading files and all host time; images that pad the last batch count"
)
AIS_LATENCY_CLOCK = "execution on the device, per batch; copies to and from it are separate"
MSAME_CLOCK = (
    "1000 x batch size / mean time of the execute call without the first; without copies to and "
    "from the device, reading files and writing results"
)

_CLOCKS = {"NPU_compute_time": "", "H2D_latency": "h2d_", "D2H_latency": "d2h_"}
_STATISTICS = {"min": "min", "max": "max", "mean": "mean", "median": "p50"}
_THROUGHPUT = re.compile(
    rf"[Tt]hroughput \(?1000\*batchsize(?:\.mean)?.*: ({NUMBER})\s*$", re.ASCII
)


def read_ais_bench(path: Path | str, *, batch_size: int | None = None) -> PerfRecord:
    """Read ais_bench's ``*_summary.json`` or its screen log.

    Parameters
    ----------
    path : path
        The JSON file beside the result folder, or the text that the tool printed.
    batch_size : int, optional
        Images per execution; checked against the one that the throughput counts.

    Raises
    ------
    DataError
        When the log is cut, of a failed run, of several devices, or counts another batch size:
        ``--batchsize`` only scales the printed throughput, so a wrong one makes it wrong.
    """
    log = read_lines(path)
    if log.lines[0].lstrip().startswith("{"):
        throughput, clocks, notes, line = _ais_summary(log)
    else:
        throughput, clocks, notes, line = _ais_screen(log)
    latency_ms = {
        f"{prefix}{name}": value
        for clock, prefix in _CLOCKS.items()
        for name, value in clocks.get(clock, {}).items()
    }
    counted = throughput * latency_ms["mean"] / 1000
    if counted < 0.5 or abs(counted - round(counted)) > 1e-3 * counted:
        notes = (*notes, f"mean batch size {counted:.4g}: batches of different sizes")
        said = None if batch_size is not None else max(1, round(counted))
    else:
        said = round(counted)
    return PerfRecord(
        tool="ais_bench",
        batch_size=agreed_batch_size(log, said, batch_size, line),
        throughput_ips=throughput,
        throughput_clock=AIS_CLOCK,
        latency_ms=latency_ms,
        latency_clock=AIS_LATENCY_CLOCK,
        source=log.path.as_posix(),
        sha256=log.sha256,
        notes=notes,
    )


def read_msame(path: Path | str, *, batch_size: int | None = None) -> PerfRecord:
    """Read msame's screen log.

    Parameters
    ----------
    path : path
        The text that the tool printed.
    batch_size : int
        Images per execution; needed, for the log does not say it.

    Raises
    ------
    DataError
        When the log is cut or of a failed run, or no batch size is given.
    """
    log = read_lines(path)
    batch = agreed_batch_size(log, None, batch_size, None)
    for line, _ in log.find(r"\[ERROR\]"):
        raise log.refuse("msame reports an error.", line)
    line, found = log.one(
        rf"Inference average time\s*:\s*({NUMBER})\s*ms\s*$", "Inference average time: ... ms"
    )
    mean = log.number(found[1], "The average time", line)
    line, found = log.one(
        rf"Inference average time without first time\s*:\s*({NUMBER})\s*ms\s*$",
        "Inference average time without first time: ... ms",
    )
    later = log.number(found[1], "The average time", line)
    listed = [
        log.number(match[1], "An execution's time", i)
        for i, match in log.find(rf"{START}Inference time:\s*({NUMBER})\s*ms\s*$")
    ]
    latency_ms = {"mean": mean, "mean_without_first": later}
    if listed:
        latency_ms |= {"min": min(listed), "max": max(listed), "p50": float(np.median(listed))}
    return PerfRecord(
        tool="msame",
        batch_size=batch,
        throughput_ips=1000 * batch / later,
        throughput_clock=MSAME_CLOCK,
        latency_ms=latency_ms,
        latency_clock="the execute call, per batch",
        source=log.path.as_posix(),
        sha256=log.sha256,
        notes=(f"{len(listed)} executions listed",) if listed else (),
    )


def _ais_summary(log: Log) -> tuple[float, dict[str, dict[str, float]], tuple[str, ...], None]:
    summary = log.json()
    for key in ("NPU_compute_time", "throughput"):
        if key not in summary:
            raise log.refuse(f"The summary has no {key!r}.")
    throughput = log.number(str(summary["throughput"]), "'throughput'", 0)
    clocks, notes = {}, []
    for clock in _CLOCKS:
        if clock in summary:
            clocks[clock] = _ais_json_clock(log, clock, summary[clock])
    listed, count = summary.get("npu_compute_time_list"), summary["NPU_compute_time"].get("count")
    if isinstance(listed, list) and count is not None and len(listed) != count:
        raise log.refuse(f"It counts {count} executions but lists {len(listed)} times.")
    if count is not None:
        notes.append(f"{count} executions")
    return throughput, clocks, tuple(notes), None


def _ais_json_clock(log: Log, clock: str, values: Any) -> dict[str, float]:
    if not isinstance(values, dict):
        raise log.refuse(f"{clock!r} is not a table of statistics.")
    figures = {}
    for key, value in values.items():
        name = _statistic(key)
        if name:
            figures[name] = log.number(
                str(value), f"{clock} {key}", 0, allow_zero=clock != "NPU_compute_time"
            )
    if "mean" not in figures:
        raise log.refuse(f"{clock!r} has no mean.")
    log.require_order(figures, "", 0)
    return figures


def _ais_screen(log: Log) -> tuple[float, dict[str, dict[str, float]], tuple[str, ...], int]:
    for line, _ in log.find(r"\[ERROR\]"):
        raise log.refuse("ais_bench reports an error.", line)
    log.one(r"-\s*Performance Summary\s*-", "Performance Summary")
    line, _ = log.one(r"[Tt]hroughput \(?1000\*batchsize", "throughput 1000*batchsize...: ...")
    found = _THROUGHPUT.search(log.lines[line])
    if not found:
        raise log.refuse("The throughput is cut or of an unknown form.", line)
    throughput = log.number(found[1], "The throughput", line)
    clocks = {}
    for clock in _CLOCKS:
        hits = log.find(rf"{clock} \(ms\)")
        if hits:
            clocks[clock] = _ais_screen_clock(log, clock, hits[0][0])
    if "NPU_compute_time" not in clocks:
        raise log.refuse("The log has no NPU_compute_time.", len(log.lines))
    return throughput, clocks, (), line


def _ais_screen_clock(log: Log, clock: str, line: int) -> dict[str, float]:
    """Read `name = value` pairs, or a row of the newer table under its header."""
    text = log.lines[line]
    pairs = re.findall(rf"(?<![\w()%])([\w()%]+) = ({NUMBER})(?=, |\s*$)", text, re.ASCII)
    if "│" in text:
        rows = [(i, m[0].split("│")) for i, m in log.find(r"│.*│") if i < line]
        header = next((cells for _, cells in rows if "Metric" in cells[1]), [])
        pairs = list(
            zip(
                (cell.strip() for cell in header[2:-1]),
                (cell.strip() for cell in text.split("│")[2:-1]),
                strict=False,
            )
        )
    figures = {}
    for key, value in pairs:
        if _statistic(key):
            figures[_statistic(key)] = log.number(
                value, f"{clock} {key}", line, allow_zero=clock != "NPU_compute_time"
            )
    if not {"min", "max", "mean", "p50", "p99"} <= set(figures):
        raise log.refuse(f"The figures of {clock} are cut or of an unknown form.", line)
    log.require_order(figures, "", line)
    return figures


def _statistic(key: str) -> str | None:
    """Name a statistic as this package does: 'median' and 'percentile(99%)' are p50 and p99."""
    percentile = re.fullmatch(r"percentile\((\d{1,3})%\)|P(\d{1,3})", key, re.ASCII)
    if percentile:
        return f"p{percentile[1] or percentile[2]}"
    return _STATISTICS.get(key)
