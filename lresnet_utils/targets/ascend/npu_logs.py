"""Logs of Huawei's ``benchmark.x86_64``: real data (five figures) and pure inference.

The tool is closed source; what its figures mean follows from the logs themselves: in every real
log that was looked at, ``throughputRate x latency`` of the e2e line is the number of input files,
``moduleLatency`` of data read and preprocess is 1000 / rate per image, and that of post is
1000 / rate per *batch*.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.targets.tool_log import (
    COUNT,
    NUMBER,
    START,
    Log,
    PerfRecord,
    StageFigure,
    agreed_batch_size,
    check_batch_size,
    read_lines,
)
from lresnet_utils.text.language import message

VISION_CLOCK = (
    "'Interface throughputRate': the tool's calls that execute the model on one device; without "
    "reading files, preprocessing and post-processing, which run beside it (see the e2e figure)"
)
PURE_CLOCK = (
    "calls that execute the model on one device, on made-up input; without reading files, "
    "preprocessing and post-processing"
)

_RATE = rf"throughputRate: ({NUMBER})"
_VISION_LINES = {
    "e2e": rf"\[e2e\] {_RATE}, latency: ({NUMBER})",
    "data_read": rf"\[data read\] {_RATE}, moduleLatency: ({NUMBER})",
    "preprocess": rf"\[preprocess\] {_RATE}, moduleLatency: ({NUMBER})",
    "infer": rf"\[infer(?:ence)?\] {_RATE}, Interface throughputRate: ({NUMBER}), "
    rf"moduleLatency: ({NUMBER})",
    "post": rf"\[post(?:process)?\] {_RATE}, moduleLatency: ({NUMBER})",
}
_VISION_MARK = r"\[(?:e2e|data read|preprocess|infer(?:ence)?|post(?:process)?)\].*$"
_UNITS = {"e2e": ("images/s", "whole run"), "post": ("batches/s", "batch")}
_VISION_NAME = re.compile(rf"perf_vision_batchsize_({COUNT})_device_({COUNT})\.txt$", re.ASCII)
_PURE_NAME = re.compile(rf"PureInfer_perf_of_(.+)_in_device_({COUNT})\.txt$", re.ASCII)
# Where a rate and a time are reciprocal, six printed digits each leave far less than this.
_RECIPROCAL_TOLERANCE = 1e-3


def read_benchmark_vision(path: Path | str, *, batch_size: int | None = None) -> PerfRecord:
    """Read ``perf_vision_batchsize_{B}_device_{ID}.txt`` of ``benchmark.x86_64``.

    Parameters
    ----------
    path : path
        The file, or the screen's log of the run: five lines ``[e2e]``, ``[data read]``,
        ``[preprocess]``, ``[infer]`` (``[inference]`` for some models) and ``[post]``
        (``[postprocess]``).
    batch_size : int, optional
        Images per execution; by default the one in the file's name, else infer rate / post rate
        where that is a whole number as far as its printed digits go.

    Returns
    -------
    PerfRecord
        ``throughput_ips`` is the Interface rate of one device; the other rates are in ``stages``.
        A batch size that the figures contradict is kept and noted.

    Raises
    ------
    DataError
        When a line is missing, cut, out of order or contradicts itself, or the batch size is
        neither given nor named and the figures do not tell it.
    """
    log = read_lines(path)
    check_batch_size(batch_size)
    at = log.find(_VISION_MARK)
    stages, printed, interface = {}, {}, (0.0, 0.0)
    for position, (stage, pattern) in enumerate(_VISION_LINES.items()):
        line, text = len(log.lines), ""
        if position < len(at):
            line, text = at[position][0], at[position][1][0].strip()
        match = re.fullmatch(pattern, text, re.ASCII)
        if not match:
            raise log.refuse(f"This should be the [{stage.replace('_', ' ')}] line, whole.", line)
        figures = [log.number(group, f"A figure of {stage}", line) for group in match.groups()]
        rate_unit, covers = _UNITS.get(stage, ("images/s", "image"))
        stages[stage] = StageFigure(figures[0], rate_unit, figures[-1], covers)
        printed[stage] = printed_interval(match[1])
        if stage == "infer":
            interface = figures[1:]
        reciprocal = figures[0] * figures[-1] / 1000
        if stage not in ("e2e", "infer") and abs(reciprocal - 1) > _RECIPROCAL_TOLERANCE:
            raise log.refuse("moduleLatency is not 1000 / throughputRate: a digit is lost.", line)
    if len(at) > len(_VISION_LINES):
        raise log.refuse(
            "There is more than the five figures.",
            at[len(_VISION_LINES)][0],
            fix="give one file per run",
        )
    named = _VISION_NAME.search(log.path.name)
    notes = [f"device {named[2]}"] if named else []
    said = batch_size if batch_size is not None else int(named[1]) if named else None
    record = PerfRecord(
        tool="benchmark.x86_64",
        batch_size=said,
        throughput_ips=interface[0],
        throughput_clock=VISION_CLOCK,
        latency_ms={"infer_per_image": interface[1]},
        latency_clock="'moduleLatency' of the infer stage, per image",
        source=log.path.as_posix(),
        sha256=log.sha256,
        stages=stages,
    )
    implied = record.implied_batch_size
    if said is None:
        # The quotient tells the batch size where one whole number alone can be it.
        (low, high), (least, most) = printed["infer"], printed["post"]
        said = math.ceil(low / most)
        if least <= 0 or math.floor(high / least) != said:
            raise log.refuse(
                f"The log does not say its batch size: infer rate / post rate = {implied:.6g} is "
                "not one whole number within their rounding.",
                fix="give it: batch_size=..., or in the file's name as the tool writes it: "
                "perf_vision_batchsize_<B>_device_<ID>.txt",
            )
        check_batch_size(said)
        notes.append(
            message(
                "batch size {batch} from infer rate / post rate = {implied:.4g}",
                batch=said,
                implied=implied,
            )
        )
    elif abs(implied - said) > 0.02 * said:
        notes.append(
            message(
                "named batch size {batch}, but infer rate / post rate = {implied:.4g}",
                batch=said,
                implied=implied,
            )
        )
    return replace(record, batch_size=said, notes=tuple(notes))


def read_benchmark_pure(path: Path | str, *, batch_size: int | None = None) -> PerfRecord:
    """Read ``PureInfer_perf_of_{om}_in_device_{ID}.txt``, or the screen log of the same run.

    Parameters
    ----------
    path : path
        A text with ``ave_throughputRate = Xsamples/s, ave_latency = Yms`` (also with colons).
    batch_size : int, optional
        Images per execution, which this log does not say; the rate does not depend on it.

    Raises
    ------
    DataError
        When the line is missing, cut or not of one run.
    """
    log = read_lines(path)
    check_batch_size(batch_size)
    line, _ = log.one(r"ave_throughputRate", "ave_throughputRate = ...")
    match = re.search(
        rf"ave_throughputRate\s*[=:]\s*({NUMBER})\s*samples/s,\s*"
        rf"ave_latency\s*[=:]\s*({NUMBER})\s*ms\s*$",
        log.lines[line],
        re.ASCII,
    )
    if not match:
        raise log.refuse("The line of figures is cut or of an unknown form.", line)
    named = _PURE_NAME.search(log.path.name)
    return PerfRecord(
        tool="benchmark.x86_64 (pure inference)",
        batch_size=batch_size,
        throughput_ips=log.number(match[1], "ave_throughputRate", line),
        throughput_clock=PURE_CLOCK,
        latency_ms={"mean_per_image": log.number(match[2], "ave_latency", line)},
        latency_clock="model execution, per image",
        source=log.path.as_posix(),
        sha256=log.sha256,
        notes=(f"model {named[1]}, device {named[2]}",) if named else (),
    )


def printed_interval(text: str) -> tuple[Fraction, Fraction]:
    """Return the ends of what a printed number may stand for: half a unit of its last digit.

    Examples
    --------
    >>> [float(end) for end in printed_interval("31.9")], [int(n) for n in printed_interval("2e3")]
    ([31.85, 31.95], [1500, 2500])
    """
    digits, _, exponent = text.lower().partition("e")
    decimals = len(digits.partition(".")[2])
    half = Fraction(1, 2) * Fraction(10) ** (int(exponent or 0) - decimals)
    return Fraction(text) - half, Fraction(text) + half


# Logs of ``ais_bench`` (also ``msit benchmark``) and of ``msame``.
#
# Forms read: ``*_summary.json`` with ``percentile(99%)`` or ``P99``; the screen log with one line
# or one table per clock (Ascend/tools and Ascend/msit, ``infer/summary.py``); msame's screen log.

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
    clocks = {}
    for clock in [clock for clock in _CLOCKS if clock in summary]:
        if not isinstance(summary[clock], dict):
            raise log.refuse(f"{clock!r} is not a table of statistics.")
        clocks[clock] = _ais_statistics(log, clock, summary[clock].items(), 0)
        if "mean" not in clocks[clock]:
            raise log.refuse(f"{clock!r} has no mean.")
        log.require_order(clocks[clock], "", 0)
    listed, count = summary.get("npu_compute_time_list"), summary["NPU_compute_time"].get("count")
    if isinstance(listed, list) and count is not None and len(listed) != count:
        raise log.refuse(f"It counts {count} executions but lists {len(listed)} times.")
    return throughput, clocks, () if count is None else (f"{count} executions",), None


def _ais_statistics(
    log: Log, clock: str, pairs: Iterable[tuple[str, Any]], line: int
) -> dict[str, float]:
    """Return the statistics among some keys and values, named as this package does.

    'median' and 'percentile(99%)' or 'P99' are p50 and p99.
    """
    figures = {}
    for key, value in pairs:
        percentile = re.fullmatch(r"percentile\((\d{1,3})%\)|P(\d{1,3})", key, re.ASCII)
        name = f"p{percentile[1] or percentile[2]}" if percentile else _STATISTICS.get(key)
        if name:
            zero = clock != "NPU_compute_time"
            figures[name] = log.number(str(value), f"{clock} {key}", line, allow_zero=zero)
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
        if not hits:
            continue
        at = hits[0][0]
        text = log.lines[at]
        if "│" in text:  # a row of the newer table under its header
            rows = [m[0].split("│") for i, m in log.find(r"│.*│") if i < at]
            header = next((cells for cells in rows if "Metric" in cells[1]), [])
            names = [cell.strip() for cell in header[2:-1]]
            values = [cell.strip() for cell in text.split("│")[2:-1]]
            pairs = zip(names, values, strict=False)
        else:
            pairs = re.findall(rf"(?<![\w()%])([\w()%]+) = ({NUMBER})(?=, |\s*$)", text, re.ASCII)
        clocks[clock] = _ais_statistics(log, clock, pairs, at)
        if not {"min", "max", "mean", "p50", "p99"} <= set(clocks[clock]):
            raise log.refuse(f"The figures of {clock} are cut or of an unknown form.", at)
        log.require_order(clocks[clock], "", at)
    if "NPU_compute_time" not in clocks:
        raise log.refuse("The log has no NPU_compute_time.", len(log.lines))
    return throughput, clocks, (), line
