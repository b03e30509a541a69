"""A short measured search for the graph and the way of running it that are fastest here."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.errors import TargetError
from lresnet_utils.graph.inspect import summarise
from lresnet_utils.graph.rewrite import REWRITES, prepare_onnx
from lresnet_utils.ledger.entries import Ledger, made_by
from lresnet_utils.machine.facts import usable_cores
from lresnet_utils.perf.statistics import paired_ratio, throughput_interval
from lresnet_utils.perf.timing import Timing, time_sessions
from lresnet_utils.targets.base import ModelFiles, Target

AS_SIMPLIFIED = "as simplified"
# Gain over the default way of running, on average over the repeats, from which another is taken.
# Demanding that a few repeats prove it kept builds at two thirds of their speed.
WORTH_IT = 1.03
_BEFORE = "before"

# A target, what it is built from, and options of the build.
Candidate = tuple[Target, ModelFiles, Mapping[str, Any]]


@dataclass(frozen=True)
class Bench:
    """How candidates are measured: all of a search in turns, on the same batch.

    Attributes
    ----------
    batch : ndarray of float32, shape (batch_size, 3, 112, 112)
    seconds, repeats : float, int
        Length of one measurement, and how many each candidate gets.
    threads : int
        As in params; 0 takes every core.
    folder : Path
        Where builds are made and removed again.
    """

    batch: np.ndarray
    seconds: float
    repeats: int
    threads: int
    folder: Path

    @property
    def cores(self) -> int:
        """Cores that a build may use."""
        return self.threads or usable_cores()

    def time(self, candidates: Mapping[str, Candidate]) -> dict[str, Timing]:
        """Build, load and time candidates in turns; one that fails says so in its timing."""
        failed: dict[str, Timing] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(dir=self.folder))
            sessions = {}
            for number, (name, (target, files, running)) in enumerate(candidates.items()):
                try:
                    place = Path(scratch) / str(number)
                    built = target.build(files, place, threads=self.threads, running=running)
                    sessions[name] = stack.enter_context(target.load(built))
                except TargetError as error:
                    failed[name] = Timing(len(self.batch), (), (), error.what)
            timed = time_sessions(
                sessions, self.batch, warmup=1, seconds=self.seconds, repeats=self.repeats
            )
        return {name: (timed | failed)[name] for name in candidates}


@dataclass(frozen=True)
class Graphs:
    """A simplified graph and its rewritten forms, each made once.

    Attributes
    ----------
    onnx : Path
        The simplified graph.
    folder : Path
        Where rewritten ones are kept, each with its entry of the ledger.
    input_range : (float, float)
        Smallest and largest number of the network's input.
    """

    onnx: Path
    folder: Path
    input_range: tuple[float, float]

    @cached_property
    def fitting(self) -> dict[str, int]:
        """The rewrites whose patterns occur in the graph, and how often."""
        applied = self._made(tuple(REWRITES))[1]
        return {name: applied[name] for name in REWRITES if applied[name]}

    @cached_property
    def flops(self) -> int:
        """Floating-point operations of one image."""
        return summarise(self.onnx).flops

    def rewritten(self, names: tuple[str, ...]) -> Path:
        """Return the graph with these rewrites; without any it is the simplified one."""
        return self._made(names)[0] if names else self.onnx

    @cached_property
    def _ledger(self) -> Ledger:
        return Ledger(self.folder, self.folder, made_by("lresnet_utils.graph.rewrite", timed=False))

    def _made(self, names: tuple[str, ...]) -> tuple[Path, dict[str, int]]:
        """Return a rewritten graph, and how often each rewrite was applied."""
        name = "model_prepared_" + "".join(str(list(REWRITES).index(each)) for each in names)
        path = self.folder / f"{name}.onnx"
        self.folder.mkdir(parents=True, exist_ok=True)

        def make() -> dict[str, Any]:
            how = {"rewrites": names, "input_range": self.input_range}
            return {"applied": prepare_onnx(self.onnx, path, **how).applied}

        made_from = {"onnx": self._ledger.sha256(self.onnx), "input_range": self.input_range}
        return path, self._ledger.kept(name, made_from, make, lambda: [path])["applied"]


def choose_rewrites(
    target: Target, files: ModelFiles, graphs: Graphs, bench: Bench
) -> dict[str, Any]:
    """Add the fitting rewrites one after the other, and keep those that do not slow the target.

    Returns
    -------
    dict
        ``rewrites``: the names that are kept, and ``steps``, one per graph measured: ``rewrite``,
        how often it was ``applied``, ``throughput_ips`` with interval, ``ratio`` to the step
        before, and whether it is ``kept``. A rewrite is dropped when its ratio is surely below 1
        (95 % interval over repeats), or when the target cannot build the graph.
    """
    fitting = graphs.fitting
    prefixes = [tuple(fitting)[:length] for length in range(len(fitting) + 1)]
    timed = bench.time(
        {
            str(len(names)): (target, replace(files, prepared=graphs.rewritten(names)), {})
            for names in prefixes
        }
    )
    steps, before = [], None
    for names in prefixes:
        timing = timed[str(len(names))]
        rewrite = names[-1] if names else AS_SIMPLIFIED
        step = {"rewrite": rewrite, "applied": fitting.get(rewrite)} | _speed(timing, before)
        surely_slower = step["ratio"] is not None and step["ratio"]["high"] < 1
        step["kept"] = not step["failure"] and not surely_slower
        steps.append(step)
        before = before if step["failure"] else timing
    kept = [s["rewrite"] for s in steps if s["kept"] and s["rewrite"] != AS_SIMPLIFIED]
    return {"rewrites": kept, "steps": steps}


def choose_running(
    target: Target,
    files: ModelFiles,
    fixed: Mapping[str, Any],
    bench: Bench,
    *,
    before: tuple[str, Target, ModelFiles] | None = None,
) -> dict[str, Any]:
    """Measure a target's ways of running a build, and take the fastest.

    Parameters
    ----------
    target, files : Target, ModelFiles
    fixed : mapping
        Options that all ways share.
    bench : Bench
    before : (str, Target, ModelFiles), optional
        In words and as a build, what a user would run without any search; timed in turns with
        the others, to say what the search bought.

    Returns
    -------
    dict
        ``running``: the options chosen, and ``candidates``, one per way: ``options``,
        ``throughput_ips`` with interval, ``ratio`` to the target's default and whether it is
        ``chosen``: the fastest on average, if it beats the default by 3 % or more. ``before``:
        ``what``, its ``throughput_ips`` and ``failure``; ``ratio``: of the chosen way to it. Both
        None without `before`.
    """
    options = target.running_options(bench.cores)
    builds = {str(i): (target, files, {**fixed, **way}) for i, way in enumerate(options)}
    if before is not None:
        builds[_BEFORE] = (*before[1:], {})
    timed = bench.time(builds)
    rows = []
    for number, running in enumerate(options):
        base = timed["0"] if number and timed["0"].failure is None else None
        rows.append({"options": running} | _speed(timed[str(number)], base))
    able = [row for row in rows if row["failure"] is None]
    if not able:
        raise TargetError(f"No way of running the build works: {rows[0]['failure']}.")
    faster = [row for row in able if row["ratio"] and row["ratio"]["value"] >= WORTH_IT]
    best = max(faster, key=lambda row: row["ratio"]["value"], default=able[0])
    for row in rows:
        row["chosen"] = row is best
    found = {"running": best["options"], "candidates": rows, "before": None, "ratio": None}
    if before is not None:
        speed = _speed(timed[_BEFORE], None)
        told = {key: speed[key] for key in ("throughput_ips", "failure")}
        found["before"] = {"what": before[0]} | told
        if speed["failure"] is None:
            found["ratio"] = paired_ratio(timed[str(rows.index(best))], timed[_BEFORE])
    return found


def _speed(timing: Timing, before: Timing | None) -> dict[str, Any]:
    if timing.failure is not None:
        return {"throughput_ips": None, "ratio": None, "failure": timing.failure}
    ratio = None if before is None else paired_ratio(timing, before)
    return {"throughput_ips": throughput_interval(timing), "ratio": ratio, "failure": None}
