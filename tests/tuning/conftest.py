"""A small network with every pattern that matters, faces whose pairs are told apart, and fakes."""

import json
from dataclasses import replace

import numpy as np
import pytest
from builders import write_onnx
from onnx import helper

from lresnet_utils.data.face_set import open_store
from lresnet_utils.data.images import encode_png
from lresnet_utils.data.readers.bin import write_bin
from lresnet_utils.data.source import build_source
from lresnet_utils.perf.timing import Timing
from lresnet_utils.targets.base import Availability, ModelFiles, Quantiser, Session, Target
from lresnet_utils.tuning import search
from lresnet_utils.tuning.search import Bench, Graphs

BATCH, SIZE, N_PAIRS = 4, 16, 40


def write_network(path):
    """Conv, PReLU with a (C, 1, 1) slope, BN before a padded Conv, Gemm, BN after it."""
    rng = np.random.default_rng(3)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    norm = lambda n: [np.abs(draw(n)) + 0.5, draw(n), draw(n), np.abs(draw(n)) + 0.5]  # noqa: E731
    parts = dict(zip(("g1", "b1", "m1", "v1"), norm(8), strict=True))
    parts |= dict(zip(("g2", "b2", "m2", "v2"), norm(SIZE), strict=True))
    parts |= {
        "stem": draw(8, 3, 8, 8) / 14,
        "slope": rng.uniform(0.1, 0.4, (8, 1, 1)).astype(np.float32),
        "inner": draw(8, 8, 3, 3) / 8,
        "matrix": draw(SIZE, 8 * 14 * 14) / 40,
        "bias": draw(SIZE) / 10,
    }
    nodes = [
        helper.make_node("Conv", ["image", "stem"], ["a"], name="stem", strides=[8, 8]),
        helper.make_node("PRelu", ["a", "slope"], ["b"], name="prelu"),
        helper.make_node("BatchNormalization", ["b", "g1", "b1", "m1", "v1"], ["c"], name="bn1"),
        helper.make_node("Conv", ["c", "inner"], ["d"], name="inner", pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["d"], ["e"], name="flatten"),
        helper.make_node("Gemm", ["e", "matrix", "bias"], ["f"], name="fc", transB=1),
        helper.make_node("BatchNormalization", ["f", "g2", "b2", "m2", "v2"], ["y"], name="bn2"),
    ]
    ends = {"image": [BATCH, 3, 112, 112]}, {"y": [BATCH, SIZE]}
    return write_onnx(path, nodes, *ends, parts)


@pytest.fixture
def files(tmp_path):
    onnx_file = write_network(tmp_path / "model_sim.onnx")
    return ModelFiles("sface", tmp_path / "network.pt", onnx_file, BATCH, SIZE)


@pytest.fixture
def graphs(files, tmp_path):
    return Graphs(files.onnx, tmp_path / "prepared", (-1.0, 1.0))


@pytest.fixture
def bench(tmp_path):
    batch = np.random.default_rng(1).uniform(-1, 1, (BATCH, 3, 112, 112)).astype(np.float32)
    return Bench(batch, seconds=0.001, repeats=2, threads=1, folder=tmp_path / "search")


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """Genuine pairs are a picture and the same a little brighter; impostors are other pictures."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 200, (2 * N_PAIRS, 14, 14, 3), dtype=np.uint8)
    pictures = coarse.repeat(8, axis=1).repeat(8, axis=2)
    same = np.arange(N_PAIRS) % 2 == 0
    pictures[1::4] = pictures[0::4] + 10
    folder = tmp_path_factory.mktemp("faces")
    encoded = [encode_png(picture) for picture in pictures]
    build_source(
        write_bin(folder / "set.bin", encoded, same), folder / "store", variants=("res28",)
    )
    return open_store(folder / "store")


class FakeSession(Session):
    """Embeds with a fixed projection and knows the rates it is to be timed at."""

    def __init__(self, batch_size, size, rates):
        super().__init__(batch_size, size)
        self.rates = rates
        self.matrix = np.random.default_rng(9).normal(size=(3 * 14 * 14, size)).astype(np.float32)

    def run(self, batch):
        return batch[:, :, 4::8, 4::8].reshape(len(batch), -1) @ self.matrix


class FakeQuantiser(Quantiser):
    suffix = ".json"

    def quantise(self, graph, out, inputs, recipe):
        out.write_text(json.dumps(recipe.to_json()))


class FakeTarget(Target):
    """A target whose builds run at the rates that `rate` gives for graph and options."""

    runtime, distribution, suffix, tunable = "fake", "numpy", ".json", True

    def __init__(self, rate, ways=({"way": "default"},), precision="fp32", refuse=()):
        self.rate, self.ways, self.precision, self.refuse = rate, ways, precision, refuse
        self.quantiser = FakeQuantiser()

    def available(self):
        return Availability(True)

    def running_options(self, cores):
        return [dict(way) for way in self.ways]

    def write(self, files, path, options):
        if files.graph.name in self.refuse:
            raise ValueError("operator not known")
        path.write_text(json.dumps({"graph": files.graph.as_posix()}))

    def open(self, artefact):
        graph = json.loads(artefact.path.read_text())["graph"]
        options = artefact.options
        return FakeSession(
            options["batch_size"], options["embedding_size"], self.rate(graph, options)
        )


@pytest.fixture
def known_rates(monkeypatch):
    """Let fake sessions be timed at the rates they name, one number per repeat."""

    def timed(sessions, batch, **_):
        return {
            name: Timing(
                len(batch),
                tuple(np.array([1e3 * len(batch) / rate]) for rate in session.rates),
                tuple(len(batch) / rate for rate in session.rates),
            )
            for name, session in sessions.items()
        }

    monkeypatch.setattr(search, "time_sessions", timed)
    return timed


@pytest.fixture
def prepared(files, graphs):
    return lambda *names: replace(files, prepared=graphs.rewritten(names))


@pytest.fixture
def fake_target():
    return FakeTarget
