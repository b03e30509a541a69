"""What the benchmark of peers compares: this project's builds, and what others would run.

Every side is a target, the graph it is built from, and the way of running that was the fastest
of a short search; all sides are searched in the same way, on the same faces.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.data.face_set import FaceSet, open_store
from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.data.source import ORL, build_source
from lresnet_utils.errors import LResNetError, TargetError
from lresnet_utils.files import read_json, write_json
from lresnet_utils.graph.export import export_onnx
from lresnet_utils.graph.simplify import simplify_onnx
from lresnet_utils.models.architectures import Architecture, architecture
from lresnet_utils.models.network import PACKAGED, SEEDED, load_network, save_network
from lresnet_utils.perf.timing import time_sessions
from lresnet_utils.targets import TARGETS, get_target
from lresnet_utils.targets.base import Artefact, ModelFiles, Session, Target
from lresnet_utils.targets.openvino import OpenVinoTarget
from lresnet_utils.targets.ort import OnnxRuntimeSession, OnnxRuntimeTarget
from lresnet_utils.tuning.cache import remembered
from lresnet_utils.tuning.calibration import Calibration, choose_calibration
from lresnet_utils.tuning.int8 import (
    Int8Search,
    quantised_files,
    running_of,
    whole_network_recipes,
)
from lresnet_utils.tuning.judge import draw_sample
from lresnet_utils.tuning.options import BuildOptions
from lresnet_utils.tuning.recipe import Recipe
from lresnet_utils.tuning.search import Bench, Graphs, choose_rewrites, choose_running

OURS, PEER = "ours", "peer"
# Targets that this project tunes, by precision; the fastest of them stands for it.
TUNED = {
    "fp32": ("openvino-fp32", "onnxruntime-fp32"),
    "bf16": ("openvino-bf16",),
    "int8": ("openvino-int8", "onnxruntime-int8"),
}
# The demo's degraded copies: int8 builds of trained networks are judged on them as well.
_VARIANTS = ("plain", "res28", "noise40")


@dataclass(frozen=True)
class Side:
    """One participant: `name` and `words` say what it is, the rest how it is made.

    `files` makes the graph when it is called, `fixed` are options of every way of running it, and
    `choice` is the record of what was chosen.
    """

    side: str
    name: str
    words: str
    target: Target
    files: Callable[[], ModelFiles]
    fixed: dict[str, Any]
    choice: dict[str, Any]

    @property
    def precision(self) -> str:
        """Precision of the layers that do nearly all of the arithmetic."""
        return self.target.precision


@dataclass(frozen=True)
class Work:
    """One network at one batch size, and how builds of it are searched for."""

    network: str
    batch_size: int
    folder: Path
    options: BuildOptions

    @property
    def known(self) -> Architecture:
        """The network's definition."""
        return architecture(self.network)

    @property
    def trained(self) -> bool:
        """Whether the weights are real ones."""
        return self.network == "sface"

    @property
    def place(self) -> Path:
        """Where this network's files of this batch size are."""
        return self.folder / f"{self.network}_bs{self.batch_size}"

    @cached_property
    def files(self) -> ModelFiles:
        """The exported and simplified network, made at the first use."""
        raw, simple, weights = (
            self.place / name for name in ("raw.onnx", "sim.onnx", "network.pt")
        )
        if not simple.is_file():
            network = load_network(self.network, PACKAGED if self.trained else SEEDED)
            save_network(network, weights)
            export_onnx(network.module, raw, batch_size=self.batch_size)
            simplify_onnx(raw, simple, batch_size=self.batch_size, input_range=self._pixels)
        size = self.known.embedding_size
        return ModelFiles(self.network, weights, simple, self.batch_size, size)

    @cached_property
    def graphs(self) -> Graphs:
        """The simplified graph and its rewritten forms."""
        return Graphs(self.files.onnx, self.place / "prepared", self._pixels)

    @property
    def _pixels(self) -> tuple[float, float]:
        return (0.0, 255.0) if self.known.normalisation == "raw" else (-1.0, 1.0)

    @cached_property
    def faces(self) -> FaceSet:
        """The packaged ORL faces, clean and degraded."""
        folder = self.folder / "faces"
        if not (folder / "set.json").is_file():
            build_source(ORL, folder, variants=_VARIANTS)
        return open_store(folder)

    @property
    def spec(self) -> dict[str, str]:
        """How the network wants its input."""
        known = self.known
        return {"channel_order": known.channel_order, "normalisation": known.normalisation}

    @cached_property
    def calibration(self) -> Calibration:
        """The faces that every side's quantiser gets."""
        return choose_calibration(self.faces, self.options.calibration_images, **self.spec)

    @cached_property
    def bench(self) -> Bench:
        """How candidates are timed in the searches."""
        rows = np.arange(self.batch_size) % self.faces.n_images
        batch = to_network_input(np.asarray(self.faces.images()[rows]), **self.spec)
        seconds, repeats = self.options.search_seconds, self.options.search_repeats
        return Bench(batch, seconds, repeats, 0, self.place / "search")

    def remembered(
        self, what: str, target: Target, measure: Callable[[], dict[str, Any]], **more: Any
    ) -> dict[str, Any]:
        """Measure, or find what an earlier call measured on this machine."""
        key = {
            "what": what,
            "target": target.name,
            "versions": target.versions(),
            "network": self.network,
            "batch_size": self.batch_size,
            "options": self.options.model_dump(),
        }
        return remembered(self.folder / ".tuning", key | more, measure)

    def build(self, side: Side) -> tuple[Artefact, dict[str, Any]]:
        """Build a side in its fastest way of running; return how that was chosen as well."""
        try:
            files = side.files()
        except LResNetError:
            raise
        except Exception as error:  # quantisers raise anything; the other sides must go on
            raise TargetError(f"{side.name} cannot prepare its graph: {error}.") from error
        found = self.remembered(
            "running",
            side.target,
            lambda: choose_running(side.target, files, side.fixed, self.bench),
            side=side.name,
            choice=side.choice,
        )
        place = self.place / f"{side.side}_{side.name.replace(' ', '-').lower()}"
        return side.target.build(files, place, running=side.fixed | found["running"]), found


def our_sides(work: Work) -> Iterator[Side]:
    """Yield this project's build of every precision that this machine has."""
    for precision, names in TUNED.items():
        able = [target for target in map(get_target, names) if target.available().ok]
        if able:
            target = _fastest_runtime(work, able)
            yield (_our_int8 if precision == "int8" else _our_graph)(work, target)


def _fastest_runtime(work: Work, targets: list[Target]) -> Target:
    """Return the runtime that is worth a search: the fastest with a first guess of a graph."""

    def measure() -> dict[str, Any]:
        with ExitStack() as stack:
            sessions = {
                target.name: stack.enter_context(_first_guess(work, target)) for target in targets
            }
            timed = time_sessions(
                sessions,
                work.bench.batch,
                warmup=1,
                seconds=work.bench.seconds,
                repeats=work.bench.repeats,
            )
        rates = {
            name: float(np.mean(timing.throughput_ips))
            for name, timing in timed.items()
            if timing.failure is None
        }
        return {"fastest": max(rates, key=rates.__getitem__), "ips": rates}

    if len(targets) == 1:
        return targets[0]
    found = work.remembered("runtime", targets[0], measure, targets=[t.name for t in targets])
    return get_target(found["fastest"])


def _first_guess(work: Work, target: Target) -> Session:
    if target.precision == "int8":
        files = _quantised(work, target, whole_network_recipes(target, work.graphs)[0])
    else:
        files = replace(work.files, prepared=work.graphs.rewritten(tuple(work.graphs.fitting)))
    return target.load(target.build(files, work.place / "first" / target.name))


def _our_graph(work: Work, target: Target) -> Side:
    found = work.remembered(
        "graph", target, lambda: choose_rewrites(target, work.files, work.graphs, work.bench)
    )
    files = replace(work.files, prepared=work.graphs.rewritten(tuple(found["rewrites"])))
    words = f"{target.name} on the graph with {len(found['rewrites'])} rewrites"
    return Side(
        OURS, target.name, words, target, lambda: files, {}, {"rewrites": found["rewrites"]}
    )


def _our_int8(work: Work, target: Target) -> Side:
    search = _accurate_recipe if work.trained else _fastest_recipe
    # What is quantised does not depend on the batch size, so one search serves all.
    found = work.remembered("int8", target, lambda: search(work, target), batch_size=None)
    recipe = Recipe.from_json(found["recipe"])
    files = _quantised(work, target, recipe)
    words = f"{target.name} on the prepared graph, {recipe.title()}"
    choice = {"recipe": found["recipe"], "within_budget": found["within_budget"]}
    fixed = running_of(target, recipe)
    return Side(OURS, target.name, words, target, lambda: files, fixed, choice)


def _fastest_recipe(work: Work, target: Target) -> dict[str, Any]:
    """Time all recipes of a network that decides nothing, its weights being random."""
    recipes = whole_network_recipes(target, work.graphs)
    timed = work.bench.time(
        target,
        {r.title(): (_quantised(work, target, r), running_of(target, r)) for r in recipes},
    )
    rates = {
        recipe.title(): float(np.mean(timed[recipe.title()].throughput_ips))
        for recipe in recipes
        if timed[recipe.title()].failure is None
    }
    best = max(recipes, key=lambda recipe: rates.get(recipe.title(), 0.0))
    return {"recipe": best.to_json(), "within_budget": None, "ips": rates}


def _accurate_recipe(work: Work, target: Target) -> dict[str, Any]:
    """Search for the fastest build that decides as fp32 does, on clean and degraded faces."""
    found = Int8Search(
        target=target,
        plain=get_target(f"{target.runtime}-fp32"),
        files=work.files,
        graphs=work.graphs,
        calibration=work.calibration,
        sample=draw_sample(work.faces, work.options.budget_images),
        spec=work.spec,
        trained=True,
        budget_points=work.options.budget_points,
        bench=work.bench,
    ).run()
    shutil.rmtree(work.bench.folder)
    chosen = next(entry for entry in found["tried"] if entry["chosen"])
    kept = ("worst_loss_points", "worst_p", "n_pairs", "n_images")
    return {"recipe": found["recipe"], "within_budget": {name: chosen[name] for name in kept}}


def _quantised(work: Work, target: Target, recipe: Recipe) -> ModelFiles:
    """Quantise once per choice of layers and ranges; the rest's precision comes later."""
    folder = work.place / "quantised" / target.name / recipe.activations / str(len(recipe.kept))
    done = folder / "done.json"
    content = recipe.to_json() | {"rest": None, "n": work.options.calibration_images}
    if done.is_file() and read_json(done)["recipe"] == content:
        return replace(work.files, prepared=Path(read_json(done)["prepared"]))
    files = quantised_files(target, work.files, work.graphs, work.calibration, recipe, folder)
    write_json(done, {"recipe": content, "prepared": files.graph.as_posix()})
    return files


class PlainOnnxRuntime(OnnxRuntimeTarget):
    """ONNX Runtime as its documentation shows it: any graph, default session options."""

    def running_options(self, cores: int) -> list[dict[str, Any]]:
        """Return the default first, then batches side by side that share the cores out."""
        several = sorted({2, cores} & set(range(2, cores + 1)))
        return [
            {"lanes": 1, "threads": 0},
            *({"lanes": n, "threads": max(1, cores // n)} for n in several),
        ]

    def _options(self) -> dict[str, Any]:
        return {"lanes": 1, "threads": 0}

    def _build(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        shutil.copyfile(files.graph, path)

    def _load(self, artefact: Artefact) -> Session:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = artefact.options["threads"]
        session = onnxruntime.InferenceSession(
            str(artefact.path), settings, providers=["CPUExecutionProvider"]
        )
        return OnnxRuntimeSession(session, artefact.options)


def peer_sides(work: Work) -> Iterator[Side]:
    """Yield what others would run on this machine, from the graph as onnxsim leaves it."""
    graph = "on the onnxsim graph"
    plain = PlainOnnxRuntime("fp32")
    yield _peer("ONNX Runtime fp32", f"default session options, {graph}", plain, lambda: work.files)
    for precision in ("fp32", "bf16"):
        target = OpenVinoTarget(precision)
        if target.available().ok:
            yield _peer(
                f"OpenVINO {precision}", f"{precision} hint, {graph}", target, lambda: work.files
            )
    nncf = OpenVinoTarget("int8")
    if nncf.available().ok:
        # Without a hint OpenVINO computes in bf16 where the processor does.
        rest = {"rest": nncf.rests()[0]}
        words = f"nncf.quantize with defaults {graph}, OpenVINO"
        yield _peer("NNCF int8", words, nncf, lambda: _nncf_defaults(work), rest)
    words = f"quantize_static with defaults {graph}, default session options"
    int8 = PlainOnnxRuntime("int8")
    yield _peer("ONNX Runtime int8", words, int8, lambda: _ort_defaults(work))
    for name, target in TARGETS.items():
        if target.runtime.startswith("torch") and target.available().ok:
            how = "compiled" if "compile" in name else "eager"
            words = f"PyTorch {how}, channels_last, the network as it is"
            yield _peer(f"PyTorch {how} {target.precision}", words, target, lambda: work.files)


def _peer(
    name: str,
    words: str,
    target: Target,
    files: Callable[[], ModelFiles],
    fixed: dict[str, Any] | None = None,
) -> Side:
    return Side(PEER, name, words, target, files, fixed or {}, {})


def _nncf_defaults(work: Work) -> ModelFiles:
    """Quantise with NNCF, naming nothing but the model and the faces."""
    import openvino

    from lresnet_utils.targets.nncf_int8 import import_nncf

    out = work.place / "quantised" / "nncf-defaults" / "quantised.xml"
    if not out.is_file():
        nncf = import_nncf()
        model = openvino.Core().read_model(str(work.files.onnx))
        faces = [face[None] for face in work.calibration.inputs]
        model.reshape([1, *faces[0].shape[1:]])
        quantised = nncf.quantize(model, nncf.Dataset(faces))
        out.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(quantised, str(out))
    return replace(work.files, prepared=out)


def _ort_defaults(work: Work) -> ModelFiles:
    """Quantise with ONNX Runtime, naming nothing but the files and the faces."""
    from onnxruntime import quantization

    from lresnet_utils.targets.ort_int8 import face_reader

    out = work.place / "quantised" / "onnxruntime-defaults" / "quantised.onnx"
    if not out.is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        reader = face_reader(quantization, work.files.onnx, work.calibration.inputs)
        quantization.quantize_static(str(work.files.onnx), str(out), reader)
    return replace(work.files, prepared=out)
