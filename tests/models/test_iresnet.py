import pytest
import torch
from torch.nn import functional as F

from lresnet_utils.errors import ParamsError
from lresnet_utils.models.iresnet import UNITS_PER_STAGE, IResNet
from lresnet_utils.models.network import load_network

BATCH_NORM = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


def on_meta(layers):
    with torch.device("meta"):
        return IResNet(layers).eval()


def names_and_shapes(units):
    """As ``iresnet.py`` of arcface_torch registers them, written out from its definition."""
    listed = {}

    def conv(name, out, into, kernel):
        listed[f"{name}.weight"] = (out, into, kernel, kernel)

    def norm(name, channels):
        listed.update({f"{name}.{field}": (channels,) for field in BATCH_NORM})
        listed[f"{name}.num_batches_tracked"] = ()

    conv("conv1", 64, 3, 3)
    norm("bn1", 64)
    listed["prelu.weight"] = (64,)
    inplanes = 64
    for stage, (planes, count) in enumerate(zip((64, 128, 256, 512), units, strict=True), start=1):
        for number in range(count):
            unit = f"layer{stage}.{number}"
            norm(f"{unit}.bn1", inplanes)
            conv(f"{unit}.conv1", planes, inplanes, 3)
            norm(f"{unit}.bn2", planes)
            listed[f"{unit}.prelu.weight"] = (planes,)
            conv(f"{unit}.conv2", planes, planes, 3)
            norm(f"{unit}.bn3", planes)
            if number == 0:
                conv(f"{unit}.downsample.0", planes, inplanes, 1)
                norm(f"{unit}.downsample.1", planes)
            inplanes = planes
    norm("bn2", 512)
    listed["fc.weight"], listed["fc.bias"] = (512, 25088), (512,)
    norm("features", 512)
    return listed


@pytest.mark.parametrize(
    ("layers", "units"),
    [
        (18, (2, 2, 2, 2)),
        (34, (3, 4, 6, 3)),
        (50, (3, 4, 14, 3)),
        (100, (3, 13, 30, 3)),
        (200, (6, 26, 60, 6)),
    ],
)
def test_names_order_and_shapes_are_those_of_arcface_torch(layers, units):
    state = on_meta(layers).state_dict()
    expected = names_and_shapes(units)
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == expected
    assert list(state) == list(expected)


def test_the_network_is_the_one_of_its_formula():
    network = load_network("iresnet18", "seeded").module
    w = network.state_dict()
    x = torch.rand(1, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def norm(x, name):
        values = [w[f"{name}.{f}"] for f in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *values, eps=1e-5)

    with torch.inference_mode():
        expected = norm(F.conv2d(x, w["conv1.weight"], padding=1), "bn1")
        expected = F.prelu(expected, w["prelu.weight"])
        for stage in (1, 2, 3, 4):
            for number in (0, 1):
                unit, stride = f"layer{stage}.{number}", 2 if number == 0 else 1
                y = F.conv2d(norm(expected, f"{unit}.bn1"), w[f"{unit}.conv1.weight"], padding=1)
                y = F.prelu(norm(y, f"{unit}.bn2"), w[f"{unit}.prelu.weight"])
                y = F.conv2d(y, w[f"{unit}.conv2.weight"], stride=stride, padding=1)
                y = norm(y, f"{unit}.bn3")
                if number == 0:
                    expected = F.conv2d(expected, w[f"{unit}.downsample.0.weight"], stride=2)
                    expected = norm(expected, f"{unit}.downsample.1")
                expected = expected + y
        expected = norm(expected, "bn2").flatten(1)
        expected = norm(F.linear(expected, w["fc.weight"], w["fc.bias"]), "features")
        torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)


def test_unknown_depths_are_refused():
    assert set(UNITS_PER_STAGE) == {18, 34, 50, 100, 200}
    with pytest.raises(ParamsError, match="known: 18, 34, 50, 100, 200"):
        IResNet(101)
