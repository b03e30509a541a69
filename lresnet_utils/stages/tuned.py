"""What tuning bought: a build as chosen against the same network as a user would first run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_SEARCH = "nothing was searched for this target, so there is no before and after"


def tuning(built: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a target's chosen build with the one it started from.

    Parameters
    ----------
    built : mapping
        A target's entry of ``2_compile``.

    Returns
    -------
    dict
        ``tuning``: None, or ``before`` in words, ``before_ips`` and ``after_ips`` (images per
        second) and ``ratio``, each with interval and n and all from one group of measurements
        taken in turns; ``measured_at`` (UTC) and ``reused`` (True when from an earlier run on
        this machine). ``tuning_refused``: None, or why there is none.
    """
    found = built.get("running")
    if found is None:
        return {"tuning": None, "tuning_refused": NO_SEARCH}
    before = found["before"]
    if before["failure"]:
        why = f"{before['what']} could not be timed: {before['failure']}"
        return {"tuning": None, "tuning_refused": why}
    chosen = next(way for way in found["candidates"] if way["chosen"])
    compared = {
        "before": before["what"],
        "before_ips": before["throughput_ips"],
        "after_ips": chosen["throughput_ips"],
        "ratio": found["ratio"],
        "measured_at": found["measured_at"],
        "reused": found["reused"],
    }
    return {"tuning": compared, "tuning_refused": None}
