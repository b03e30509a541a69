"""What one vendor log says, in the same words for every tool.

A figure is worth what its clock covers, and no two of these tools use the same clock, so every
record says which. A log that is cut, edited or of a failed run is refused, naming the line.
"""

from __future__ import annotations

import codecs
import hashlib
import math
import re
from dataclasses import asdict, dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

from lresnet_utils.errors import DataError
from lresnet_utils.targets.embed import StageRate, StageRates
from lresnet_utils.untrusted.bytes import read_bytes
from lresnet_utils.untrusted.json import parse_json

MAX_BYTES = 32 * 2**20
MAX_LINES = 500_000
MAX_LINE_CHARS = 4000
"""A longer line holds no figure and is not searched: patterns may take time by its square."""
MAX_BATCH_SIZE = 65_536
LEAST_FIGURE, MOST_FIGURE = 1e-9, 1e12

# A tool's number: plain or scientific, never a bare sign, a word or a hexadecimal. There is one
# way only to match it, or a long row of digits would be tried in as many ways as it is long.
NUMBER = r"[-+]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][-+]?\d{1,4})?"
COUNT = r"\d{1,9}"

_STATISTICS = ("mean", *(f"p{percent}" for percent in range(1, 101)), "max")
# A terminal's codes: colours and cursor moves, titles and links, and the short ones.
_ANSI = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]_P][^\x07\x1b\n]*(?:\x07|\x1b\\)|[ -/]*[0-OQ-Z^a-~\\])"
)
_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Where a tool's own text may begin: after whatever a logger puts before each line, such as
# "2025-11-28T10:11:12Z stdout F ", "[stdout] " or "web-1  | ".
START = r"(?:^|[\s\]|:>])"


@dataclass(frozen=True)
class StageFigure:
    """One stage of the five-figure log of ``benchmark.x86_64``.

    Attributes
    ----------
    rate : float
        The stage's ``throughputRate``, in `rate_unit`.
    rate_unit : str
        ``'images/s'``, or ``'batches/s'`` for the post stage.
    time_ms : float
        The stage's time in milliseconds, over what `time_covers` says.
    time_covers : str
        ``'image'``, ``'batch'`` (post) or ``'whole run'`` (e2e).
    """

    rate: float
    rate_unit: str
    time_ms: float
    time_covers: str


@dataclass(frozen=True)
class PerfRecord:
    """The figures of one vendor log, with what its clocks cover.

    Attributes
    ----------
    tool : str
        ``'benchmark.x86_64'``, ``'benchmark.x86_64 (pure inference)'``, ``'ais_bench'``,
        ``'msame'``, ``'trtexec'`` or ``'benchmark_app'``.
    batch_size : int or None
        Images in one execution; None where the log and its name do not say.
    throughput_ips : float
        Images per second of one device, as the tool measured it; never multiplied by a number
        of chips.
    throughput_clock : str
        What the throughput's clock covers and what it leaves out.
    latency_ms : dict of str to float
        Milliseconds by statistic (``'mean'``, ``'p99'``, ``'gpu_compute_mean'``, ...).
    latency_clock : str
        What the latencies cover; per batch unless it says per image.
    stages : dict of str to StageFigure
        Only for ``benchmark.x86_64`` with real data: e2e, data_read, preprocess, infer, post.
    source : str
        The file.
    sha256 : str
        SHA-256 of the file's bytes.
    notes : tuple of str
        What a reader of the figures should know.
    """

    tool: str
    batch_size: int | None
    throughput_ips: float
    throughput_clock: str
    latency_ms: dict[str, float]
    latency_clock: str
    source: str
    sha256: str
    stages: dict[str, StageFigure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain dicts, lists and numbers."""
        return {**asdict(self), "notes": list(self.notes)}

    @property
    def samples(self) -> float:
        """E2e rate x e2e time: the number of network inputs that the run processed.

        Each input file counts, so a face with its mirrored view counts twice.
        """
        return self.stages["e2e"].rate * self.stages["e2e"].time_ms / 1000

    @property
    def implied_batch_size(self) -> float:
        """Infer rate / post rate, which is the batch size: post is counted per batch."""
        return self.stages["infer"].rate / self.stages["post"].rate

    def stage_rates(self) -> StageRates:
        """Return the five figures of ``benchmark.x86_64`` per image, post too.

        Examples
        --------
        >>> from lresnet_utils.perf.guide_figures import load_guide
        >>> rates = load_guide().block(16, tuned=True).record.stage_rates()
        >>> rates.infer.images_per_second, rates.e2e.n, round(rates.post.images_per_second, 1)
        (129.767, 24000, 129.8)
        """
        rates = {}
        for name, figure in self.stages.items():
            batch = self.batch_size if figure.rate_unit == "batches/s" else 1
            rate = figure.rate * batch
            rates[name] = StageRate(rate, 1000 / rate, round(self.samples))
        return StageRates(**rates)


@dataclass(frozen=True)
class Log:
    """A log file's lines, without a terminal's codes, and the hash of its bytes."""

    path: Path
    lines: tuple[str, ...]
    sha256: str

    def refuse(self, what: str, line: int | None = None, *, fix: str | None = None) -> DataError:
        """Make the error that names the line, counted from 1, on which reading failed."""
        where = str(self.path)
        if line is not None:
            shown = self.lines[line].strip() if line < len(self.lines) else "(end of file)"
            where += f", line {line + 1}: {shown[:120]}"
        return DataError(what, where=where, fix=fix)

    def find(self, pattern: str | re.Pattern[str]) -> list[tuple[int, re.Match[str]]]:
        """Return every line, by its index, in which `pattern` is found."""
        search = re.compile(pattern, re.ASCII).search
        hits = (
            (i, search(line)) for i, line in enumerate(self.lines) if (len(line) <= MAX_LINE_CHARS)
        )
        return [(i, match) for i, match in hits if match]

    def one(self, pattern: str, what: str) -> tuple[int, re.Match[str]]:
        """Return the only line in which `pattern` is found.

        Raises
        ------
        DataError
            When there is none (the log is cut) or more than one (two runs in one file).
        """
        hits = self.find(pattern)
        if not hits:
            raise self.refuse(
                f"The log is cut or not of this tool: it has no line {what!r}.",
                len(self.lines),
                fix="give the tool's whole, unedited log",
            )
        if len(hits) > 1:
            raise self.refuse(
                f"The log holds {len(hits)} lines {what!r}: it is not the log of one run.",
                hits[1][0],
                fix="give one file per run",
            )
        return hits[0]

    def number(self, text: str, what: str, line: int, *, allow_zero: bool = False) -> float:
        """Turn the text of a number into a float within the limits or refuse the line."""
        plain = re.fullmatch(NUMBER, text.strip(), re.ASCII)
        value = float(text) if plain else math.nan
        if not LEAST_FIGURE <= value <= MOST_FIGURE and not (value == 0 and allow_zero):
            span = f"{LEAST_FIGURE:g} to {MOST_FIGURE:g}"
            shown = text.strip()[:40]
            raise self.refuse(f"{what} is {shown!r}, not a positive number ({span}).", line)
        return value

    def require_order(self, figures: dict[str, float], prefix: str, line: int) -> None:
        """Refuse statistics of one clock that do not lie between its least and its greatest.

        Raises
        ------
        DataError
            When one lies outside: a digit was lost or changed.
        """
        low, high = (figures.get(f"{prefix}{end}") for end in ("min", "max"))
        if low is None or high is None:
            return
        for name in _STATISTICS:
            value = figures.get(f"{prefix}{name}", low)
            # A mean of equal times may differ from them by rounding.
            if not low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
                raise self.refuse(
                    f"{prefix}{name} is {value:g}, outside its range of {low:g} to {high:g}.", line
                )

    def json(self) -> dict[str, Any]:
        """Return the log as the JSON object that it is.

        Raises
        ------
        DataError
            When it is cut, or is no object.
        """
        data = "\n".join(self.lines).encode("utf-8")
        try:
            value = parse_json(data, where=str(self.path), what="It")
        except DataError as error:
            what = f"The log is cut or not JSON. {error.what}"
            raise DataError(what, where=error.where, fix=error.fix) from error
        if not isinstance(value, dict):
            raise self.refuse("The log is cut or not JSON of this tool.", 0)
        return value


def read_lines(path: Path | str) -> Log:
    """Read a log as text: UTF-8, or what its byte order mark says, as PowerShell's ``>`` writes.

    Raises
    ------
    DataError
        When the file is missing, empty, binary, or has more than `MAX_BYTES` or `MAX_LINES`.
    """
    path = Path(path)
    data = read_bytes(path, most=MAX_BYTES, what="The log")
    encoding = next((name for mark, name in _ENCODINGS.items() if data.startswith(mark)), "utf-8")
    text = data.decode(encoding, errors="replace")
    if text.count("\n") > MAX_LINES:
        raise DataError(f"The log is too large: more than {MAX_LINES:,} lines.", where=str(path))
    if "\0" in text:
        raise DataError("The log is not text: it holds zero bytes.", where=str(path))
    text = _ANSI.sub("", text)
    # Progress bars rewrite their line after a bare carriage return; the last writing counts.
    lines = tuple(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
    end = next((n for n in range(len(lines), 0, -1) if lines[n - 1].strip()), 0)
    if not end:
        raise DataError("The log is empty.", where=str(path))
    return Log(path, lines[:end], hashlib.sha256(data).hexdigest())


def check_batch_size(batch_size: int | None) -> None:
    """Refuse a batch size that is not a positive whole number."""
    whole = isinstance(batch_size, Integral) and not isinstance(batch_size, bool)
    if batch_size is not None and not (whole and 1 <= batch_size <= MAX_BATCH_SIZE):
        raise DataError(
            f"The batch size is {batch_size!r}, not a positive whole number "
            f"up to {MAX_BATCH_SIZE:,}."
        )


def agreed_batch_size(log: Log, said: int | None, given: int | None, line: int | None) -> int:
    """Return the batch size that the log says, or the given one where it says none.

    Raises
    ------
    DataError
        When both say different numbers, or neither says one.
    """
    check_batch_size(given)
    if said is not None and not 1 <= said <= MAX_BATCH_SIZE:
        raise log.refuse(f"The batch size is not from 1 to {MAX_BATCH_SIZE:,}.", line)
    if said is None and given is None:
        raise log.refuse("The log does not say its batch size.", fix="give it: batch_size=...")
    if said is not None and given is not None and said != given:
        raise log.refuse(f"The log is of batch size {said}, not {given} as given.", line)
    return int(given if said is None else said)
