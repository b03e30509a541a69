import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from lresnet_utils.errors import CheckpointError
from lresnet_utils.models.checkpoint import read_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Network(nn.Module):
    """Small, with everything that TorchScript stores in its own way."""

    counts: dict[str, int]
    words: list[str]

    def __init__(self):
        super().__init__()
        self.sizes = [1, 2, 3]
        self.rate = 0.5
        self.name = "face"
        self.counts = {"a": 1}
        self.words = ["a", "b"]
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4))
        self.shared = self.first[0]
        self.register_buffer("turned", torch.arange(12.0).reshape(3, 4).t())
        self.register_buffer("sixteen", torch.ones(2, dtype=torch.float16))
        self.register_buffer("none", torch.empty(0))
        self.register_buffer("scalar", torch.tensor(3))

    def forward(self, x):
        return self.first(x) * self.rate


def saved(path, kind, module):
    if kind == "script":
        made = torch.jit.script(module)
    else:
        made = torch.jit.trace(module, torch.zeros(1, 3, 8, 8))
    torch.jit.save(made, path)
    return path


@pytest.mark.parametrize("kind", ["script", "trace"])
def test_the_state_dict_comes_back_bit_for_bit(tmp_path, kind):
    module = Network().eval()
    path = saved(tmp_path / "m.pt", kind, module)
    state, expected = read_checkpoint(path).state, module.state_dict()
    assert set(state) == set(expected)
    for name, tensor in expected.items():
        assert state[name].dtype == tensor.dtype
        assert state[name].is_contiguous()
        assert torch.equal(state[name], tensor), name


def test_a_frozen_file_says_that_its_names_are_gone(tmp_path):
    path = tmp_path / "frozen.pt"
    torch.jit.save(torch.jit.freeze(torch.jit.script(Network().eval())), path)
    with pytest.raises(
        CheckpointError, match=r"no network weights.*\n.*frozen.pt\n.*before torch.jit.freeze"
    ):
        read_checkpoint(path)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The archive's members, to be put together again with one of them changed."""
    path = tmp_path_factory.mktemp("t") / "m.pt"
    torch.jit.save(torch.jit.script(Network().eval()), path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


class Runs:
    """Runs a command when it is unpickled the ordinary way."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_nothing_of_a_hostile_file_runs(tmp_path, members):
    witness = tmp_path / "witness"
    changed = members | {"m/data.pkl": pickle.dumps(Runs(f"touch {witness}"), protocol=2)}
    with pytest.raises(CheckpointError, match=r"asks for \w+\.system, which is not data"):
        read_checkpoint(packed(tmp_path / "h.pt", changed))
    assert not witness.exists()
    # Its code is not even looked at.
    code = {name: b"not TorchScript" for name in members if "/code/" in name}
    assert read_checkpoint(packed(tmp_path / "c.pt", members | code)).state


def test_damaged_numbers_and_compressed_members_are_refused(tmp_path, members):
    short = members | {"m/data/0": members["m/data/0"][:-4]}
    with pytest.raises(CheckpointError, match="not the bytes of its numbers"):
        read_checkpoint(packed(tmp_path / "short.pt", short))
    with pytest.raises(CheckpointError, match="missing or compressed"):
        read_checkpoint(packed(tmp_path / "z.pt", members, zipfile.ZIP_DEFLATED))
    without = {name: content for name, content in members.items() if name != "m/data/0"}
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(packed(tmp_path / "w.pt", without))


def test_a_pickle_changed_anywhere_is_refused_or_still_only_tensors(tmp_path, members):
    whole = members["m/data.pkl"]
    path = tmp_path / "f.pt"
    for at in range(0, len(whole), 7):
        for changed in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x15]) + whole[at + 1 :]):
            packed(path, members | {"m/data.pkl": changed})
            try:
                state = read_checkpoint(path).state
            except CheckpointError:
                continue
            assert all(type(tensor) is torch.Tensor for tensor in state.values())


@pytest.mark.parametrize(
    ("size", "stride", "offset"), [((5,), (1,), 0), ((2, 2), (0, 0), 9), ((2**20,), (0,), 0)]
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, members, size, stride, offset):
    # protocol 2, by hand: a module, its attributes, and one tensor with the wanted shape
    def numbers(values):
        return b"(" + b"".join(b"J" + v.to_bytes(4, "little") for v in values) + b"t"

    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K" + bytes([offset])
    tensor += numbers(size) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)RtR"
    body = b"\x80\x02c__torch__\nNet\n)\x81}(X\x01\0\0\0w" + tensor + b"ub."
    changed = members | {"m/data.pkl": body, "m/data/0": bytes(16)}
    with pytest.raises(CheckpointError, match=r"not lie in its storage|2 times the file"):
        read_checkpoint(packed(tmp_path / "v.pt", changed))


def test_modules_that_contain_themselves_come_to_an_end(tmp_path, members):
    # memo 0 is the module; its attribute "a" is the module itself
    body = b"\x80\x02c__torch__\nNet\n)\x81q\x00}(X\x01\0\0\0ah\x00ub."
    with pytest.raises(CheckpointError, match="more names than any network"):
        read_checkpoint(packed(tmp_path / "s.pt", members | {"m/data.pkl": body}))


def test_modules_shared_at_every_level_come_to_an_end(tmp_path, members):
    # Each module is the next one's "a" and "b": 2**40 names of 40 levels, in a kilobyte.
    step = b"c__torch__\nNet\n)\x81}(X\x01\0\0\0ah%cX\x01\0\0\0bh%cubq%c0"
    body = b"\x80\x02c__torch__\nNet\n)\x81q\x000"
    body += b"".join(step % (i, i, i + 1) for i in range(39)) + b"h'."
    with pytest.raises(CheckpointError, match="more names than any network"):
        read_checkpoint(packed(tmp_path / "s.pt", members | {"m/data.pkl": body}))
