import json
import shutil

import numpy as np
import pytest

from lresnet_utils.comparison.reports import CompareSettings, compare_reports
from lresnet_utils.comparison.sources import open_report
from lresnet_utils.errors import DataError, LResNetError, RunError
from lresnet_utils.ledger.custody import files_of
from lresnet_utils.machine.disk import (
    read_arrays,
    read_json,
    sha256_file,
    write_arrays,
    write_json,
)
from lresnet_utils.run import RunFolder
from lresnet_utils.text.language import with_glossary
from lresnet_utils.verify.agreement import mcnemar_exact

QUICK = CompareSettings(replicates=200)


def compared(a, b, cells=None, settings=QUICK):
    return compare_reports(open_report(a), open_report(b), cells=cells, settings=settings)


def test_a_run_with_itself_is_identical(good):
    result = compared(good.folder, good.folder)
    assert [cell.record["a"] for cell in result.cells] == [
        "16/torch-fp32", "16/openvino-bf16", "16/onnxruntime-int8"
    ]  # fmt: skip
    for cell in (cell.record for cell in result.cells):
        assert cell["lost"] == cell["gained"] == []
        assert cell["mcnemar_p"] == 1.0
        assert cell["identical_scores"]
        assert cell["difference"]["value"] == 0.0
        assert cell["speed"]["value"] == 1.0
        assert cell["speed"]["low"] < 1 < cell["speed"]["high"]
        assert cell["embeddings"]["min"] == 1.0
        # Six hundred pairs leave half a point open, whatever did not change.
        assert cell["verdict"]["word"] == "not enough data"
    wide = compared(good.folder, good.folder, settings=CompareSettings(1.0, 200))
    assert {cell.record["verdict"]["word"] for cell in wide.cells} == {"equivalent"}
    assert wide.record["summary"] == "Of 3 cells, B against A: 3 equivalent."


def test_every_number_follows_from_the_stored_scores(good):
    names = ("16/torch-fp32", "16/onnxruntime-int8")
    record = compared(good.folder, good.folder, names).cells[0].record
    results = {c["target"]: c for c in read_json(good.results)["cells"]}
    right = {}
    for target in ("torch-fp32", "onnxruntime-int8"):
        with np.load(good.scores(16, target, "aligned")) as scores:
            folds = np.repeat(results[target]["threshold"]["folds"], 60)
            right[target] = (scores["distances"] < folds) == scores["same"]
    a, b = right["torch-fp32"], right["onnxruntime-int8"]
    assert sorted(row["pair"] for row in record["lost"]) == np.flatnonzero(a & ~b).tolist()
    assert sorted(row["pair"] for row in record["gained"]) == np.flatnonzero(~a & b).tolist()
    assert record["difference"]["value"] == pytest.approx(b.mean() - a.mean())
    assert record["mcnemar_p"] == mcnemar_exact(int((a & ~b).sum()), int((~a & b).sum()))
    assert record["difference"]["low"] < record["difference"]["value"] < 0
    # The list agrees with what the run's own evaluation counted against its reference.
    assert len(record["lost"]) == len(results["onnxruntime-int8"]["parity"]["lost"])
    for row, target in zip(record["tar_at_far"], results["torch-fp32"]["tar_at_far"], strict=True):
        if "refused" in target:
            assert row["refused"] == target["refused"]
        else:
            other = results["onnxruntime-int8"]["tar_at_far"]
            tar = next(x["tar"] for x in other if x["far"] == row["far"])
            assert row["difference"]["value"] == pytest.approx(tar - target["tar"])


def test_damaged_weights_are_found_worse_and_the_other_way_round_better(good, bad):
    there = compared(good.folder, bad.folder).cells[0].record
    assert there["verdict"]["word"] == "worse"
    assert there["difference"]["high"] < 0
    assert there["mcnemar_p"] < 0.001
    assert there["verdict"]["sentence"].startswith("B (torch-fp32, batch size 16) is worse than A")
    assert there["speed"]["value"] == 1.5
    assert there["speed"]["low"] < 1.5 < there["speed"]["high"]
    assert there["embeddings"]["median"] < 0.99
    back = compared(bad.folder, good.folder).cells[0].record
    assert back["verdict"]["word"] == "better"
    assert back["difference"]["value"] == -there["difference"]["value"]
    assert len(back["gained"]) == len(there["lost"])


def test_single_cells_are_compared_and_others_left_out_with_a_reason(good, bad, make_run):
    result = compared(good.folder, bad.folder)
    assert result.record["left_out"] == [
        {"cell": "16/openvino-bf16", "reason": "only A has it"},
        {"cell": "16/onnxruntime-int8", "reason": "only A has it"},
    ]
    other = make_run("other", {"openvino-fp32": 0.0}, batch_size=4)
    (cell,) = compared(bad.folder, other.folder).cells
    assert (cell.record["a"], cell.record["b"]) == ("16/torch-fp32", "4/openvino-fp32")
    with pytest.raises(RunError, match="no cell in common") as error:
        compared(good.folder, other.folder)
    assert "--cells" in error.value.fix


def test_two_pages_alone_say_the_same_as_the_folders(good, bad, page_of):
    folders = compared(good.folder, bad.folder).record
    pages = compared(page_of(good), page_of(bad)).record
    jsons = compared(good.results, bad.results).record
    assert jsons["cells"] == folders["cells"]
    (cell,), (same,) = pages["cells"], folders["cells"]
    assert "refused" in cell.pop("embeddings")
    same.pop("embeddings")
    assert cell == same
    assert pages["pairs"] == folders["pairs"]


def test_the_seed_decides_and_is_told(good):
    names = ("16/torch-fp32", "16/onnxruntime-int8")
    runs = [
        compared(good.folder, good.folder, names, CompareSettings(replicates=200, seed=seed)).record
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]
    assert "200 replicates, seed 2" in runs[2]["cells"][0]["difference"]["interval"]
    assert json.loads(json.dumps(runs[0], allow_nan=False)) == runs[0]


def test_pairs_that_one_side_lost_are_left_out(good, make_run):
    lossy = make_run("lossy", {"torch-fp32": 0.0}, failed=(0, 1))
    record = compared(good.folder, lossy.folder).cells[0].record
    assert record["n_left_out"] > 0
    assert record["n_pairs"] + record["n_left_out"] == 600
    assert record["lost"] == record["gained"] == []
    assert f"({record['n_left_out']} left out" in record["verdict"]["sentence"]


def test_clocks_that_cover_different_things_give_no_ratio(bad, tmp_path):
    shutil.copytree(bad.folder, tmp_path / "tool")
    results = read_json(tmp_path / "tool" / "results.json")
    results["cells"][0]["clock"] = "a tool's own"
    write_json(tmp_path / "tool" / "results.json", results)
    assert "clocks" in compared(bad.folder, tmp_path / "tool").cells[0].record["speed"]["refused"]


def refused(a, b, cells=None):
    with pytest.raises(LResNetError) as error:
        compared(a, b, cells)
    assert len(str(error.value).splitlines()) <= 3
    return str(error.value)


def test_other_pairs_are_refused(good, make_run, page_of):
    other = make_run("other set", {"torch-fp32": 0.0}, seed=9)
    assert "different pairs" in refused(good.folder, other.folder)
    assert "different pairs" in refused(page_of(good), other.results)


def test_missing_and_untrained_cells_are_refused(good, make_run):
    told = refused(good.folder, good.folder, ("16/torch-fp32", "16/openvino-bf1"))
    assert "did you mean '16/openvino-bf16'" in told
    random = make_run("random", {"torch-fp32": 0.0}, trained=False)
    both = ("16/torch-fp32", "16/torch-fp32")
    assert "untrained" in refused(good.folder, random.folder, both)
    assert "untrained" in refused(good.folder, random.folder)


def test_what_is_no_report_is_refused(good, page_of, tmp_path):
    plain = tmp_path / "plain.html"
    plain.write_text("<p>Hello</p>")
    assert "carries no results" in refused(good.folder, plain)
    assert "no such file" in refused(good.folder, tmp_path / "nowhere").lower()
    assert "no finished report" in refused(tmp_path, good.folder)
    other = tmp_path / "other.json"
    other.write_text('{"schema": 1, "cells": 3}')
    assert "no report" in refused(other, good.folder)
    text = tmp_path / "report.txt"
    text.write_text("")
    assert "no report" in refused(text, good.folder)
    shutil.copy(good.results, tmp_path / "alone.json")
    assert "not beside them" in refused(tmp_path / "alone.json", good.folder)
    cut = tmp_path / "cut.html"
    whole = page_of(good).read_text(encoding="utf-8")
    cut.write_text(whole.replace('"n_pairs":600,"same"', '"n_pairs":601,"same"'), "utf-8")
    assert "damaged" in refused(good.folder, cut)


# What of a report a forger might change, and what is then said.
FORGED = {
    "errors": (
        lambda cell: cell["accuracy"].update(errors=cell["accuracy"]["errors"] + 1),
        "do not give the accuracy",
    ),
    "accuracy": (
        lambda cell: cell["accuracy"].update(value=0.0, low=0.0, high=0.0),
        "do not give the accuracy",
    ),
    "outside": (lambda cell: cell["accuracy"].update(value=0.0), "outside its interval"),
    "fold": (
        lambda cell: cell["threshold"]["folds"].__setitem__(0, 3.99),
        "do not give the accuracy",
    ),
    "folds": (
        lambda cell: cell["threshold"].update(folds=[1.0]),
        "do not give the accuracy",
    ),
    "rate": (
        lambda cell: cell["throughput_ips"].update(value=1e6),
        "outside its interval",
    ),
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_report_that_contradicts_itself_is_refused(good, page_of, tmp_path, forged):
    change, words = FORGED[forged]
    shutil.copytree(good.folder, tmp_path / "changed")
    run = RunFolder(tmp_path / "changed")
    results = read_json(run.results)
    change(results["cells"][0])
    write_json(run.results, results)
    both = ("16/torch-fp32",) * 2
    assert words in refused(good.folder, run.folder, both)
    # The same in a published page, which anybody may have edited.
    page = page_of(good)
    known, said = (
        json.dumps(with_glossary(held), separators=(",", ":")).replace("<", "\\u003c")
        for held in (read_json(good.results), results)
    )
    text = page.read_text(encoding="utf-8")
    assert text.count(known) == 1
    page.write_text(text.replace(known, said), encoding="utf-8")
    assert words in refused(good.folder, page, both)


def test_pairs_that_are_not_those_of_the_results_are_refused(good, make_run, tmp_path):
    """Other pairs under the name of these: neither side's numbers would be of the same pairs."""
    other = make_run("others", {"torch-fp32": 0.0}, seed=9)
    for name in ("results.json", "faces/set.json"):
        folder = tmp_path / name.replace("/", " ")
        shutil.copytree(other.folder, folder)
        text = (folder / name).read_text()
        sha256 = read_json(other.results)["dataset"]["pairs_sha256"]
        here = read_json(good.results)["dataset"]["pairs_sha256"]
        (folder / name).write_text(text.replace(sha256, here))
        # Where the files' hashes are recorded, one of them is not as it was left.
        results = RunFolder(folder).results
        write_json(results, read_json(results) | {"custody": [], "files": {}})
        assert "not those that they were made of" in refused(good.folder, folder)


@pytest.mark.parametrize(
    "name",
    [
        "results.json",
        "faces/set.json",
        "faces/pairs.npz",
        "bs16/scores/torch-fp32.aligned.npz",
        "bs16/embeddings/torch-fp32.aligned.npz",
        "resume/run.json",
    ],
)
def test_what_is_compared_is_held_against_the_runs_inventory(good, tmp_path, name):
    run, folder = RunFolder(tmp_path / "run"), tmp_path / "run"
    shutil.copytree(good.folder, folder)
    files = {str(path.relative_to(folder)): sha256_file(path) for path in files_of(run, [16])}
    write_json(run.inventory, {"files": files})
    both = ("16/torch-fp32",) * 2
    for report in (folder, folder / "results.json"):
        assert compared(good.folder, report, both).cells[0].record["lost"] == []
    if name == "resume/run.json":
        write_json(run.inventory, {"files": {"../x": "0" * 64}})
    else:
        # What it says is as before: only the bytes differ.
        with (folder / name).open("ab") as file:
            file.write(b" ")
    for report in (folder, folder / "results.json"):
        told = refused(good.folder, report, both)
        assert "--check" in told and ("as its run left it" in told) != (name == "resume/run.json")


@pytest.mark.parametrize(
    "change",
    [lambda v: v * np.nan, lambda v: v * 0, lambda v: v[::-1], lambda v: v[:-1], lambda v: v[:, 0]],
    ids=["nan", "zero", "of others", "too few", "one number"],
)
def test_embeddings_that_do_not_give_the_scores_give_no_cosine(good, tmp_path, change):
    """Also where nothing is recorded of them."""
    run = RunFolder(tmp_path / "run")
    shutil.copytree(good.folder, run.folder)
    write_json(run.results, read_json(run.results) | {"custody": [], "files": {}})
    both = ("16/torch-fp32",) * 2
    assert compared(good.folder, run.folder, both).cells[0].record["embeddings"]["n"] > 0
    path = run.embeddings(16, "torch-fp32", "aligned")
    arrays = read_arrays(path)
    write_arrays(path, **arrays | {"vectors": change(arrays["vectors"])})
    assert "do not give its scores" in refused(run.folder, run.folder, both)


def test_what_leads_out_of_a_run_is_not_compared(good, tmp_path):
    shutil.copytree(good.folder, tmp_path / "other")
    for name in ("results.json", "faces/set.json"):
        (tmp_path / "other" / name).rename(tmp_path / "away.json")
        (tmp_path / "other" / name).symlink_to(tmp_path / "away.json")
        # Refused for that, before what is there is looked at.
        (tmp_path / "away.json").write_text("[]")
        assert "link to another place" in refused(good.folder, tmp_path / "other")
        (tmp_path / "other" / name).unlink()
        shutil.copy(good.folder / name, tmp_path / "other" / name)
    shutil.copytree(good.folder, tmp_path / "run")
    (tmp_path / "run" / "bs16" / "scores").rename(tmp_path / "scores")
    (tmp_path / "run" / "bs16" / "scores").symlink_to(tmp_path / "scores")
    assert "link to another place" in refused(good.folder, tmp_path / "run")


def test_incomplete_results_are_refused(good, tmp_path):
    shutil.copytree(good.folder, tmp_path / "changed")
    results = read_json(tmp_path / "changed" / "results.json")
    del results["cells"][0]["threshold"]
    write_json(tmp_path / "changed" / "results.json", results)
    with pytest.raises(DataError, match="incomplete"):
        compared(good.folder, tmp_path / "changed", ("16/torch-fp32",) * 2)


def test_what_is_certain_of_these_pairs_is_said_where_few_people_leave_others_open(make_run):
    """Six people: pairs are many, people are few, and the interval is over people."""
    old = make_run("old", {"torch-fp32": 0.0}, people=6)
    new = make_run("new", {"torch-fp32": 0.9}, people=6)
    record = compared(old.folder, new.folder).cells[0].record
    lost, gained = len(record["lost"]), len(record["gained"])
    assert record["mcnemar_p"] == mcnemar_exact(lost, gained) < 0.05
    assert record["difference"]["low"] < 0 <= record["difference"]["high"]
    assert record["difference"]["over"].startswith("6 people")
    assert record["verdict"]["word"] == "worse on these pairs"
    said = record["verdict"]["sentence"]
    assert said.startswith("B (torch-fp32, batch size 16) decides worse than A (torch-fp32, batch")
    assert f": {lost} pairs lost and {gained} gained (McNemar's exact p" in said
    assert "for other people that is not sure" in said and "over 6 people" in said
    back = compared(new.folder, old.folder)
    assert back.cells[0].record["verdict"]["word"] == "better on these pairs"


def test_cosines_are_of_one_network_alone(make_run):
    same, copy, other = (
        make_run(name, {"torch-fp32": noise}, checkpoint=letter * 64)
        for name, noise, letter in (("one", 0.0, "a"), ("renamed", 0.1, "a"), ("two", 0.1, "b"))
    )
    assert compared(same.folder, copy.folder).cells[0].record["embeddings"]["median"] < 1
    cell = compared(same.folder, other.folder).cells[0]
    told = cell.record["embeddings"]["refused"]
    assert cell.cosines is None
    assert "the networks differ" in told and "one.pth" in told and "two.pth" in told
    # The names tell it where no hash does.
    run = read_json(other.results)
    run["custody"] = []
    run["run"]["params"] = {"model": {"architecture": "sface", "weights": "two.onnx"}}
    write_json(other.results, run)
    one = read_json(same.results)
    one["run"]["params"] = {"model": {"architecture": "ir_se50", "weights": "one.pth"}}
    write_json(same.results, one)
    told = compared(same.folder, other.folder).cells[0].record["embeddings"]["refused"]
    assert "ir_se50" in told and "sface" in told


def test_a_report_that_recommends_nothing_says_so_before_the_verdict(good, make_run):
    blind = make_run("blind", {"torch-fp32": 90.0})
    there = compared(good.folder, blind.folder).record
    assert [found["rule"] for found in there["b"]["withheld"]] == ["better-than-chance"]
    assert there["a"]["withheld"] == []
    start = "No build of B can be recommended: recognition is not better than guessing"
    assert there["summary"].startswith(start)
    assert there["summary"].endswith(there["cells"][0]["verdict"]["sentence"])
    both = compared(blind.folder, blind.folder).record["summary"]
    assert both.index("No build of A") < both.index("No build of B") < both.index("B (torch")
    assert not compared(good.folder, good.folder).record["summary"].startswith("No build")


def test_a_ratio_that_rests_on_a_disturbed_timing_is_not_claimed(bad, make_run):
    load = {"other_cores": 1.0, "stolen_cores": 0.0, "cores": 2, "seconds": 9.0, "busy": True}
    noisy = make_run("noisy", {"torch-fp32": 0.6}, load=load)
    record = compared(bad.folder, noisy.folder).cells[0].record
    assert "while B was timed" in record["speed"]["refused"]
    assert record["verdict"]["sentence"].endswith("speed not compared.")


# What of a stranger's results only the preconditions, the custody and the timing read.
SENSELESS = {
    "alignment": lambda results: results["dataset"].update(alignment=5),
    "auc": lambda results: results["cells"][0]["auc"].update(low=[]),
    "input test": lambda results: results.update(input_test={"right": "other"}),
    "custody": lambda results: results.update(custody=[3]),
    "timing": lambda results: results.update(timing=[{"batch_size": [], "load": 3}]),
}


@pytest.mark.parametrize("senseless", SENSELESS)
def test_what_makes_no_sense_beside_the_cells_is_refused_by_name(good, tmp_path, senseless):
    shutil.copytree(good.folder, tmp_path / "changed")
    results = read_json(tmp_path / "changed" / "results.json")
    SENSELESS[senseless](results)
    (tmp_path / "changed" / "results.json").write_text(json.dumps(results))
    told = refused(good.folder, tmp_path / "changed", ("16/torch-fp32",) * 2)
    assert "incomplete" in told
