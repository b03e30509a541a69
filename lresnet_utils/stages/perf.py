"""Stage 6: how fast each build is, all builds timed turn by turn, beside what the machine can."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.data.face_set import image_file
from lresnet_utils.errors import TargetError
from lresnet_utils.graph.parity import timing_batch
from lresnet_utils.ledger.entries import WHOLE, Ledger
from lresnet_utils.machine.facts import LoadWatch, machine, usable_cores
from lresnet_utils.machine.isolation import LimitOptions, apart
from lresnet_utils.machine.locks import hold_machine as machine_alone
from lresnet_utils.perf.ceilings import SECONDS, ceiling_fraction, ceilings, memory_bandwidth
from lresnet_utils.perf.statistics import latency_summary, throughput_interval, tool_figures
from lresnet_utils.perf.timing import TakeTurn, Timing, open_turns, time_turns
from lresnet_utils.results import CLEAN, FAILED, OK
from lresnet_utils.run import NO_FACES, RunFolder
from lresnet_utils.targets import get_target
from lresnet_utils.targets.attempts import attempt, attempt_apart, build_of, carried, not_ok
from lresnet_utils.targets.base import Artefact, Target
from lresnet_utils.text.language import message


def measure_speed(
    run: RunFolder,
    *,
    batch_size: int,
    targets: list[str],
    warmup: int,
    seconds: float,
    repeats: int,
    limits: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Time every built target on real faces, warm, with repeats taken in turn.

    They are the run's first, or packaged ones where it prepared no set.

    Parameters
    ----------
    run : RunFolder
        Must hold the files of ``1_export`` and ``2_compile``; gets ``6_perf.json``.
    batch_size, targets, warmup, seconds, repeats, limits
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    dict
        ``targets``: per target the status, ``throughput_ips`` with its interval,
        ``latency_ms`` with the percentiles that n allows, the raw samples, and ``ceiling``, the
        share of the machine's arithmetic that the rate is. ``load``: what else the machine did
        meanwhile (None where only tools timed, on devices of their own). ``ceilings`` and
        ``memory_bandwidth``: what this machine does at best, measured right after the targets, or
        ``limits_refused``. ``layers``: where the fastest OpenVINO build spends a batch, or why
        nobody can tell.
    """
    built = carried(run, "2_compile", batch_size, targets)
    times = {"warmup": warmup, "seconds": seconds, "repeats": repeats}
    work = _Work(run, batch_size, times, LimitOptions.from_values(limits or {}))
    ledger = Ledger.of_stage(run, "6_perf", batch_size, timed=True)
    # Targets are timed in turns, so that one alone cannot be kept: all of them, or none.
    with machine_alone(alone=True):
        if not any(get_target(name).recorded for name in targets):
            record = ledger.kept(WHOLE, work.made_from(built, ledger), lambda: work.measure(built))
        else:
            record = work.measure(built)
    record.pop("status")
    return run.write_record("6_perf", batch_size, record)


@dataclass(frozen=True)
class _Work:
    """What timing one batch size needs."""

    run: RunFolder
    batch_size: int
    times: dict[str, Any]
    limits: LimitOptions

    def made_from(self, built: dict[str, dict[str, Any]], ledger: Ledger) -> dict[str, Any]:
        """Return what the measurement depends on."""
        exported = self.run.record("1_export", self.batch_size)
        builds = {
            name: [entry["artefact"]["sha256"], entry["artefact"]["options"]]
            if entry["status"] == OK
            else not_ok(entry)
            for name, entry in built.items()
        }
        images = image_file(self.run.faces, CLEAN)
        return {
            "builds": builds,
            "images": ledger.sha256(images) if images.is_file() else NO_FACES,
            "input": exported["input"],
            "flops": (exported.get("simplified") or {}).get("flops"),
            "quantised": exported["network"].get("quantised"),
            "times": self.times,
        }

    def measure(self, built: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Time what was built, and what the machine does at best; return the stage's record."""
        before = machine()
        entries = {name: not_ok(entry) for name, entry in built.items() if entry["status"] != OK}
        artefacts = {
            name: build_of(self.run, self.batch_size, entry)
            for name, entry in built.items()
            if entry["status"] == OK
        }
        # Tools bring a clock of their own and run one by one, before any session holds memory.
        for name in [name for name in artefacts if get_target(name).set_tool]:
            entries[name] = self._by_tool(get_target(name), artefacts.pop(name))
        record = {
            "settings": self.times,
            "clock": "one blocking infer(batch) call, host memory to host memory; no reading, no "
            "preprocessing, one view per image",
            "machine": before,
            "load": None,
            "targets": entries,
        }
        if artefacts:
            batch = timing_batch(self.run, self.batch_size)
            # Sessions are timed in turns, each in its own process.
            turns: dict[str, TakeTurn] = {}
            pids: list[int] = []
            with ExitStack() as stack:
                for name, artefact in artefacts.items():
                    log = self._how(name)["log"]
                    entries[name], take, pid = open_turns(
                        get_target(name), artefact, batch, stack, limits=self.limits, log=log
                    )
                    if entries[name]["status"] == OK:
                        turns[name] = take
                        pids += [pid] if pid else []
                with LoadWatch(usable_cores(), pids) as watch:
                    timings = time_turns(turns, len(batch), **self.times)
            for name, timing in timings.items():
                entries[name] |= attempt(lambda timing=timing: _numbers(timing))
            record["load"] = watch.record()
            # What the machine does at best, and how near each target came.
            seconds = min(SECONDS, self.times["seconds"])
            able = {name: entries[name] for name in artefacts if entries[name]["status"] == OK}
            try:
                found = apart(_machine_limits, seconds, **self._how("ceilings"))
            except TargetError as error:
                record |= {"limits_refused": error.what, "layers": {"refused": error.what}}
            else:
                exported = self.run.record("1_export", self.batch_size)
                flops = exported["simplified"]["flops"]
                # A graph that came quantised computes in integers, whatever its runtime was asked
                # for.
                given = (exported["network"].get("quantised") or {}).get("precision")
                for name, entry in able.items():
                    precision, rate = given or get_target(name).precision, entry["throughput_ips"]
                    entry["ceiling"] = ceiling_fraction(flops, rate, precision, found["ceilings"])
                layers = _layers(able, artefacts, batch, seconds, self._how)
                record |= {"flops_per_image": flops} | found | {"layers": layers}
        record["targets"] = {name: entries[name] for name in built}
        failed = any(entry["status"] == FAILED for entry in entries.values())
        return record | {"status": FAILED if failed else OK}

    def _by_tool(self, target: Target, artefact: Artefact) -> dict[str, Any]:
        folder = self.run.engine(self.batch_size, target.name) / "perf"
        # Each repeat loads the build, as each session's first turn does; some try it out before.
        most = (self.limits.seconds + self.times["seconds"]) * (self.times["repeats"] + 1)
        how = self._how(target.name) | {"seconds": most}
        return attempt_apart(_by_tool, target, artefact, folder, self.times, **how)

    def _how(self, name: str) -> dict[str, Any]:
        log = self.run.engine(self.batch_size, name) / "perf.log"
        return {"limits": self.limits, "log": log, "doing": "timing"}


def _machine_limits(seconds: float) -> dict[str, Any]:
    return {
        "ceilings": ceilings(seconds=seconds),
        "memory_bandwidth": memory_bandwidth(seconds=seconds),
    }


def _layers(timed, artefacts, batch, seconds, how) -> dict[str, Any]:
    """Time the fastest OpenVINO build layer by layer; no other runtime here tells layers apart.

    `how` takes a target's name and gives the keywords of :func:`attempt_apart`.
    """
    known = [name for name in timed if get_target(name).profile]
    if not known:
        return {"refused": "no OpenVINO target has run, and only OpenVINO times its layers here"}
    name = max(known, key=lambda name: timed[name]["throughput_ips"]["value"])
    target = get_target(name)
    entry = attempt_apart(_profile, target, artefacts[name], batch, seconds, **how(name))
    if entry["status"] != OK:
        return {
            "refused": message(
                "{name} could not be timed layer by layer: {reason}",
                name=name,
                reason=entry["reason"],
            )
        }
    return {"target": name, "precision": target.precision} | entry


def _profile(
    target: Target, artefact: Artefact, batch: np.ndarray, seconds: float
) -> dict[str, Any]:
    return target.profile(artefact, batch, seconds=seconds)


def _by_tool(
    target: Target, artefact: Artefact, folder: Path, times: dict[str, Any]
) -> dict[str, Any]:
    """Return a tool's own figures; with its five parts where its log has them."""
    records = target.measure(artefact, folder, **times)
    figures = tool_figures(records)
    if records[0].stages:
        figures |= {"stages": records[0].stage_rates().to_json()}
    return figures


def _numbers(timing: Timing) -> dict[str, Any]:
    return {
        "throughput_ips": throughput_interval(timing),
        "latency_ms": latency_summary(timing),
        "samples": {
            "throughput_ips": [round(float(x), 4) for x in timing.throughput_ips],
            "latency_ms": [[round(float(x), 4) for x in repeat] for repeat in timing.latencies_ms],
        },
    }
