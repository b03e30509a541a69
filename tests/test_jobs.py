"""Whole runs of other params files than the demo's: the guide's job, and its recorded results."""

import pytest
from jsonschema import Draft202012Validator

from lresnet_utils.machine.disk import read_json
from lresnet_utils.models.network import load_network, save_network
from lresnet_utils.results import results_schema

pytestmark = pytest.mark.slow


@pytest.fixture
def cells_of(tmp_path, execute):
    """Return a function that runs a params file: the run, and the cells of its valid results."""

    def run(params, *overrides):
        run, _ = execute(params, tmp_path / "run", *overrides)
        found = read_json(run.results)
        Draft202012Validator(results_schema()).validate(found)
        return run, found["cells"]

    return run


# The network is large, so each face counts.
@pytest.mark.parametrize("small_lfw", [8], indirect=True)
def test_the_guides_job_runs_from_checkpoint_to_report(tmp_path, small_lfw, cells_of):
    """IR-SE100 from a ``model_ir_se100.pth`` made here (seeded values) and a small ``lfw.bin``."""
    weights = tmp_path / "model_ir_se100.pth"
    save_network(load_network("ir_se100", "seeded", seed=1), weights)
    overrides = (
        f"model.weights={weights}",
        f"dataset.source={small_lfw}",
        "batch_sizes=[2]",
        "targets=[torch-fp32, onnxruntime-fp32]",
        *("build.search_seconds=0", "perf.seconds=0.05", "perf.repeats=2", "perf.warmup=0"),
        "folds=4",
    )
    run, cells = cells_of("params/ir_se100_lfw.yaml", *overrides)
    record = run.record("1_export", 2)
    assert record["network"]["n_parameters"] == 65_502_016
    assert record["input"]["channel_order"] == "bgr"
    assert max(row["max_abs_difference"] for row in record["parity"]) < 1e-5
    assert not list((run.batch(2) / "models").glob("*.data"))
    assert [cell["status"] for cell in cells] == ["ok", "ok"]
    assert cells[1]["parity"]["min_cosine"] > 0.99999
    assert all(cell["accuracy"]["n"] == 8 for cell in cells)


def test_the_guides_own_results_are_judged_here_and_labelled_as_recorded(cells_of):
    run, cells = cells_of("params/guide_replay.yaml", "batch_sizes=[1, 16]")
    # The Interface rates of the guide's section 7.1, one chip each, to the last digit.
    assert [cell["throughput_ips"]["value"] for cell in cells] == [82.9307, 149.166]
    for cell in cells:
        assert cell["throughput_ips"]["low"] is None
        assert "recorded on 2022-03-18, not measured here" in cell["note"]
        assert cell["accuracy"] is None
        assert cell["stages"]["e2e"]["n"] == 24_000
        assert len(cell["artefact"]["options"]["files_sha256"]) == 64
    page = run.index.read_text()
    for figure in ("331.7228", "746.128", "678.984", "0.99767", "not measured here"):
        assert figure in page
