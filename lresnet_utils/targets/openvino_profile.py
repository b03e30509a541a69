"""Where OpenVINO spends a batch: time, arithmetic and bytes of every layer that it runs."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import openvino

_LEAST = 3
_BYTES = {"f32": 4, "i32": 4, "f16": 2, "bf16": 2, "i8": 1, "u8": 1, "i64": 8}
# OpenVINO's names of layers to the words of the report; other names are reported as they are.
_KINDS = {
    "Convolution": "convolution",
    "GroupConvolution": "depthwise convolution",
    "FullyConnected": "fully connected",
    "MatMul": "fully connected",
    "Subgraph": "elementwise",
    "Eltwise": "elementwise",
    "PRelu": "elementwise",
    "MulAdd": "elementwise",
    "Pooling": "pooling",
    "Reduce": "pooling",
    "Reorder": "reorder",
    "Transpose": "reorder",
    "FakeQuantize": "quantise",
}


def profile_layers(
    compiled: openvino.CompiledModel, batch: np.ndarray, *, seconds: float
) -> dict[str, Any]:
    """Run batches one by one and return what each layer took.

    Parameters
    ----------
    compiled : openvino.CompiledModel
        Compiled or imported with ``PERF_COUNT``; not run yet.
    batch : ndarray of float32
        Its one input.
    seconds : float
        Least time of all timed batches; there are at least three.

    Returns
    -------
    dict
        ``batches``: how many were timed, after one that was not. ``wall_ms``: mean wall-clock
        time of one. ``layers``: for every layer that was executed its ``name``, ``kind``,
        ``primitive`` (OpenVINO's kernel), ``ms`` (mean, per batch), ``flops`` (two per
        multiply-add of convolutions and matrix products, per batch; 0 for others, which are not
        counted) and ``bytes`` (inputs, weights and outputs, each counted once, at the precision
        in which they are stored; None when OpenVINO does not tell one of them).

    Notes
    -----
    Activations that OpenVINO fused into a layer are in that layer's time. Its clock counts whole
    microseconds.
    """
    request = compiled.create_infer_request()
    request.infer({0: batch}, share_inputs=True)
    first = _counters(request)
    started, n = time.perf_counter(), 0
    while n < _LEAST or time.perf_counter() - started < seconds:
        request.infer({0: batch}, share_inputs=True)
        n += 1
    wall = time.perf_counter() - started
    # The counters give means over all batches; the first, with cold caches, is taken out again.
    means = _counters(request)
    nodes = {node.get_friendly_name(): node for node in compiled.get_runtime_model().get_ops()}
    layers = [
        _describe(name, nodes.get(name), kind, primitive, ((n + 1) * mean - first[name][2]) / n)
        for name, (kind, primitive, mean) in means.items()
    ]
    return {"batches": n, "wall_ms": 1000 * wall / n, "layers": layers}


def _counters(request: openvino.InferRequest) -> dict[str, tuple[str, str, float]]:
    """Return layer type, kernel and mean milliseconds of every layer that was executed."""
    return {
        info.node_name: (info.node_type, info.exec_type, 1000 * info.real_time.total_seconds())
        for info in request.get_profiling_info()
        if info.status == info.Status.EXECUTED
    }


def _describe(
    name: str, node: openvino.Node | None, kind: str, primitive: str, ms: float
) -> dict[str, Any]:
    return {
        "name": name,
        "kind": _KINDS.get(kind, kind),
        "primitive": primitive,
        "ms": max(ms, 0.0),
        "flops": 0 if node is None else _flops(kind, node),
        "bytes": None if node is None else _bytes(node),
    }


def _flops(kind: str, node: openvino.Node) -> int:
    outputs = math.prod(node.get_output_shape(0))
    if kind in ("Convolution", "GroupConvolution"):
        # Each output channel has its own share of the weights.
        weights, channels = node.get_input_shape(1), node.get_output_shape(0)[1]
        return 2 * outputs * math.prod(weights) // channels
    if kind in ("FullyConnected", "MatMul"):
        return 2 * outputs * math.prod(node.get_input_shape(1)) // node.get_output_shape(0)[-1]
    return 0


def _bytes(node: openvino.Node) -> int | None:
    total = 0
    for source in [*(value.get_source_output() for value in node.inputs()), *node.outputs()]:
        elements = math.prod(source.get_shape())
        if not elements:  # a bias that is not there
            continue
        kinds = source.get_node().get_rt_info()["outputPrecisions"].astype(str).split(",")
        size = _BYTES.get(kinds[min(source.get_index(), len(kinds) - 1)])
        if size is None:
            return None
        total += size * elements
    return total
