"""What is chosen when the rates are known, and what is built along the way."""

import onnx
import pytest

from lresnet_utils.errors import TargetError
from lresnet_utils.tuning.search import (
    AS_SIMPLIFIED,
    Graphs,
    choose_rewrites,
    choose_running,
)

WAYS = [{"way": "a"}, {"way": "b"}]
FITTING = ["prelu-slope", "norm-backward", "norm-carried"]


def test_the_network_has_the_patterns(graphs):
    assert list(graphs.fitting) == FITTING and set(graphs.fitting.values()) == {1}


def test_a_rewritten_graph_is_made_again_when_it_or_what_it_is_made_from_changed(graphs, tmp_path):
    def again(onnx=graphs.onnx):
        graph = Graphs(onnx, tmp_path / "prepared", (-1.0, 1.0)).rewritten(("prelu-slope",))
        return graph, graph.stat().st_mtime_ns

    (graph, first), whole = again(), again()[0].read_bytes()
    assert again()[1] == first
    graph.write_bytes(whole[:-1])
    assert again()[1] != first and graph.read_bytes() == whole
    other = tmp_path / "other.onnx"
    model = onnx.load(graphs.onnx)
    model.doc_string = "another file"
    onnx.save(model, other)
    second = again()[1]
    assert again(other)[1] != second and graph.read_bytes() != whole


def steps_of(found):
    return {step["rewrite"]: step for step in found["steps"]}


@pytest.mark.usefixtures("known_rates")
def test_a_rewrite_that_surely_slows_is_dropped_and_the_others_kept(
    fake_target, files, graphs, bench
):
    order = [graphs.onnx.name, *(graphs.rewritten(tuple(FITTING[:n])).name for n in (1, 2, 3))]
    rates = dict(zip(order, [(10, 10.1), (20, 20.1), (15, 15.2), (15.1, 15.1)], strict=True))
    target = fake_target(lambda graph, _: rates[graph.rpartition("/")[2]])
    found = choose_rewrites(target, files, graphs, bench)
    assert found["rewrites"] == ["prelu-slope", "norm-carried"]
    steps = steps_of(found)
    assert list(steps) == [AS_SIMPLIFIED, *FITTING]
    assert steps["prelu-slope"]["ratio"]["value"] == pytest.approx((2 * 20.1 / 10.1) ** 0.5)
    assert steps["norm-backward"]["ratio"]["high"] < 1 and not steps["norm-backward"]["kept"]
    # Neither surely faster nor surely slower: the rewritten graph is no worse, so it stays.
    low, high = (steps["norm-carried"]["ratio"][end] for end in ("low", "high"))
    assert low < 1 < high


@pytest.mark.usefixtures("known_rates")
def test_a_graph_that_a_target_refuses_costs_only_its_rewrite(fake_target, files, graphs, bench):
    refused = graphs.rewritten(("prelu-slope", "norm-backward")).name
    target = fake_target(lambda graph, _: (5, 5), refuse=(refused,))
    found = choose_rewrites(target, files, graphs, bench)
    assert found["rewrites"] == ["prelu-slope", "norm-carried"]
    assert "operator not known" in steps_of(found)["norm-backward"]["failure"]
    assert steps_of(found)["norm-carried"]["ratio"]["value"] == pytest.approx(1)


@pytest.mark.usefixtures("known_rates")
@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ({"a": (10, 10), "b": (20, 20.1), "c": (15, 15.1)}, "b"),
        ({"a": (10, 10), "b": (9, 30), "c": (8, 8)}, "b"),  # on average, though not surely
        ({"a": (10, 10), "b": (10.2, 10.2), "c": (8, 8)}, "a"),  # too little to change for
    ],
)
def test_a_gain_worth_having_replaces_the_default(fake_target, files, bench, rates, best):
    target = fake_target(
        lambda _, options: rates[options["way"]], ways=[{"way": name} for name in rates]
    )
    found = choose_running(target, files, {}, bench)
    assert found["running"] == {"way": best}
    assert [row["options"]["way"] for row in found["candidates"] if row["chosen"]] == [best]
    assert found["candidates"][0]["ratio"] is None


@pytest.mark.usefixtures("known_rates")
def test_the_gain_over_what_a_user_would_run_is_paired(fake_target, files, bench):
    target = fake_target(lambda _, options: {"a": (10, 10), "b": (10, 10.1)}[options["way"]], WAYS)
    plain = fake_target(lambda *_: (6, 4))
    found = choose_running(target, files, {}, bench, before=("as it is", plain, files))
    assert found["running"] == {"way": "a"}
    assert found["before"]["what"] == "as it is" and found["before"]["failure"] is None
    assert found["before"]["throughput_ips"]["value"] == pytest.approx(5)
    assert found["ratio"]["value"] == pytest.approx((10 / 6 * 10 / 4) ** 0.5)
    broken = fake_target(lambda *_: (1, 1), refuse=(files.graph.name,))
    found = choose_running(target, files, {}, bench, before=("as it is", broken, files))
    assert found["ratio"] is None and "operator not known" in found["before"]["failure"]


@pytest.mark.usefixtures("known_rates")
def test_a_way_that_fails_is_left_out_and_none_is_an_error(fake_target, files, bench, monkeypatch):
    def rate(_, options):
        if options["way"] == "a":
            raise RuntimeError("no such stream")
        return (3, 3)

    found = choose_running(fake_target(rate, ways=WAYS), files, {}, bench)
    assert found["running"] == {"way": "b"} and found["candidates"][0]["failure"]
    with pytest.raises(TargetError, match="No way of running"):
        choose_running(fake_target(rate, ways=WAYS[:1]), files, {}, bench)


@pytest.mark.usefixtures("known_rates")
def test_a_search_leaves_nothing_behind(fake_target, files, bench):
    choose_running(fake_target(lambda *_: (1, 1)), files, {}, bench)
    assert list(bench.folder.iterdir()) == []
