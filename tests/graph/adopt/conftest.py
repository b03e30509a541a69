"""Small face networks as other makers write them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TYPES = {
    np.dtype("float32"): TensorProto.FLOAT,
    np.dtype("float16"): TensorProto.FLOAT16,
    np.dtype("uint8"): TensorProto.UINT8,
}


class Maker:
    """Builds one graph; every option is something that is found in the field."""

    def __init__(self, opset=17, weights="float32", seed=0):
        self.opset, self.dtype = opset, np.dtype(weights)
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def weight(self, array, dtype=None):
        array = np.asarray(array).astype(dtype or self.dtype)
        self.weights.append(numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def op(self, operator, *inputs, outputs=1, **attributes):
        names = [f"t{len(self.nodes)}{'' if k == 0 else f'_{k}'}" for k in range(outputs)]
        node = helper.make_node(operator, inputs, names, f"{operator}_{len(self.nodes)}")
        node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
        self.nodes.append(node)
        return names[0]

    def conv(self, x, into, out, stride):
        weight = self.rng.normal(0, (9 * into) ** -0.5, (out, into, 3, 3))
        return self.op("Conv", x, self.weight(weight), pads=[1, 1, 1, 1], strides=[stride, stride])

    def norm(self, x, channels, outputs=1, **attributes):
        numbers = (
            self.rng.uniform(0.5, 2, channels),
            self.rng.normal(size=channels),
            self.rng.normal(size=channels),
            self.rng.uniform(0.5, 2, channels),
        )
        names = map(self.weight, numbers)
        return self.op("BatchNormalization", x, *names, outputs=outputs, **attributes)

    def unit(self, x):
        if self.opset < 18:
            length = self.op("ReduceL2", x, axes=[1], keepdims=1)
        else:
            length = self.op("ReduceL2", x, self.weight([1], "int64"), keepdims=1)
        return self.op("Div", x, length)


def face_network(
    *,
    opset=17,
    batch=None,
    name="data",
    layout="nchw",
    size=112,
    channels=3,
    weights="float32",
    pixels=None,
    lead=None,
    slope="per channel",
    norm=None,
    flatten="Flatten",
    normalised=False,
    outputs=1,
    weights_as_inputs=False,
    ir_version=8,
):
    """Return a network of two convolutions that embeds faces in 16 numbers.

    `lead` is a function that puts nodes in front: ``lead(maker, value)`` returns a value.
    """
    maker = Maker(opset, weights)
    x = name
    if layout == "nhwc":
        x = maker.op("Transpose", x, perm=[0, 3, 1, 2])
    if pixels == "uint8":
        x = maker.op("Cast", x, to=TYPES[maker.dtype])
    if lead is not None:
        x = lead(maker, x)
    x = maker.norm(maker.conv(x, channels, 8, 8), 8, **(norm or {}))
    shapes = {"per channel": (8, 1, 1), "flat": (8,), "one": (1,)}
    x = maker.op("PRelu", x, maker.weight(maker.rng.uniform(0.1, 0.5, shapes[slope])))
    x = maker.conv(x, 8, 8, 2)
    numbers = 8 * (size // 16) ** 2
    if flatten == "Flatten":
        x = maker.op("Flatten", x)
    else:
        x = maker.op("Reshape", x, maker.weight(flatten, "int64"))
    weight = maker.rng.normal(0, numbers**-0.5, (16, numbers))
    linear = maker.op("Gemm", x, maker.weight(weight), maker.weight(np.zeros(16)), transB=1)
    out = maker.unit(linear) if normalised else linear
    given = [out]
    if outputs == 2:  # the length beside the embedding, as quality-aware networks give it
        given.append(maker.op("ReduceSum", maker.op("Mul", linear, linear), keepdims=1))
        if opset < 13:
            maker.nodes[-1].attribute.append(helper.make_attribute("axes", [1]))
        else:
            maker.nodes[-1].input.append(maker.weight([1], "int64"))
    if outputs == "ambiguous":
        given.append(maker.op("Relu", linear))
    kind = TYPES[np.dtype(pixels or maker.dtype)]
    axes = [channels, size, size] if layout == "nchw" else [size, size, channels]
    widths = {given[0]: 16, **dict.fromkeys(given[1:], 1 if outputs == 2 else 16)}
    first = "N" if batch is None else batch
    graph = helper.make_graph(
        maker.nodes,
        "net",
        [helper.make_tensor_value_info(name, kind, [first, *axes])],
        [helper.make_tensor_value_info(v, TYPES[maker.dtype], [first, widths[v]]) for v in given],
        maker.weights,
    )
    if weights_as_inputs:
        for tensor in maker.weights:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


@pytest.fixture
def stored(tmp_path):
    """Return a function that writes such a network to a file: ``stored(**options)``."""

    def write(file="net.onnx", change=lambda model: None, **options):
        model = face_network(**options)
        change(model)
        onnx.save(model, tmp_path / file)
        return tmp_path / file

    return write
