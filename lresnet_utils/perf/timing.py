"""Timing sessions turn by turn, so that whatever drifts on the machine hits all alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.errors import LResNetError, TargetError
from lresnet_utils.machine.isolation import Child, LimitOptions
from lresnet_utils.results import OK
from lresnet_utils.targets.attempts import attempt
from lresnet_utils.targets.base import Artefact, Session, Target
from lresnet_utils.text.language import clause


@dataclass(frozen=True)
class Turn:
    """One turn of one session.

    Attributes
    ----------
    latencies_ms : ndarray of float64
        Wall-clock milliseconds of every timed inference, in order, lane by lane.
    seconds : float
        As :class:`Timing` has it for each repeat.
    """

    latencies_ms: np.ndarray
    seconds: float


TakeTurn = Callable[[int, float], Turn]
"""Takes the number of untimed batches and the least length of the turn in seconds."""


@dataclass(frozen=True)
class Timing:
    """What was measured of one session.

    Parameters
    ----------
    batch_size : int
        Images per inference.
    latencies_ms : tuple of ndarray of float64
        Per repeat, the wall-clock milliseconds of every timed inference, in order, lane by lane.
    seconds : tuple of float
        Per repeat, the wall-clock time from the start of its first timed inference to the end
        of its last; with several lanes, whose last inferences end at different times, the time
        in which all of them together, each at its own rate, do as many.
    failure : str, optional
        What the session said when it broke; its numbers then end there.
    """

    batch_size: int
    latencies_ms: tuple[np.ndarray, ...]
    seconds: tuple[float, ...]
    failure: str | None = None

    @property
    def throughput_ips(self) -> np.ndarray:
        """Images per second of every repeat: images over wall-clock time, float64, (repeats,)."""
        images = [self.batch_size * len(repeat) for repeat in self.latencies_ms]
        return np.array(images, np.float64) / np.array(self.seconds, np.float64)

    def require_complete(self) -> None:
        """Refuse a timing that its session did not live through.

        Raises
        ------
        TargetError
            When the session failed, or nothing was measured.
        """
        if self.failure is not None:
            raise TargetError(f"The session failed while it was timed: {self.failure}.")
        if not self.latencies_ms:
            raise TargetError("Nothing was timed.", fix="ask for at least one repeat")


def time_sessions(
    sessions: Mapping[str, Session],
    batch: np.ndarray,
    *,
    warmup: int,
    seconds: float,
    repeats: int,
    on_progress: Callable[[int, int], Any] | None = None,
) -> dict[str, Timing]:
    """Time inferences of one batch, all sessions taking turns; see :func:`time_turns`."""
    turns = {name: partial(take_turn, session, batch) for name, session in sessions.items()}
    how = {"warmup": warmup, "seconds": seconds, "repeats": repeats}
    return time_turns(turns, len(batch), **how, on_progress=on_progress)


def time_turns(
    turns: Mapping[str, TakeTurn],
    batch_size: int,
    *,
    warmup: int,
    seconds: float,
    repeats: int,
    on_progress: Callable[[int, int], Any] | None = None,
) -> dict[str, Timing]:
    """Time sessions, wherever they are, by having them take turns.

    In every repeat each session gets one turn of at least `seconds` and at least one inference
    per lane; all its lanes are busy at the same time, each with blocking inferences.
    The order moves on by one session per repeat, so that none always follows the same neighbour.
    Before its first turn a session runs `warmup` batches that are not timed, before every later
    turn one, which brings its weights back into the caches; with ``warmup=0`` nothing is left
    untimed. A session that fails is left out from there on and says so in its result; the others
    go on.

    Parameters
    ----------
    turns : mapping of str to callable
        Takes one turn of a session, as :func:`take_turn` does; may raise anything.
    batch_size : int
        Images per inference.
    warmup : int
        Untimed batches before a session's first turn.
    seconds : float
        Least length of a turn.
    repeats : int
        Turns per session.
    on_progress : callable, optional
        Called as ``on_progress(done, total)`` after every turn.

    Returns
    -------
    dict of str to Timing
        In the order of `turns`.
    """
    timings = {name: Timing(batch_size, (), ()) for name in turns}
    names = list(turns)
    for repeat in range(repeats):
        shift = repeat % max(len(names), 1)
        for turn, name in enumerate(names[shift:] + names[:shift]):
            so_far = timings[name]
            if so_far.failure is None:
                untimed = warmup if repeat == 0 else min(warmup, 1)
                try:
                    took = turns[name](untimed, seconds)
                # A runtime may raise anything; the others must get their turn.
                except Exception as error:
                    timings[name] = replace(so_far, failure=_first_line(error))
                else:
                    timings[name] = Timing(
                        batch_size,
                        (*so_far.latencies_ms, took.latencies_ms),
                        (*so_far.seconds, took.seconds),
                    )
            if on_progress is not None:
                on_progress(repeat * len(names) + turn + 1, repeats * len(names))
    return timings


def _first_line(error: Exception) -> str:
    """Return what a runtime said, in one line without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return clause(error.what if isinstance(error, LResNetError) else lines[0])


def take_turn(session: Session, batch: np.ndarray, untimed: int, seconds: float) -> Turn:
    """Run a session for a turn, all its lanes busy, after some batches that are not timed.

    A lane whose time is over goes on untimed until the last of them is done, so that no
    inference is timed on a machine that is half idle.
    """
    running = threading.Barrier(session.lanes)
    busy = set(range(session.lanes))

    def lane(number: int) -> list[int]:
        try:
            running.wait()
            stamps = _stamps(session, batch, untimed, seconds)
        finally:
            busy.discard(number)
        while busy:
            session.infer(batch)
        return stamps

    if session.lanes == 1:
        clocks = [_stamps(session, batch, untimed, seconds)]
    else:
        with ThreadPoolExecutor(session.lanes) as lanes:
            clocks = list(lanes.map(lane, range(session.lanes)))
    spans = [np.diff(stamps) for stamps in clocks]
    per_ns = sum(len(span) / span.sum() for span in spans)
    total = sum(len(span) for span in spans)
    return Turn(np.concatenate(spans) / 1e6, total / per_ns / 1e9)


def _stamps(session: Session, batch: np.ndarray, untimed: int, seconds: float) -> list[int]:
    """Return the clock in nanoseconds at the start and after every timed inference."""
    for _ in range(untimed):
        session.infer(batch)
    stamps = [time.perf_counter_ns()]
    end = stamps[0] + seconds * 1e9
    while len(stamps) < 2 or stamps[-1] < end:
        session.infer(batch)
        stamps.append(time.perf_counter_ns())
    return stamps


# Targets at work in processes of their own: built, embedding, or taking turns at being timed.


def open_turns(
    target: Target,
    artefact: Artefact,
    batch: np.ndarray,
    stack: ExitStack,
    *,
    limits: LimitOptions,
    log: Path,
) -> tuple[dict[str, Any], TakeTurn, int | None]:
    """Load a build and see it through one batch, so that a broken one fails alone and early.

    Parameters
    ----------
    target, artefact : Target, Artefact
    batch : ndarray of float32, shape (batch_size, 3, 112, 112)
        The network input that every inference gets.
    stack : ExitStack
        Closes the session.
    limits, log : LimitOptions, Path
        As for :class:`lresnet_utils.machine.isolation.Child`.

    Returns
    -------
    dict, callable, int or None
        The target's entry, what takes its turns where the entry is "ok", and its process.
    """
    ask: Callable[..., Any]
    pid = None
    if limits.own_process:
        how = {"limits": limits, "log": log, "doing": "timing"}
        child = stack.enter_context(Child(_session, target, artefact, batch, **how))
        ask, pid = child.ask, child.pid
        entry = attempt(ask)
    else:
        running = _session(target, artefact, batch)
        stack.callback(running.close)
        entry = next(running)

        def ask(message: Any, **_: Any) -> Any:
            return running.send(message)

    def take(untimed: int, seconds: float) -> Turn:
        message = {"untimed": untimed, "seconds": seconds}
        # The memory of what a session may have started is not looked at: that takes the time of
        # the very processors that are timed.
        reply = ask(message, seconds=limits.seconds + seconds, tree=False)
        if "failure" in reply:
            raise TargetError(reply["failure"])
        return Turn(np.asarray(reply["latencies_ms"]), reply["seconds"])

    return entry, take, pid


def _session(target: Target, artefact: Artefact, batch: np.ndarray) -> Generator[Any, Any, None]:
    """Yield the entry of a build that was loaded, then one turn for each that is asked for."""
    with ExitStack() as stack:
        opened = []

        def load() -> dict[str, Any]:
            opened.append(stack.enter_context(target.load(artefact)))
            opened[0].infer(batch)
            return {}

        entry = attempt(load)
        asked = yield entry
        while entry["status"] == OK:
            try:
                turn = take_turn(opened[0], batch, **asked)
            # A runtime may raise anything; the others must get their turn.
            except Exception as error:
                asked = yield {"failure": _first_line(error)}
            else:
                asked = yield {"latencies_ms": turn.latencies_ms, "seconds": turn.seconds}
