"""What tuning bought: a build as chosen against the same network as a user would first run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lresnet_utils.perf.ratio import chained_ratio, speed_ratio

AS_SIMPLIFIED = "the graph as simplified, run the default way"
FP32 = "the fp32 build of the same runtime, from the graph as simplified, run the default way"
NO_SEARCH = "nothing was searched for this target, so there is no before and after"
NO_RATE = "the search keeps only the ratio to the fp32 build, not that build's own rate"
_SAME = "none: before and after are the same build run in the same way"


def tuning(built: Mapping[str, Any], batch_size: int) -> dict[str, Any]:
    """Compare a target's chosen build with the one it started from.

    The ratio is a chain of two, each measured in turns within one group: what the graph (or int8)
    gained, run the default way, and what another way of running that same build gained. The two
    groups share no repeat, so their logarithms' variances add. The quotient of ``after_ips`` and
    ``before_ips`` is not the ratio: the machine may have drifted between the groups.

    Parameters
    ----------
    built : mapping
        A target's entry of ``2_compile``.
    batch_size : int
        The cell's.

    Returns
    -------
    dict
        ``tuning``: None, or ``before`` in words, ``before_ips`` and ``after_ips`` (images per
        second), ``ratio`` and its factors ``build_ratio`` and ``running_ratio`` (None where
        nothing was changed), each with interval and n, ``measured_at`` (UTC) and ``reused``
        (True when any of it is from an earlier run on this machine).
        ``tuning_refused``: None, or why there is none.
    """
    if "running" not in built:
        return _refused(NO_SEARCH)
    ways = built["running"]["candidates"]
    chosen = next(way for way in ways if way["chosen"])
    if chosen is not ways[0] and chosen["ratio"] is None:
        return _refused(f"the default way of running failed: {ways[0]['failure']}")
    if "int8" in built:
        start = _from_int8(built["int8"], batch_size)
    else:
        start = _from_graph(built["graph"], ways[0]["throughput_ips"])
    if "refused" in start:
        return _refused(start["refused"])
    running = None if chosen is ways[0] else dict(chosen["ratio"])
    searches = (built.get("int8") or built["graph"], built["running"])
    after = {
        "after_ips": chosen["throughput_ips"],
        "running_ratio": running,
        "ratio": _chain(start["build_ratio"], running, chosen["throughput_ips"]["n"]),
        "measured_at": sorted({s["measured_at"] for s in searches if s.get("measured_at")}),
        "reused": any(search.get("reused") for search in searches),
    }
    return {"tuning": start | after, "tuning_refused": None}


def _refused(why: str) -> dict[str, Any]:
    return {"tuning": None, "tuning_refused": why}


def _chain(build: dict | None, running: dict | None, n: int) -> dict[str, Any]:
    factors = [factor for factor in (build, running) if factor is not None]
    if not factors:
        return {"value": 1.0, "low": None, "high": None, "n": n, "interval": _SAME}
    if len(factors) == 1:
        return factors[0]
    return chained_ratio(*factors) | {"n": min(factor["n"] for factor in factors)}


def _from_int8(found: Mapping[str, Any], batch_size: int) -> dict[str, Any]:
    if found["batch_size"] != batch_size:
        return {
            "refused": "one search for int8 serves every batch size; it was timed at batch size "
            f"{found['batch_size']}, which says nothing of {batch_size}"
        }
    chosen = next(entry for entry in found["tried"] if entry["chosen"])
    return {
        "before": FP32,
        "before_ips": None,
        "before_refused": NO_RATE,
        "build_ratio": dict(chosen["ratio"]),
    }


def _from_graph(found: Mapping[str, Any], default_ips: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was kept of the rewrites, against the graph as simplified."""
    kept, steps = list(found["rewrites"]), found["steps"]
    start = {"before": AS_SIMPLIFIED, "before_refused": None}
    if not kept:
        # The graph that the ways of running were tried with is the simplified one.
        return start | {"before_ips": default_ips, "build_ratio": None}
    if not steps:
        return {"refused": "the rewrites were taken without timing them (build.prepare: all)"}
    first = steps[0]
    if first["failure"]:
        return {"refused": f"the graph as simplified could not be timed: {first['failure']}"}
    if kept != [step["rewrite"] for step in steps[1 : len(kept) + 1]]:
        return {
            "refused": "a rewrite was dropped before a later one was kept, so the graph with "
            "exactly the kept ones was not timed beside the simplified one"
        }
    rates = first["throughput_ips"], steps[len(kept)]["throughput_ips"]
    ratio = speed_ratio(*rates) | {"n": min(rate["n"] for rate in rates)}
    return start | {"before_ips": rates[0], "build_ratio": ratio}
