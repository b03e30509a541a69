"""The ranking against eight-bit rounding written out in NumPy."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lresnet_utils.graph.parity import run_onnx
from lresnet_utils.tuning.int8 import rank_layers


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
