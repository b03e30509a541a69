"""Which layers suffer most from eight bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from lresnet_utils.graph.parity import run_onnx
from lresnet_utils.graph.rewrite.values import constant, new_constant, nodes
from lresnet_utils.graph.session import cpu_session
from lresnet_utils.verify.scores import squared_l2, unit_rows

_LAYERS = ("Conv", "Gemm")


def rank_layers(graph: Path, batch: np.ndarray, scratch: Path) -> list[dict[str, float | str]]:
    """Quantise one linear layer at a time and see how far the embeddings move.

    Parameters
    ----------
    graph : Path
        An fp32 ONNX file with a static batch.
    batch : ndarray of float32, shape (batch_size, 3, 112, 112)
        Faces.
    scratch : Path
        A folder for one file, which is overwritten for every layer.

    Returns
    -------
    list of dict
        ``node`` and ``mean_distance`` (squared L2 of unit embeddings, mean over the faces), the
        most sensitive layer first. The layer's input is rounded to 256 steps between its
        extremes on these faces, its weights to 255 symmetric steps per output channel.
    """
    proto = onnx.load(graph)
    extremes = _extremes(proto, batch, scratch)
    reference = unit_rows(run_onnx(graph, batch))
    ranked = []
    for name, (low, high) in extremes.items():
        path = _with_one_quantised(proto, name, low, high, scratch)
        moved = squared_l2(reference, unit_rows(run_onnx(path, batch)))
        ranked.append({"node": name, "mean_distance": float(np.nan_to_num(moved, nan=4).mean())})
    return sorted(ranked, key=lambda row: (-row["mean_distance"], row["node"]))


def _extremes(
    proto: onnx.ModelProto, batch: np.ndarray, scratch: Path
) -> dict[str, tuple[float, float]]:
    """Return the least and largest input of every linear layer with constant weights."""
    model = ir.from_proto(proto)
    layers = [n for n in nodes(model.graph, *_LAYERS) if constant(n.inputs[1]) is not None]
    wanted = {node.name: node.inputs[0].name for node in layers}
    watched = onnx.ModelProto()
    watched.CopyFrom(proto)
    known = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    for name in sorted(set(wanted.values()) - known):
        watched.graph.output.append(onnx.ValueInfoProto(name=name))
    path = scratch / "watched.onnx"
    onnx.save(watched, path)
    session = cpu_session(path)
    names = [output.name for output in session.get_outputs()]
    feed = session.get_inputs()[0].name
    values = dict(zip(names, session.run(None, {feed: batch}), strict=True)) | {feed: batch}
    return {
        node: (float(values[name].min()), float(values[name].max()))
        for node, name in wanted.items()
    }


def _with_one_quantised(
    proto: onnx.ModelProto, name: str, low: float, high: float, scratch: Path
) -> Path:
    model = ir.from_proto(proto)
    graph = model.graph
    node = next(node for node in graph if node.name == name)
    weight = constant(node.inputs[1])
    outputs_first = node.op_type == "Conv" or node.attributes.get("transB") is not None
    axes = tuple(range(1, weight.ndim)) if outputs_first else (0,)
    step = np.maximum(np.abs(weight).max(axis=axes, keepdims=True), 1e-12) / 127
    rounded = (np.round(weight / step) * step).astype(np.float32)
    node.replace_input_with(1, new_constant(graph, f"{name}.rounded", rounded))
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-12) / 255
    zero = int(np.clip(round(-low / scale), 0, 255))
    parameters = [
        new_constant(graph, f"{name}.scale", np.float32(scale)),
        new_constant(graph, f"{name}.zero", np.uint8(zero)),
    ]
    coded = ir.node("QuantizeLinear", [node.inputs[0], *parameters], name=f"{name}.coded")
    decoded = ir.node("DequantizeLinear", [coded.outputs[0], *parameters], name=f"{name}.decoded")
    graph.insert_before(node, [coded, decoded])
    node.replace_input_with(0, decoded.outputs[0])
    path = scratch / "one_quantised.onnx"
    onnx.save(ir.to_proto(model), path)
    return path
