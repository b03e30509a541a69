import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from lresnet_utils.graph.rewrite import REWRITES, fold_norm_backward, fold_norm_forward


@settings(max_examples=25)
@given(
    group=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
    pads=st.sampled_from([[0, 0, 0, 0], [1, 1, 1, 1]]),
    gamma=st.lists(st.sampled_from([0, 1e-30, -3, 1]), min_size=7, max_size=7),
    seed=st.integers(0, 99),
)
def test_a_convolution_takes_the_norm_behind_it(
    group, bias, pads, gamma, seed, net, rewritten, operators
):
    net = net(seed=seed)
    y = net.conv("image", 4, 8, group=group, bias=bias, pads=pads)
    new, count = rewritten(net.model(net.norm(y, 8, gamma=[*gamma, 1])), fold_norm_backward)
    assert (count, operators(new)) == (1, {"Conv": 1})


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("target", [None, [2, 36], [2, -1], [-1, 36], [0, -1]])
def test_norm_layer_norm_becomes_one_layer(target, bias, turned, opset, net, rewritten, operators):
    net = net(opset=opset, shape=(2, 4, 3, 3))
    y = net.norm("image", 4)
    y = net.op("Reshape", y, net.constant(np.array(target))) if target else net.op("Flatten", y)
    y = net.norm(net.linear(y, 36, 5, turned=turned, bias=bias), 5)
    new, counts = rewritten(net.model(y), fold_norm_backward, fold_norm_forward)
    assert counts == [1, 1]
    assert operators(new) == {"Gemm": 1, "Reshape" if target else "Flatten": 1}
    assert new.graph.output[0].name == y


def test_a_norm_of_a_table_folds_forward_too(net, rewritten, operators):
    net = net(shape=(3, 7))
    new, count = rewritten(net.model(net.linear(net.norm("image", 7), 7, 5)), fold_norm_forward)
    assert (count, operators(new)) == (1, {"Gemm": 1})


def _read_twice(net):
    y = net.conv("image", 4, 4)
    return [net.op("Add", net.norm(y, 4), y)]


def _given_out(net):
    y = net.conv("image", 4, 4)
    return [net.norm(y, 4), y]


def _training(net):
    y = net.norm(net.conv("image", 4, 4), 4)
    net.nodes[-1].attribute.append(onnx.helper.make_attribute("training_mode", 1))
    net.nodes[-1].output.extend(["mean", "variance"])
    return [y]


def _scaled(net):
    y = net.op("Flatten", net.norm("image", 4))
    y = net.linear(y, 144, 5)
    net.nodes[-1].attribute.append(onnx.helper.make_attribute("alpha", 0.5))
    return [net.norm(y, 5)]


def _row_by_row(net):
    y = net.op("Flatten", net.norm("image", 4))
    constants = net.constant(np.ones((144, 5))), net.constant(np.array([[1.0], [2.0]]))
    return [net.norm(net.op("Gemm", y, *constants), 5)]


def _other_reshape(net):
    y = net.op("Reshape", net.norm("image", 4), net.constant(np.array([8, 36])))
    return [net.linear(y, 36, 5)]


def _foreign(net):
    y = net.op("Conv", "image", net.constant(np.ones((4, 4, 1, 1))), domain="foreign")
    return [net.norm(y, 4)]


@pytest.mark.parametrize(
    "build", [_read_twice, _given_out, _training, _scaled, _row_by_row, _other_reshape, _foreign]
)
def test_what_does_not_fit_is_left_alone(build, net, untouched):
    net = net()
    untouched(net.model(*build(net)), fold_norm_backward, fold_norm_forward)


def _dense(net):
    y = net.conv(net.norm("image", 4), 4, 4, pads=[1, 1, 1, 1])
    return net.model(net.linear(net.op("Flatten", net.norm(y, 4)), 144, 5))


def test_half_precision_is_left_alone(net, untouched):
    model = _dense(net())
    for tensor in model.graph.initializer:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    del model.graph.value_info[:]
    untouched(onnx.shape_inference.infer_shapes(model, strict_mode=True), *REWRITES.values())


def test_constants_that_a_caller_may_override_are_left_alone(net, untouched):
    model = _dense(net())
    model.graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in model.graph.initializer
    )
    untouched(model, *REWRITES.values())
