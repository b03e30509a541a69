"""Logs of Huawei's ``benchmark.x86_64``: real data (five figures) and pure inference.

The tool is closed source; what its figures mean follows from the logs themselves: in every real
log that was looked at, ``throughputRate x latency`` of the e2e line is the number of input files,
``moduleLatency`` of data read and preprocess is 1000 / rate per image, and that of post is
1000 / rate per *batch*.
"""

from __future__ import annotations

import re
from pathlib import Path

from lresnet_utils.perf.vendor_logs.record import (
    COUNT,
    NUMBER,
    Log,
    PerfRecord,
    StageFigure,
    check_batch_size,
    read_lines,
)

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
    "infer": rf"\[infer\] {_RATE}, Interface throughputRate: ({NUMBER}), "
    rf"moduleLatency: ({NUMBER})",
    "post": rf"\[post\] {_RATE}, moduleLatency: ({NUMBER})",
}
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
        The file: five lines ``[e2e]``, ``[data read]``, ``[preprocess]``, ``[infer]``, ``[post]``.
    batch_size : int, optional
        Images per execution; by default the one in the file's name, else the one that the
        figures imply.

    Returns
    -------
    PerfRecord
        ``throughput_ips`` is the Interface rate of one device; the other rates are in ``stages``.
        A batch size that the figures contradict is kept and noted.

    Raises
    ------
    DataError
        When a line is missing, cut, out of order or contradicts itself.
    """
    log = read_lines(path)
    check_batch_size(batch_size)
    values = _vision_values(log)
    stages = _vision_stages(values)
    named = _VISION_NAME.search(log.path.name)
    notes = [f"device {named[2]}"] if named else []
    said = batch_size if batch_size is not None else int(named[1]) if named else None
    implied = implied_batch_size(stages)
    if said is None:
        said = round(implied)
        check_batch_size(said)
        notes.append(f"batch size {said} from infer rate / post rate = {implied:.4g}")
    elif abs(implied - said) > 0.02 * said:
        notes.append(f"named batch size {said}, but infer rate / post rate = {implied:.4g}")
    return PerfRecord(
        tool="benchmark.x86_64",
        batch_size=said,
        throughput_ips=values["infer"][1],
        throughput_clock=VISION_CLOCK,
        latency_ms={"infer_per_image": values["infer"][2]},
        latency_clock="'moduleLatency' of the infer stage, per image",
        source=log.path.as_posix(),
        sha256=log.sha256,
        stages=stages,
        notes=tuple(notes),
    )


def implied_batch_size(stages: dict[str, StageFigure]) -> float:
    """Return infer rate / post rate, which is the batch size: post is counted per batch.

    Examples
    --------
    >>> infer = StageFigure(122.739, "images/s", 7.46171, "image")
    >>> post = StageFigure(15.3423, "batches/s", 65.1795, "batch")
    >>> round(implied_batch_size({"infer": infer, "post": post}), 2)
    8.0
    """
    return stages["infer"].rate / stages["post"].rate


def samples(stages: dict[str, StageFigure]) -> float:
    """Return e2e rate x e2e time: the number of network inputs that the run processed.

    Each input file counts, so a face with its mirrored view counts twice.

    Examples
    --------
    >>> round(samples({"e2e": StageFigure(78.7504, "images/s", 304761, "whole run")}))
    24000
    """
    return stages["e2e"].rate * stages["e2e"].time_ms / 1000


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


def _vision_values(log: Log) -> dict[str, tuple[float, ...]]:
    """Read the five lines in order; blank lines are allowed, nothing else is."""
    at = [i for i, line in enumerate(log.lines) if line.strip()]
    values = {}
    for position, (stage, pattern) in enumerate(_VISION_LINES.items()):
        line = at[position] if position < len(at) else len(log.lines)
        text = log.lines[line].strip() if position < len(at) else ""
        match = re.fullmatch(pattern, text, re.ASCII)
        if not match:
            raise log.refuse(f"This should be the [{stage.replace('_', ' ')}] line, whole.", line)
        values[stage] = tuple(
            log.number(group, f"A figure of {stage}", line) for group in match.groups()
        )
        reciprocal = values[stage][0] * values[stage][-1] / 1000
        if stage not in ("e2e", "infer") and abs(reciprocal - 1) > _RECIPROCAL_TOLERANCE:
            raise log.refuse("moduleLatency is not 1000 / throughputRate: a digit is lost.", line)
    if len(at) > len(_VISION_LINES):
        raise log.refuse(
            "There is more than the five figures.",
            at[len(_VISION_LINES)],
            fix="give one file per run",
        )
    return values


def _vision_stages(values: dict[str, tuple[float, ...]]) -> dict[str, StageFigure]:
    stages = {}
    for stage, figures in values.items():
        rate_unit, covers = _UNITS.get(stage, ("images/s", "image"))
        stages[stage] = StageFigure(figures[0], rate_unit, figures[-1], covers)
    return stages
