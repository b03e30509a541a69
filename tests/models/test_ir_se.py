import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lresnet_utils.errors import ParamsError
from lresnet_utils.models.architectures import ARCHITECTURES
from lresnet_utils.models.ir_se import Backbone, SqueezeExcitation
from lresnet_utils.models.network import load_network

# Parameters, keys, units and 1e9 multiply-adds of the published networks.
SIZES = {
    (50, "ir"): (43_574_976, 349, 24, 6.296),
    (50, "ir_se"): (43_797_696, 397, 24, 6.297),
    (100, "ir"): (65_129_792, 674, 49, 12.077),
    (100, "ir_se"): (65_502_016, 772, 49, 12.077),
    (152, "ir_se"): (71_148_736, 787, 50, 12.308),
}
BATCH_NORM = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


def on_meta(layers, mode):
    with torch.device("meta"):
        return Backbone(layers, mode=mode).eval()


@pytest.mark.parametrize(("layers", "mode"), SIZES)
def test_sizes_are_those_of_the_published_networks(layers, mode):
    parameters, keys, units, gmacs = SIZES[layers, mode]
    network = on_meta(layers, mode)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(network.state_dict()) == keys
    assert len(network.body) == units
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 112, 112, device="meta"))
    assert round(counter.get_total_flops() / 2e9, 3) == pytest.approx(gmacs, abs=1e-3)


def test_names_of_ir_se100_are_those_of_the_published_checkpoint_in_order():
    def batch_norm(prefix):
        return [f"{prefix}.{field}" for field in BATCH_NORM]

    expected = ["input_layer.0.weight", *batch_norm("input_layer.1"), "input_layer.2.weight"]
    expected += batch_norm("output_layer.0")
    expected += ["output_layer.3.weight", "output_layer.3.bias", *batch_norm("output_layer.4")]
    for n in range(49):
        unit = f"body.{n}"
        if n in (3, 16, 46):
            expected += [f"{unit}.shortcut_layer.0.weight"]
            expected += batch_norm(f"{unit}.shortcut_layer.1")
        expected += batch_norm(f"{unit}.res_layer.0")
        expected += [f"{unit}.res_layer.{i}.weight" for i in (1, 2, 3)]
        expected += batch_norm(f"{unit}.res_layer.4")
        expected += [f"{unit}.res_layer.5.fc1.weight", f"{unit}.res_layer.5.fc2.weight"]
    state = on_meta(100, "ir_se").state_dict()
    assert list(state) == expected
    assert state["output_layer.3.weight"].shape == (512, 25088)
    assert state["body.48.res_layer.5.fc1.weight"].shape == (32, 512, 1, 1)


def by_hand(state, x, squeeze):
    """The network written out from its description, straight on the named tensors."""

    def bn(x, p):
        mean, var = state[f"{p}.running_mean"], state[f"{p}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{p}.weight"], state[f"{p}.bias"], eps=1e-5)

    x = F.conv2d(x, state["input_layer.0.weight"], padding=1)
    x = F.prelu(bn(x, "input_layer.1"), state["input_layer.2.weight"])
    first_of_stage = (0, 3, 7, 21)
    for n in range(24):
        unit, stride = f"body.{n}", 2 if n in first_of_stage else 1
        r = F.conv2d(bn(x, f"{unit}.res_layer.0"), state[f"{unit}.res_layer.1.weight"], padding=1)
        r = F.prelu(r, state[f"{unit}.res_layer.2.weight"])
        r = F.conv2d(r, state[f"{unit}.res_layer.3.weight"], stride=stride, padding=1)
        r = bn(r, f"{unit}.res_layer.4")
        if squeeze:
            gate = r.mean((2, 3), keepdim=True)
            gate = F.relu(F.conv2d(gate, state[f"{unit}.res_layer.5.fc1.weight"]))
            r = r * F.conv2d(gate, state[f"{unit}.res_layer.5.fc2.weight"]).sigmoid()
        if f"{unit}.shortcut_layer.0.weight" in state:
            x = F.conv2d(x, state[f"{unit}.shortcut_layer.0.weight"], stride=stride)
            x = bn(x, f"{unit}.shortcut_layer.1")
        else:
            x = x[:, :, ::stride, ::stride]
        x = x + r
    x = bn(x, "output_layer.0").flatten(1)
    x = x @ state["output_layer.3.weight"].T + state["output_layer.3.bias"]
    return F.normalize(bn(x, "output_layer.4"), eps=0)


@pytest.mark.parametrize("name", ["ir50", "ir_se50"])
def test_the_network_computes_what_its_description_says(name):
    network = load_network(name, "seeded").module
    x = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        expected = by_hand(network.state_dict(), x, name.startswith("ir_se"))
        torch.testing.assert_close(network(x), expected, rtol=0, atol=2e-6)


def test_a_zero_vector_gives_nan_as_in_the_original():
    network = load_network("ir50", "seeded").module
    network.output_layer[4].weight.zero_()
    network.output_layer[4].bias.zero_()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 112, 112)).isnan().all()


def test_the_gate_of_squeeze_excitation_is_a_half_for_zero_weights():
    layer = SqueezeExcitation(32)
    torch.nn.init.zeros_(layer.fc2.weight)
    x = torch.rand(2, 32, 5, 5)
    torch.testing.assert_close(layer(x), x / 2)


def test_unknown_depths_and_modes_are_refused():
    with pytest.raises(ParamsError, match="known: 50, 100, 152"):
        Backbone(34)
    with pytest.raises(ParamsError, match="did you mean 'ir_se'"):
        Backbone(50, mode="irse")


def test_every_architecture_gives_its_embedding_size():
    for name, known in ARCHITECTURES.items():
        with torch.device("meta"):
            out = known.build().eval()(torch.empty(2, 3, 112, 112))
        assert (name, out.shape) == (known.name, (2, known.embedding_size))
