"""Checkpoints whose containers lie, which PyTorch's own safe reader takes at their word."""

import io
import os
import pickle
import struct
import zipfile

import pytest
import torch

from lresnet_utils.errors import CheckpointError
from lresnet_utils.models.checkpoint import read_checkpoint

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
    read = read_checkpoint(path).state
    assert all(torch.equal(read[name], STATE[name]) for name in STATE)


def test_a_flipped_bit_of_a_weight_is_noticed(saved):
    data = bytearray(saved.read_bytes())
    place = data.index(STATE["weight"].numpy().tobytes())
    data[place + 7] ^= 0x40
    saved.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(saved)


def test_an_order_of_bytes_cannot_hide_in_a_compressed_record(saved):
    """PyTorch would find it, and swap the bytes of every number."""
    file = io.BytesIO()
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            if name.endswith("/byteorder"):
                new.writestr(name, b"big", zipfile.ZIP_DEFLATED)
            else:
                new.writestr(name, old.read(name))
    saved.write_bytes(file.getvalue())
    with pytest.raises(CheckpointError, match="byteorder is missing or compressed"):
        read_checkpoint(saved)


@pytest.mark.parametrize("old", [False, True])
def test_a_tensor_to_be_negated_on_reading_is_never_read_with_the_wrong_sign(tmp_path, old):
    path = tmp_path / "w.pth"
    negated = torch.tensor([1 + 2j]).conj().imag
    torch.save({"weight": negated}, path, _use_new_zipfile_serialization=not old)
    assert torch.load(path, weights_only=True)["weight"].item() == -2
    with pytest.raises(CheckpointError, match="signs are to be changed"):
        read_checkpoint(path)


def test_a_storage_longer_than_its_record_is_refused(saved):
    """PyTorch would view bytes beyond the record: whatever lies there in memory."""
    six, many = b"K\x06", b"M\xff\xff"
    rewritten(saved, {"data.pkl": lambda data: data.replace(six, many, 1)})
    with pytest.raises(CheckpointError, match="has not the bytes of its numbers"):
        read_checkpoint(saved)


def test_one_number_repeated_a_billion_times_is_no_weight(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"weight": torch.ones(1).expand(2**15, 2**15)}, path)
    with pytest.raises(CheckpointError, match="would take over 2 times the file's bytes"):
        read_checkpoint(path)
    few = torch.arange(3.0).expand(4, 3)  # what torch.save makes of these is no bomb
    torch.save({"weight": few}, path)
    assert torch.equal(read_checkpoint(path).state["weight"], few)


def test_compressed_records_are_refused(saved):
    rewritten(saved, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="missing or compressed"):
        read_checkpoint(saved)


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
    with pytest.raises(CheckpointError, match="more than tensors"):
        read_checkpoint(saved)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", pickle.dumps([1], 2), b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."]
)
def test_what_is_neither_format_is_refused(tmp_path, data):
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_an_old_file_that_announces_more_than_it_has_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(STATE, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"K\x06", b"J" + struct.pack("<i", 2**30), 1))
    with pytest.raises(CheckpointError, match="another length than its tensor"):
        read_checkpoint(path)


def overlapping(path, form, names, numel=100_000):
    """Save tensors that begin one number apart in one storage."""
    base = torch.zeros(numel)
    if form == "torchscript":
        module = torch.nn.Module()
        for i in range(names):
            module.register_buffer(f"w{i}", base[i:])
        torch.jit.save(torch.jit.script(module), path)
    else:
        views = {f"w{i}": base[i:] for i in range(names)}
        torch.save(views, path, _use_new_zipfile_serialization=form == "zip")
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("form", ["zip", "old", "torchscript"])
def test_names_that_share_a_storage_take_no_more_than_twice_the_file(tmp_path, form):
    path = overlapping(tmp_path / "w.pth", form, 300)
    assert path.stat().st_size < 600_000
    with pytest.raises(CheckpointError, match="over 2 times the file's bytes"):
        read_checkpoint(path)
    assert len(read_checkpoint(overlapping(path, form, 2)).state) == 2


def test_names_of_one_view_are_one_tensor(tmp_path):
    turned = torch.arange(6.0).reshape(2, 3).t()
    torch.save({f"w{i}": turned for i in range(2000)}, tmp_path / "w.pth")
    state = read_checkpoint(tmp_path / "w.pth").state
    assert len(state) == 2000 and len({tensor.data_ptr() for tensor in state.values()}) == 1
    assert torch.equal(state["w7"], turned) and state["w7"].is_contiguous()


@pytest.mark.parametrize("where", ["behind", "before", "in a comment"])
def test_two_archives_in_one_file_are_refused(saved, tmp_path, where):
    """PyTorch takes offsets from the file's start, others from where the directory stands."""
    own = saved.read_bytes()
    torch.save({"a": torch.zeros(4)}, tmp_path / "other.pth")
    other = (tmp_path / "other.pth").read_bytes()
    between = len(other).to_bytes(2, "little") if where == "in a comment" else b""
    whole = own[: -len(between) or None] + between + other
    saved.write_bytes(other + own if where == "before" else whole)
    with pytest.raises(CheckpointError, match="do not begin where the file does"):
        read_checkpoint(saved)


@pytest.mark.parametrize("size", [16, 2**33, 2**63, 2**64 - 1])
def test_sizes_in_64_bits_are_held_against_the_files_own(saved, size):
    """Each record's size in the directory is given over to an entry of 64 bits."""
    data = saved.read_bytes()
    start, end = data.index(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    at, directory = start, b""
    while data[at : at + 4] == b"PK\x01\x02":
        name, extra = struct.unpack_from("<HH", data, at + 28)
        after = at + 46 + name + extra
        wide = struct.pack("<HHQQ", 1, 16, size, size)
        head = bytearray(data[at : at + 46])
        struct.pack_into("<II", head, 20, 2**32 - 1, 2**32 - 1)
        struct.pack_into("<H", head, 30, extra + len(wide))
        directory += bytes(head) + data[at + 46 : after] + wide
        at = after
    last = bytearray(data[end:])
    n_records = directory.count(b"PK\x01\x02")
    struct.pack_into("<HHII", last, 8, n_records, n_records, len(directory), start)
    saved.write_bytes(data[:start] + directory + bytes(last))
    with pytest.raises(CheckpointError, match=r"announce more bytes|CRC|another length"):
        read_checkpoint(saved)


@pytest.mark.parametrize("name", ["Data.pkl", "DATA.PKL"])
def test_a_second_pickle_of_another_case_is_never_read(saved, name):
    with zipfile.ZipFile(saved) as old:
        members = {member: old.read(member) for member in old.namelist()}
    bomb = b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_STORED) as new:
        new.writestr(f"w/{name}", bomb)
        for member, data in members.items():
            new.writestr(member, data)
    assert torch.equal(read_checkpoint(saved).state["weight"], STATE["weight"])


def test_one_list_cannot_fill_many_dictionaries(saved):
    pairs = b"]q\x00(" + b"".join(b"X\x02\x00\x00\x00%02dK\x01\x86" % i for i in range(90)) + b"e"
    again = b"h\x01h\x00\x85R0" * 2000
    program = b"\x80\x02" + b"ccollections\nOrderedDict\nq\x010" + pairs + b"0" + again + b"}."
    rewritten(saved, {"data.pkl": lambda data: program})
    with pytest.raises(CheckpointError, match="more structure than a file of its size"):
        read_checkpoint(saved)


def test_pipes_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "zero.pth").symlink_to("/dev/zero")
    for name in ("pipe.pth", "pipe.safetensors", "zero.pth", "."):
        with pytest.raises(CheckpointError, match="not a file") as caught:
            read_checkpoint(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 3


def test_a_name_that_is_too_long_or_no_text_is_an_error_of_three_lines(tmp_path):
    for name in ("x" * 5000, "x" * 300 + ".safetensors", "a\udcff.pth", "a\0b"):
        with pytest.raises(CheckpointError, match=r"cannot be read: |does not exist") as caught:
            read_checkpoint(tmp_path / name)
        assert len(str(caught.value).splitlines()) <= 3
        str(caught.value).encode("utf-8")
