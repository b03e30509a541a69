"""Give a reader damaged inputs and note everything it must not do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fuzzkit.bounds import (
    MAX_BYTES,
    CodeWatch,
    TooSlowError,
    memory_ceiling,
    peak_bytes,
    time_limit,
)
from fuzzkit.engine import damaged
from fuzzkit.subject import ATTACKS, Seed, Subject

_ENOUGH = 8
MAX_MESSAGE_LINES = 3
MAX_MESSAGE_CHARS = 3100


@dataclass
class Outcome:
    """What became of a reader's inputs.

    Attributes
    ----------
    inputs, accepted, refused : int
    findings : list of str
        What went wrong, each with the number that gives the input again.
    grown_bytes : int
        By how much the inputs raised the process's largest resident size.
    """

    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    findings: list[str] = field(default_factory=list)
    grown_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def fuzz(
    subject: Subject,
    name: str,
    folder: Path,
    numbers: range,
    watch: CodeWatch,
    note: Callable[[int], None] = lambda number: None,
) -> Outcome:
    """Give a reader the inputs of the given numbers.

    Parameters
    ----------
    subject : Subject
    name : str
        The reader's; with a number it decides an input.
    folder : path
        Where the reader's files may lie; nothing may be written elsewhere.
    numbers : range
    watch : CodeWatch
    note : callable
        Told each number before its input is read, so that a crash can be traced.
    """
    watch.folder = str(folder.resolve())
    seeds = subject.seeds(folder)
    outcome = Outcome()
    for seed in seeds:
        # What is whole must be accepted: a reader that refuses everything would pass all else.
        subject.check(seed.data, seed, subject.read(seed.data, seed, folder))
    datas = [seed.data for seed in seeds]
    tokens = (*subject.tokens, *ATTACKS)
    start = peak_bytes()
    with memory_ceiling():
        for number in numbers:
            note(number)
            which, data = damaged(datas, tokens, f"{name}/{number}")
            finding = _finding(subject, data, seeds[which], folder, watch, outcome)
            outcome.inputs += 1
            grown = peak_bytes() - start
            if grown > MAX_BYTES:
                finding = f"memory grew by {grown:,} bytes"
                start += grown
            outcome.grown_bytes = max(outcome.grown_bytes, grown)
            if finding:
                outcome.findings.append(f"{name}/{number}: {finding}")
            if len(outcome.findings) >= _ENOUGH:
                break
    return outcome


def _finding(
    subject: Subject, data: bytes, seed: Seed, folder: Path, watch: CodeWatch, outcome: Outcome
) -> str | None:
    """Return what the reader did wrong with one input, or None."""
    error = None
    watch.on = True
    try:
        with time_limit():
            value = subject.read(data, seed, folder)
    except subject.errors as expected:
        error = expected
    except TooSlowError as slow:
        return f"hangs: {slow}"
    except BaseException as other:
        return f"crashes: {type(other).__name__}: {str(other)[:200]}"
    finally:
        watch.on = False
        done, watch.seen = watch.seen, []
    if done:
        return f"runs code or writes: {done[0]}"
    if error is not None:
        outcome.refused += 1
        return _bad_message(str(error))
    outcome.accepted += 1
    try:
        subject.check(data, seed, value)
    except Exception as silent:
        return f"accepts damage: {type(silent).__name__}: {str(silent)[:200]}"
    return None


def _bad_message(text: str) -> str | None:
    """Say why an error cannot be shown to a user, or return None."""
    lines = text.split("\n")
    if len(lines) > MAX_MESSAGE_LINES or len(text) > MAX_MESSAGE_CHARS:
        return f"a message of {len(lines)} lines, {len(text)} characters"
    controls = [c for c in text if ord(c) < 32 and c != "\n"]
    if controls or "\x1b" in text:
        return f"a message with control characters: {text[:80]!r}"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "a message that cannot be written"
    return None
