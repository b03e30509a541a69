"""Small finished runs, made by the real stages from drawn embeddings."""

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from lresnet_utils.comparison.page_data import page_data
from lresnet_utils.data.images import encode_png
from lresnet_utils.data.readers.bin import write_bin
from lresnet_utils.ledger.custody import given
from lresnet_utils.machine.disk import write_arrays, write_json, write_text
from lresnet_utils.report.publish.page import render
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import evaluate
from lresnet_utils.stages.preprocess import preprocess
from lresnet_utils.stages.summary import summarise
from lresnet_utils.text.language import message

PEOPLE, EACH, PAIRS = 60, 3, 600


def write_set(path, seed=0, people=PEOPLE):
    """Write 600 pairs over three pictures each of sixty people."""
    rng = np.random.default_rng(seed)
    faces = np.repeat(rng.integers(0, 255, (people * EACH, 14, 14, 3), np.uint8), 8, 1)
    encoded = [encode_png(np.repeat(face, 8, 1)) for face in faces]
    same = np.arange(PAIRS) % 2 == 0
    person = rng.integers(0, people, PAIRS)
    other = np.where(same, person, (person + rng.integers(1, people, PAIRS)) % people)
    left, right = EACH * person, EACH * other + rng.integers(1, EACH, PAIRS)
    return write_bin(path, [encoded[i] for i in np.stack([left, right], 1).ravel()], same)


def embed(faces, noise, failed=()):
    """Return unit embeddings by person, the same for the same noise; some images may fail."""
    rng = np.random.default_rng(1)
    # A person is found through genuine pairs, as the store numbers pictures by first appearance.
    label = np.arange(faces.n_images)
    for _ in range(faces.n_images):
        before = label.copy()
        least = np.minimum(label[faces.left], label[faces.right])
        np.minimum.at(label, faces.left[faces.same], least[faces.same])
        np.minimum.at(label, faces.right[faces.same], least[faces.same])
        if np.array_equal(before, label):
            break
    base = rng.normal(size=(faces.n_images, 24))[label]
    base += 0.55 * rng.normal(size=base.shape)
    rows = base + noise * np.random.default_rng(2).normal(size=base.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    mask = np.isin(np.arange(len(rows)), failed)
    rows[mask] = 0
    return {"vectors": rows.astype(np.float32), "failed": mask}


@pytest.fixture(scope="session")
def make_run(tmp_path_factory):
    """Return a function that makes a run: ``make_run(name, {"torch-fp32": noise}, ...)``."""

    def make(
        name, targets, *, seed=0, trained=True, failed=(), rate=100.0, batch_size=16,
        people=PEOPLE, checkpoint=None, load=None,
    ):  # fmt: skip
        folder = tmp_path_factory.mktemp("runs")
        run = RunFolder(folder / name)
        faces = preprocess(
            run, dataset=str(write_set(folder / "set.bin", seed, people)), dataset_name="toy"
        )
        ok = {"status": "ok", "reason": None}
        for target, noise in targets.items():
            write_arrays(
                run.embeddings(batch_size, target, "aligned"), **embed(faces, noise, failed)
            )
        built = ok | {"note": None, "artefact": {"path": "x", "options": {}}}
        timed = ok | {
            "throughput_ips": {
                "value": rate, "low": rate - 4, "high": rate + 4, "n": 5, "interval": "Student t"
            },
            "latency_ms": {},
        }  # fmt: skip
        embedded = ok | {"variants": {"aligned": {}}, "stages": None}
        weights = message("{weights} (checkpoint)", weights=f"{name}.pth")
        links = [given(weights, checkpoint, architecture=None)] if checkpoint else []
        exported = {"network": {"trained": trained}, "custody": links}
        run.write_record("1_export", batch_size, exported)
        for stage, entry in (("2_compile", built), ("4_infer", embedded), ("6_perf", timed)):
            about = {"machine": {}, "load": load} if stage == "6_perf" else {}
            run.write_record(stage, batch_size, {"targets": dict.fromkeys(targets, entry)} | about)
        write_json(
            run.folder / "run.json",
            {"name": name, "params": None, "notebooks": [],
             "provenance": {"started": "2026-01-02T03:04:05+00:00", "commit": "0" * 40,
                            "machine": {"cpu": "a", "cores": 2}}},
        )  # fmt: skip
        evaluate(
            run, batch_size=batch_size, targets=list(targets), reference=next(iter(targets)),
            folds=10, far_targets=[0.1, 0.01, 1e-4],
        )  # fmt: skip
        summarise(run, batch_sizes=[batch_size], targets=list(targets))
        return run

    return make


@pytest.fixture(scope="session")
def good(make_run):
    """A run with a good build, one a hair off it, and one that lost something."""
    return make_run("good", {"torch-fp32": 0.0, "openvino-bf16": 0.002, "onnxruntime-int8": 0.5})


@pytest.fixture(scope="session")
def bad(make_run):
    """A run over the same pairs whose network was damaged."""
    return make_run("bad", {"torch-fp32": 0.6}, rate=150.0)


@pytest.fixture(scope="session")
def page_of(tmp_path_factory):
    """Return a function that publishes a run's first page alone, away from its folder."""

    def write(run):
        folder = tmp_path_factory.mktemp("page")
        nbformat.write(new_notebook(cells=[new_markdown_cell("# Summary")]), folder / "n.ipynb")
        return write_text(
            folder / "index.html", render(folder / "n.ipynb", title="x", data=page_data(run))
        )

    return write
