"""Logs of Huawei's ``benchmark.x86_64``: real data (five figures) and pure inference.

The tool is closed source; what its figures mean follows from the logs themselves: in every real
log that was looked at, ``throughputRate x latency`` of the e2e line is the number of input files,
``moduleLatency`` of data read and preprocess is 1000 / rate per image, and that of post is
1000 / rate per *batch*.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path

from lresnet_utils.targets.vendor_logs.record import (
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
    values, whole = _vision_values(log)
    stages = _vision_stages(values)
    named = _VISION_NAME.search(log.path.name)
    notes = [f"device {named[2]}"] if named else []
    said = batch_size if batch_size is not None else int(named[1]) if named else None
    implied = implied_batch_size(stages)
    if said is None:
        if whole is None:
            raise log.refuse(
                f"The log does not say its batch size: infer rate / post rate = {implied:.6g} is "
                "not one whole number within their rounding.",
                fix="give it: batch_size=..., or in the file's name as the tool writes it: "
                "perf_vision_batchsize_<B>_device_<ID>.txt",
            )
        said = whole
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


def _vision_values(log: Log) -> tuple[dict[str, tuple[float, ...]], int | None]:
    """Read the five lines in order, and the batch size if their rates give a whole one.

    A rate is known to half a unit of its last printed digit, so the quotient is an interval; it
    tells the batch size where one whole number alone lies in it.
    """
    at = log.find(_VISION_MARK)
    values, rates = {}, {}
    for position, (stage, pattern) in enumerate(_VISION_LINES.items()):
        line, text = len(log.lines), ""
        if position < len(at):
            line, text = at[position][0], at[position][1][0].strip()
        match = re.fullmatch(pattern, text, re.ASCII)
        if not match:
            raise log.refuse(f"This should be the [{stage.replace('_', ' ')}] line, whole.", line)
        values[stage] = tuple(
            log.number(group, f"A figure of {stage}", line) for group in match.groups()
        )
        rates[stage] = Fraction(match[1]), _half_a_digit(match[1])
        reciprocal = values[stage][0] * values[stage][-1] / 1000
        if stage not in ("e2e", "infer") and abs(reciprocal - 1) > _RECIPROCAL_TOLERANCE:
            raise log.refuse("moduleLatency is not 1000 / throughputRate: a digit is lost.", line)
    if len(at) > len(_VISION_LINES):
        raise log.refuse(
            "There is more than the five figures.",
            at[len(_VISION_LINES)][0],
            fix="give one file per run",
        )
    (infer, infer_half), (post, post_half) = rates["infer"], rates["post"]
    least = math.ceil((infer - infer_half) / (post + post_half))
    most = math.floor((infer + infer_half) / (post - post_half)) if post > post_half else math.inf
    return values, least if least == most else None


def _half_a_digit(text: str) -> Fraction:
    """Return half a unit of a number's last printed digit."""
    digits, _, exponent = text.lower().partition("e")
    decimals = len(digits.partition(".")[2])
    return Fraction(1, 2) * Fraction(10) ** (int(exponent or 0) - decimals)


def _vision_stages(values: dict[str, tuple[float, ...]]) -> dict[str, StageFigure]:
    stages = {}
    for stage, figures in values.items():
        rate_unit, covers = _UNITS.get(stage, ("images/s", "image"))
        stages[stage] = StageFigure(figures[0], rate_unit, figures[-1], covers)
    return stages
