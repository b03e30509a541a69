import numpy as np
import pytest

from lresnet_utils.graph.rewrite import gate_convolutions, gate_scaling


def gate(net, x, *, ends, linear, squash):
    """Squeeze-and-excitation of four channels, made of linear layers."""
    y = net.op("GlobalAveragePool", x)
    y = net.op("Flatten", y) if ends == "flatten" else net.op(
        "Reshape", y, net.constant(np.array([2, 4])))  # fmt: skip
    for n_in, n_out, activation in ((4, 3, "Relu"), (3, 4, squash)):
        if linear == "MatMul":
            y = net.op("MatMul", y, net.constant(net.rng.normal(size=(n_in, n_out))))
        else:
            y = net.linear(y, n_in, n_out, turned=int(linear == "turned"))
        y = net.op(activation, y)
    if ends == "flatten":
        return net.op("Unsqueeze", y, net.constant(np.array([2, 3])))
    return net.op("Reshape", y, net.constant(np.array([2, 4, 1, 1])))


@pytest.mark.parametrize("ends", ["flatten", "reshape"])
@pytest.mark.parametrize("linear", ["MatMul", "turned", "straight"])
@pytest.mark.parametrize("squash", ["Sigmoid", "HardSigmoid"])
def test_linear_layers_of_a_gate_become_convolutions(
    ends, linear, squash, net, rewritten, operators
):
    net = net()
    x = net.conv("image", 4, 4)
    y = net.op("Mul", x, gate(net, x, ends=ends, linear=linear, squash=squash))
    new, count = rewritten(net.model(y), gate_convolutions)
    assert count == 1
    assert operators(new) == {**{"Conv": 3, "GlobalAveragePool": 1, "Mul": 1, "Relu": 1, squash: 1}}
    biases = [len(node.input) for node in new.graph.node if node.op_type == "Conv"]
    assert biases[1:] == ([2, 2] if linear == "MatMul" else [3, 3])


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("expanded", [True, False])
def test_a_gate_is_multiplied_as_it_is_and_last(first, expanded, net, rewritten, operators):
    net = net()
    gate = net.op("Sigmoid", net.op("GlobalAveragePool", "image"))
    if expanded:
        gate = net.op("Expand", gate, net.constant(np.array([2, 4, 6, 6])))
    y = net.op("Mul", *((gate, "image") if first else ("image", gate)))
    new, count = rewritten(net.model(y), gate_scaling)
    assert count == int(first or expanded)
    assert operators(new) == {"GlobalAveragePool": 1, "Mul": 1, "Sigmoid": 1}
    assert new.graph.node[-1].input[0] == "image"


def test_an_expanded_gate_that_others_read_stays_for_them(net, rewritten, operators):
    net = net()
    wide = net.op("GlobalAveragePool", "image")
    wide = net.op("Expand", wide, net.constant(np.array([2, 4, 6, 6])))
    y = net.op("Add", net.op("Mul", "image", wide), wide)
    new, count = rewritten(net.model(y), gate_scaling)
    assert (count, operators(new)["Expand"]) == (1, 1)


def _classifier(net):
    return [net.linear(net.op("Flatten", net.op("GlobalAveragePool", "image")), 4, 3)]


def _larger_image(net):
    y = net.linear(net.op("Flatten", "image"), 144, 4)
    return [net.op("Reshape", y, net.constant(np.array([2, 4, 1, 1])))]


def _hidden_given_out(net):
    y = net.linear(net.op("Flatten", net.op("GlobalAveragePool", "image")), 4, 4)
    return [net.op("Reshape", y, net.constant(np.array([2, 4, 1, 1]))), y]


def _other_order(net):
    y = net.linear(net.op("Flatten", net.op("GlobalAveragePool", "image")), 4, 4)
    return [net.op("Reshape", y, net.constant(np.array([4, 2, 1, 1])))]


def _both_expanded(net):
    shape = net.constant(np.array([2, 4, 6, 6]))
    pooled = net.op("GlobalAveragePool", "image")
    return [net.op("Mul", pooled, net.op("Expand", pooled, shape))]


@pytest.mark.parametrize(
    "build", [_classifier, _larger_image, _hidden_given_out, _other_order, _both_expanded]
)
def test_what_does_not_fit_is_left_alone(build, net, untouched):
    net = net()
    model = net.model(*build(net))
    untouched(model, gate_convolutions, *([gate_scaling] if build is not _both_expanded else []))
