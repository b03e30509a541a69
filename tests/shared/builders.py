"""What tests of several wings build: small ONNX graphs."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def onnx_model(nodes, inputs, outputs, weights=None, *, opset=17, ir_version=8):
    """Return a model of float32.

    `inputs` and `outputs` give shapes by name, `weights` arrays or tensors by name; the nodes are
    those of ``onnx.helper.make_node``.
    """
    ends = (
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in of.items()
        ]
        for of in (inputs, outputs)
    )
    tensors = [
        value
        if isinstance(value, TensorProto)
        else numpy_helper.from_array(np.asarray(value), name)
        for name, value in (weights or {}).items()
    ]
    graph = helper.make_graph(nodes, "net", *ends, tensors)
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


def write_onnx(path, nodes, inputs, outputs, weights=None, **options):
    """Write such a model and return the path."""
    onnx.save(onnx_model(nodes, inputs, outputs, weights, **options), path)
    return path
