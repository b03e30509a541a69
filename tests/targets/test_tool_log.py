"""Every tool's log as shells, loggers and terminals hand it on: the figures stay the same."""

from __future__ import annotations

import codecs

import pytest
from fuzzkit.tool_logs import APP, MSAME, PURE, SCREEN, TABLE, TRTEXEC, TRTEXEC_7, VISION

from lresnet_utils.errors import DataError
from lresnet_utils.targets.replay import read_log

OLDEST_APP = (
    "Count:      992 iterations\nDuration:   15009.8 ms\nLatency:    14.00 ms\n"
    "Throughput: 1057.44 FPS\n"
)
TEXTS = {
    "vision": VISION.decode(),
    "pure": PURE.decode(),
    "ais": SCREEN.decode(),
    "ais-table": TABLE.decode(),
    "msame": MSAME.decode(),
    "trtexec": TRTEXEC.decode(),
    "trtexec-7": TRTEXEC_7.decode(),
    "app": APP.decode(),
    "app-oldest": OLDEST_APP,
}
# The logs that do not say their batch size.
SILENT = ("pure", "msame", "app-oldest")
# What stands before each line, as these programs put it there.
PREFIXES = {
    "nothing": "",
    "docker logs -t": "2025-11-28T10:11:12.345678901Z ",
    "kubelet": "2025-11-28T10:11:12.345678901Z stdout F ",
    "kubectl logs --prefix": "[pod/perf-7d9/trtexec] ",
    "docker compose": "perf-1  | ",
    "journalctl": "Nov 28 10:11:12 host trtexec[4711]: ",
    "ts": "Nov 28 10:11:12 ",
    "stream": "[stdout] ",
    "Jenkins": "[2025-11-28T10:11:12.345Z] ",
    "Python's logging": "2025-11-28 10:11:12,345 - perf - INFO - ",
    "mpirun --tag-output": "[1,0]<stdout>:",
    "srun -l": "0: ",
}


def figures(path, data, tool):
    path.write_bytes(data)
    record = read_log(path, batch_size=16 if tool in SILENT else None)
    return record.tool, record.batch_size, record.throughput_ips, record.latency_ms, record.stages


@pytest.mark.parametrize("tool", TEXTS)
@pytest.mark.parametrize("logger", PREFIXES)
def test_what_a_logger_puts_before_each_line(tmp_path, tool, logger):
    plain = figures(tmp_path / "log", TEXTS[tool].encode(), tool)
    lines = TEXTS[tool].splitlines(keepends=True)
    wrapped = "".join(PREFIXES[logger] + line for line in lines)
    assert figures(tmp_path / "log", wrapped.encode(), tool) == plain


def coloured(text):
    """Put a colour, an erased line, a title and a link around, as terminals get them."""
    start, end = "\x1b]0;perf\x07\x1b[2K\x1b[1;32m", "\x1b[0m\x1b(B"
    return "".join(f"{start}{line}{end}\n" for line in text.splitlines())


def with_progress(text):
    """Put a bar that rewrites its line before each of the tool's lines, as `2>&1 | tee` leaves it.

    Vertical bars of this kind are no cells of a table.
    """
    bar = "Inference: 10%|#   | 1/9\rInference: 99%|####| 9/9\r"
    return "".join(bar + line for line in text.splitlines(keepends=True))


FORMS = {
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "script's CRCRLF": lambda text: text.replace("\n", "\r\r\n").encode(),
    "UTF-8 with a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "PowerShell": lambda text: codecs.BOM_UTF16_LE + text.replace("\n", "\r\n").encode("utf-16-le"),
    "UTF-16, the other order": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "colours": lambda text: coloured(text).encode(),
    "progress": lambda text: with_progress(text).encode(),
}


@pytest.mark.parametrize("tool", TEXTS)
@pytest.mark.parametrize("form", FORMS)
def test_encodings_line_ends_colours_and_progress(tmp_path, tool, form):
    plain = figures(tmp_path / "log", TEXTS[tool].encode(), tool)
    assert figures(tmp_path / "log", FORMS[form](TEXTS[tool]), tool) == plain


@pytest.mark.parametrize("tool", TEXTS)
def test_two_services_in_one_log_are_refused(tmp_path, tool):
    lines = TEXTS[tool].splitlines()
    both = "\n".join(f"{name} | {line}" for line in lines for name in ("a-1", "b-1"))
    with pytest.raises(DataError):
        figures(tmp_path / "log", both.encode(), tool)


def test_utf_16_that_is_cut_or_not_text_is_refused(tmp_path):
    data = FORMS["PowerShell"](TEXTS["app"])
    path = tmp_path / "log"
    for damaged in (data[: len(data) // 2 + 1], data[1:], codecs.BOM_UTF16_LE + b"\0" * 64):
        with pytest.raises(DataError):
            figures(path, damaged, "app")


def test_an_unfinished_title_hides_no_lines(tmp_path):
    plain = figures(tmp_path / "log", TRTEXEC, "trtexec")
    data = TRTEXEC.replace(b"[I] === Perf", b"\x1b]0;[I] === Perf") + b"\x07"
    assert figures(tmp_path / "log", data, "trtexec") == plain
