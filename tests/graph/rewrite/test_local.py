import numpy as np
import pytest

from lresnet_utils.graph.rewrite import (
    global_pooling,
    remove_identity_pooling,
    shape_prelu_slope,
)


def test_poolings_of_one_pixel_and_identities_are_removed(net, rewritten, operators):
    net = net()
    x = net.conv("image", 4, 4)
    y = net.op("MaxPool", x, kernel_shape=[1, 1], strides=[1, 1])
    y = net.op("AveragePool", net.op("Identity", y), kernel_shape=[1, 1])
    y = net.op("Add", net.op("MaxPool", y, kernel_shape=[1, 1]), x)
    new, count = rewritten(net.model(y), remove_identity_pooling)
    assert (count, operators(new)) == (4, {"Conv": 1, "Add": 1})


def test_an_output_of_the_graph_keeps_its_name(net, rewritten, operators):
    net = net()
    y = net.op("Identity", net.conv("image", 4, 4))
    new, count = rewritten(net.model(y), remove_identity_pooling)
    assert (count, operators(new), new.graph.output[0].name) == (1, {"Conv": 1}, y)


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("how", ["axes", "negative", "window"])
def test_a_mean_over_the_image_is_global_pooling(how, opset, net, rewritten, operators):
    net = net(opset=opset)
    axes = [-1, -2] if how == "negative" else [2, 3]
    if how == "window":
        y = net.op("AveragePool", "image", kernel_shape=[6, 6], strides=[3, 3])
    elif opset < 18:
        y = net.op("ReduceMean", "image", axes=axes)
    else:
        y = net.op("ReduceMean", "image", net.constant(np.array(axes)), keepdims=1)
    new, count = rewritten(net.model(y), global_pooling)
    assert (count, operators(new)) == (1, {"GlobalAveragePool": 1})


def test_a_slope_gets_the_shape_of_a_batch_of_channels(net, rewritten):
    net = net()
    slope = net.constant(np.array([0.1, -2, 0, 1.5]).reshape(4, 1, 1))
    y = net.op("PRelu", net.op("PRelu", "image", slope), slope)
    new, count = rewritten(net.model(y), shape_prelu_slope)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in new.graph.initializer}
    assert count == 2
    assert [shapes[node.input[1]] for node in new.graph.node] == [(1, 4, 1, 1)] * 2


def _slope(shape):
    def build(net):
        return net.op("PRelu", "image", net.constant(np.full(shape, 0.1)))

    return build


def _op(operator, **attributes):
    return lambda net: net.op(operator, "image", **attributes)


@pytest.mark.parametrize(
    "build",
    [
        *(_slope(shape) for shape in [(1, 4, 1, 1), (6,), (1, 1, 6), (6, 6), (1,), (4, 6, 6)]),
        _op("MaxPool", kernel_shape=[1, 1], strides=[2, 2]),
        _op("MaxPool", kernel_shape=[2, 1]),
        _op("AveragePool", kernel_shape=[1, 1], pads=[0, 0, 1, 1]),
        _op("AveragePool", kernel_shape=[6, 5]),
        _op("ReduceMean", axes=[2, 3], keepdims=0),
        _op("ReduceMean", axes=[1, 2]),
        _op("ReduceMean"),
        lambda net: net.op("Relu", net.op("Identity", "image", domain="foreign")),
    ],
)
def test_what_does_not_fit_is_left_alone(build, net, untouched):
    net = net()
    model = net.model(build(net))
    untouched(model, remove_identity_pooling, global_pooling, shape_prelu_slope)
