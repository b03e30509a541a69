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

from lresnet_utils.targets.recipe import Recipe
from lresnet_utils.targets.session import IMAGE_SHAPE

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
