"""Targets at work in processes of their own: built, embedding, or taking turns at being timed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.errors import TargetError
from lresnet_utils.machine.disk import require_room
from lresnet_utils.machine.isolation import Child, LimitOptions, apart
from lresnet_utils.perf.timing import TakeTurn, Turn, take_turn
from lresnet_utils.targets.attempts import FAILED, OK, attempt
from lresnet_utils.targets.base import Artefact, Target


def attempt_apart(
    work: Callable[..., dict[str, Any]],
    *arguments: Any,
    limits: LimitOptions,
    log: Path,
    doing: str,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Run one target's work in a process of its own and return its part of the record.

    What the process does to itself (a crash, a hang, too much memory) is a failure like others.

    Parameters
    ----------
    work, arguments
        A function of an importable module, which returns plain values, and what it is given.
    limits, log, doing, seconds
        As for :func:`lresnet_utils.machine.isolation.apart`.

    Raises
    ------
    StorageError
        When the work failed and the disk is full: runtimes seldom tell that this was why.
    """
    how = {"limits": limits, "log": log, "doing": doing, "seconds": seconds}
    entry = attempt(lambda: apart(_attempted, work, *arguments, **how))
    if entry["status"] == FAILED:
        require_room(log.parent)
    return entry


def _attempted(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    return attempt(lambda: work(*arguments))


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
            asked = yield _turn(opened[0], batch, **asked)


def _turn(session: Any, batch: np.ndarray, **asked: Any) -> dict[str, Any]:
    try:
        turn = take_turn(session, batch, **asked)
    except Exception as error:  # a runtime may raise anything; the others must get their turn
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return {"failure": lines[0].rstrip(".")}
    return {"latencies_ms": turn.latencies_ms, "seconds": turn.seconds}
