"""Quantising a graph for ONNX Runtime with its own quantiser."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx

from lresnet_utils.targets.recipe import Recipe

_OPERATORS = ["Conv", "Gemm", "MatMul"]


def quantise_onnx(graph: Path, out: Path, inputs: np.ndarray, recipe: Recipe) -> Path:
    """Write a graph with QuantizeLinear and DequantizeLinear around its linear layers.

    Parameters
    ----------
    graph, out : Path
        An ONNX file with a static batch, and the file to write.
    inputs : ndarray of float32, shape (n, 3, 112, 112)
        Faces that the ranges are taken from; the last batch is filled up with its last face.
    recipe : Recipe

    Notes
    -----
    Static quantisation with one scale per output channel of a weight; ranges of activations are
    moving averages of the batches' extremes, which one odd face moves less than extremes over all.
    """
    from onnxruntime import quantization as q

    # The quantiser recommends steps that were taken before, once per call.
    logging.getLogger().addFilter(_not_from_quantiser)
    symmetric = recipe.activations == "symmetric"
    q.quantize_static(
        str(graph),
        str(out),
        face_reader(q, graph, inputs),
        quant_format=q.QuantFormat.QDQ,
        op_types_to_quantize=_OPERATORS,
        per_channel=True,
        activation_type=q.QuantType.QInt8 if symmetric else q.QuantType.QUInt8,
        weight_type=q.QuantType.QInt8,
        nodes_to_exclude=list(recipe.kept),
        calibrate_method=q.CalibrationMethod.MinMax,
        extra_options={
            "ActivationSymmetric": symmetric,
            "WeightSymmetric": True,
            "CalibMovingAverage": True,
        },
    )
    return out


def _not_from_quantiser(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


def face_reader(q, graph: Path, inputs: np.ndarray):
    """Return what `q`, ONNX Runtime's module of quantisers, reads faces from, batch by batch."""
    model = onnx.load(graph, load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer}
    (faces,) = (value for value in model.graph.input if value.name not in weights)
    batch_size = faces.type.tensor_type.shape.dim[0].dim_value

    class Faces(q.CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = _batches(inputs, batch_size)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {faces.name: batch}

    return Faces()


def _batches(inputs: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(inputs), batch_size):
        batch = inputs[start : start + batch_size]
        missing = batch_size - len(batch)
        yield np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)), mode="edge")
