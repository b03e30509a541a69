"""Quantising a graph for OpenVINO with NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import onnx

from lresnet_utils.targets.base import IMAGE_SHAPE, Recipe

if TYPE_CHECKING:
    import openvino


_LINEAR = ("Convolution", "GroupConvolution", "MatMul")
_PRESETS = {"symmetric": "PERFORMANCE", "asymmetric": "MIXED"}


def quantise_openvino(graph: Path, out: Path, inputs: np.ndarray, recipe: Recipe) -> Path:
    """Write a graph with quantised layers as OpenVINO IR.

    Parameters
    ----------
    graph, out : Path
        An ONNX file, and the ``.xml`` to write; its weights go into a ``.bin`` beside it.
    inputs : ndarray of float32, shape (n, 3, 112, 112)
        Faces that the ranges are taken from, one at a time, so that the result does not depend
        on a batch size.
    recipe : Recipe

    Notes
    -----
    NNCF's post-training quantisation. Its bias correction keeps each layer's mean output on the
    faces. Ranges of activations are means of each face's extremes.
    """
    import openvino

    nncf = import_nncf()
    model = openvino.Core().read_model(str(graph))
    model.reshape([1, *IMAGE_SHAPE])
    kept = _layers(model, graph, recipe.kept)
    with _quiet():
        quantised = nncf.quantize(
            model,
            nncf.Dataset([face[None] for face in inputs]),
            preset=getattr(nncf.QuantizationPreset, _PRESETS[recipe.activations]),
            subset_size=len(inputs),
            fast_bias_correction=recipe.bias == "fast",
            ignored_scope=nncf.IgnoredScope(names=kept) if kept else None,
        )
    openvino.save_model(quantised, str(out), compress_to_fp16=False)
    return out


def _layers(model: openvino.Model, graph: Path, kept: tuple[str, ...]) -> list[str]:
    """Return OpenVINO's names of an ONNX graph's linear layers.

    OpenVINO renames nodes and splits a bias off, but keeps the names of the tensors that they
    make: the layer is the first linear operation on the way back from its tensor.
    """
    proto = onnx.load(graph, load_external_data=False)
    tensors = {node.output[0] for node in proto.graph.node if node.name in kept}
    makers = [op for op in model.get_ordered_ops() if _tensor_names(op) & tensors]
    return sorted(_linear(op).get_friendly_name() for op in makers)


def _tensor_names(op: Any) -> set[str]:
    is_result = op.get_type_name() == "Result"
    return set() if is_result else {n for output in op.outputs() for n in output.get_names()}


def _linear(op: Any) -> Any:
    while op.get_type_name() not in _LINEAR:
        op = op.input_value(0).get_node()
    return op


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's progress bars from a terminal, and from a notebook, where they are displayed."""
    with (
        mock.patch("rich.console._is_jupyter", return_value=False),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        yield


def import_nncf() -> Any:
    """Import NNCF without its lines on the screen."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf


# Quantising a graph for ONNX Runtime with its own quantiser.

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
