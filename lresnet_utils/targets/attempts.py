"""One target's failure stays its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lresnet_utils.errors import LResNetError, StorageError
from lresnet_utils.machine.disk import require_room
from lresnet_utils.machine.isolation import LimitOptions, apart
from lresnet_utils.results import FAILED, OK, UNAVAILABLE
from lresnet_utils.run import RunFolder
from lresnet_utils.targets.base import Artefact, UnavailableError
from lresnet_utils.text.language import message


def attempt(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run one target's work and return its part of the record.

    Parameters
    ----------
    work : callable
        Returns the entries of the record on success.

    Returns
    -------
    dict
        The entries with ``status`` "ok" and ``reason`` None, or ``status`` "failed" or
        "unavailable" with the reason and, where there is one, the ``remedy``.

    Examples
    --------
    >>> attempt(lambda: {"n": 3})
    {'status': 'ok', 'reason': None, 'n': 3}
    >>> attempt(lambda: 1 / 0)
    {'status': 'failed', 'reason': 'ZeroDivisionError: division by zero', 'remedy': None}
    """
    try:
        return {"status": OK, "reason": None} | work()
    except UnavailableError as error:
        return {"status": UNAVAILABLE, "reason": error.what, "remedy": error.fix}
    except StorageError:
        # No target's fault, and the next one would fare no better.
        raise
    except LResNetError as error:
        reason = error.what
        if error.where:
            reason = message("{what} ({where})", what=reason, where=error.where)
        return {"status": FAILED, "reason": reason, "remedy": error.fix}
    # A runtime may raise anything; the other targets must still get their turn.
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no message"]
        return {
            "status": FAILED,
            "reason": f"{type(error).__name__}: {lines[0][:300]}",
            "remedy": None,
        }


def not_ok(entry: dict[str, Any]) -> dict[str, Any]:
    """Return what a later stage says of a target that did not get this far."""
    return {name: entry.get(name) for name in ("status", "reason", "remedy")}


def carried(
    run: RunFolder, stage: str, batch_size: int, targets: list[str]
) -> dict[str, dict[str, Any]]:
    """Return each target's entry of an earlier stage; one that it lacks counts as failed."""
    entries = run.record(stage, batch_size)["targets"]
    absent = {
        "status": FAILED,
        "reason": message("stage {stage} was run without this target", stage=stage),
        "remedy": message("run notebooks/{stage}.ipynb again with this target", stage=stage),
    }
    return {name: entries.get(name, absent) for name in targets}


def build_of(run: RunFolder, batch_size: int, entry: dict[str, Any]) -> Artefact:
    """Return the build that an entry of ``2_compile`` describes, in this run's folder.

    The entry names its file where it was made, which may have been another machine, and a run's
    folder may be moved.
    """
    artefact = Artefact.from_json(entry["artefact"])
    return replace(artefact, path=run.engine(batch_size, artefact.target) / artefact.path.name)


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
