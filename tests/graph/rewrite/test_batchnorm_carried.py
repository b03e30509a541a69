import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lresnet_utils.graph.rewrite import REWRITES, carry_norm_shift

PADS = [1, 1, 1, 1]


def residual_unit(net, x, c_in, c_out, kind, *, gate, group, stride):
    """BN-Conv-PReLU-Conv[-gate] beside a shortcut, as in the IR networks."""
    y = net.norm(x, c_in)
    y = net.conv(y, c_in, c_out, group=group, pads=PADS, bias=False)
    y = net.conv(net.prelu(y, c_out), c_out, c_out, pads=PADS, strides=[stride] * 2)
    if gate:
        pooled = net.op("GlobalAveragePool", y)
        y = net.op("Mul", y, net.op("Sigmoid", net.conv(pooled, c_out, c_out, 1)))
    if kind == "project":
        x = net.conv(x, c_in, c_out, 1, strides=[stride] * 2)
    elif stride == 2 or kind == "pool":
        x = net.op("MaxPool", x, kernel_shape=[1, 1], strides=[stride] * 2)
    return net.op("Add", *((x, y) if kind == "swapped" else (y, x)))


unit = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["identity", "swapped", "pool", "project"]),
        "gate": st.booleans(),
        "group": st.sampled_from([1, 2, 4]),
        "stride": st.sampled_from([1, 2]),
    }
)


@settings(max_examples=30)
@given(
    units=st.lists(unit, min_size=1, max_size=4),
    seed=st.integers(0, 99),
    opset=st.sampled_from([11, 17]),
    stem=st.sampled_from(["input", "conv", "prelu"]),
)
def test_every_normalisation_of_a_residual_stream_disappears(
    units, seed, opset, stem, net, rewritten, operators
):
    net = net(seed=seed, opset=opset, shape=(2, 4, 9, 8))
    x, channels = "image", 4
    if stem != "input":
        x = net.conv(x, 4, 4, pads=PADS)
        x = net.prelu(x, 4) if stem == "prelu" else x
    for options in units:
        wider = channels * (2 if options["kind"] == "project" else 1)
        x = residual_unit(net, x, channels, wider, **options)
        channels = wider
    x = net.conv(net.norm(x, channels), channels, 3, 1)
    model = net.model(x)
    new, count = rewritten(model, carry_norm_shift)
    assert count == len(units) + 1
    assert "BatchNormalization" not in operators(new)
    shifts = [n for n in new.graph.node if n.op_type == "Add"]
    # At most a constant per unit, one at the stem and the maps of channels with a tiny gamma.
    assert len(shifts) <= 3 * len(units) + 2
    together, _ = rewritten(model, *REWRITES.values())
    assert "BatchNormalization" not in operators(together)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 99),
    group=st.sampled_from([1, 2, 4]),
    pads=st.sampled_from([[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 2, 0]]),
    strides=st.sampled_from([[1, 1], [2, 1]]),
    dilations=st.sampled_from([[1, 1], [1, 2]]),
    gamma=st.lists(st.sampled_from([0, 1e-30, 1e-4, 0.5, -1.5]), min_size=3, max_size=3),
    shared=st.booleans(),
)
def test_any_convolution_and_any_gamma(
    seed, group, pads, strides, dilations, gamma, shared, net, rewritten
):
    net = net(seed=seed)
    normalised = net.norm(net.prelu(net.conv("image", 4, 4, 1), 4), 4, gamma=[*gamma, 1])
    options = {"pads": pads, "strides": strides, "dilations": dilations, "group": group}
    x = net.conv(normalised, 4, 8, **options)
    if shared:
        x = net.op("Add", x, net.conv(normalised, 4, 8, bias=False, **options))
    new, count = rewritten(net.model(net.op("Relu", x)), carry_norm_shift)
    assert count == 1
    assert not any(node.op_type == "BatchNormalization" for node in new.graph.node)


@pytest.mark.parametrize("gamma", [0, 1e-6])
def test_a_channel_with_a_large_shift_becomes_a_constant_map(gamma, net, rewritten):
    # x + t / s would be rounded to tenths here, and the shortcut needs x.
    net = net()
    x = net.conv("image", 4, 4)
    y = net.conv(net.norm(x, 4, gamma=[1, 1, gamma, 1]), 4, 4, pads=PADS)
    new, count = rewritten(net.model(net.op("Add", x, y)), carry_norm_shift)
    shapes = [tuple(tensor.dims) for tensor in new.graph.initializer]
    assert (count, shapes.count((1, 4, 4, 4))) == (1, 1)


def test_several_normalisations_of_one_value(net, rewritten, operators):
    net = net()
    x = net.conv("image", 4, 4)
    left, right = (net.conv(net.norm(x, 4), 4, 4, pads=PADS) for _ in range(2))
    new, count = rewritten(net.model(net.op("Mul", left, right)), carry_norm_shift)
    assert (count, "BatchNormalization" in operators(new)) == (2, False)
    # The second finds the first's padded convolution reading x: it must not be shifted again.
    assert operators(new)["Add"] == 1


@pytest.mark.parametrize("padded_reader", ["other", "gate", "twice", "output"])
def test_a_value_that_others_need_as_it_is_is_not_shifted(padded_reader, net, rewritten):
    net = net()
    x = net.conv("image", 4, 4, pads=PADS)
    y = net.conv(net.norm(x, 4), 4, 4, pads=PADS)
    if padded_reader == "twice":
        y = net.op("Add", y, net.op("Add", x, x))
    elif padded_reader == "gate":
        y = net.op("Mul", y, net.op("Sigmoid", x))
    elif padded_reader == "other":
        y = net.op("Add", y, net.conv(x, 4, 4, pads=PADS))
    outputs = [net.op("Relu", y), *([x] if padded_reader == "output" else [])]
    new, count = rewritten(net.model(*outputs), carry_norm_shift)
    bias = {t.name: t for t in new.graph.initializer}[new.graph.node[0].input[2]]
    assert count == 1
    assert bias == {t.name: t for t in net.constants}[net.nodes[0].input[2]]


def test_a_value_that_meets_its_own_sub_sampled_copy(net, rewritten):
    net = net()
    x = net.conv("image", 4, 4, pads=PADS)
    pooled = net.op("AveragePool", x, kernel_shape=[1, 1])
    y = net.conv(net.norm(x, 4), 4, 4, pads=PADS)
    y = net.op("Add", y, net.op("Add", x, pooled))
    assert rewritten(net.model(y), carry_norm_shift)[1] == 1


def test_both_summands_are_the_same_value(net, rewritten):
    net = net()
    y = net.conv("image", 4, 4)
    y = net.conv(net.norm(net.op("Add", y, y), 4), 4, 4, pads=PADS)
    assert rewritten(net.model(y), carry_norm_shift)[1] == 1


def test_two_sums_read_the_same_branch(net, rewritten):
    net = net()
    x, r = net.conv("image", 4, 4, pads=PADS), net.op("Relu", "image")
    sums = [net.op("Add", x, r), net.op("Add", r, x)]
    y = net.conv(net.norm(x, 4), 4, 4, pads=PADS)
    y = net.op("Concat", y, *sums, axis=1)
    assert rewritten(net.model(y), carry_norm_shift)[1] == 1


def test_a_symbolic_batch(net, rewritten):
    net = net(shape=("n", 4, 6, 6))
    x = net.norm(net.conv("image", 4, 4), 4, gamma=[1, 1, 1, 0])
    y = net.op("Relu", net.conv(x, 4, 5, pads=PADS))
    assert rewritten(net.model(y), carry_norm_shift, shape=(3, 4, 6, 6))[1] == 1


def _automatic(net):
    return [net.op("Conv", net.norm("image", 4), net.constant(np.ones((2, 4, 3, 3))),
                   auto_pad="SAME_UPPER")]  # fmt: skip


def _given_out(net):
    y = net.norm("image", 4)
    return [net.conv(y, 4, 4), y]


def _other_reader(net):
    y = net.norm("image", 4)
    return [net.op("Concat", net.conv(y, 4, 4, pads=PADS), y, axis=1)]


def _map_given_out(net):
    return [net.conv(net.norm("image", 4, gamma=[0, 1, 1, 1]), 4, 4, pads=PADS)]


def _computed_weight(net):
    weight = net.op("Relu", net.constant(np.ones((4, 4, 1, 1))))
    return [net.op("Conv", net.norm("image", 4), weight)]


@pytest.mark.parametrize(
    "build", [_automatic, _given_out, _other_reader, _map_given_out, _computed_weight]
)
def test_what_does_not_fit_is_left_alone(build, net, untouched):
    net = net()
    untouched(net.model(*build(net)), carry_norm_shift)
