"""The console log and the JSON report of OpenVINO's ``benchmark_app`` (Python and C++)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lresnet_utils.targets.tool_log import (
    COUNT,
    MAX_LINE_CHARS,
    NUMBER,
    START,
    Log,
    PerfRecord,
    agreed_batch_size,
    read_lines,
)

WALL_CLOCK = (
    "batch size x iterations / wall time of the whole loop, requests overlapping as configured; "
    "made-up input unless files were given; without the first inference, reading and "
    "preprocessing"
)
MEDIAN_CLOCK = (
    "1000 x batch size / median latency, as the synchronous mode of older releases counts; "
    "without the first inference, reading and preprocessing"
)
LATENCY_CLOCK = "one inference request, per batch"

# The JSON's names: the Python tool's, then the C++ tool's.
_JSON_KEYS = {
    "duration": ("total execution time (ms)", "execution_time"),
    "count": ("total number of iterations", "iterations_num"),
    "throughput": ("throughput",),
    "mean": ("avg latency", "latency_avg"),
    "min": ("min latency", "latency_min"),
    "max": ("max latency", "latency_max"),
}


def read_benchmark_app(path: Path | str, *, batch_size: int | None = None) -> PerfRecord:
    """Read ``benchmark_app``'s console log or its ``benchmark_report.json``.

    Parameters
    ----------
    path : path
        The text that the tool printed, or the JSON of ``-json_stats``, whose numbers are strings.
    batch_size : int, optional
        Images per request, checked against the log; needed where the log does not show it.

    Raises
    ------
    DataError
        When the log is cut or of a failed run, or when its throughput follows neither from
        iterations and duration nor from the median latency (so the batch size is wrong).
    """
    log = read_lines(path)
    if log.lines[0].lstrip().startswith("{"):
        figures, latency_ms, said, line, notes = _from_json(log)
    else:
        figures, latency_ms, said, line, notes = _from_console(log)
    batch = agreed_batch_size(log, said, batch_size, line)
    # Which of the tool's two definitions gives its throughput? It rounds milliseconds to 0.01,
    # which is much for a short run or a fast network.
    throughput, duration = figures["throughput"], figures["duration"]
    wall = 1000 * batch * figures["count"] / duration
    middle = next((value for name, value in latency_ms.items() if name.startswith("p")), None)
    if abs(throughput / wall - 1) < 1e-3 + 0.005 / duration:
        clock = WALL_CLOCK
    elif middle and abs(throughput * middle / (1000 * batch) - 1) < 1e-3 + 0.005 / middle:
        clock = MEDIAN_CLOCK
    else:
        raise log.refuse(
            f"Throughput {throughput} is not {batch} x {figures['count']:.0f} iterations "
            f"/ {duration} ms: the batch size or a figure is wrong.",
            line,
        )
    return PerfRecord(
        tool="benchmark_app",
        batch_size=batch,
        throughput_ips=throughput,
        throughput_clock=clock,
        latency_ms=latency_ms,
        latency_clock=LATENCY_CLOCK,
        source=log.path.as_posix(),
        sha256=log.sha256,
        notes=(f"{figures['count']:.0f} iterations", *notes),
    )


_Parts = tuple[dict[str, float], dict[str, float], int | None, int | None, tuple[str, ...]]


def _from_console(log: Log) -> _Parts:
    for line, _ in log.find(r"\[ ERROR \]"):
        raise log.refuse("benchmark_app reports an error.", line)
    figures = {}
    line = 0
    for name, label, unit in (
        ("count", "Count", "iterations"),
        ("duration", "Duration", "ms"),
        ("throughput", "Throughput", "FPS"),
    ):
        line, found = log.one(rf"{START}{label}:\s+({NUMBER}) {unit}\s*$", f"{label}: ... {unit}")
        figures[name] = log.number(found[1], label, line)
    # The block under "Latency:", or the one figure of the oldest releases.
    at_head, head = log.one(rf"{START}Latency:\s*(.*)$", "Latency:")
    latency_ms = {}
    if head[1]:
        found = re.fullmatch(rf"({NUMBER}) ms", head[1].strip())
        if not found:
            raise log.refuse("The latency is cut or of an unknown form.", at_head)
        latency_ms["p50"] = log.number(found[1], "Latency", at_head)
    else:
        # The third name is "Average", "Avg" or "AVG", by release; "MIN" and "MAX" go with the last.
        names = (r"Median|(\d{1,3}) percentile", r"Average|Avg", "Min", "Max")
        for offset, name in enumerate(names, 1):
            at = at_head + offset
            text = log.lines[at] if at < len(log.lines) else ""
            found = re.search(
                rf"{START}(?:{name}):\s+(?P<value>{NUMBER}) (?P<unit>ms|us)\s*$",
                text[:MAX_LINE_CHARS],
                re.ASCII | re.IGNORECASE,
            )
            if not found:
                raise log.refuse("A latency is missing or cut.", at)
            value = log.number(found["value"], "A latency", at)
            key = {1: "p50", 2: "mean", 3: "min", 4: "max"}[offset]
            if offset == 1 and found[1]:
                key = f"p{found[1]}"
            latency_ms[key] = value / 1000 if found["unit"] == "us" else value
        log.require_order(latency_ms, "", at_head)
    batches = log.find(rf"{START}(?:Model|Network) batch size: ({COUNT})\s*$")
    said = int(batches[-1][1][1]) if batches else None
    notes = [match[1] for _, match in log.find(r"(INFERENCE_PRECISION_HINT: .+)$")]
    notes += [f"build {m[1]}" for _, m in log.find(r"Build \.+ (\S+)")[:1]]
    return figures, latency_ms, said, batches[-1][0] if batches else line, tuple(notes)


def _from_json(log: Log) -> _Parts:
    report = log.json()
    results, setup = report.get("execution_results"), report.get("configuration_setup")
    if not isinstance(results, dict) or not isinstance(setup, dict):
        raise log.refuse("The report has no 'execution_results' or no 'configuration_setup'.")
    figures = {name: _json_number(log, results, keys) for name, keys in _JSON_KEYS.items()}
    latency_ms = {}
    for key in results:
        if key == "latency_median" or key.startswith("latency ("):
            found = re.search(r"(\d{1,3}) percentile", key, re.ASCII)
            percent = found[1] if found else str(results.get("percentile_boundary", 50))
            if not re.fullmatch(r"\d{1,3}", percent, re.ASCII):
                raise log.refuse("The report has a percentile that is no whole number.", 0)
            latency_ms[f"p{percent}"] = _json_number(log, results, (key,))
    latency_ms |= {name: figures.pop(name) for name in ("mean", "min", "max")}
    log.require_order(latency_ms, "", 0)
    said = next((setup[key] for key in ("batch size", "batch_size") if key in setup), None)
    if said is not None:
        said = int(_json_number(log, {"batch size": said}, ("batch size",)))
    precision = setup.get("precision")
    notes = (f"precision {precision}",) if precision not in (None, "UNSPECIFIED") else ()
    return figures, latency_ms, said, None, notes


def _json_number(log: Log, table: dict[str, Any], keys: tuple[str, ...]) -> float:
    for key in keys:
        if key in table:
            return log.number(str(table[key]), f"{key!r}", 0, allow_zero="latency" in key)
    raise log.refuse(f"The report has no {keys[0]!r}.")
