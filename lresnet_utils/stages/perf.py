"""Stage 6: how fast each build is, all builds timed turn by turn, beside what the machine can."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.perf.ceiling import SECONDS, ceiling_fraction, ceilings, memory_bandwidth
from lresnet_utils.perf.load import LoadWatch
from lresnet_utils.perf.machine import machine, usable_cores
from lresnet_utils.perf.statistics import latency_summary, throughput_interval
from lresnet_utils.perf.timing import Timing, time_sessions
from lresnet_utils.perf.tool_figures import tool_figures
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.infer import CLEAN, open_faces
from lresnet_utils.stages.status import OK, attempt, carried, not_ok
from lresnet_utils.targets import get_target
from lresnet_utils.targets.base import Artefact
from lresnet_utils.targets.openvino import OpenVinoTarget
from lresnet_utils.targets.session import Session
from lresnet_utils.targets.tool import ToolTarget
from lresnet_utils.targets.tool_files import rates_of


def measure_speed(
    run: RunFolder,
    *,
    batch_size: int,
    targets: list[str],
    warmup: int,
    seconds: float,
    repeats: int,
) -> dict[str, Any]:
    """Time every built target on real faces, warm, with repeats taken in turn.

    Parameters
    ----------
    run : RunFolder
        Must hold the files of ``1_export``, ``2_compile`` and ``3_preprocess``; gets
        ``6_perf.json``.
    batch_size, targets, warmup, seconds, repeats
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    dict
        ``targets``: per target the status, ``throughput_ips`` with its interval,
        ``latency_ms`` with the percentiles that n allows, the raw samples, and ``ceiling``, the
        share of the machine's arithmetic that the rate is. ``load``: what else the machine did
        meanwhile (None where only tools timed, on devices of their own). ``ceilings`` and
        ``memory_bandwidth``: what this machine does at best, measured right after the targets.
        ``layers``: where the fastest OpenVINO build spends a batch, or why nobody can tell.
    """
    before = machine()
    built = carried(run, "2_compile", batch_size, targets)
    entries = {name: not_ok(entry) for name, entry in built.items() if entry["status"] != OK}
    artefacts = {
        name: Artefact.from_json(entry["artefact"])
        for name, entry in built.items()
        if entry["status"] == OK
    }
    times = {"warmup": warmup, "seconds": seconds, "repeats": repeats}
    # Tools bring a clock of their own and run one by one, before any session holds memory.
    for name in [name for name in artefacts if isinstance(get_target(name), ToolTarget)]:
        folder, artefact = run.engine(batch_size, name) / "perf", artefacts.pop(name)
        entries[name] = attempt(lambda n=name, a=artefact, f=folder: _by_tool(n, a, f, times))
    batch = _real_batch(run, batch_size) if artefacts else None
    watch = LoadWatch(usable_cores())
    with ExitStack() as stack:
        sessions: dict[str, Session] = {}
        for name, artefact in artefacts.items():
            entries[name] = attempt(lambda n=name, a=artefact: _open(n, a, stack, sessions, batch))
        with watch:
            timings = time_sessions(sessions, batch, **times)
        for name, timing in timings.items():
            entries[name] |= attempt(lambda timing=timing: _numbers(timing))
    record = {
        "settings": times,
        "clock": "one blocking infer(batch) call, host memory to host memory; no reading, no "
        "preprocessing, one view per image",
        "machine": before,
        "load": watch.record() if artefacts else None,
        "targets": {name: entries[name] for name in targets},
    }
    if artefacts:
        record |= _limits(run, batch_size, entries, artefacts, batch, min(SECONDS, seconds))
    return run.write_record("6_perf", batch_size, record)


def _limits(run, batch_size, entries, artefacts, batch, seconds) -> dict[str, Any]:
    """Measure what the machine does at best, and tell each target how near it came."""
    measured = ceilings(seconds=seconds)
    flops = run.record("1_export", batch_size)["simplified"]["flops"]
    timed = {name: entries[name] for name in artefacts if entries[name]["status"] == OK}
    for name, entry in timed.items():
        precision = get_target(name).precision
        entry["ceiling"] = ceiling_fraction(flops, entry["throughput_ips"], precision, measured)
    return {
        "flops_per_image": flops,
        "ceilings": measured,
        "memory_bandwidth": memory_bandwidth(seconds=seconds),
        "layers": _layers(timed, artefacts, batch, seconds),
    }


def _layers(timed, artefacts, batch, seconds) -> dict[str, Any]:
    """Time the fastest OpenVINO build layer by layer; no other runtime here tells layers apart."""
    known = [name for name in timed if isinstance(get_target(name), OpenVinoTarget)]
    if not known:
        return {"refused": "no OpenVINO target has run, and only OpenVINO times its layers here"}
    name = max(known, key=lambda name: timed[name]["throughput_ips"]["value"])
    target = get_target(name)
    entry = attempt(lambda: target.profile(artefacts[name], batch, seconds=seconds))
    if entry["status"] != OK:
        return {"refused": f"{name} could not be timed layer by layer: {entry['reason']}"}
    return {"target": name, "precision": target.precision} | entry


def _by_tool(name: str, artefact: Artefact, folder: Path, times: dict[str, Any]) -> dict[str, Any]:
    """Return a tool's own figures; with its five parts where its log has them."""
    records = get_target(name).measure(artefact, folder, **times)
    figures = tool_figures(records)
    if records[0].stages:
        figures |= {"stages": rates_of(records[0]).to_json()}
    return figures


def _real_batch(run: RunFolder, batch_size: int) -> np.ndarray:
    """Return the set's first faces as network input; some runtimes' speed depends on the pixels."""
    faces = open_faces(run)
    spec = run.record("1_export", batch_size)["input"]
    images = faces.images(CLEAN)
    # A set smaller than the batch is repeated: timing needs a full batch, not new faces.
    return to_network_input(
        np.asarray(images[np.arange(batch_size) % len(images)]),
        channel_order=spec["channel_order"],
        normalisation=spec["normalisation"],
    )


def _open(name, artefact, stack, sessions, batch) -> dict[str, Any]:
    """Load a build and see it through one batch, so a broken one fails alone and early."""
    session = stack.enter_context(get_target(name).load(artefact))
    session.infer(batch)
    sessions[name] = session
    return {}


def _numbers(timing: Timing) -> dict[str, Any]:
    return {
        "throughput_ips": throughput_interval(timing),
        "latency_ms": latency_summary(timing),
        "samples": {
            "throughput_ips": [round(float(x), 4) for x in timing.throughput_ips],
            "latency_ms": [[round(float(x), 4) for x in repeat] for repeat in timing.latencies_ms],
        },
    }
