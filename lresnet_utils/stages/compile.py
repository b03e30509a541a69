"""Stage 2: the simplified graph becomes one build per target, the fastest that is accurate."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lresnet_utils.data.face_set import FaceSet, image_file, open_store
from lresnet_utils.data.network_input import pixel_range
from lresnet_utils.graph.inspect import summarise
from lresnet_utils.graph.parity import timing_batch
from lresnet_utils.graph.rewrite import REWRITES
from lresnet_utils.ledger.custody import Link, made
from lresnet_utils.ledger.entries import Ledger, remembered
from lresnet_utils.machine.facts import usable_cores
from lresnet_utils.machine.isolation import LimitOptions
from lresnet_utils.machine.locks import hold_machine
from lresnet_utils.results import UNAVAILABLE
from lresnet_utils.run import ONNX, RunFolder
from lresnet_utils.targets import get_target
from lresnet_utils.targets.attempts import attempt_apart
from lresnet_utils.targets.base import (
    Artefact,
    Availability,
    ModelFiles,
    Recipe,
    Target,
    UnavailableError,
)
from lresnet_utils.text.language import clauses
from lresnet_utils.tuning.int8 import (
    Calibration,
    Int8Search,
    choose_calibration,
    quantised_files,
    running_of,
)
from lresnet_utils.tuning.judge import draw_sample
from lresnet_utils.tuning.search import Bench, Graphs, choose_rewrites, choose_running
from lresnet_utils.untrusted.settings import BuildOptions, ToolOptions

INT8 = "int8"
BEFORE = "the graph as simplified, run the default way"
NO_MODULE = (
    "the network was given as an ONNX graph, and PyTorch runs modules",
    "compare with reference: onnxruntime-fp32, or bring the network's checkpoint",
)
QUANTISED = (
    "the given graph is already quantised, and quantising it again would judge neither",
    "leave this target out, or bring the graph as it was before it was quantised",
)
OF_INTEGERS = (
    "the given graph was quantised before it came here: the precision in this name is how the "
    "runtime was asked to run it, and what it computes are integers"
)
INTEGERS_STORED = (
    "the given graph was quantised before it came here: its weights are stored as integers and "
    "turned back before they are used"
)
BEFORE_INT8 = (
    "the fp32 build of the same runtime, from the graph as simplified, run the default way"
)


def compile_targets(
    run: RunFolder,
    *,
    batch_size: int,
    targets: list[str],
    threads: int = 0,
    tools: Mapping[str, Any] | None = None,
    build: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build every target that this machine can run.

    Parameters
    ----------
    run : RunFolder
        Must hold ``1_export``'s files, and ``3_preprocess``'s for int8 targets; gets one build per
        target and ``2_compile.json``.
    batch_size, targets, threads, tools, build, limits
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    dict
        ``targets``: per target the status, the artefact with its hash, size, options and build
        time, and the ``custody`` of the files on the way to it, or why there is none; for targets
        with a choice ``graph`` (what each rewrite bought), ``running`` (ways of running that were
        tried) and ``int8`` (recipes that were tried), each with when it was measured.
        ``operators``: nodes of each operator in the simplified graph and in the one each target
        was built from.
    """
    settings = ToolOptions.from_values(tools or {})
    work = _Work(run, batch_size, threads, BuildOptions.from_values(build or {}))
    # Without the export no target can be built, which is the run's fault and no target's.
    run.record("1_export", batch_size)
    ledger = Ledger.of_stage(run, "2_compile", batch_size, timed=True)
    bounds = LimitOptions.from_values(limits or {})
    with hold_machine(alone=True):
        built = {name: _kept(get_target(name, settings), work, ledger, bounds) for name in targets}
    record = {"targets": built, "operators": work.operators(built)}
    return run.write_record("2_compile", batch_size, record)


def model_files(run: RunFolder, batch_size: int) -> ModelFiles:
    """Return the exported network that targets are built from."""
    network = run.record("1_export", batch_size)["network"]
    return ModelFiles(
        architecture=network["architecture"],
        weights=run.network,
        onnx=run.onnx(batch_size, simplified=True),
        batch_size=batch_size,
        embedding_size=network["embedding_size"],
    )


def _kept(target: Target, work: _Work, ledger: Ledger, limits: LimitOptions) -> dict[str, Any]:
    """Return a target's entry from an earlier time, or build it in a process of its own."""
    run, folder = work.run, work.run.engine(work.batch_size, target.name)

    def files() -> list[Path]:
        left = run.files("2_compile", work.batch_size)
        return [path for path in left if path.is_relative_to(folder)]

    def make() -> dict[str, Any]:
        for left in files():
            left.unlink()
        how = {"log": folder / "build.log", "doing": "building"}
        return attempt_apart(_build, target, work, limits=limits, **how)

    if target.recorded:
        return make()
    return ledger.kept(target.name, work.made_from(target, ledger), make, files)


def _build(target: Target, work: _Work) -> dict[str, Any]:
    able = target.available()
    if target.needs_module and work.exported["network"]["architecture"] == ONNX:
        able = Availability(False, *NO_MODULE)
    if target.quantiser and work.exported["network"].get("quantised"):
        able = Availability(False, *QUANTISED)
    if not able.ok:
        return {"status": UNAVAILABLE, "reason": able.reason, "remedy": able.remedy}
    chosen = work.choose(target) if target.tunable else _Chosen(work.files, {}, {})
    folder = work.run.engine(work.batch_size, target.name)
    artefact = target.build(chosen.files, folder, threads=work.threads, running=chosen.running)
    return {
        "artefact": artefact.to_json(),
        "versions": target.versions(),
        "note": work.note(able),
        "custody": work.custody(target, chosen, artefact),
    } | chosen.record


@dataclass(frozen=True)
class _Chosen:
    """What a target is built from and how it runs, with the record of the choice."""

    files: ModelFiles
    running: dict[str, Any]
    record: dict[str, Any]


@dataclass(frozen=True)
class _Work:
    """What choosing builds for one batch size needs, read when it is needed."""

    run: RunFolder
    batch_size: int
    threads: int
    options: BuildOptions

    def note(self, able: Availability) -> str | None:
        """Return what a reader of a build's numbers should know."""
        quantised = self.exported["network"].get("quantised")
        if not quantised:
            return able.note
        own = OF_INTEGERS if quantised["precision"] else INTEGERS_STORED
        return clauses(own, able.note) if able.note else own

    def made_from(self, target: Target, ledger: Ledger) -> dict[str, Any]:
        """Return what a target's build depends on."""
        faces = open_store(self.run.faces) if (self.run.faces / "set.json").is_file() else None
        return {
            "target": target.name,
            "versions": target.versions(),
            "weights": ledger.sha256(self.run.network),
            "onnx": ledger.sha256(self.files.onnx),
            "input": self.exported["input"],
            "quantised": self.exported["network"].get("quantised"),
            "trained": self.exported["network"]["trained"],
            "batch_size": self.batch_size,
            "threads": self.threads or usable_cores(),
            "build": self.options.model_dump() if target.tunable else None,
            "tools": target.tools.model_dump() if target.tools else None,
            # Real faces are what tunable targets are timed and calibrated on.
            "faces": [faces.sha256, faces.variants] if faces and target.tunable else None,
        }

    @cached_property
    def files(self) -> ModelFiles:
        return model_files(self.run, self.batch_size)

    @cached_property
    def exported(self) -> dict[str, Any]:
        return self.run.record("1_export", self.batch_size)

    @cached_property
    def graphs(self) -> Graphs:
        # Random pixels outside the range that a network knows would hide a wrong channel.
        pixels = pixel_range(self.exported["input"]["normalisation"])
        return Graphs(self.files.onnx, self.files.onnx.parent / "prepared", pixels)

    @cached_property
    def faces(self) -> FaceSet:
        if not (self.run.faces / "set.json").is_file():
            raise UnavailableError(
                "An int8 build takes its ranges from faces, and this run has none.",
                where=str(self.run.faces),
                fix="run notebooks/3_preprocess.ipynb first, with a dataset.source",
            )
        return open_store(self.run.faces)

    @cached_property
    def calibration(self) -> Calibration:
        spec = self.exported["input"]
        return choose_calibration(
            self.faces,
            self.options.calibration_images,
            channel_order=spec["channel_order"],
            normalisation=spec["normalisation"],
        )

    def bench(self, target: Target) -> Bench:
        return Bench(
            timing_batch(self.run, self.batch_size),
            self.options.search_seconds,
            self.options.search_repeats,
            self.threads,
            self.run.engine(self.batch_size, target.name) / "search",
        )

    def choose(self, target: Target) -> _Chosen:
        """Choose graph or recipe, then the way of running; from memory what was measured before."""
        bench, plain = self.bench(target), target
        try:
            if target.quantiser:
                plain = get_target(f"{target.runtime}-fp32")

                def search() -> dict[str, Any]:
                    return Int8Search(
                        target=target,
                        plain=plain,
                        files=self.files,
                        graphs=self.graphs,
                        calibration=self.calibration,
                        sample=draw_sample(self.faces, self.options.budget_images),
                        spec=self.exported["input"],
                        trained=self.exported["network"]["trained"],
                        budget_points=self.options.budget_points,
                        bench=bench,
                    ).run()

                # Which layers are quantised does not depend on the batch size: one search for all.
                found = self._remembered(INT8, target, search, batch_size=None)
                recipe = Recipe.from_json(found["recipe"])
                folder = self.run.engine(self.batch_size, target.name)
                own = (self.files, self.graphs, self.calibration)
                files = quantised_files(target, *own, recipe, folder)
                chosen = _Chosen(files, running_of(target, recipe), {INT8: found})
            else:
                if self.options.prepare != "auto" or not self.options.search_seconds:
                    names = [] if self.options.prepare == "none" else list(self.graphs.fitting)
                    found = {"rewrites": names, "steps": [], "prepare": "not measured"}
                else:
                    # Once per target, at the batch size that is compiled first; the way of running,
                    # which depends on it most, is searched at each.
                    found = self._remembered(
                        "graph",
                        target,
                        lambda: (
                            choose_rewrites(target, self.files, self.graphs, bench)
                            | {"batch_size": self.batch_size}
                        ),
                        batch_size=None,
                    )
                graph = self.graphs.rewritten(tuple(found["rewrites"]))
                chosen = _Chosen(replace(self.files, prepared=graph), {}, {"graph": found})
            if not self.options.search_seconds:
                return chosen
            # What the target's user would run without a search.
            before = (BEFORE_INT8 if target.quantiser else BEFORE, plain, self.files)
            found = self._remembered(
                "running",
                target,
                lambda: choose_running(target, chosen.files, chosen.running, bench, before=before),
                graph=chosen.record.get("graph", {}).get("rewrites"),
                recipe=chosen.record.get(INT8, {}).get("recipe"),
                fixed=chosen.running,
            )
            running = chosen.running | found["running"]
            return replace(chosen, running=running, record=chosen.record | {"running": found})
        finally:
            shutil.rmtree(bench.folder, ignore_errors=True)

    def _remembered(self, what: str, target: Target, measure, **more: Any) -> dict[str, Any]:
        network = self.exported["network"]
        key = {
            "what": what,
            "target": target.name,
            "versions": target.versions(),
            "network": [network["architecture"], network["weights_sha256"]],
            # Of the graph what all batch sizes share: other tools may export it otherwise.
            "operators": self.exported["simplified"]["operators"],
            "input": self.exported["input"],
            "trained": network["trained"],
            "batch_size": self.batch_size,
            "threads": self.threads or usable_cores(),
            "options": self.options.model_dump(),
            "rewrites": list(REWRITES),
        } | more
        if what == INT8:
            key["faces"] = self.faces.sha256
            key["variants"] = list(self.faces.variants)
        return remembered(self.run.folder.parent / ".tuning", key, measure)

    def custody(self, target: Target, chosen: _Chosen, artefact: Artefact) -> list[Link]:
        """Return the links from the simplified graph to a target's build."""
        int8 = chosen.record.get(INT8)
        found = int8["recipe"] if int8 else chosen.record.get("graph", {})
        names = tuple(found.get("rewrites", ()))
        rewritten = (self.graphs.rewritten(names), names) if names else None
        return of_build(self.run, target, chosen.files, artefact, rewritten=rewritten, int8=int8)

    def operators(self, built: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return how often each operator occurs, before and after the rewrites of each target."""
        rows = {}
        for name, entry in built.items():
            chosen = entry.get("graph") or entry.get(INT8, {}).get("recipe") or {}
            if chosen.get("rewrites"):
                rows[name] = summarise(self.graphs.rewritten(tuple(chosen["rewrites"]))).operators
        # A run of recorded results has no graph at all.
        return {"simplified": summarise(self.files.onnx).operators} | rows if rows else {}


def of_build(
    run: RunFolder,
    target: Target,
    files: ModelFiles,
    artefact: Artefact,
    *,
    rewritten: tuple[Path, Iterable[str]] | None = None,
    int8: Mapping[str, Any] | None = None,
) -> list[Link]:
    """Return the links from the simplified graph to a target's build.

    Parameters
    ----------
    run, target, files, artefact : RunFolder, Target, ModelFiles, Artefact
        `files` as the build got them.
    rewritten : (Path, iterable of str), optional
        The rewritten graph on the way, and the names of the rewrites.
    int8 : mapping, optional
        What the search for an int8 recipe found: ``recipe`` and ``calibration``.
    """
    links, sources = [], target.sources(files)
    graph = files.onnx
    if rewritten is not None:
        graph, names = rewritten
        links.append(made(run, graph, [files.onnx], options={"rewrites": list(names)}))
    if int8 is not None:
        pictures = [image_file(run.faces, name) for name in int8["calibration"]["variants"]]
        # OpenVINO keeps a graph and its weights in two files.
        parts = [files.graph, files.graph.with_suffix(".bin")]
        sources = tuple(path for path in parts if path.is_file())
        how = {"tools": target.versions(), "repeatable": target.repeatable}
        how |= {"options": int8["recipe"]}
        links += [made(run, path, [graph, *pictures], **how) for path in sources]
    built = {"tools": target.versions(), "options": artefact.options}
    built |= {"repeatable": target.repeatable}
    return [*links, made(run, artefact.path, sources, sha256=artefact.sha256, **built)]
