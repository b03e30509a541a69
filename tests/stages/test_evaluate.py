"""The evaluate stage: numbers from stored embeddings, and what it does when some are missing."""

import numpy as np
import pytest

from lresnet_utils.data.images import encode_png
from lresnet_utils.data.readers.bin import write_bin
from lresnet_utils.machine.disk import write_arrays, write_json
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.evaluate import SEEDED, evaluate, stored_curve
from lresnet_utils.stages.preprocess import preprocess

N_PAIRS = 40
FAILED = {"status": "failed", "reason": "crashed", "remedy": None}


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def run(tmp_path):
    """A run with 80 images in 40 pairs; genuine pairs have nearly equal embeddings."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (2 * N_PAIRS, 112, 112, 3), dtype=np.uint8)
    same = np.arange(N_PAIRS) % 2 == 0
    source = write_bin(tmp_path / "set.bin", [encode_png(image) for image in pixels], same)
    run = RunFolder(tmp_path / "run")
    preprocess(run, dataset=str(source), dataset_name="toy")
    return run


def embeddings(run, name, failed=(), seed=1):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(2 * N_PAIRS, 16))
    genuine = np.arange(0, 2 * N_PAIRS, 4)
    rows[genuine + 1] = rows[genuine] + 0.1 * rng.normal(size=(len(genuine), 16))
    mask = np.isin(np.arange(2 * N_PAIRS), failed)
    vectors = np.where(mask[:, None], 0, unit(rows)).astype(np.float32)
    write_arrays(run.embeddings(8, name, "aligned"), vectors=vectors, failed=mask)
    return {"status": "ok", "reason": None, "variants": {"aligned": {}}}


def records(run, trained=True, **targets):
    run.write_record("1_export", 8, {"network": {"trained": trained}})
    run.write_record("4_infer", 8, {"targets": targets})


def judge(run, targets, reference="a", **options):
    return evaluate(
        run,
        batch_size=8,
        targets=targets,
        reference=reference,
        folds=10,
        far_targets=[0.1, 1e-3],
        bootstrap=50,
        **options,
    )


def test_equal_embeddings_agree_and_flip_nothing(run):
    records(run, a=embeddings(run, "a"), b=embeddings(run, "b"))
    entry = judge(run, ["a", "b"]).record["targets"]["b"]
    assert entry["parity"]["flipped_pairs"] == 0
    assert entry["parity"]["mcnemar_p"] == 1
    assert entry["parity"]["min_cosine"] == pytest.approx(1)
    assert entry["accuracy"]["n"] == N_PAIRS
    assert entry["accuracy"]["value"] == pytest.approx(1 - entry["accuracy"]["errors"] / N_PAIRS)


def test_refused_operating_points_say_why(run):
    records(run, a=embeddings(run, "a"))
    coarse, fine = judge(run, ["a"]).record["targets"]["a"]["tar_at_far"]
    assert coarse["achieved_far"] <= 0.1
    assert "refused" in fine


def test_failures_are_counted_and_never_scored(run):
    records(run, a=embeddings(run, "a", failed=[0, 5]))
    result = judge(run, ["a"])
    entry = result.record["targets"]["a"]
    assert entry["accuracy"]["n"] == N_PAIRS - 2
    assert entry["failures"]["n_failed_images"] == 2
    scored = result.clean()["a"]
    assert np.flatnonzero(np.isnan(scored.distances)).tolist() == [0, 2]


def test_random_weights_are_never_judged(run):
    records(run, trained=False, a=embeddings(run, "a"), b=embeddings(run, "b", seed=2))
    result = judge(run, ["a", "b"])
    assert result.scored == {}
    for entry in result.record["targets"].values():
        assert entry["accuracy"] is None
        assert entry["refused"] == SEEDED
        assert entry["parity"]["n"] == 2 * N_PAIRS
    assert stored_curve(run, 8, "a") is None


def test_a_failed_target_takes_no_other_down(run):
    records(run, a=FAILED, b=embeddings(run, "b"))
    targets = judge(run, ["a", "b"]).record["targets"]
    assert targets["a"] == FAILED
    assert targets["b"]["accuracy"]["n"] == N_PAIRS
    assert "a" in targets["b"]["parity"]["refused"]


def test_stored_scores_give_the_same_curve(run):
    records(run, a=embeddings(run, "a"))
    result = judge(run, ["a"])
    assert stored_curve(run, 8, "a").auc == result.clean()["a"].curve.auc


@pytest.mark.parametrize(
    ("genuine", "told"), [(True, "all pairs are genuine"), (False, "impostor")]
)
def test_one_class_alone_has_no_accuracy(tmp_path, genuine, told):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (2 * N_PAIRS, 112, 112, 3), dtype=np.uint8)
    same = np.full(N_PAIRS, genuine)
    source = write_bin(tmp_path / "set.bin", [encode_png(image) for image in pixels], same)
    run = RunFolder(tmp_path / "run")
    preprocess(run, dataset=str(source), dataset_name="toy")
    records(run, a=embeddings(run, "a"))
    entry = judge(run, ["a"]).record["targets"]["a"]
    assert (entry["status"], entry["accuracy"]) == ("ok", None)
    assert told in entry["refused"]
    assert {gate["passed"] for gate in entry["gates"]} == {None}


def test_a_fold_without_pairs_refuses_accuracy_and_not_the_cell(run):
    first_fold = [0, 2, 4, 6]
    records(run, a=embeddings(run, "a", failed=first_fold), b=embeddings(run, "b"))
    targets = judge(run, ["a", "b"]).record["targets"]
    assert [entry["status"] for entry in targets.values()] == ["ok", "ok"]
    assert "1 of 10 folds" in targets["a"]["refused"] and targets["b"]["accuracy"]


def test_intervals_are_over_people_and_the_naive_one_stays_beside(run):
    records(run, a=embeddings(run, "a"))
    entry = judge(run, ["a"]).record["targets"]["a"]
    accuracy = entry["accuracy"]
    assert accuracy["people"] == 60  # twenty genuine pairs and forty images of their own
    # No pair of the toy is decided wrongly.
    assert accuracy["interval"].startswith("95 %, Wilson over pairs")
    assert accuracy["naive"]["interval"].startswith("Wilson")
    # The toy's classes are far apart, so no draw moves the threshold.
    assert "hardly overlap" in entry["threshold"]["interval_reason"]
    assert entry["fold_resolution"] == {"n_impostor": 2, "far": 0.5}
    coarse = entry["tar_at_far"][0]
    # Two of twenty impostor pairs decide: the threshold may lie below all of them.
    assert (coarse["low"], coarse["high"], coarse["interval"]) == (None, None, None)
    assert "few impostor pairs" in coarse["interval_reason"]
    assert coarse["naive"]["low"] < coarse["tar"] or coarse["tar"] == 1


def test_a_threshold_from_elsewhere_is_judged_here_or_refused(run, tmp_path):
    records(run, a=embeddings(run, "a"))
    other = write_json(
        tmp_path / "results.json",
        {"cells": [{"target": "a", "batch_size": 1, "threshold": {"value": 0.7}}]},
    )
    rows = judge(run, ["a"], fixed_thresholds=[1.0, str(other)]).record["targets"]["a"]
    fixed, chosen = rows["fixed_thresholds"]
    assert (fixed["threshold"], chosen["threshold"]) == (1.0, 0.7)
    assert fixed["fmr"]["n"] == fixed["fnmr"]["n"] == N_PAIRS / 2
    assert chosen["source"] == str(other)
    records(run, b=embeddings(run, "b"))
    (row,) = judge(run, ["b"], "b", fixed_thresholds=[str(other)]).record["targets"]["b"][
        "fixed_thresholds"
    ]
    assert "no threshold of b" in row["refused"]


def test_scores_are_exported_and_the_set_is_examined(run):
    records(run, a=embeddings(run, "a", failed=[0]))
    result = judge(run, ["a"])
    path = run.scores(8, "a", "aligned")
    assert len(path.with_suffix(".csv").read_text().splitlines()) == N_PAIRS + 1
    assert path.with_suffix(".txt").read_text().splitlines()[0].endswith(" nan")
    (lost,) = result.record["targets"]["a"]["failures"]["images"]
    assert (lost["image"], lost["pairs"]) == (0, [0])
    questions = [finding["finding"] for finding in result.record["set_health"]]
    assert "Class balance" in questions
    assert "Labels to look at" in questions
