"""The plan: every notebook once, in an order that gives each its inputs."""

from pathlib import Path

import pytest

from lresnet_utils.errors import RunError
from lresnet_utils.params import Params, load_params
from lresnet_utils.run import STAGES, RunFolder
from lresnet_utils.running.plan import Job, parameter_names, parameters, phases

ROOT = Path(__file__).parents[2]
NEEDS = {
    "1_export": set(),
    "2_compile": {"1_export"},
    "4_infer": {"1_export", "2_compile", "3_preprocess"},
    "5_evaluate": {"3_preprocess", "4_infer"},
    "6_perf": {"2_compile", "3_preprocess"},
    "7_summary": set(STAGES) - {"7_summary"},
}


@pytest.fixture(autouse=True)
def in_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_each_stage_comes_after_what_it_reads():
    order = [job.stage for phase in phases(Params(name="x", batch_sizes=[8])) for job in phase.jobs]
    assert sorted(order) == sorted(STAGES)
    for stage, needed in NEEDS.items():
        assert needed <= set(order[: order.index(stage)])


def test_every_batch_size_has_every_stage_once_and_timed_ones_run_alone():
    plan = phases(Params(name="x", batch_sizes=[1, 4, 16]))
    jobs = [job for phase in plan for job in phase.jobs]
    assert len(jobs) == len(set(jobs)) == 5 * 3 + 2
    assert {job.stage for phase in plan if phase.exclusive for job in phase.jobs} == {
        "2_compile",
        "4_infer",
        "6_perf",
    }


def test_a_notebook_gets_the_values_of_the_params_file():
    params = load_params(ROOT / "params" / "demo.yaml", ["perf.warmup=7"])
    values = parameters(Job("6_perf", 4), params, RunFolder(Path("/r")))
    assert values["warmup"] == 7
    assert (values["batch_size"], values["run_dir"]) == (4, "/r")


def test_only_the_largest_batch_size_gets_the_degraded_variants():
    params = load_params(ROOT / "params" / "demo.yaml")
    run = RunFolder(Path("/r"))
    given = {b: parameters(Job("4_infer", b), params, run)["variants"] for b in params.batch_sizes}
    assert given == {1: [], 4: [], 16: params.dataset.variants}
    assert parameters(Job("3_preprocess"), params, run)["variants"] == params.dataset.variants


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(RunError, match="missing"):
        parameter_names(tmp_path / "9_none.ipynb")
