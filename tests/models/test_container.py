"""Checkpoints whose containers lie, which PyTorch's own safe reader takes at their word."""

import io
import pickle
import struct
import zipfile

import pytest
import torch

from lresnet_utils.errors import CheckpointError
from lresnet_utils.models.checkpoint import read_state_dict
from lresnet_utils.models.container import ContainerError, MoreThanTensorsError, check_container

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "half": torch.ones(3, dtype=torch.float16)}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(STATE, path)
    return path


def rewritten(path, changes=None, compression=zipfile.ZIP_STORED):
    """Write an archive anew, with right checksums, some members changed by a function."""
    file = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(file, "w", compression) as new:
        for name in old.namelist():
            change = (changes or {}).get(name.split("/", 1)[1], lambda data: data)
            new.writestr(name, change(old.read(name)))
    path.write_bytes(file.getvalue())
    return path


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
def test_what_pytorch_writes_is_accepted(tmp_path, old, protocol):
    content = {"model": STATE, "epoch": 3, "lr": 0.1, "names": ["a", ("b", None)]}
    path = tmp_path / "w.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not old, pickle_protocol=protocol)
    check_container(path)
    read = read_state_dict(path)
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)


def test_a_flipped_bit_of_a_weight_is_noticed(saved):
    data = bytearray(saved.read_bytes())
    place = data.index(STATE["weight"].numpy().tobytes())
    data[place + 7] ^= 0x40
    saved.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="damaged"):
        read_state_dict(saved)


def test_a_storage_longer_than_its_record_is_refused(saved):
    """PyTorch would view bytes beyond the record: whatever lies there in memory."""
    six, many = b"K\x06", b"M\xff\xff"
    rewritten(saved, {"data.pkl": lambda data: data.replace(six, many, 1)})
    with pytest.raises(ContainerError, match="longer than its record"):
        check_container(saved)


def test_one_number_repeated_a_billion_times_is_no_weight(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"weight": torch.ones(1).expand(2**15, 2**15)}, path)
    with pytest.raises(CheckpointError, match="no network weights"):
        read_state_dict(path)


def test_compressed_records_are_refused(saved):
    rewritten(saved, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ContainerError, match="compressed"):
        check_container(saved)


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
        b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"(S'id'\nios\nsystem\n.",
    ],
)
def test_other_names_than_those_of_tensors_are_refused(saved, program):
    rewritten(saved, {"data.pkl": lambda data: program})
    with pytest.raises(MoreThanTensorsError):
        check_container(saved)
    with pytest.raises(CheckpointError, match="more than tensors"):
        read_state_dict(saved)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", pickle.dumps([1], 2), b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."]
)
def test_what_is_neither_format_is_refused(tmp_path, data):
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        read_state_dict(path)


def test_an_old_file_that_announces_more_than_it_has_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"K\x06", b"J" + struct.pack("<i", 2**30), 1))
    with pytest.raises(ContainerError, match="longer than the file"):
        check_container(path)
