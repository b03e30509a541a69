"""The fastest int8 build that still decides as the reference does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir

from lresnet_utils.data.collection import one_per_block
from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.errors import TargetError
from lresnet_utils.graph.parity import cpu_session, run_onnx
from lresnet_utils.graph.values import constant, new_constant, nodes
from lresnet_utils.perf.statistics import paired_ratio, throughput_interval
from lresnet_utils.perf.timing import time_sessions
from lresnet_utils.targets.base import ModelFiles, Recipe, Target
from lresnet_utils.text.language import message
from lresnet_utils.tuning.judge import Sample, judge
from lresnet_utils.tuning.search import Bench, Graphs
from lresnet_utils.verify.scores import squared_l2, unit_rows

# Which pictures the ranges of an int8 build are taken from.


@dataclass(frozen=True)
class Calibration:
    """Preprocessed faces, and which they are.

    Attributes
    ----------
    inputs : ndarray of float32, shape (n, 3, 112, 112)
        As the network takes them.
    chosen : dict of str to list of int
        Picture numbers of each variant.
    """

    inputs: np.ndarray
    chosen: dict[str, list[int]]

    def describe(self) -> dict[str, Any]:
        """Return what the report says about them."""
        return {
            "n_images": len(self.inputs),
            "variants": {variant: len(rows) for variant, rows in self.chosen.items()},
            "choice": "evenly spread over the set, other pictures for each variant",
            "labels_used": False,
            "pictures": self.chosen,
        }


def choose_calibration(
    faces: FaceSet, n: int, *, channel_order: str, normalisation: str
) -> Calibration:
    """Take `n` pictures, evenly spread over the set and over its variants.

    Degraded variants are included because their ranges are wider: ranges taken from clean faces
    alone clip a noisy one, which changes its embedding. Neither labels nor pairs are read.

    Parameters
    ----------
    faces : FaceSet
    n : int
        How many; at most as many as there are usable pictures in all variants.
    channel_order, normalisation
        See :func:`lresnet_utils.data.network_input.to_network_input`.

    Returns
    -------
    Calibration
        The same pictures for the same set and `n`.
    """
    bad = [index for index, _ in faces.failures]
    usable = np.setdiff1d(np.arange(faces.n_images), np.array(bad, np.intp))
    chosen = spread(usable, n, faces.variants)
    images = [np.asarray(faces.images(variant)[rows]) for variant, rows in chosen.items()]
    inputs = to_network_input(
        np.concatenate(images), channel_order=channel_order, normalisation=normalisation
    )
    return Calibration(inputs, {v: [int(row) for row in rows] for v, rows in chosen.items()})


def spread(usable: np.ndarray, n: int, variants: tuple[str, ...]) -> Mapping[str, np.ndarray]:
    """Share `n` pictures out among variants, each taking others than the one before it.

    Parameters
    ----------
    usable : ndarray of int, shape (m,)
        Picture numbers, ascending; at least one.
    n : int
        Of all variants together, one from each of so many equal parts of the set.
    variants : tuple of str
        At least one; the first ones get one more when `n` cannot be shared evenly.

    Examples
    --------
    >>> spread(np.arange(8), 4, ("a", "b"))
    {'a': array([1, 4]), 'b': array([3, 6])}
    """
    k = len(variants)
    rows = usable[one_per_block(len(usable), min(n, k * len(usable)))]
    return {variant: rows[i::k] for i, variant in enumerate(variants) if len(rows) > i}


# The shift that this rewrite carries along makes one range of a whole tensor coarser.
_NOT_FOR_INT8 = "norm-carried"
REFERENCE = "fp32, the same runtime"
# Accurate bias correction costs many passes over the calibration faces: seconds up to so many
# floating-point operations of one pass, a quarter of an hour for IR-SE100.
ACCURATE_UP_TO_FLOP = 5e11


@dataclass(frozen=True)
class Int8Search:
    """Everything a search needs.

    Attributes
    ----------
    target, plain : Target
        The int8 target, and the fp32 target of the same runtime, which it is judged by.
    files, graphs : ModelFiles, Graphs
        The exported network and its rewritten forms.
    calibration, sample : Calibration, Sample
        Faces that ranges are taken from, and faces and pairs that builds are judged on.
    spec : dict
        The network's input, as ``1_export`` recorded it.
    trained : bool
        False for random weights, which decide nothing that could be judged.
    budget_points : float
        Accuracy that may be lost, percentage points.
    bench : Bench
    """

    target: Target
    plain: Target
    files: ModelFiles
    graphs: Graphs
    calibration: Calibration
    sample: Sample
    spec: dict[str, Any]
    trained: bool
    budget_points: float
    bench: Bench

    def run(self) -> dict[str, Any]:
        """Try recipes, the fastest kinds first, and choose the fastest one within the budget.

        Returns
        -------
        dict
            ``recipe``: the one chosen. ``tried``: for each, the recipe, the numbers of
            :func:`lresnet_utils.tuning.judge.judge`, ``throughput_ips``, ``ratio`` to the fp32
            build, and whether it is ``chosen``; all were timed in turns in one go.
            ``calibration``, ``budget``, and ``sensitivity`` where layers had to be ranked.

        Raises
        ------
        TargetError
            When not even a build with all sensitive layers in higher precision is within it.
        """
        bench = self.bench
        with ExitStack() as stack:
            built = self.plain.build(self.files, bench.folder / "plain", threads=bench.threads)
            sessions = {REFERENCE: stack.enter_context(self.plain.load(built))}
            reference = self.sample.embed(sessions[REFERENCE], self.spec)
            tried: list[dict[str, Any]] = []
            ranking: list[dict[str, Any]] = []
            for recipe in self._recipes(tried, ranking):
                folder = bench.folder / f"int8_{len(tried)}"
                files = quantised_files(
                    self.target, self.files, self.graphs, self.calibration, recipe, folder
                )
                running = running_of(self.target, recipe)
                built = self.target.build(files, folder, threads=bench.threads, running=running)
                session = stack.enter_context(self.target.load(built))
                own = self.sample.embed(session, self.spec)
                verdict = judge(self.sample, reference, own, self.budget_points)
                sessions[str(len(tried))] = session
                tried.append({"recipe": recipe.to_json(), "title": recipe.title()} | verdict)
            timed = time_sessions(
                sessions, bench.batch, warmup=1, seconds=bench.seconds, repeats=bench.repeats
            )
        for number, entry in enumerate(tried):
            timing = timed[str(number)]
            entry["throughput_ips"] = throughput_interval(timing)
            entry["ratio"] = paired_ratio(timing, timed[REFERENCE])
        fitting = [entry for entry in tried if entry["within_budget"] or not self.trained]
        if not fitting:
            raise TargetError(
                message(
                    "No int8 build of the {n} tried decides as the fp32 build does.", n=len(tried)
                ),
                fix="raise build.budget_points or calibration_images, or leave it out",
            )
        best = max(fitting, key=lambda entry: entry["throughput_ips"]["value"])
        for entry in tried:
            entry["chosen"] = entry is best
            if not self.trained:
                entry["within_budget"] = None
        if self.trained:
            budget = {
                "points": self.budget_points,
                "compared_with": REFERENCE,
                "variants": list(self.sample.faces.variants),
                "n_pairs": len(self.sample.same),
                "n_images": len(self.sample.images),
            }
        else:
            why = "the weights are random (seeded), so there are no decisions to keep"
            budget = {"points": None, "refused": why}
        return {
            "recipe": best["recipe"],
            "tried": tried,
            "sensitivity": ranking[:20],
            "calibration": self.calibration.describe(),
            "budget": budget,
            "batch_size": self.files.batch_size,
        }

    def _recipes(self, tried: list, ranking: list) -> Iterator[Recipe]:
        """Yield whole-network recipes, then ever more layers in higher precision if none fits."""
        whole = whole_network_recipes(self.target, self.graphs, len(self.calibration.inputs))
        yield from whole
        if not self.trained or any(entry["within_budget"] for entry in tried):
            return
        closest = max(tried, key=lambda t: (t["worst_p"], -t["worst_loss_points"]))
        base = replace(Recipe.from_json(closest["recipe"]), bias="accurate")
        if base not in whole:
            yield base
            if tried[-1]["within_budget"]:
                return
        # They come variant by variant: the first ones alone would be clean faces only.
        inputs, n = self.calibration.inputs, self.files.batch_size
        batch = inputs[np.arange(n) * len(inputs) // n]
        self.bench.folder.mkdir(parents=True, exist_ok=True)
        ranking += rank_layers(self.graphs.rewritten(base.rewrites), batch, self.bench.folder)
        for kept in ever_more(len(ranking)):
            yield replace(base, kept=tuple(row["node"] for row in ranking[:kept]))
            if tried[-1]["within_budget"]:
                return


def whole_network_recipes(target: Target, graphs: Graphs, n_images: int) -> list[Recipe]:
    """Return the recipes that quantise every layer that the target's quantiser takes.

    `n_images` is how many faces they are calibrated on; see :func:`bias_correction`.
    """
    rewrites = tuple(name for name in graphs.fitting if name != _NOT_FOR_INT8)
    bias = bias_correction(graphs.flops, n_images)
    return [
        Recipe(activations, rest, bias, rewrites=rewrites)
        for activations in ("symmetric", "asymmetric")
        for rest in target.quantiser.rests()
    ]


def quantised_files(
    target: Target,
    files: ModelFiles,
    graphs: Graphs,
    calibration: Calibration,
    recipe: Recipe,
    folder: Path,
) -> ModelFiles:
    """Quantise by a recipe into `folder`, and return the files that a build is made from."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = graphs.rewritten(recipe.rewrites)
    quantised = folder / f"quantised{target.quantiser.suffix}"
    target.quantiser.quantise(graph, quantised, calibration.inputs, recipe)
    return replace(files, prepared=quantised)


def bias_correction(flops: int, n_images: int) -> Literal["accurate", "fast"]:
    """Return how biases are corrected first for a network of so many operations per image.

    Examples
    --------
    >>> bias_correction(24_150_000_000, 128), bias_correction(570_000_000, 128)
    ('fast', 'accurate')
    """
    return "accurate" if flops * n_images <= ACCURATE_UP_TO_FLOP else "fast"


def running_of(target: Target, recipe: Recipe) -> dict[str, Any]:
    """Return the options of a build that follow from its recipe."""
    return {"rest": recipe.rest} if len(target.quantiser.rests()) > 1 else {}


def ever_more(layers: int) -> list[int]:
    """Return how many layers are kept in higher precision, try by try; never all of them.

    Examples
    --------
    >>> ever_more(28)
    [1, 2, 4, 8, 16, 22]
    """
    counts = [2**power for power in range(layers.bit_length()) if 2**power < layers]
    last = (counts[-1] + layers) // 2 if counts else 0
    return counts + ([last] if counts and counts[-1] < last < layers else [])


# Which layers suffer most from eight bits.

_LAYERS = ("Conv", "Gemm")


def rank_layers(graph: Path, batch: np.ndarray, scratch: Path) -> list[dict[str, float | str]]:
    """Quantise one linear layer at a time and see how far the embeddings move.

    Parameters
    ----------
    graph : Path
        An fp32 ONNX file with a static batch.
    batch : ndarray of float32, shape (batch_size, 3, 112, 112)
        Faces.
    scratch : Path
        A folder for one file, which is overwritten for every layer.

    Returns
    -------
    list of dict
        ``node`` and ``mean_distance`` (squared L2 of unit embeddings, mean over the faces), the
        most sensitive layer first. The layer's input is rounded to 256 steps between its
        extremes on these faces, its weights to 255 symmetric steps per output channel.
    """
    proto = onnx.load(graph)
    extremes = _extremes(proto, batch, scratch)
    reference = unit_rows(run_onnx(graph, batch))
    ranked = []
    for name, (low, high) in extremes.items():
        path = _with_one_quantised(proto, name, low, high, scratch)
        moved = squared_l2(reference, unit_rows(run_onnx(path, batch)))
        ranked.append({"node": name, "mean_distance": float(np.nan_to_num(moved, nan=4).mean())})
    return sorted(ranked, key=lambda row: (-row["mean_distance"], row["node"]))


def _extremes(
    proto: onnx.ModelProto, batch: np.ndarray, scratch: Path
) -> dict[str, tuple[float, float]]:
    """Return the least and largest input of every linear layer with constant weights."""
    model = ir.from_proto(proto)
    layers = [n for n in nodes(model.graph, *_LAYERS) if constant(n.inputs[1]) is not None]
    wanted = {node.name: node.inputs[0].name for node in layers}
    watched = onnx.ModelProto()
    watched.CopyFrom(proto)
    known = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    for name in sorted(set(wanted.values()) - known):
        watched.graph.output.append(onnx.ValueInfoProto(name=name))
    path = scratch / "watched.onnx"
    onnx.save(watched, path)
    session = cpu_session(path)
    names = [output.name for output in session.get_outputs()]
    feed = session.get_inputs()[0].name
    values = dict(zip(names, session.run(None, {feed: batch}), strict=True)) | {feed: batch}
    return {
        node: (float(values[name].min()), float(values[name].max()))
        for node, name in wanted.items()
    }


def _with_one_quantised(
    proto: onnx.ModelProto, name: str, low: float, high: float, scratch: Path
) -> Path:
    model = ir.from_proto(proto)
    graph = model.graph
    node = next(node for node in graph if node.name == name)
    weight = constant(node.inputs[1])
    outputs_first = node.op_type == "Conv" or node.attributes.get("transB") is not None
    axes = tuple(range(1, weight.ndim)) if outputs_first else (0,)
    step = np.maximum(np.abs(weight).max(axis=axes, keepdims=True), 1e-12) / 127
    rounded = (np.round(weight / step) * step).astype(np.float32)
    node.replace_input_with(1, new_constant(graph, f"{name}.rounded", rounded))
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-12) / 255
    zero = int(np.clip(round(-low / scale), 0, 255))
    parameters = [
        new_constant(graph, f"{name}.scale", np.float32(scale)),
        new_constant(graph, f"{name}.zero", np.uint8(zero)),
    ]
    coded = ir.node("QuantizeLinear", [node.inputs[0], *parameters], name=f"{name}.coded")
    decoded = ir.node("DequantizeLinear", [coded.outputs[0], *parameters], name=f"{name}.decoded")
    graph.insert_before(node, [coded, decoded])
    node.replace_input_with(0, decoded.outputs[0])
    path = scratch / "one_quantised.onnx"
    onnx.save(ir.to_proto(model), path)
    return path
