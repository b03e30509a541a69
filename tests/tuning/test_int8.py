"""The ladder of recipes, with decisions and rates that are known, and both quantisers for real."""

from dataclasses import replace

import numpy as np
import onnx
import openvino
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from lresnet_utils.data.network_input import to_network_input
from lresnet_utils.errors import TargetError
from lresnet_utils.graph.parity import run_onnx
from lresnet_utils.targets import get_target
from lresnet_utils.tuning import int8
from lresnet_utils.tuning.int8 import Int8Search, choose_calibration, rank_layers, spread
from lresnet_utils.tuning.judge import draw_sample

SPEC = {"channel_order": "rgb", "normalisation": "minus1_1"}


@pytest.fixture
def searched(files, graphs, faces, bench):
    def make(target, plain, *, trained=True, budget=0.2):
        return Int8Search(
            target=target,
            plain=plain,
            files=files,
            graphs=graphs,
            calibration=choose_calibration(faces, 8, **SPEC),
            sample=draw_sample(faces, 1000),
            spec=SPEC,
            trained=trained,
            budget_points=budget,
            bench=bench,
        )

    return make


@pytest.fixture
def verdicts(monkeypatch, known_rates):
    """Let the n-th recipe be within the budget or not."""

    def decide(*within):
        answers = iter(within)

        def judged(*_):
            fits = next(answers)
            return {
                "within_budget": fits,
                "worst_loss_points": 0.0 if fits else 1.0,
                "worst_p": 1.0 if fits else 0.01,
            }

        monkeypatch.setattr(int8, "judge", judged)
        monkeypatch.setattr(int8, "time_sessions", known_rates)

    return decide


@pytest.fixture
def fakes(fake_target):
    rate = {"symmetric": (30, 30), "asymmetric": (20, 20)}
    recipes = []

    quantiser = fake_target(lambda *_: rate[recipes[-1].activations], precision="int8")

    class Recording(type(quantiser.quantiser)):
        def quantise(self, graph, out, inputs, recipe):
            recipes.append(recipe)
            super().quantise(graph, out, inputs, recipe)

    quantiser.quantiser = Recording()
    return quantiser, fake_target(lambda *_: (10, 10)), recipes


def test_the_fastest_within_the_budget_is_chosen(searched, verdicts, fakes):
    quantiser, plain, recipes = fakes
    verdicts(True, True)
    found = searched(quantiser, plain).run()
    assert found["recipe"]["activations"] == "symmetric"
    assert [entry["ratio"]["value"] for entry in found["tried"]] == pytest.approx([3, 2])
    assert len(recipes) == 2 and found["sensitivity"] == []
    assert "norm-carried" not in found["recipe"]["rewrites"]


def test_out_of_budget_is_never_chosen_however_fast(searched, verdicts, fakes):
    quantiser, plain, _ = fakes
    verdicts(False, True)
    found = searched(quantiser, plain).run()
    assert [entry["chosen"] for entry in found["tried"]] == [False, True]


def test_sensitive_layers_return_until_it_fits(searched, verdicts, fakes):
    quantiser, plain, recipes = fakes
    verdicts(False, False, False, True)
    found = searched(quantiser, plain).run()
    ranked = [row["node"] for row in found["sensitivity"]]
    assert sorted(ranked) == ["fc", "inner", "stem"]
    assert [list(recipe.kept) for recipe in recipes] == [[], [], ranked[:1], ranked[:2]]
    assert found["recipe"]["kept"] == ranked[:2]


def test_layers_are_ranked_on_every_variant(searched, verdicts, fakes, monkeypatch):
    seen = []
    rank = int8.rank_layers
    monkeypatch.setattr(int8, "rank_layers", lambda *a: seen.append(a[1]) or rank(*a))
    verdicts(False, False, True)
    search = searched(*fakes[:2])
    search.run()
    places = [
        int(np.flatnonzero((search.calibration.inputs == face).all(axis=(1, 2, 3)))[0])
        for face in seen[0]
    ]
    assert [place < 4 for place in places] == [True, True, False, False], "two of each variant"


def test_a_large_network_gets_fast_correction_first_and_accurate_before_layers_return(
    searched, verdicts, fakes, monkeypatch
):
    quantiser, plain, recipes = fakes
    verdicts(False, False, True)
    monkeypatch.setattr(int8, "ACCURATE_UP_TO_FLOP", 1)
    found = searched(quantiser, plain).run()
    assert [recipe.bias for recipe in recipes] == ["fast", "fast", "accurate"]
    assert found["recipe"]["bias"] == "accurate" and found["recipe"]["kept"] == []


def test_when_nothing_fits_it_says_so(searched, verdicts, fakes):
    quantiser, plain, _ = fakes
    verdicts(*[False] * 4)
    with pytest.raises(TargetError, match="No int8 build of the 4 tried"):
        searched(quantiser, plain).run()


def test_random_weights_are_not_judged(searched, verdicts, fakes):
    quantiser, plain, recipes = fakes
    verdicts(False, False)
    found = searched(quantiser, plain, trained=False).run()
    assert len(recipes) == 2 and "random" in found["budget"]["refused"]
    assert {entry["within_budget"] for entry in found["tried"]} == {None}


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_a_real_quantiser_keeps_easy_decisions_and_differs_from_fp32(searched, runtime):
    quantiser, plain = get_target(f"{runtime}-int8"), get_target(f"{runtime}-fp32")
    found = searched(quantiser, plain, budget=5.0).run()
    chosen = next(entry for entry in found["tried"] if entry["chosen"])
    aligned = chosen["variants"]["aligned"]
    assert chosen["within_budget"] and aligned["reference_accuracy"] > 0.9
    # Eight bits move an embedding, but not far.
    assert 0.9 < aligned["min_cosine"] < 1 - 1e-6
    assert found["calibration"]["n_images"] == 8


@pytest.fixture
def quantised(searched, files, tmp_path):
    def make(runtime, *kept):
        search = searched(get_target(f"{runtime}-int8"), get_target(f"{runtime}-fp32"))
        return search, int8.quantised_files(
            search.target,
            files,
            search.graphs,
            search.calibration,
            int8.Recipe("symmetric", kept=kept),
            tmp_path / runtime,
        )

    return make


def test_onnxruntime_with_every_layer_kept_computes_what_fp32_does(quantised, files, tmp_path):
    search, made = quantised("onnxruntime", "stem", "inner", "fc")
    outputs = []
    for target, source in ((search.plain, files), (search.target, made)):
        built = target.build(source, tmp_path / target.name, threads=1)
        with target.load(built) as session:
            outputs.append(session.infer(search.bench.batch))
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-4)


@pytest.mark.parametrize("kept", ["stem", "inner", "fc"])
def test_openvino_quantises_every_linear_layer_but_the_kept_one(quantised, kept):
    """NNCF marks a quantised layer by FakeQuantize on the way of its input."""
    _, made = quantised("openvino", kept)
    model = openvino.Core().read_model(str(made.prepared))
    free = [
        op.get_friendly_name()
        for op in model.get_ordered_ops()
        if op.get_type_name() in ("Convolution", "MatMul") and not behind_quantiser(op)
    ]
    assert len(free) == 1 and free[0].startswith(kept)


def behind_quantiser(op):
    op = op.input_value(0).get_node()
    while op.get_type_name() in ("Reshape", "Multiply", "Add"):
        op = op.input_value(0).get_node()
    return op.get_type_name() == "FakeQuantize"


# Which faces int8's ranges come from: spread, the same each time, without labels.

INPUT = {"channel_order": "bgr", "normalisation": "minus1_1"}


@given(m=st.integers(1, 60), n=st.integers(1, 80), k=st.integers(1, 4))
def test_spread_takes_distinct_pictures_of_every_variant(m, n, k):
    variants = tuple("abcd"[:k])
    shares = spread(np.arange(m) * 3, n, variants)
    assert sum(map(len, shares.values())) <= n
    for rows in shares.values():
        assert len(set(rows)) == len(rows) and set(rows) <= set(range(0, 3 * m, 3))
    # One from each of as many equal parts of the set as there are pictures.
    n = min(n, k * m)
    chosen = sorted(row // 3 for rows in shares.values() for row in rows)
    assert all(i * m // n <= row < -(-(i + 1) * m // n) for i, row in enumerate(chosen))


def test_left_and_right_sides_are_both_calibrated_on():
    """A set that pairs passport photos with camera pictures takes turns: left, right, left."""
    rows = spread(np.arange(12_800), 128, ("aligned",))["aligned"]
    assert 0.3 < (rows % 2).mean() < 0.7


def test_the_pixels_are_those_that_the_network_sees(faces):
    chosen = choose_calibration(faces, 10, **INPUT)
    assert chosen.inputs.shape == (10, 3, 112, 112) and chosen.inputs.dtype == np.float32
    assert list(chosen.chosen) == ["aligned", "res28"]
    expected = [
        to_network_input(np.asarray(faces.images(variant)[rows]), **INPUT)
        for variant, rows in chosen.chosen.items()
    ]
    assert np.array_equal(chosen.inputs, np.concatenate(expected))
    again = choose_calibration(faces, 10, **INPUT)
    assert again.describe() == chosen.describe()
    assert chosen.describe()["labels_used"] is False


def test_labels_and_failed_pictures_play_no_part(faces):
    other = replace(faces, same=~faces.same, left=faces.right, right=faces.left)
    plain, swapped = (choose_calibration(f, 8, **INPUT).chosen for f in (faces, other))
    assert plain == swapped
    broken = replace(faces, failures=((0, "cut short"), (3, "cut short")))
    used = choose_calibration(broken, 200, **INPUT).chosen["aligned"]
    assert 0 not in used and 3 not in used and 1 in used


# The ranking against eight-bit rounding written out in NumPy.


def embed(path, batch):
    rows = run_onnx(path, batch).astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_every_layer_is_ranked_most_sensitive_first(files, bench, tmp_path):
    ranked = rank_layers(files.onnx, bench.batch, tmp_path)
    assert {row["node"] for row in ranked} == {"stem", "inner", "fc"}
    distances = [row["mean_distance"] for row in ranked]
    assert distances == sorted(distances, reverse=True) and min(distances) > 0


def test_the_first_layer_moves_as_far_as_rounding_by_hand_moves_it(files, bench, tmp_path):
    """Its input is the picture itself, so both roundings can be made outside the graph."""
    ranked = {r["node"]: r["mean_distance"] for r in rank_layers(files.onnx, bench.batch, tmp_path)}
    low, high = min(bench.batch.min(), 0), max(bench.batch.max(), 0)
    scale = np.float32((high - low) / 255)
    zero = np.clip(np.round(-low / scale), 0, 255)
    coded = np.clip(np.round(bench.batch / scale) + zero, 0, 255)
    rounded = ((coded - zero) * scale).astype(np.float32)
    model = onnx.load(files.onnx)
    stem = next(t for t in model.graph.initializer if t.name == "stem")
    weight = numpy_helper.to_array(stem)
    step = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    stem.CopyFrom(numpy_helper.from_array(np.round(weight / step) * step, "stem"))
    onnx.save(model, tmp_path / "by_hand.onnx")
    moved = embed(tmp_path / "by_hand.onnx", rounded) - embed(files.onnx, bench.batch)
    assert ranked["stem"] == pytest.approx((moved**2).sum(axis=1).mean(), rel=0.02)


def test_a_layer_with_one_huge_weight_comes_first(files, bench, tmp_path):
    model = onnx.load(files.onnx)
    inner = next(t for t in model.graph.initializer if t.name == "inner")
    weight = numpy_helper.to_array(inner).copy()
    weight[:, 0, 0, 0] *= 400  # a corner tap of every output: the other taps lose their digits
    inner.CopyFrom(numpy_helper.from_array(weight, "inner"))
    onnx.save(model, tmp_path / "odd.onnx")
    assert rank_layers(tmp_path / "odd.onnx", bench.batch, tmp_path)[0]["node"] == "inner"
