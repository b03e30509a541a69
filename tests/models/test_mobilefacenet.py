import torch
from torch.nn import functional as F

from lresnet_utils.models.mobilefacenet import MobileFaceNet
from lresnet_utils.models.network import load_network

BATCH_NORM = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
# Channels in and out, width, units and whether they are residual, by the original's name.
BOTTLENECKS = {
    "conv_23": (64, 64, 128, 1, False),
    "conv_3": (64, 64, 128, 4, True),
    "conv_34": (64, 128, 256, 1, False),
    "conv_4": (128, 128, 256, 6, True),
    "conv_45": (128, 128, 512, 1, False),
    "conv_5": (128, 128, 256, 2, True),
}


def unit_names(name, count, residual):
    return [f"{name}.model.{n}" for n in range(count)] if residual else [name]


def names_and_shapes():
    """As ``model.py`` of InsightFace_Pytorch registers them, written out from its definition."""
    listed = {}

    def block(name, out, into, kernel, activation=True):
        listed[f"{name}.conv.weight"] = (out, into, kernel, kernel)
        listed.update({f"{name}.bn.{field}": (out,) for field in BATCH_NORM})
        listed[f"{name}.bn.num_batches_tracked"] = ()
        if activation:
            listed[f"{name}.prelu.weight"] = (out,)

    block("conv1", 64, 3, 3)
    block("conv2_dw", 64, 1, 3)
    for name, (into, out, width, count, residual) in BOTTLENECKS.items():
        for unit in unit_names(name, count, residual):
            block(f"{unit}.conv", width, into, 1)
            block(f"{unit}.conv_dw", width, 1, 3)
            block(f"{unit}.project", out, width, 1, activation=False)
    block("conv_6_sep", 512, 128, 1)
    block("conv_6_dw", 512, 1, 7, activation=False)
    listed["linear.weight"] = (512, 512)
    listed.update({f"bn.{field}": (512,) for field in BATCH_NORM})
    listed["bn.num_batches_tracked"] = ()
    return listed


def test_names_order_and_shapes_are_those_of_the_published_checkpoint():
    with torch.device("meta"):
        state = MobileFaceNet().state_dict()
    expected = names_and_shapes()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected
    assert list(state) == list(expected)


def test_the_network_is_the_one_of_its_formula():
    network = load_network("mobilefacenet", "seeded").module
    w = network.state_dict()

    def block(x, name, **options):
        x = F.conv2d(x, w[f"{name}.conv.weight"], **options)
        values = [w[f"{name}.bn.{f}"] for f in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *values)
        slope = w.get(f"{name}.prelu.weight")
        return x if slope is None else F.prelu(x, slope)

    x = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        found = network(x)
        x = block(x, "conv1", stride=2, padding=1)
        x = block(x, "conv2_dw", padding=1, groups=64)
        for name, (_, _, width, count, residual) in BOTTLENECKS.items():
            for unit in unit_names(name, count, residual):
                y = block(x, f"{unit}.conv")
                stride = 1 if residual else 2
                y = block(y, f"{unit}.conv_dw", padding=1, groups=width, stride=stride)
                y = block(y, f"{unit}.project")
                x = x + y if residual else y
        x = block(block(x, "conv_6_sep"), "conv_6_dw", groups=512).flatten(1)
        x = F.linear(x, w["linear.weight"])
        x = F.batch_norm(x, w["bn.running_mean"], w["bn.running_var"], w["bn.weight"], w["bn.bias"])
        torch.testing.assert_close(found, F.normalize(x), rtol=0, atol=2e-6)
    assert x.shape == (2, 512)
