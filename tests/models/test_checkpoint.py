import os
import pathlib
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lresnet_utils.errors import CheckpointError
from lresnet_utils.models.architectures import ARCHITECTURES
from lresnet_utils.models.checkpoint import (
    fitting_architectures,
    load_into,
    read_checkpoint,
)


class Runs:
    """Runs a command when it is unpickled the ordinary way."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class EasyDict(dict):
    """Like the configuration objects that training scripts store."""


def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4))


@pytest.fixture
def state():
    return small().state_dict()


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"model": s, "epoch": 3},
        lambda s: {"state_dict": s, "lr": 0.1},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"model": {f"module.{k}": v for k, v in s.items()}},
    ],
    ids=["bare", "model", "state_dict", "parallel", "parallel in model"],
)
def test_the_usual_forms_of_a_checkpoint_are_read(tmp_path, state, wrap, new_format):
    path = tmp_path / "w.pth"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=new_format)
    assert same(read_checkpoint(path).state, dict(state))


SCHEDULE = torch.optim.lr_scheduler.MultiStepLR(torch.optim.SGD([torch.ones(1)], 0.1), [3, 5])


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize(
    "kept",
    [
        SCHEDULE.state_dict(),
        {"seen": {1, 2}, "raw": b"abc", "z": 1j, "type": torch.float16, "size": torch.Size([2])},
        np.float64(0.998),
        np.random.default_rng(1).bit_generator.state,
        {"scores": np.arange(3.0), "legacy": np.random.RandomState(1).get_state()},
    ],
    ids=["steps", "python", "score", "generator", "arrays"],
)
def test_what_a_training_keeps_beside_its_weights_is_passed_over(tmp_path, state, kept, new_format):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": state, "kept": kept}, path, _use_new_zipfile_serialization=new_format)
    read = read_checkpoint(path)
    assert same(read.state, dict(state)) and read.ignored == ("kept",)
    torch.save({"state_dict": {**state, "kept": kept}}, path)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["zip", "old", *range(6)])
def test_no_code_of_a_file_runs(tmp_path, state, kind):
    witness = tmp_path / "witness"
    hostile = {"model": state, "config": Runs(f"touch {witness}")}
    path = tmp_path / "w.pth"
    if kind in ("zip", "old"):
        torch.save(hostile, path, _use_new_zipfile_serialization=kind == "zip")
    else:
        path.write_bytes(pickle.dumps(Runs(f"touch {witness}"), protocol=kind))
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
    assert not witness.exists()
    if kind in ("zip", "old"):  # the file does what the test believes it does
        torch.load(path, weights_only=False)
        assert witness.exists()


@pytest.mark.parametrize("extra", [EasyDict(batch=100), pathlib.Path("x"), torch.optim.SGD])
def test_a_training_checkpoint_with_objects_says_how_to_save_the_weights_alone(
    tmp_path, state, extra
):
    path = tmp_path / "model_2019.pth"
    torch.save({"model": state, "head": {}, "optimizer": {}, "epoch": 1, "config": extra}, path)
    with pytest.raises(CheckpointError, match="more than tensors") as caught:
        read_checkpoint(path)
    text = str(caught.value)
    assert str(path) in text
    assert "['model']" in text
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"<!DOCTYPE html><html>Quota exceeded</html>", bytes(range(256)) * 8, b"version https"],
    ids=["empty", "web page", "noise", "lfs pointer"],
)
def test_files_that_are_no_checkpoints_are_refused(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged or is no PyTorch checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_truncated_checkpoint_is_refused_wherever_it_ends(tmp_path, state, new_format):
    path = tmp_path / "w.pth"
    torch.save(state, path, _use_new_zipfile_serialization=new_format)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 97):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            read_checkpoint(path)


def test_missing_files_folders_and_programs_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path)
    path = tmp_path / "list.pth"
    torch.save([torch.zeros(1)], path)
    with pytest.raises(CheckpointError, match="no network weights"):
        read_checkpoint(path)


def test_loading_takes_every_value_and_does_without_batch_counters(state):
    old = {key: value for key, value in state.items() if "tracked" not in key}
    network = load_into(small(), old, where="w.pth")
    assert same(dict(network.state_dict()), dict(state))
    with torch.device("meta"):
        empty = small()
    assert same(dict(load_into(empty, old, where="w").state_dict()), dict(state))


def test_one_message_names_missing_surplus_and_reshaped_weights(state):
    bad = dict(state)
    bad["0.weight"] = torch.zeros(4, 1, 3, 3)
    del bad["2.weight"]
    bad |= {f"head.{n}": torch.zeros(1) for n in range(5)}
    network = small()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_into(network, bad, where="w.pth")
    assert str(caught.value).splitlines() == [
        "The weights do not fit the network: 1 missing: 2.weight; 5 not in the network: head.0, "
        "head.1, head.2, ...; 1 other shape: 0.weight (4, 1, 3, 3) instead of (4, 3, 3, 3).",
        "  where: w.pth",
    ]
    assert same(dict(network.state_dict()), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(state, value):
    bad = dict(state)
    bad["0.bias"] = torch.full((4,), value)
    with pytest.raises(CheckpointError, match=r"NaN or infinite: 0\.bias"):
        load_into(small(), bad, where="w.pth")


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_quantised_and_complex_numbers_are_no_weights(state, dtype):
    bad = {**state, "0.bias": torch.ones(4).to(dtype)}
    with pytest.raises(CheckpointError, match=rf"0\.bias \({dtype}\)"):
        load_into(small(), bad, where="w.pth")


def test_weights_that_float32_cannot_hold_are_refused(state):
    bad = {**state, "0.bias": torch.full((4,), 1e200, dtype=torch.float64)}
    with pytest.raises(CheckpointError, match=r"NaN or infinite: 0\.bias"):
        load_into(small(), bad, where="w.pth")


def test_weights_of_another_architecture_are_recognised():
    with torch.device("meta"):
        states = {name: known.build().state_dict() for name, known in ARCHITECTURES.items()}
        wanted = ARCHITECTURES["ir_se100"].build()
    assert {name: fitting_architectures(state) for name, state in states.items()} == {
        name: [name] for name in ARCHITECTURES
    }
    with pytest.raises(CheckpointError) as caught:
        load_into(wanted, states["ir_se50"], where="model_ir_se50.pth")
    assert caught.value.fix == "these weights fit architecture ir_se50"
    # 25 more units of 13 needed tensors, and projections (5 tensors) at units 16 and 46.
    assert f"{25 * 13 + 2 * 5} missing" in caught.value.what
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s | {"kernel": torch.zeros(4, 9)},
        lambda s: {f"module.{k}": v for k, v in (s | {"head.weight": torch.zeros(9, 4)}).items()},
        lambda s: {f"backbone.{k}": v for k, v in s.items()} | {"head.kernel": torch.zeros(4, 9)},
        lambda s: {"state_dict_backbone": s, "state_dict_softmax_fc": {"weight": torch.zeros(9)}},
        lambda s: {"model": s, "head": {"kernel": torch.zeros(4, 9)}, "epoch": 3},
        lambda s: {"net": {f"module.backbone.{k}": v for k, v in s.items()}, "lr": 0.1},
    ],
    ids=["kernel", "parallel head", "wrapped backbone", "arcface_torch", "beside", "twice"],
)
def test_what_only_training_needs_is_left_out_and_named(tmp_path, state, wrap):
    path = tmp_path / "w.pth"
    torch.save(wrap(dict(state)), path)
    checkpoint = read_checkpoint(path)
    assert same(checkpoint.state, dict(state))
    assert checkpoint.ignored
    assert not set(checkpoint.ignored) & set(state)


def test_a_head_alone_is_no_network(tmp_path):
    torch.save({"kernel": torch.zeros(4, 9)}, tmp_path / "head.pth")
    with pytest.raises(CheckpointError, match="only the classification head"):
        read_checkpoint(tmp_path / "head.pth")


def test_no_weight_of_a_known_network_is_taken_for_a_head(tmp_path):
    with torch.device("meta"):
        names = {key for known in ARCHITECTURES.values() for key in known.build().state_dict()}
    torch.save({name: torch.zeros(1) for name in sorted(names)}, tmp_path / "all.pth")
    assert read_checkpoint(tmp_path / "all.pth").ignored == ()


def test_safetensors_are_read(tmp_path, state):
    path = tmp_path / "w.safetensors"
    save_file({f"module.{k}": v for k, v in state.items()}, path)
    assert same(read_checkpoint(path).state, dict(state))
    whole = path.read_bytes()
    for content in (whole[:40], whole[:-1], b"<html>", b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged or is no safetensors file"):
            read_checkpoint(path)
    with pytest.raises(CheckpointError, match="does not exist"):
        read_checkpoint(tmp_path / "absent.safetensors")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("kind", "make", "road"),
    [
        ("float8", lambda t: t.to(torch.float8_e4m3fn), "before it is quantised"),
        ("quantised", lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "before it is"),
        ("sparse", torch.Tensor.to_sparse, "to_dense()"),
        ("sparse", torch.Tensor.to_sparse_csr, "to_dense()"),
    ],
)
def test_tensors_that_are_not_plain_are_named_with_a_road(tmp_path, kind, make, road):
    old, new = tmp_path / "old.pth", tmp_path / "new.pth"
    torch.save({"weight": make(torch.eye(4))}, old)
    with pytest.raises(CheckpointError, match=f"tensors that are {kind}") as caught:
        read_checkpoint(old)
    assert road in caught.value.fix and len(str(caught.value).splitlines()) == 3
    if kind == "sparse":  # the line that is told is one that works
        told = caught.value.fix.split(", where")[0]
        exec(told, {"torch": torch, "OLD": old, "NEW": new})
        assert torch.equal(read_checkpoint(new).state["weight"], torch.eye(4))
