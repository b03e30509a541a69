"""One target's failure stays its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lresnet_utils.errors import LResNetError, StorageError
from lresnet_utils.run import RunFolder
from lresnet_utils.targets.base import Artefact
from lresnet_utils.targets.tools import UnavailableError

OK = "ok"
UNAVAILABLE = "unavailable"
FAILED = "failed"


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
        where = f" ({error.where})" if error.where else ""
        return {"status": FAILED, "reason": error.what + where, "remedy": error.fix}
    # A runtime may raise anything; the other targets must still get their turn.
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no message"]
        return {
            "status": FAILED,
            "reason": f"{type(error).__name__}: {lines[0][:300]}",
            "remedy": None,
        }


def cell_name(cell: Mapping[str, Any]) -> str:
    """Return a cell's name.

    Examples
    --------
    >>> cell_name({"batch_size": 16, "target": "torch-fp32"})
    '16/torch-fp32'
    """
    return f"{cell['batch_size']}/{cell['target']}"


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
        "reason": f"stage {stage} was run without this target",
        "remedy": f"run notebooks/{stage}.ipynb again with this target",
    }
    return {name: entries.get(name, absent) for name in targets}


def build_of(run: RunFolder, batch_size: int, entry: dict[str, Any]) -> Artefact:
    """Return the build that an entry of ``2_compile`` describes, in this run's folder.

    The entry names its file where it was made, which may have been another machine, and a run's
    folder may be moved.
    """
    artefact = Artefact.from_json(entry["artefact"])
    return replace(artefact, path=run.engine(batch_size, artefact.target) / artefact.path.name)
