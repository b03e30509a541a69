"""Set-ups in which something is wrong, drawn at random: does the page still recommend a build?

Each draws one to three damages of a sound set-up (SFace, the packaged faces in colour), runs the
stages from preprocessing to the summary on it, and asks two things: what the first page says, and
what the set-up is really worth, by the right labels and pictures without noise, which only the
generator knows. A recommendation is wrong where the truth lies further below the sound set-up's
accuracy than the page says may be lost.

    python benchmarks/damaged_setups.py outputs/damaged.json --setups 300
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lresnet_utils.data.align import find_and_align
from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.data.packaged import orl_files
from lresnet_utils.data.readers.bin import write_bin
from lresnet_utils.graph.to_onnx import export_onnx
from lresnet_utils.machine.disk import write_json
from lresnet_utils.machine.facts import machine
from lresnet_utils.models.network import load_network, save_network
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import evaluate
from lresnet_utils.stages.infer import infer
from lresnet_utils.stages.preprocess import preprocess
from lresnet_utils.stages.summary import summarise
from lresnet_utils.targets import get_target
from lresnet_utils.targets.base import ModelFiles
from lresnet_utils.verify.protocol import exact_protocol
from lresnet_utils.verify.scores import score_pairs, unit_rows

TARGET = "onnxruntime-fp32"
BATCH = 16
PEOPLE, IMAGES = 20, 4
SOUND = {"channel_order": "rgb", "normalisation": "raw"}
# What 6_perf would have written: how fast a build is plays no part in whether it may be shipped.
RATE = {"value": 100.0, "low": 99.0, "high": 101.0, "n": 5, "interval": "Student t, 95 %"}


@cache
def faces() -> tuple[np.ndarray, np.ndarray]:
    """Return aligned grey faces, and who is in each."""
    files = [(who, path) for who, path in orl_files() if who < PEOPLE]
    chosen = [found for n, found in enumerate(files) if n % 10 < IMAGES]
    grey = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for _, path in chosen]
    aligned = [find_and_align(image) for image in grey]
    squeezed = [cv2.resize(image, (112, 112)) for image in grey]
    used = [a[..., 0] if a is not None else s for a, s in zip(aligned, squeezed, strict=True)]
    return np.stack(used), np.array([who for who, _ in chosen])


def in_colour(grey: np.ndarray, strong: bool) -> np.ndarray:
    """Return RGB faces; with strong colour, red and blue exchanged make another picture."""
    g = grey[..., None] / 255
    rgb = np.concatenate([g, g**1.6, 1 - g], axis=-1) if strong else g * [1.0, 0.82, 0.7]
    return (255 * rgb).round().astype(np.uint8)


def pairs(who: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return every genuine pair and as many impostor pairs, mixed."""
    rng = np.random.default_rng(0)
    left, right = np.triu_indices(len(who), 1)
    same = who[left] == who[right]
    genuine = rng.permutation(np.flatnonzero(same))
    impostor = rng.choice(np.flatnonzero(~same), len(genuine), replace=False)
    order = np.stack([genuine, impostor], axis=1).ravel()
    return left[order], right[order], same[order]


class Setup:
    """A set-up with its damages.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, 112, 112, 3), RGB
    clean : ndarray like `images`
        Without what is wrong with the pictures alone, such as noise.
    left, right, same : ndarray
        Pairs with the labels that the set gives.
    spec : dict
        Channel order and scale as declared.
    layer : str
        What the end of the network does to embeddings; empty for nothing.
    lost : ndarray of int
        Pictures that cannot be read.
    damages : list of str
    """

    def __init__(self, seed: int) -> None:
        rng = self.rng = np.random.default_rng(seed)
        grey, who = faces()
        self.images = in_colour(grey, strong=bool(rng.random() < 0.5))
        self.clean = self.images
        self.left, self.right, self.same = pairs(who)
        self.truly = self.same.copy()
        self.spec, self.layer, self.lost = dict(SOUND), "", np.zeros(0, int)
        self.damages: list[str] = []
        kinds = rng.choice(sorted(DAMAGES), rng.integers(1, 4), replace=False)
        for kind in kinds.tolist():
            self.damages.append(DAMAGES[kind](self) or kind)


def scale(setup: Setup) -> str:
    setup.spec["normalisation"] = str(setup.rng.choice(["minus1_1", "centred_128", "zero_1"]))
    return f"scale {setup.spec['normalisation']}"


def order(setup: Setup) -> str:
    setup.spec["channel_order"] = "bgr"
    return "order"


def labels(setup: Setup) -> str:
    share = setup.rng.uniform(0.02, 0.5)
    wrong = setup.rng.random(len(setup.same)) < share
    setup.same = setup.same ^ wrong
    return f"labels {share:.0%}"


def one_class(setup: Setup) -> None:
    setup.same = np.full(len(setup.same), bool(setup.rng.random() < 0.5))


def twins(setup: Setup) -> str:
    """People who are in the set twice, under two names: some impostor pairs are genuine."""
    n = int(setup.rng.integers(1, 8))
    impostors = np.flatnonzero(~setup.truly)
    chosen = setup.rng.choice(impostors, min(len(impostors), 4 * n), replace=False)
    _, who = faces()
    for pair in chosen:
        alike = np.flatnonzero(who == who[setup.left[pair]])
        setup.right[pair] = setup.rng.choice(alike[alike != setup.left[pair]])
    setup.truly[chosen] = True
    return f"twins {n}"


def misaligned(setup: Setup) -> str:
    shift, turn = setup.rng.uniform(0, 12), setup.rng.uniform(0, 30)
    size = setup.rng.uniform(0.7, 1.2)

    def moved(images: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(1)
        out = []
        for image in images:
            matrix = cv2.getRotationMatrix2D((55.5, 55.5), turn * rng.choice([-1, 1]), size)
            matrix[:, 2] += shift * rng.choice([-1, 1], 2)
            out.append(cv2.warpAffine(image, matrix, (112, 112)))
        return np.stack(out)

    setup.images, setup.clean = moved(setup.images), moved(setup.clean)
    return f"misaligned {shift:.0f} px {turn:.0f} deg"


def noise(setup: Setup) -> str:
    sigma = setup.rng.uniform(5, 60)
    noisy = setup.images + setup.rng.normal(0, sigma, setup.images.shape)
    setup.images = noisy.round().clip(0, 255).astype(np.uint8)
    return f"noise {sigma:.0f}"


def layer(setup: Setup) -> str:
    setup.layer = str(setup.rng.choice(["nan", "zero", "constant", "shift", "some_nan"]))
    return f"layer {setup.layer}"


def folds(setup: Setup) -> None:
    """Pairs in order of their labels, so that folds hold one class."""
    by_label = np.argsort(setup.same, kind="stable")
    for name in ("left", "right", "same", "truly"):
        setattr(setup, name, getattr(setup, name)[by_label])


def unreadable(setup: Setup) -> str:
    share = setup.rng.uniform(0.02, 0.6)
    setup.lost = np.flatnonzero(setup.rng.random(len(setup.images)) < share)
    return f"unreadable {share:.0%}"


DAMAGES = {
    "scale": scale,
    "order": order,
    "labels": labels,
    "one class": one_class,
    "twins": twins,
    "misaligned": misaligned,
    "noise": noise,
    "layer": layer,
    "folds": folds,
    "unreadable": unreadable,
}


def with_layer(source: Path, target: Path, kind: str) -> Path:
    """Write a graph whose last output is damaged."""
    model = onnx.load(source)
    graph, out = model.graph, model.graph.output[0].name
    for node in graph.node:
        node.output[:] = ["before" if name == out else name for name in node.output]

    def number(name: str, value: Any) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def add(op: str, inputs: list[str], output: str) -> None:
        graph.node.append(helper.make_node(op, inputs, [output]))

    if kind == "nan":
        add("Mul", ["before", number("zero", [0.0])], "none")
        add("Div", ["none", "zero"], out)
    elif kind == "zero":
        add("Mul", ["before", number("zero", [0.0])], out)
    elif kind == "constant":
        add("Mul", ["before", number("zero", [0.0])], "none")
        add("Add", ["none", number("c", np.random.default_rng(0).normal(size=(1, 128)))], out)
    elif kind == "shift":
        add("Add", ["before", number("c", np.full((1, 128), 8.0))], out)
    else:  # overflows where the first number of an embedding is above its mean
        add("Mul", ["before", number("big", [3e38])], "large")
        add("Clip", ["large", number("low", -1e38)], "half")
        add("Mul", ["half", number("more", [1e3])], "inf")
        add("Sub", ["inf", "inf"], out)
    for info in graph.output:
        info.type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(model, target)
    return target


@cache
def network(folder: Path) -> tuple[Any, Path, Path]:
    """Return SFace as a module, its weights and its graph."""
    loaded = load_network("sface", "packaged")
    weights = save_network(loaded, folder / "network.pt")
    return loaded.module, weights, export_onnx(loaded.module, folder / "m.onnx", batch_size=BATCH)


def truth(setup: Setup, folder: Path) -> float:
    """Return what the set-up is worth: right labels, no noise, every picture."""
    if setup.layer in ("nan", "zero", "constant", "some_nan"):
        return 0.5
    import torch

    vectors = []
    module = network(folder)[0]
    with torch.inference_mode():
        for start in range(0, len(setup.clean), BATCH):
            batch = to_network_input(setup.clean[start : start + BATCH], **setup.spec)
            vectors.append(module(torch.from_numpy(batch)).numpy())
    rows = unit_rows(np.concatenate(vectors))
    distances, _ = score_pairs(rows, np.zeros(len(rows), bool), setup.left, setup.right)
    mixed = np.random.default_rng(0).permutation(len(distances))
    return float(exact_protocol(distances[mixed], setup.truly[mixed])[0].mean())


def results_of(setup: Setup, folder: Path, shared: Path) -> dict[str, Any]:
    """Run the stages on a set-up and return its results."""
    run = RunFolder(folder / "run")
    content = [cv2.imencode(".png", image[..., ::-1])[1].tobytes() for image in setup.images]
    for lost in setup.lost:
        content[lost] = b""
    slots = np.stack([setup.left, setup.right], axis=1).ravel()
    source = write_bin(folder / "set.bin", [content[s] for s in slots], setup.same.tolist())
    preprocess(run, dataset=str(source))
    _, weights, graph = network(shared)
    if setup.layer:
        graph = with_layer(graph, folder / "damaged.onnx", setup.layer)
    spec = setup.spec | {"size": 112}
    run.write_record("1_export", BATCH, {"network": {"trained": True}, "input": spec})
    engine = run.engine(BATCH, TARGET)
    engine.mkdir(parents=True)
    files = ModelFiles("sface", weights, graph, BATCH, 128)
    artefact = get_target(TARGET).build(files, engine, threads=1)
    entry = {"status": "ok", "reason": None, "remedy": None, "artefact": artefact.to_json()}
    run.write_record("2_compile", BATCH, {"targets": {TARGET: entry}})
    one = {"batch_size": BATCH, "targets": [TARGET]}
    infer(run, **one, flip=False, channel_test=True, limits={"own_process": False})
    judged = {"reference": TARGET, "folds": 10, "far_targets": [0.1], "bootstrap": 100}
    evaluate(run, **one, **judged)
    timed = {"status": "ok", "reason": None, "throughput_ips": RATE, "latency_ms": {"p50": None}}
    run.write_record("6_perf", BATCH, {"targets": {TARGET: timed}})
    summarise(run, batch_sizes=[BATCH], targets=[TARGET])
    return json.loads(run.results.read_text(encoding="utf-8"))


def outcome(seed: int, shared: Path) -> dict[str, Any]:
    """Return what the page of one set-up says, and what is true."""
    setup = Setup(seed)
    with tempfile.TemporaryDirectory() as folder:
        results = results_of(setup, Path(folder), shared)
    answers = [f for f in results["findings"] if f["rule"] == "fastest-accurate"]
    open_points = [p for p in results["preconditions"] if p["kind"] != "holds"]
    cell = results["cells"][0]
    accuracy = cell.get("accuracy") or {}
    # What the page says may be lost: its own interval, and what its conditions leave open.
    bounds = [p["evidence"].get("difference", {}).get("high", 0.0) for p in open_points]
    return {
        "seed": seed,
        "damages": setup.damages,
        "truth": truth(setup, shared),
        "accuracy": accuracy.get("value"),
        "recommends": bool(answers) and answers[0]["kind"] == "holds",
        "bound": max([1 - accuracy.get("low", 1.0), *bounds]),
        "says": answers[0]["finding"] if answers else "",
        "rules": {p["rule"]: p["case"] for p in open_points},
    }


def summary(rows: list[dict[str, Any]], clean: float) -> dict[str, Any]:
    """Return what became of the set-ups with each kind of damage, and which rules withheld."""

    def state(row: dict[str, Any]) -> str:
        if not row["recommends"]:
            return "withheld"
        return "conditional" if row["rules"] else "recommended"

    caught = []
    for kind in sorted(DAMAGES):
        having = [row for row in rows if any(d.startswith(kind) for d in row["damages"])]
        failed = [r for row in having for r, case in row["rules"].items() if case == "fails"]
        states, rules = Counter(map(state, having)), Counter(failed)
        caught.append({"damage": kind, "n": len(having), "states": states, "rules": rules})
    return {
        "n": len(rows),
        "seeds": [min(row["seed"] for row in rows), max(row["seed"] for row in rows)],
        "date": f"{date.today()}",
        "cpu": machine()["cpu"],
        "clean": clean,
        "states": Counter(map(state, rows)),
        "wrongly_recommended": sum(row["wrong"] for row in rows),
        "caught": caught,
        "setups": rows,
    }


def main() -> None:
    """Draw set-ups, print what was wrong, and write everything."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--setups", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder)
        sound = Setup(0)
        sound.images = sound.clean = in_colour(faces()[0], strong=False)
        sound.spec, sound.layer = dict(SOUND), ""
        sound.left, sound.right, sound.truly = pairs(faces()[1])
        clean = truth(sound, shared)
        rows = []
        for seed in range(chosen.first, chosen.first + chosen.setups):
            row = outcome(seed, shared)
            row["wrong"] = row["recommends"] and clean - row["truth"] > row["bound"]
            rows.append(row)
            if row["wrong"]:
                print(f"{seed}: {row['damages']} {row['truth']:.3f} {row['says']}", flush=True)
            write_json(chosen.output, summary(rows, clean))
    print(json.dumps({key: v for key, v in summary(rows, clean).items() if key != "setups"}))


if __name__ == "__main__":
    main()
