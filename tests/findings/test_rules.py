"""Every rule speaks where it must and is silent where it must be."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup

from lresnet_utils.errors import EvaluationError
from lresnet_utils.findings import RULES, accuracy, find, preconditions, speed
from lresnet_utils.findings.sentences import ASKED, WORDS, said_json, say
from lresnet_utils.report.pages.summary import answer_html, findings_html
from lresnet_utils.text.language import clause, message, speaking
from lresnet_utils.verify.agreement import guide_gate, paired_gate
from lresnet_utils.verify.intervals import clopper_pearson
from lresnet_utils.verify.protocol import guide_protocol

N = 6000


def rate(value, half=2.0, n=5):
    return {"value": value, "low": value - half, "high": value + half, "n": n, "interval": "t"}


def share(errors, n=N):
    low, high = clopper_pearson(n - errors, n)
    value = (n - errors) / n
    return {"value": value, "low": low, "high": high, "n": n, "errors": errors, "interval": "cp"}


def threshold(value, spread=0.02):
    return {"value": value, "folds": [value - spread, value + spread], "interval": None}


def flips(lost=(), gained=(), p=1.0, n=N):
    return {"lost": list(lost), "gained": list(gained), "mcnemar_p": p, "n_pairs": n}


def cell(target, batch_size=16, *, ips=100.0, errors=20, lost=0, published=None, **changes):
    """Return a cell that nothing is wrong with, apart from what is asked for."""
    parity = flips(range(lost)) | {"reference": "torch-fp32"}
    own = target == "torch-fp32"
    found = share(errors)
    gates = [
        guide_gate(found["value"], published, n_pairs=N),
        paired_gate(lost, 0, N, refused="the reference itself" if own else None),
    ]
    clean = {"accuracy": found, "threshold": threshold(1.24)}
    part = {"images_per_second": 5000.0, "n": 400}
    return {
        "batch_size": batch_size,
        "target": target,
        "status": "ok",
        "reason": None,
        "artefact": {"options": {}},
        "accuracy": found,
        "accuracy_refused": None,
        "threshold": threshold(1.24),
        "variants": {"aligned": clean},
        "parity": parity | {"variants": {"aligned": parity}},
        "gates": [gate.to_json() for gate in gates],
        "stages": {
            "data_read": part,
            "preprocess": part,
            "infer": part | {"images_per_second": ips},
        }
        | {"e2e": part | {"images_per_second": ips}},
        "throughput_ips": rate(ips),
        "throughput_refused": None,
        "latency_ms": {"p50": 3.0, "n": 80},
        "ceiling": {"fraction": 0.7, "low": 0.68, "high": 0.72, "precision": "fp32", "tops": 1.0},
    } | changes


def results(*cells, **params):
    given = {"reference": "torch-fp32", "published_accuracy": None, "build": {"budget_points": 0.2}}
    return {"run": {"params": given | params}, "dataset": {}, "cells": list(cells)}


def stopped(status, target="tensorrt-fp16", reason="no trtexec", remedy="install it"):
    head = {"batch_size": 16, "target": target}
    return head | {"status": status, "reason": reason, "remedy": remedy}


def told(rule, run):
    """Return what a rule finds, having read each finding aloud."""
    found = rule(run)
    for finding in found:
        said = " ".join(say(finding))
        assert not re.search(r"[{}]|None|\bnan\b| ,|\.\.", said), said
    return found


def test_the_fastest_build_is_the_fastest_that_fails_no_gate():
    slow, good = cell("torch-fp32"), cell("openvino-fp32", ips=200.0)
    bad = cell("openvino-int8", ips=400.0, lost=40)
    (found,) = told(speed.fastest_accurate, results(slow, good, bad))
    assert (found.kind, found.case, found.cells) == ("holds", "faster", ["16/openvino-fp32"])
    assert found.evidence["ratio"]["value"] == pytest.approx(2.0)
    assert "surer_target" not in found.evidence
    (found,) = told(speed.fastest_accurate, results(bad))
    assert (found.kind, found.case) == ("does not hold", "none-passes")


def test_the_reference_may_be_the_fastest_itself():
    (found,) = told(speed.fastest_accurate, results(cell("torch-fp32"), cell("a-fp32", ips=50.0)))
    assert (found.case, found.cells) == ("reference", ["16/torch-fp32"])


def test_a_build_without_accuracy_is_never_the_fastest_accurate_one():
    refused = {"accuracy": None, "accuracy_refused": "random weights", "gates": []}
    (found,) = told(speed.fastest_accurate, results(cell("torch-fp32", **refused)))
    assert (found.kind, found.case) == ("cannot tell", "unjudged")
    (said,) = told(preconditions.unjudged_cells, results(cell("torch-fp32", **refused)))
    assert said.evidence["items"][0]["reason"] == "random weights"
    assert told(preconditions.unjudged_cells, results(cell("torch-fp32"))) == []


def test_builds_without_a_reference_to_compare_with_are_not_recommended():
    alone = {"parity": {"refused": "no embeddings"}, "gates": []}
    run = results(stopped("failed", "torch-fp32", "out of memory"), cell("a-fp16", **alone))
    (found,) = told(speed.fastest_accurate, run)
    assert (found.kind, found.case) == ("does not hold", "uncompared")
    said = say(found)
    assert said.finding == (
        "No build can be recommended: torch-fp32, with which the others are compared, has no "
        "accuracy."
    )
    assert "16/a-fp16" in found.cells and "ship" not in " ".join(said).lower()
    with speaking("zh"):
        assert say(found).finding == "无法推荐任何构建：其他构建所比对的 torch-fp32 没有准确率。"


def test_accuracies_without_speed_name_no_fastest_build():
    bare = {"throughput_ips": None, "throughput_refused": "only tools may time here"}
    (found,) = told(speed.fastest_accurate, results(cell("torch-fp32", **bare)))
    assert (found.kind, found.case) == ("cannot tell", "untimed")
    assert say(found).finding == (
        "Which build is fastest cannot be told, since no speed is known: only tools may time here."
    )
    with speaking("zh"):
        assert say(found).finding.startswith("无法判断哪个构建最快，因为没有速度数据：")


def test_a_surer_build_is_named_only_where_the_fastest_may_lose_too_much():
    # Five lost of 3,000 with none gained are no significant loss, but may be 0.39 %.
    risky = cell("openvino-int8", ips=400.0, lost=5)
    small = {"parity": risky["parity"] | flips(range(5), n=3000)}
    run = results(cell("torch-fp32"), cell("openvino-fp32", ips=200.0), risky | small)
    (found,) = told(speed.fastest_accurate, run)
    assert (found.evidence["target"], found.evidence["surer_target"]) == (
        "openvino-int8",
        "openvino-fp32",
    )


def test_a_build_that_could_not_be_compared_passes_by_the_published_accuracy_alone():
    """As where the reference has no embeddings: there are no lost pairs to count."""
    alone = {"parity": {"refused": "no embeddings"}, "gates": [guide_gate(0.997, 0.998).to_json()]}
    tool = {"latency_ms": {"p50": 3.0, "n": None}}
    bare = cell("torch-fp32", accuracy=None, accuracy_refused="out of memory", gates=[])
    run = results(bare, cell("a-fp16", ips=300.0, **alone, **tool), published_accuracy=0.998)
    (found,) = told(speed.fastest_accurate, run)
    assert (found.case, found.cells) == ("reference", ["16/a-fp16"])
    assert [finding.case for finding in find(run)] == ["reference", "guide-passed", "accuracy"]


def test_equal_rates_are_not_told_apart():
    run = results(cell("torch-fp32"), cell("a-fp32", ips=200.0), cell("b-fp32", ips=199.0))
    (found,) = told(speed.fastest_accurate, run)
    assert found.evidence["not_told_apart"] == ["16/b-fp32"]


def test_gates_name_the_builds_that_pass_and_those_that_fail():
    run = results(cell("torch-fp32"), cell("a-fp32", lost=1), cell("b-int8", lost=30))
    failed, passed = told(accuracy.gates, run)
    assert (failed.kind, failed.case, failed.cells) == (
        "does not hold",
        "paired-failed",
        ["16/b-int8"],
    )
    assert (passed.kind, passed.evidence["lost"]["errors"]) == ("holds", 1)
    assert told(accuracy.gates, results(cell("torch-fp32"))) == []


@pytest.mark.parametrize(("errors", "kind"), [(20, "holds"), (90, "does not hold")])
def test_the_published_accuracy_is_a_gate_where_there_is_one(errors, kind):
    run = results(cell("torch-fp32", errors=errors, published=0.998), published_accuracy=0.998)
    (found,) = told(accuracy.gates, run)
    assert (found.kind, found.evidence["published"]) == (kind, 0.998)


@pytest.mark.parametrize(
    ("published", "kind"), [(0.997, "holds"), (0.9999, "does not hold"), (0.99, "holds")]
)
def test_a_networks_published_accuracy_is_reached_or_not(published, kind):
    found = cell("torch-fp32", errors=20)
    known = {"network": "LResNet100E-IR", "set": "LFW", "published": published}
    value, low, high = (found["accuracy"][key] for key in ("value", "low", "high"))
    row = known | {"measured": value, "inside": low <= published <= high}
    (said,) = told(accuracy.published_values, results(found | {"published": [row]}))
    assert (said.kind, said.evidence["lowest"]["errors"]) == (kind, 20)
    refused = found | {"published": [known | {"refused": "another number of pairs"}]}
    assert told(accuracy.published_values, results(refused, found)) == []


def test_a_pass_on_few_pairs_is_named_and_one_on_many_is_not():
    many = cell("a-int8", lost=3)
    assert told(accuracy.passed_for_few_pairs, results(cell("torch-fp32"), many)) == []
    few = many | {"parity": many["parity"] | flips(range(3), n=3600)}
    (found,) = told(accuracy.passed_for_few_pairs, results(cell("torch-fp32"), few))
    assert found.evidence["lost"]["high"] > 0.002
    needed = found.evidence["pairs_needed"]
    assert clopper_pearson(round(3 / 3600 * needed), needed)[1] < 0.0021
    lossy = many | {"parity": many["parity"] | flips(range(13), range(20, 31))}
    (found,) = told(accuracy.passed_for_few_pairs, results(cell("torch-fp32"), lossy))
    assert (found.case, found.evidence["pairs_needed"]) == ("paired-lossy", None)
    low = cell("torch-fp32", errors=65, published=0.998)
    (found,) = told(accuracy.passed_for_few_pairs, results(low, published_accuracy=0.998))
    assert found.case == "guide"


def test_a_set_is_saturated_when_no_better_network_could_be_told():
    (found,) = told(accuracy.saturated, results(cell("torch-fp32", errors=5)))
    assert (found.kind, found.case) == ("cannot tell", "")
    assert told(accuracy.saturated, results(cell("torch-fp32", errors=6))) == []


def test_a_threshold_moves_only_when_each_lies_beyond_the_others_spread():
    base = cell("torch-fp32")
    moved = cell("a-int8", threshold=threshold(1.18))
    (found,) = told(accuracy.moved_thresholds, results(base, moved))
    assert found.evidence["targets"] == ["a-int8"]
    wide = cell("a-int8", threshold=threshold(1.18, spread=0.1))
    assert told(accuracy.moved_thresholds, results(base, wide)) == []


def test_degraded_faces_that_cost_accuracy_or_move_the_threshold_are_named():
    def base(errors, at):
        poor = {"accuracy": share(errors), "threshold": threshold(at)}
        whole = cell("torch-fp32")
        return results(whole | {"variants": whole["variants"] | {"noise40": poor}})

    (found,) = told(accuracy.weak_variants, base(600, 1.24))
    assert found.evidence["worst_variant"] == "noise40"
    (moved,) = told(accuracy.moved_by_quality, base(20, 0.9))
    assert moved.evidence["furthest"]["value"] == 0.9
    for rule in (accuracy.weak_variants, accuracy.moved_by_quality):
        assert told(rule, base(22, 1.25)) == []
        assert told(rule, results(cell("torch-fp32"))) == []


@pytest.mark.parametrize(
    ("target", "changed", "speaks"),
    [("a-int8", 12, True), ("a-int8", 5, False), ("a-fp32", 12, False)],
)
def test_low_precision_flips_more_on_degraded_faces(target, changed, speaks):
    found = cell(target)
    poor = flips(range(100, 100 + changed // 2), range(200, 200 + changed - changed // 2))
    found["parity"]["variants"]["res28"] = poor
    heard = told(accuracy.flips_on_degraded, results(cell("torch-fp32"), found))
    assert [finding.cells for finding in heard] == ([["16/" + target]] if speaks else [])


def test_pairs_that_flip_on_both_kinds_are_no_sign_of_degradation():
    """Thirty on either kind, mostly the same pairs: the counts differ, the decisions do not."""
    found = cell("a-int8")
    found["parity"]["variants"] = {"aligned": flips(range(30)), "res28": flips(range(33))}
    assert told(accuracy.flips_on_degraded, results(cell("torch-fp32"), found)) == []


@pytest.mark.parametrize(
    ("after", "half", "tops", "speaks"),
    [(80.0, 2.0, 1.0, True), (98.0, 2.0, 1.0, False), (80.0, 2.0, 0.8, False)],
    ids=["slower", "within the intervals", "the machine itself was slower"],
)
def test_throughput_falls_only_beyond_noise_and_drift(after, half, tops, speaks):
    small, large = cell("a-fp32", 1), cell("a-fp32", 4, ips=after)
    large["throughput_ips"] = rate(after, half)
    large["ceiling"] = large["ceiling"] | {"tops": tops}
    found = told(speed.falling_throughput, results(small, large))
    assert bool(found) is speaks
    if speaks:
        assert found[0].cells == ["1/a-fp32", "4/a-fp32"]


def test_a_rate_without_interval_never_falls():
    """As in a recorded log, which has one figure per batch size."""
    one = {"value": 100.0, "low": None, "high": None, "n": 1, "interval": "none: one log"}
    cells = [
        cell("replay", b, throughput_ips=one | {"value": v}) for b, v in ((16, 149), (32, 144))
    ]
    assert told(speed.falling_throughput, results(*cells)) == []


def test_reading_is_named_where_it_is_the_slowest_part():
    bound = cell("replay")
    bound["stages"]["data_read"] = {"images_per_second": 60.0, "n": 400}
    (found,) = told(speed.bound_by_reading, results(bound))
    assert found.evidence["items"][0]["part"] == "data_read"
    assert told(speed.bound_by_reading, results(cell("a-fp32"), cell("b-fp32", stages=None))) == []


def test_a_target_below_half_of_the_ceiling_at_every_batch_size_is_named_with_a_better_one():
    low = {"ceiling": {"fraction": 0.4, "low": 0.3, "high": 0.45, "precision": "fp32", "tops": 1.0}}
    run = results(cell("a-fp32", 1, **low), cell("a-fp32", 4, **low), cell("b-fp32"))
    (found,) = told(speed.far_below_ceiling, run)
    assert found.evidence["targets"] == ["a-fp32"]
    assert found.evidence["items"][0]["better_target"] == "b-fp32"
    assert told(speed.far_below_ceiling, results(cell("a-fp32", 1, **low), cell("a-fp32", 4))) == []
    reached = {"ceiling": low["ceiling"] | {"high": 0.51}}
    assert told(speed.far_below_ceiling, results(cell("a-fp32", **reached))) == []


def test_a_wide_interval_and_a_busy_machine_make_rates_uncertain():
    wide = cell("a-fp32", throughput_ips=rate(100.0, 11.0))
    (found,) = told(speed.wide_intervals, results(wide, cell("b-fp32")))
    assert found.cells == ["16/a-fp32"]
    assert told(speed.wide_intervals, results(cell("b-fp32"))) == []

    def loaded(load):
        return results(cell("a-fp32")) | {"timing": [{"batch_size": 16, "load": load}]}

    shares = {"other_cores": 0.5, "stolen_cores": 0.0, "cores": 2, "seconds": 9.0}
    (found,) = told(preconditions.preconditions, loaded(shares | {"busy": True}))
    assert (found.rule, found.kind, found.cells) == ("timing-quiet", "cannot tell", ["16/a-fp32"])
    assert found.evidence["items"] == [{"batch_size": 16} | shares]
    (found,) = told(preconditions.preconditions, loaded(shares | {"busy": False}))
    assert (found.rule, found.kind) == ("timing-quiet", "holds")
    for unknown in ({"seconds": 0.2, "refused": "too short"}, None):
        assert preconditions.preconditions(loaded(unknown)) == []


def test_cells_without_results_are_gathered_by_reason():
    run = results(cell("torch-fp32"), stopped("failed"), stopped("unavailable", "ascend-fp16"))
    failed, gone = told(preconditions.stopped_cells, run)
    assert (failed.kind, gone.kind) == ("does not hold", "cannot tell")
    assert gone.evidence["items"] == [
        {"cells": ["16/ascend-fp16"], "reason": "no trtexec", "remedy": "install it"}
    ]
    assert told(preconditions.stopped_cells, results(cell("torch-fp32"))) == []


def test_what_is_odd_about_the_set_is_passed_on_and_the_harmless_is_not():
    odd = {
        "finding": "Repeated images",
        "evidence": "400 images.",
        "consequence": "So.",
        "pairs": [],
    }
    run = results(cell("torch-fp32"))
    (found,) = told(preconditions.set_health, run | {"set_health": [odd | {"harmless": False}]})
    assert found.evidence["consequence"] == "So."
    assert told(preconditions.set_health, run | {"set_health": [odd | {"harmless": True}]}) == []


@pytest.fixture
def troubled():
    """Return results in which every rule has something to say, but for what excludes another."""
    base, int8 = cell("torch-fp32", errors=3), cell("a-int8", 16, ips=80.0, lost=3)
    known = {"network": "A", "set": "B", "published": 1.0, "measured": 0.9995, "inside": False}
    base["published"] = [known]
    base["variants"]["noise40"] = {"accuracy": share(600), "threshold": threshold(0.9)}
    int8["parity"] |= flips(range(3), n=3600)
    int8["parity"]["variants"]["noise40"] = flips(range(100, 120), range(200, 220))
    int8["threshold"] = threshold(1.1)
    int8["stages"]["preprocess"] = {"images_per_second": 9.0, "n": 400}
    low = {"ceiling": {"fraction": 0.2, "low": 0.2, "high": 0.2, "precision": "int8", "tops": 1.0}}
    wide = cell("b-bf16", throughput_ips=rate(50.0, 20.0), accuracy_refused="none", accuracy=None)
    load = {"other_cores": 0.5, "stolen_cores": 0.1, "cores": 2, "seconds": 9.0, "busy": True}
    odd = {"finding": "Class balance", "evidence": "x", "consequence": "y", "harmless": False}
    base["failures"] = failures(n_genuine_lost=3)
    cells = (base, cell("a-int8", 4, **low), int8 | low, wide, stopped("failed"))
    faces = FACES | {"n_several_faces": 90, "several_faces": ["s01/1.png"]}
    extra = {"timing": [{"batch_size": 16, "load": load}], "set_health": [odd], "dataset": faces}
    return results(*cells) | extra


def test_every_rule_speaks_in_whole_sentences_and_changes_nothing(troubled):
    before = copy.deepcopy(troubled)
    found = find(troubled)
    assert troubled == before
    # One of the rules speaks for every precondition that does not hold.
    assert len({finding.rule for finding in found} - ASKED) == len(RULES) - 1
    for finding in found:
        said = say(finding)
        assert said.finding.endswith(".") or finding.rule == "set-health"
        assert said_json(finding)["finding"] == said.finding
        assert set(finding.cells) <= {f"{c['batch_size']}/{c['target']}" for c in troubled["cells"]}


def test_a_run_without_anything_has_no_findings():
    assert find({"run": {"params": None}, "dataset": {}, "cells": []}) == []


def test_all_words_belong_to_a_rule_and_all_placeholders_to_its_evidence(troubled):
    """A misspelt placeholder would show only where its rule speaks."""
    known = {(finding.rule, finding.case) for finding in find(troubled)}
    assert known <= set(WORDS)
    withheld = {(f.rule, f.case) for run in broken_runs().values() for f in find(run)}
    assert withheld <= set(WORDS)
    assert {rule for rule, _ in WORDS} == {rule for rule, _ in known | withheld}


FACES = {"name": "B", "n_images": 400, "n_pairs": N, "n_genuine": N // 2, "n_impostor": N // 2}


def failures(**counts):
    keys = ("n_failed_images", "n_genuine_lost", "n_impostor_lost")
    every = {"n_images": 400, "n_genuine": N // 2, "n_impostor": N // 2}
    return dict.fromkeys(keys, 0) | every | counts


def embeddings(**counts):
    return {"n_images": 400, "n_not_finite": 0, "n_zero": 0, "n_distinct": 400} | counts


def auc(value, low, high):
    pairs = {"n_genuine": N // 2, "n_impostor": N // 2}
    return {"value": value, "low": low, "high": high, "interval": "people"} | pairs


def by_exact(errors, p):
    return {"exact": share(errors) | {"threshold": 0.00013, "steps": 0.2, "mcnemar_p": p}}


def input_test(right, value, low, high):
    """Return what the test of order and scale says, where the network wants raw RGB."""
    ends = {"value": value, "low": low, "high": high, "n": 200, "interval": "people"}
    return {
        "target": "a-fp32",
        "used": "RGB minus1_1",
        "best": "RGB raw" if right == "other" else "RGB minus1_1",
        "right": right,
        "difference": ends,
        "set_to": "model.normalisation: raw",
    }


def sound(**changes):
    """Return a run in which every precondition can be asked, and holds."""
    whole = share(20) | by_exact(19, 1.0) | {"one_class_folds": 0}
    parts = {"embeddings": embeddings(), "failures": failures(), "auc": auc(0.999, 0.998, 1.0)}
    base = cell("torch-fp32") | parts | {"accuracy": whole | changes.pop("accuracy", {})}
    ahead = cell("a-fp32", ips=300.0) | parts
    aligned = {"n": 60, "n_no_face": 0, "n_off": 2, "limit_px": 4.0}
    aligned |= {"median_px": 1.1, "median_degrees": 0.6}
    faces = FACES | {"alignment": aligned} | changes.pop("dataset", {})
    extra = {"input_test": changes.pop("input_test", input_test("used", -0.1, -0.2, -0.05))}
    return results(base | changes, ahead) | {"dataset": faces} | extra


def broken_runs():
    """Return runs in each of which one thing is wrong, by the rule that must say so."""
    skew = {"n_off": 50, "median_px": 9.3, "median_degrees": 11.0}
    skewed = sound()["dataset"]["alignment"] | skew
    better = input_test("other", 0.06, 0.03, 0.09) | {"better": True}
    refused = {"accuracy": None, "accuracy_refused": "1 of 10 folds have no pair"}
    alone = results(cell("torch-fp32", **refused, gates=[])) | {"dataset": FACES}
    return {
        "build-ran": results(stopped("failed", "torch-fp32", "3_preprocess: no face", None)),
        "accuracy-judged": alone,
        "finite-embeddings": sound(embeddings=embeddings(n_distinct=1)),
        "both-classes": sound(accuracy={"one_class_folds": 10}),
        "better-than-chance": sound(auc=auc(0.52, 0.47, 0.57)),
        "people-apart": sound(
            auc=auc(0.62, 0.56, 0.68), accuracy=share(2900) | by_exact(2500, 1e-20)
        ),
        "grid-resolves": sound(accuracy=share(2000) | by_exact(0, 1e-20)),
        "input-as-trained": sound(input_test=input_test("other", 0.17, 0.12, 0.22)),
        "faces-aligned": sound(
            dataset={"alignment": skewed},
            input_test=input_test("used", 0, 0, 0) | {"aligned": better},
        ),
        "set-complete": sound(failures=failures(n_failed_images=200, n_genuine_lost=1500)),
    }


@pytest.mark.parametrize("rule", broken_runs())
def test_a_broken_precondition_withholds_the_recommendation(rule):
    run = broken_runs()[rule]
    answer, *others = told(find, run)
    assert (answer.rule, answer.kind, answer.case) == (
        "fastest-accurate",
        "does not hold",
        "withheld",
    )
    said = say(answer)
    assert said.finding.startswith("No build can be recommended: ")
    assert said.to_do
    assert "ship" not in " ".join(said).lower()
    assert [f.rule for f in others if f.case == "fails"] == [rule]


SAYS = {
    "build-ran": ("no build went through every stage: 3_preprocess: no face.", {"remedy": None}),
    "accuracy-judged": ("no accuracy could be judged: 1 of 10 folds have no pair", {}),
    "finite-embeddings": ("zeros only; different embeddings: 1.", {"n_distinct": 1}),
    "both-classes": (
        "3000 genuine and 3000 impostor pairs. folds with one class only: 10.",
        {"n_folds_one_class": 10},
    ),
    "better-than-chance": (
        "not better than guessing, as far as these pairs can tell: area under the roc 0.520 "
        "[0.470, 0.570]",
        {"target": "torch-fp32"},
    ),
    "people-apart": (
        "hardly told apart, by whatever threshold: area under the roc 0.620 [0.560, 0.680]",
        {"target": "torch-fp32"},
    ),
    "grid-resolves": (
        "too coarse for these distances: 66.67 % right by them, 100.00 % by exact ones",
        {"exact_threshold": 0.00013, "p": 1e-20},
    ),
    "input-as-trained": (
        "rgb raw instead of rgb minus1_1 changes accuracy by +17.00 [+12.00, +22.00] points",
        {"set_to": "model.normalisation: raw"},
    ),
    "faces-aligned": (
        "aligning them changes accuracy by +6.00 [+3.00, +9.00] points",
        {"n_off": 50, "median_px": 9.3, "median_degrees": 11.0},
    ),
    "set-complete": (
        "25.00 % of the pairs have no distance",
        {"n_unusable": 200, "n_passed_over": 0},
    ),
}


@pytest.mark.parametrize("rule", broken_runs())
def test_a_broken_precondition_is_named_with_its_numbers_and_what_to_do(rule):
    run, (sentence, evidence) = broken_runs()[rule], SAYS[rule]
    (found,) = (f for f in told(preconditions.preconditions, run) if f.case == "fails")
    assert (found.rule, found.kind, found.cells) == (rule, "does not hold", ["16/torch-fp32"])
    assert found.evidence == found.evidence | evidence
    said, answer = say(found), say(find(run)[0])
    assert sentence in said.finding.replace("\xa0", " ").lower()
    assert said.finding[1:] in answer.finding and said.evidence in answer.evidence
    assert said.to_do and said.to_do in answer.to_do
    assert "passed over" not in said.finding


ALMOST = {
    "finite-embeddings": [{"embeddings": embeddings(n_distinct=2)}],
    "both-classes": [{"accuracy": {"one_class_folds": None}}],
    "people-apart": [
        {"auc": auc(0.79, 0.76, 0.81)},
        {"auc": auc(0.81, None, None)},
        # A crowd behind most people, and the right face taken nevertheless.
        {"auc": auc(0.85, 0.81, 0.9), "dataset": {"n_several_faces": 20}},
    ],
    "better-than-chance": [{"auc": auc(0.9, 0.501, 0.95)}, {"auc": auc(0.9, None, None)}],
    "grid-resolves": [
        {"accuracy": share(25) | by_exact(20, 0.06)},
        {"accuracy": share(20) | by_exact(40, 0.01)},
    ],
    "input-as-trained": [{"input_test": input_test("used", 0.02, -0.01, 0.05)}],
    "faces-aligned": [
        {"dataset": {"alignment": sound()["dataset"]["alignment"] | {"n_off": 15}}},
        {"dataset": {"alignment": sound()["dataset"]["alignment"] | {"n_no_face": 60}}},
    ],
    "set-complete": [
        {"failures": failures(n_failed_images=2)},
        {"dataset": {"n_files_in_no_pair": 9000, "passed_over": {"n_files": 0}}},
    ],
}


@pytest.mark.parametrize(
    ("rule", "changes"), [(rule, each) for rule, several in ALMOST.items() for each in several]
)
def test_a_precondition_that_nearly_fails_holds_and_is_not_talked_about(rule, changes):
    run = sound(**changes)
    states = {found.rule: found.case for found in told(preconditions.preconditions, run)}
    assert states[rule] == "holds" and set(states.values()) == {"holds"}
    (answer,) = told(speed.fastest_accurate, run)
    assert answer.case == "faster" and "condition" not in say(answer).finding


def test_where_nothing_can_be_judged_no_accuracy_is_missed():
    """Random weights recognise nobody, and speed alone needs no faces."""
    refused = {"accuracy": None, "accuracy_refused": "random", "gates": []}
    seeded = results(cell("torch-fp32", **refused), model={"weights": "seeded"})
    for run in (seeded | {"dataset": FACES}, results(cell("torch-fp32", **refused))):
        assert "accuracy-judged" not in {f.rule for f in preconditions.preconditions(run)}


def test_folds_are_counted_only_where_some_hold_one_class():
    refused = {"accuracy": None, "accuracy_refused": "all pairs are genuine", "gates": []}
    alone = results(cell("torch-fp32", **refused)) | {"dataset": FACES | {"n_impostor": 0}}
    _, found = told(preconditions.unmet, alone)
    assert (found.rule, found.case) == ("both-classes", "fails")
    assert "0 impostor pairs." in say(found).finding and "olds" not in say(found).finding


def test_files_that_were_passed_over_are_said_only_where_there_are_some():
    lost = failures(n_failed_images=1, n_genuine_lost=3)
    passed = {"passed_over": {"n_files": 12, "examples": ["s01/1.webp: WebP"]}}
    for dataset, says in (({}, False), (passed, True)):
        (found,) = preconditions.unmet(sound(failures=lost, dataset=dataset))
        assert say(found).finding.endswith("Files passed over: 12.") is says
        assert ("passed over" in " ".join(say(found)).lower()) is says


@pytest.mark.parametrize(
    ("distances", "chinese"),
    [
        (np.full(40, np.nan), "没有可评估的图像对"),
        (np.r_[np.full(4, np.nan), np.ones(36)], "10 折中有 1 折"),
        (np.r_[np.ones(7), -np.ones(3), np.ones(30)], "3 个距离"),
    ],
)
def test_why_no_accuracy_was_judged_is_said_in_the_readers_language(distances, chinese):
    same = np.tile([True, False], 20)
    with pytest.raises(EvaluationError) as caught:
        guide_protocol(distances, same, acquired=~np.isnan(distances))
    reason, where = clause(caught.value.what), caught.value.where
    if where:
        reason = message("{what} ({where})", what=reason, where=where)
    refused = {"accuracy": None, "accuracy_refused": reason}
    run = results(cell("torch-fp32", **refused, gates=[])) | {"dataset": FACES}
    (found,) = preconditions.unmet(run)
    with speaking("zh"):
        said = say(found).finding
    assert chinese in said and not re.search("[A-Za-z]{2,}", said)


def test_preconditions_that_hold_leave_the_recommendation_as_it_is():
    run = sound()
    holding = told(preconditions.preconditions, run)
    states = {found.rule: found.case for found in holding}
    only_failing = {"build-ran", "accuracy-judged"}
    assert states == dict.fromkeys(set(broken_runs()) - only_failing, "holds")
    (answer,) = told(speed.fastest_accurate, run)
    assert (answer.kind, answer.case, answer.cells) == ("holds", "faster", ["16/a-fp32"])
    assert "condition" not in say(answer).finding
    # Old results know of no preconditions; random weights and speed alone ask for none.
    assert preconditions.preconditions(results(cell("torch-fp32"))) == []
    refused = {"accuracy": None, "accuracy_refused": "random", "gates": []}
    seeded = results(cell("torch-fp32", **refused), model={"weights": "seeded"})
    assert preconditions.preconditions(seeded | {"dataset": {"name": "B"}}) == []


def test_a_part_of_the_set_that_is_lost_is_the_recommendations_condition():
    run = sound(failures=failures(n_failed_images=1, n_genuine_lost=3))
    (answer,) = told(speed.fastest_accurate, run)
    assert answer.case == "faster"
    assert "On condition that" in say(answer).finding and "0.05" in say(answer).finding
    passed = {"n_files": 12, "examples": ["s01/1.webp: WebP"]}
    (condition,) = told(preconditions.unmet, sound(dataset={"passed_over": passed}))
    assert (condition.rule, condition.case) == ("set-complete", "part")
    assert "WebP" in say(condition).evidence


def test_what_a_sample_cannot_exclude_is_a_condition():
    wide = sound(input_test=input_test("used", 0.01, -0.05, 0.08))
    crops = {"n": 60, "n_no_face": 0, "n_off": 40, "limit_px": 4.0}
    crops |= {"median_px": 6.0, "median_degrees": 2.0}
    blind = crops | {"n": 10, "n_no_face": 50, "n_off": 1}
    for run, rule, case in (
        (wide, "input-as-trained", "part"),
        (sound(dataset={"alignment": crops}), "faces-aligned", "part"),
        (sound(dataset={"alignment": blind}), "faces-aligned", "none"),
    ):
        (found,) = told(preconditions.unmet, run)
        assert (found.rule, found.kind, found.case) == (rule, "cannot tell", case)
        assert told(speed.fastest_accurate, run)[0].case == "faster"


def test_a_condition_on_crops_says_what_aligning_them_gives():
    crops = sound()["dataset"]["alignment"] | {"n_off": 60, "median_px": 32.5}
    again = input_test("other", 0.118, -0.009, 0.34) | {"better": False}
    run = sound(
        dataset={"alignment": crops}, input_test=input_test("used", 0, 0, 0) | {"aligned": again}
    )
    (found,) = told(preconditions.unmet, run)
    assert (found.rule, found.case) == ("faces-aligned", "part")
    said = "Aligned anew, accuracy changes by +11.80 [−0.90, +34.00] points"
    assert said in say(found).finding and said in say(find(run)[0]).finding


def test_what_to_do_about_crops_is_what_their_set_allows():
    """A .bin set cannot be aligned by a run, so that is not what its reader is told to set."""
    crops = sound()["dataset"]["alignment"] | {"n_off": 60, "median_px": 32.5}
    for better in (True, False):
        again = input_test("other", 0.1, 0.05, 0.2) | {"better": better}
        tested = input_test("used", 0, 0, 0) | {"aligned": again}
        for of_folder in (True, False):
            faces = {"alignment": crops} | ({"n_aligned": 0} if of_folder else {})
            (found,) = told(preconditions.unmet, sound(dataset=faces, input_test=tested))
            assert found.case == ("fails" if better else "part")
            says = "Set dataset.align to always" if of_folder else "Make the set anew of aligned"
            assert say(found).to_do.startswith(says)


def test_a_ratio_is_claimed_only_of_quiet_timings_and_with_its_interval():
    (quiet,) = told(speed.fastest_accurate, sound())
    assert re.search(r"3\.00 \[2\.\d\d, 3\.\d\d\] times", say(quiet).finding)
    load = {"other_cores": 1.0, "stolen_cores": 0.0, "cores": 2, "seconds": 9.0, "busy": True}
    noisy = sound() | {"timing": [{"batch_size": 16, "load": load}]}
    (answer,) = told(speed.fastest_accurate, noisy)
    assert answer.case == "disturbed"
    assert "condition" not in say(answer).finding
    assert [found.rule for found in preconditions.unmet(noisy)] == ["timing-quiet"]
    assert "times" not in say(answer).finding


def test_what_disturbed_a_timing_is_said_with_its_numbers_and_no_recommendation_is_withheld():
    load = {"other_cores": 0.52, "stolen_cores": 0.1, "cores": 2, "seconds": 9.0}
    run = sound() | {"timing": [{"batch_size": 16, "load": load | {"busy": True}}]}
    (found,) = told(preconditions.unmet, run)
    assert (found.rule, found.kind, found.case) == ("timing-quiet", "cannot tell", "part")
    assert found.cells == ["16/torch-fp32", "16/a-fp32"]
    assert found.evidence == {"batch_sizes": [16], "items": [{"batch_size": 16} | load]}
    assert say(found) == (
        "Something else ran while builds were timed, at batch size 16.",
        "batch size 16: other processes took 0.520 and the host 0.100 of 2 processors, means "
        "over 9.00 s.",
        "Time again with nothing else running; the rates may be too low.",
    )
    answer = say(speed.fastest_accurate(run)[0])
    assert answer.finding == (
        "No loss was found against torch-fp32 with a-fp32 at batch size 16; by how much it is "
        "faster cannot be told, for want of quiet while builds were timed."
    )
    assert answer.to_do == "Time again with nothing else running."
    with speaking("zh"):
        assert say(found) == (
            "测速期间另有程序在运行，批大小 16。",
            "批大小 16：2 个处理器中，其他进程占用 0.520 个，宿主机占用 0.100 个，"
            "为 9.00 秒内的平均值。",
            "请在没有其他程序运行时重新计时；这些速率可能偏低。",
        )
    quiet = sound() | {"timing": [{"batch_size": 16, "load": load | {"busy": False}}]}
    assert preconditions.unmet(quiet) == []
    (held,) = (f for f in told(preconditions.preconditions, quiet) if f.rule == "timing-quiet")
    assert say(held) == (
        "Nothing else took processor time while builds were timed.",
        "So it was beside all 2 timings that can tell.",
        "",
    )
    with speaking("zh"):
        assert not re.search("[A-Za-z]{2,}", " ".join(say(held)))


def test_every_precondition_has_its_heading_in_the_page_of_docs_and_its_findings_name_it():
    page = (Path(__file__).parents[2] / "docs/when_the_verdict_is_withheld.md").read_text("utf-8")
    headings = re.findall("^## (.+)$", page, re.MULTILINE)
    assert sorted(headings) == sorted(ASKED)
    for rule, run in broken_runs().items():
        answer, *others = find(run)
        shown = answer_html(answer), findings_html([f for f in others if f.rule == rule])
        assert all(f"docs/when_the_verdict_is_withheld.md#{rule}." in html for html in shown)
    assert "when_the_verdict" not in answer_html(find(sound())[0])


def test_several_reasons_and_conditions_are_listed_each_with_what_to_do():
    run = sound(
        auc=auc(0.52, 0.47, 0.57), failures=failures(n_failed_images=200, n_genuine_lost=1500)
    )
    soup = BeautifulSoup(answer_html(find(run)[0]), "html.parser")
    assert soup.p.get_text() == "No build can be recommended: 2 things do not hold."
    shown = [item.get_text() for item in soup.select("li")]
    reasons = [say(found) for found in preconditions.unmet(run)]
    assert shown == [f"{said.finding} {said.to_do}" for said in reasons]
    passed = {"n_files": 12, "examples": ["s01/1.webp"]}
    wide = input_test("used", 0.01, -0.05, 0.08)
    answer = find(sound(dataset={"passed_over": passed}, input_test=wide))[0]
    soup = BeautifulSoup(answer_html(answer), "html.parser")
    first, lead, *rest = (part.get_text() for part in soup.select(".lr-answer > p"))
    assert first.startswith("The fastest build") and "condition" not in first
    assert lead == "On condition that these 2 things are meant:"
    assert len(soup.select("li")) == 2 and rest == ["Ship a-fp32 at batch size 16."]


def test_several_faces_are_said_where_they_are_many():
    """Another person's face may have been taken: it cannot be told, and withholds nothing."""
    several = {"n_several_faces": 60, "several_faces": ["Ann_A/1.jpg", "Bob_B/2.jpg"]}
    run = sound(dataset=several)
    (found,) = told(preconditions.several_faces, run)
    assert (found.rule, found.kind) == ("several-faces", "cannot tell")
    said = say(found)
    assert "60 of 400" in said.finding and "Ann_A/1.jpg; Bob_B/2.jpg" in said.evidence
    (answer,) = told(speed.fastest_accurate, run)
    assert answer.case == "faster" and "condition" not in say(answer).finding
    for few in ({"n_several_faces": 20}, {}):
        assert told(preconditions.several_faces, sound(dataset=few)) == []


@pytest.mark.parametrize("found", [auc(0.52, 0.47, 0.57), auc(0.62, 0.56, 0.68)])
def test_one_bystander_in_every_crop_is_the_first_reason_and_no_threshold_is_advised(found):
    several = {"n_several_faces": 390, "several_faces": ["Ann_A/1.jpg"]}
    coarse = share(2900) | by_exact(2500, 1e-20)
    answer, *others = told(find, sound(auc=found, accuracy=coarse, dataset=several))
    said = say(answer)
    assert said.finding.startswith(
        "No build can be recommended: the faces are probably not those that the labels are of: "
        "390 of 400 pictures hold several faces, and people are hardly told apart"
    )
    assert "Ann_A/1.jpg" in said.evidence and "crop the pictures" in said.to_do
    assert "threshold" not in " ".join(said)
    assert "several-faces" not in {other.rule for other in others}


def test_a_crowd_in_every_picture_withholds_nothing_where_people_are_told_apart():
    answer, *others = told(find, sound(dataset={"n_several_faces": 390}))
    assert (answer.case, [other.rule for other in others][-1]) == ("faster", "several-faces")


def test_few_files_among_many_in_no_pair_are_a_condition_and_many_withhold():
    passed = {"n_files": 30, "examples": ["s01/1.gif: an ending"]}
    for in_no_pair, case in ((0, "fails"), (4000, "part")):
        run = sound(dataset={"passed_over": passed, "n_files_in_no_pair": in_no_pair})
        (found,) = told(preconditions.unmet, run)
        assert (found.rule, found.case) == ("set-complete", case)
