"""The compile page and the tuning part of the index say what the records hold."""

import re

import pytest
from bs4 import BeautifulSoup
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from lresnet_utils.perf.guide_figures import load_guide
from lresnet_utils.report.pages import compile as page
from lresnet_utils.report.pages import summary
from lresnet_utils.report.show import TIMED
from lresnet_utils.stages.summary import Results, tuning


def shown(part, *arguments):
    """Return each table as caption and rows of text, and the whole text."""
    InteractiveShell.instance()
    with capture_output() as captured:
        part(*arguments)
    html = "".join(output.data["text/html"] for output in captured.outputs)
    soup = BeautifulSoup(html, "html.parser")
    tables = {
        found.caption.get_text(): [
            [cell.get_text() for cell in row.find_all("td")] for row in found.tbody.find_all("tr")
        ]
        for found in soup.find_all("table")
    }
    return tables, re.sub(r"\s+", " ", soup.get_text(" ")), len(soup.find_all("svg"))


def rate(value):
    return {"value": value, "low": value - 2, "high": value + 2, "n": 3, "interval": "t"}


def ratio(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 3, "interval": "t"}


def step(rewrite, value, gain=None, failure=None):
    return {
        "rewrite": rewrite,
        "applied": None if gain is None else 3,
        "throughput_ips": None if failure else rate(value),
        "ratio": gain and ratio(gain),
        "failure": failure,
        "kept": failure is None,
    }


def way(streams, value, gain=None, chosen=False, failure=None):
    return {
        "options": {"streams": streams, "pinning": False},
        "throughput_ips": None if failure else rate(value),
        "ratio": gain and ratio(gain),
        "failure": failure,
        "chosen": chosen,
    }


WHEN = {"measured_at": "2026-01-02T03:04:05+00:00"}
RUNNING = {
    "candidates": [
        way(1, 118.0),
        way(2, 150.0, 1.3, chosen=True),
        way(4, 0, failure="too many streams"),
    ],
    "reused": True,
} | WHEN
GRAPH = {
    "rewrites": ["prelu-slope"],
    "steps": [
        step("as simplified", 100.0),
        step("prelu-slope", 120.0, 1.2),
        step("norm-forward", 0, failure="no such kernel"),
    ],
    "reused": False,
} | WHEN


def int8(trained=True):
    variants = {
        "aligned": {
            "accuracy": 0.998,
            "reference_accuracy": 0.999,
            "lost": 5,
            "gained": 1,
            "mcnemar_p": 0.21875,
            "min_cosine": 0.9134,
            "n_pairs": 3600,
        }
    }
    tried = {
        "title": "symmetric activations",
        "recipe": {"activations": "symmetric", "rest": "fp32", "kept": ["/conv1"]},
        "worst_loss_points": 0.1,
        "worst_p": 0.21875,
        "within_budget": True if trained else None,
        "variants": variants,
        "throughput_ips": rate(300.0),
        "ratio": ratio(2.5),
        "chosen": True,
    }
    budget = {
        "points": 0.2,
        "compared_with": "fp32, the same runtime",
        "variants": ["aligned"],
        "n_pairs": 3600,
        "n_images": 400,
    }
    refused = {"points": None, "refused": "the weights are random (seeded)"}
    return {
        "recipe": tried["recipe"],
        "tried": [tried],
        "sensitivity": [{"node": "/conv1", "mean_distance": 0.0123}] if trained else [],
        "calibration": {
            "n_images": 128,
            "variants": {"aligned": 64, "noise40": 64},
            "choice": "evenly spread over the set",
            "labels_used": False,
        },
        "budget": budget if trained else refused,
        "batch_size": 16,
        "reused": True,
    } | WHEN


def record(**entries):
    targets = {name: {"status": "ok", "reason": None} | entry for name, entry in entries.items()}
    return {"batch_size": 16, "targets": targets, "operators": {}}


def test_rewrites_show_a_chart_its_time_the_kept_and_the_failures():
    _, text, charts = shown(page.rewrites, record(fast={"graph": GRAPH}))
    assert charts == 1
    assert "fast is built with prelu-slope." in text
    assert "fast: measured 2026-01-02 03:04 UTC, 3 repeats each." in text
    assert "fast, norm-forward: not measured. no such kernel" in text


def test_graphs_that_were_not_timed_are_said_not_drawn():
    untimed = {"rewrites": ["prelu-slope"], "steps": [], "prepare": "not measured"}
    _, text, charts = shown(page.rewrites, record(fast={"graph": untimed}))
    assert charts == 0
    assert "fast is built with prelu-slope. No graph of it was timed" in text
    assert "No target of this run" in shown(page.rewrites, record(plain={}))[1]


def test_operators_before_and_after_with_their_sum():
    counted = record(fast={"graph": GRAPH})
    counted["operators"] = {"simplified": {"Conv": 3, "PRelu": 2}, "fast": {"Conv": 3}}
    (rows,) = shown(page.rewrites, counted)[0].values()
    assert rows == [["Conv", "3", "3"], ["PRelu", "2", "0"], ["all", "5", "3"]]


def test_ways_of_running_name_default_chosen_and_failed():
    tables, text, _ = shown(page.ways, record(fast={"running": RUNNING}))
    ((caption, rows),) = tables.items()
    assert caption == "fast at batch size 16"
    assert (
        "measured 2026-01-02 03:04 UTC, by an earlier search on this machine, and reused, 3" in text
    )
    assert rows[0] == ["default", "1", "no", "118.0 [116.0, 120.0]", "–"]
    assert rows[1] == ["chosen", "2", "no", "150.0 [148.0, 152.0]", "1.30 [1.20, 1.40]"]
    assert rows[2] == ["tried", "4", "no", "not given: too many streams", "–"]


def test_eight_bits_shows_recipe_decisions_calibration_and_budget():
    tables, text, charts = shown(page.eight_bits, record(small={"int8": int8()}))
    recipes, speeds, decisions, layers = tables.values()
    assert charts == 1
    assert recipes == [["1, chosen", "symmetric activations", "0.10", "0.22", "0.9134", "within"]]
    assert speeds == [
        ["1, chosen", "symmetric activations", "300.0 [298.0, 302.0]", "2.50 [2.40, 2.60]"]
    ]
    assert [cell.replace("\xa0", " ") for cell in decisions[0]] == [
        "1", "aligned", "99.90 %", "99.80 %", "5", "1", "3600", "0.22", "0.9134",
    ]  # fmt: skip
    assert layers == [["/conv1", "0.0123", "yes"]]
    assert "128 preprocessed faces of this run (64 aligned and 64 noise σ 40)" in text
    assert "No label and no pair was read." in text
    assert "compared with fp32, the same runtime, on 3600 pairs of 400 pictures" in text
    assert "more than 0.2 percentage points" in text
    assert "not surely faster" not in text


def test_an_int8_build_no_faster_than_fp32_is_warned_of():
    slow = int8()
    slow["tried"][0]["ratio"] = ratio(1.05)
    text = shown(page.eight_bits, record(small={"int8": slow}))[1]
    assert "small: the build chosen is not surely faster than the fp32 build." in text


def test_random_weights_are_not_judged_and_no_accuracy_is_shown():
    tables, text, charts = shown(page.eight_bits, record(small={"int8": int8(trained=False)}))
    assert charts == 0
    assert "small is not judged: the weights are random (seeded)." in text
    recipes, speeds = tables.values()
    assert recipes == [["1, chosen", "symmetric activations"]]
    assert speeds == [
        ["1, chosen", "symmetric activations", "300.0 [298.0, 302.0]", "2.50 [2.40, 2.60]"]
    ]
    assert "99.8" not in text and "0.9134" not in text


def test_whatever_two_runs_measure_differently_is_marked_as_timed():
    """Rates, ratios and dates of the search; what was chosen stays on the page itself."""
    InteractiveShell.instance()
    built = {"artefact": {"seconds": 7.77, "bytes": 3, "sha256": "0" * 64, "options": {}}}
    found = record(
        fast=built | {"graph": GRAPH, "running": RUNNING, "int8": int8(), "versions": {}}
    )
    with capture_output() as captured:
        for part in (page.builds, page.rewrites, page.ways, page.eight_bits):
            part(found)
    said = {True: "", False: ""}
    for output in captured.outputs:
        said[bool(output.metadata.get(TIMED))] += output.data["text/html"]
    for figure in ("118.0", "120.0", "2.50 [", "measured 2026-01-02", "7.77", "000000000000"):
        assert figure in said[True] and figure not in said[False]
    for choice in ("fast is built with prelu-slope", "0.9134", "0.0123"):
        assert choice in said[False]


def cell(target, built, batch_size=16):
    return {"target": target, "batch_size": batch_size, "status": "ok"} | tuning(built)


@pytest.fixture
def results():
    before = {"what": "as simplified", "throughput_ips": rate(100.0), "failure": None}
    running = RUNNING | {"before": before, "ratio": ratio(1.5)}
    failed = before | {"throughput_ips": None, "failure": "operator not known"}
    broken = running | {"before": failed, "ratio": None}
    cells = [
        cell("fast", {"running": running}),
        cell("small", {"running": broken}, 1),
        cell("plain", {}),
    ]
    return Results({}, cells, {})


def test_the_index_shows_before_and_after_with_their_paired_ratio(results):
    tables, text, _ = shown(summary.tuning, results, [])
    ((caption, rows),) = tables.items()
    assert "on this machine" in caption
    assert rows == [
        ["fast", "16", "100.0 [98.0, 102.0]", "150.0 [148.0, 152.0]", "1.50 [1.40, 1.60]", "3"]
    ]
    assert "small at batch size 1: no before and after" in text
    assert "operator not known" in text and "plain" not in text
    assert "Measured 2026-01-02 03:04 UTC, for 1 of the 1 rows by an earlier search" in text


def test_the_guides_figures_stand_beside_as_published(results):
    tables, text, _ = shown(summary.tuning, results, ["guide"])
    (caption,) = [c for c in tables if c.startswith("Published by the guide")]
    assert caption.endswith("one chip; not measured here")
    guide = load_guide()
    for row in tables[caption]:
        ends = [guide.block(int(row[0]), tuned=t).record.throughput_ips for t in (False, True)]
        assert [float(row[1]), float(row[2])] == ends
        assert row[3] == f"{ends[1] / ends[0]:.2f}"
    assert [row[0] for row in tables[caption]] == ["1", "16"]
    assert f"Source, the guide: {guide.source}." in text


def test_a_run_without_a_search_says_so():
    text = shown(summary.tuning, Results({}, [cell("plain", {})], {}), [])[1]
    assert "No build of this run was chosen by measurement" in text
