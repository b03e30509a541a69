import hashlib
import resource

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from lresnet_utils.data.packaged import SFACE_SHA256, orl_files
from lresnet_utils.errors import CheckpointError, ParamsError, StorageError
from lresnet_utils.models.network import (
    load_network,
    restore_network,
    save_network,
    seeded_state_dict,
    state_dict_sha256,
)


def faces(normalisation):
    """Four people's faces as the network wants them."""
    files = [path for person, path in orl_files() if path.stem == "1"][:4]
    grey = np.stack(
        [cv2.resize(cv2.imread(str(p), cv2.IMREAD_GRAYSCALE), (112, 112)) for p in files]
    )
    pixels = torch.from_numpy(grey).float()[:, None].repeat(1, 3, 1, 1)
    return pixels if normalisation == "raw" else (pixels / 255 - 0.5) / 0.5


@pytest.fixture(scope="module")
def seeded():
    return load_network("ir_se50", "seeded")


def test_a_seeded_network_is_the_same_whatever_the_global_generators_do(seeded):
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state()
    again = load_network("ir_se50", "seeded")
    assert torch.equal(before, torch.get_rng_state())
    assert again.sha256 == seeded.sha256
    assert load_network("ir_se50", "seeded", seed=1).sha256 != seeded.sha256
    assert (seeded.weights, seeded.trained) == ("seeded", False)
    assert seeded.n_parameters == 43_797_696


def test_a_seeded_network_is_the_same_on_every_machine():
    state = seeded_state_dict(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), seed=0)
    assert state_dict_sha256(state).startswith("453cf18837fdb618")


@pytest.mark.parametrize("name", ["ir_se50", "ir50", "iresnet18", "mobilefacenet", "sface"])
def test_seeded_embeddings_are_finite_and_tell_faces_apart(name):
    network = load_network(name, "seeded")
    with torch.inference_mode():
        output = network.module(faces(network.architecture.normalisation))
    rows = nn.functional.normalize(output)
    assert rows.isfinite().all()
    cosines = (rows @ rows.T)[np.triu_indices(4, 1)]
    assert cosines.max() < 0.97


def test_a_seeded_network_does_not_amplify_rounding():
    network = load_network("ir_se50", "seeded").module
    x = faces("minus1_1")
    with torch.inference_mode():
        single = network(x).double()
        double = network.double()(x.double())
    assert (single - double).abs().max() < 2e-6


def test_no_seeded_value_is_one_that_folding_makes_vanish(seeded):
    state = seeded.module.state_dict()
    assert (state["body.0.res_layer.0.running_mean"] != 0).all()
    assert (state["body.0.res_layer.0.running_var"] != 1).all()
    assert (state["body.0.res_layer.0.bias"] != 0).all()
    slopes = state["body.0.res_layer.2.weight"]
    assert ((slopes > 0) & (slopes < 1)).all()


def test_the_module_is_ready_to_infer(seeded):
    assert not any(module.training for module in seeded.module.modules())
    assert not any(parameter.requires_grad for parameter in seeded.module.parameters())
    assert {parameter.device.type for parameter in seeded.module.parameters()} == {"cpu"}


def test_saved_weights_come_back_bit_for_bit_and_give_the_same_bytes(tmp_path):
    network = load_network("sface", "packaged")
    first, second = tmp_path / "a.pt", tmp_path / "elsewhere" / "b.pt"
    assert save_network(network, first) == first
    save_network(network, second)
    assert first.read_bytes() == second.read_bytes()
    restored = restore_network("sface", first)
    assert state_dict_sha256(restored.state_dict()) == state_dict_sha256(
        network.module.state_dict()
    )
    assert not restored.training
    with pytest.raises(CheckpointError, match="fit architecture sface"):
        restore_network("ir_se50", first)
    assert torch.load(first, weights_only=True).keys() == network.module.state_dict().keys()


def test_a_file_is_named_and_hashed(tmp_path):
    path = tmp_path / "my.pth"
    halves = {k: v.half() for k, v in load_network("sface", "packaged").module.state_dict().items()}
    torch.save({"model": halves}, path)
    network = load_network("sface", path)
    assert (network.weights, network.trained) == ("my.pth", True)
    assert network.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {p.dtype for p in network.module.parameters()} == {torch.float32}


def test_packaged_weights_exist_for_sface_only():
    network = load_network("sface", "packaged")
    assert (network.weights, network.sha256) == ("packaged", SFACE_SHA256)
    with pytest.raises(ParamsError, match="Only sface has packaged weights, not ir_se100"):
        load_network("ir_se100", "packaged")
    with pytest.raises(ParamsError, match="did you mean 'ir_se100'"):
        load_network("ir_se10", "seeded")


def test_a_disk_that_fills_while_weights_are_saved_is_told_as_that(tmp_path):
    """PyTorch's own words for it are "unexpected pos"."""
    network = load_network("sface", "seeded")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, before[1]))
    try:
        with pytest.raises(StorageError, match="File too large") as told:
            save_network(network, tmp_path / "network.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "free some space" in str(told.value) and not list(tmp_path.iterdir())
