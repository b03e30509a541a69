"""This project's builds, chosen as `2_compile` chooses them.

What a build is made of (runtime, rewrites, quantisation) is chosen at batch 1, since a search at
batch 16 would take longer than the measurement; how it runs is chosen at every batch size.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from peer_work import OURS, Side, Work

from lresnet_utils.errors import TargetError
from lresnet_utils.machine.disk import read_json, write_json
from lresnet_utils.perf.timing import Timing
from lresnet_utils.targets import get_target
from lresnet_utils.targets.base import ModelFiles, Recipe, Target
from lresnet_utils.tuning.int8 import (
    Int8Search,
    quantised_files,
    running_of,
    whole_network_recipes,
)
from lresnet_utils.tuning.judge import draw_sample
from lresnet_utils.tuning.search import choose_rewrites

# Targets that this project tunes, by precision; the fastest of them stands for it.
TUNED = {
    "fp32": ("openvino-fp32", "onnxruntime-fp32"),
    "bf16": ("openvino-bf16",),
    "int8": ("openvino-int8", "onnxruntime-int8"),
}


def our_sides(work: Work) -> Iterator[Side]:
    """Yield this project's build of every precision that this machine has."""
    for precision, names in TUNED.items():
        able = [target for target in map(get_target, names) if target.available().ok]
        if able:
            target = able[0]
            try:
                target = _fastest_runtime(work.at_one, able)
                yield (_our_int8 if precision == "int8" else _our_graph)(work, target)
            except TargetError as error:
                yield _without_a_build(target, error)


def _without_a_build(target: Target, error: TargetError) -> Side:
    """Return a side that says why it has no build when it is asked for one."""

    def files() -> ModelFiles:
        raise error

    return Side(OURS, target.name, f"{target.name}, no build", target, files, {}, {})


def _fastest_runtime(work: Work, targets: list[Target]) -> Target:
    """Return the runtime that is worth a search: the fastest with a first guess of a graph."""

    def measure() -> dict[str, Any]:
        timed = work.bench.time({target.name: _first_guess(work, target) for target in targets})
        rates = _rates(timed)
        return {"fastest": max(rates, key=rates.__getitem__), "ips": rates}

    if len(targets) == 1:
        return targets[0]
    found = work.remembered("runtime", targets[0], measure, targets=[t.name for t in targets])
    return get_target(found["fastest"])


def _first_guess(work: Work, target: Target) -> tuple[Target, ModelFiles, dict[str, Any]]:
    if target.precision == "int8":
        recipe = whole_network_recipes(target, work.graphs, len(work.calibration.inputs))[0]
        return target, _quantised(work, target, recipe), running_of(target, recipe)
    files = replace(work.files, prepared=work.graphs.rewritten(tuple(work.graphs.fitting)))
    return target, files, {}


def _rates(timed: Mapping[str, Timing]) -> dict[str, float]:
    """Return the mean rate of every candidate that worked."""
    rates = {
        name: float(np.mean(timing.throughput_ips))
        for name, timing in timed.items()
        if timing.failure is None
    }
    if not rates:
        raise TargetError(f"No candidate works: {next(iter(timed.values())).failure}.")
    return rates


def _our_graph(work: Work, target: Target) -> Side:
    one = work.at_one
    found = one.remembered(
        "graph", target, lambda: choose_rewrites(target, one.files, one.graphs, one.bench)
    )
    files = replace(work.files, prepared=work.graphs.rewritten(tuple(found["rewrites"])))
    words = f"{target.name} on the graph with {len(found['rewrites'])} rewrites"
    return Side(
        OURS, target.name, words, target, lambda: files, {}, {"rewrites": found["rewrites"]}
    )


def _our_int8(work: Work, target: Target) -> Side:
    search = _accurate_recipe if work.trained else _fastest_recipe
    one = work.at_one
    found = one.remembered("int8", target, lambda: search(one, target))
    recipe = Recipe.from_json(found["recipe"])
    files = _quantised(work, target, recipe)
    words = f"{target.name} on the prepared graph, {recipe.title()}"
    choice = {"recipe": found["recipe"], "within_budget": found["within_budget"]}
    fixed = running_of(target, recipe)
    return Side(OURS, target.name, words, target, lambda: files, fixed, choice)


def _fastest_recipe(work: Work, target: Target) -> dict[str, Any]:
    """Time all recipes of a network that decides nothing, its weights being random."""
    recipes = whole_network_recipes(target, work.graphs, len(work.calibration.inputs))
    timed = work.bench.time(
        {r.title(): (target, _quantised(work, target, r), running_of(target, r)) for r in recipes}
    )
    rates = _rates(timed)
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
    # OpenVINO's quantised graph takes any batch.
    source = work.at_one if target.runtime == "openvino" else work
    name = f"{recipe.activations}_{recipe.bias}_{len(recipe.kept)}"
    folder = source.quantised(target.name) / name
    done = folder / "done.json"
    content = recipe.to_json() | {"rest": None}
    if not done.is_file() or read_json(done)["recipe"] != content:
        made = quantised_files(
            target, source.files, source.graphs, source.calibration, recipe, folder
        )
        write_json(done, {"recipe": content, "prepared": made.graph.as_posix()})
    return replace(work.files, prepared=Path(read_json(done)["prepared"]))
