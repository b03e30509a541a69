"""Readers of checkpoints and ONNX graphs."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import onnx
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper

from fuzzkit.subject import Seed, Subject
from lresnet_utils.graph.inspect import summarise
from lresnet_utils.models.checkpoint import read_state_dict

STATE = OrderedDict(
    weight=torch.arange(6, dtype=torch.float32).reshape(2, 3) / 7,
    bias=torch.tensor([0.5, -0.25]),
    count=torch.tensor(3),
)


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# --- checkpoints -------------------------------------------------------------------------------

PICKLE_TOKENS = (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"cbuiltins\nbytearray\n", b"ctorch\nDoubleStorage\n",
    b"ctorch._utils\n_rebuild_sparse_tensor\n", b"ctorch\nload\n", b"R", b"b", b"Q", b"0", b"2", b"(", b"t",
    b"J\xff\xff\xff\x7f", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", b"r\xff\xff\xff\xff",
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"archive/data.pkl", b"archive/data/0", b"storage",
)  # fmt: skip


def _saved(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def _checkpoint_seeds(folder):
    wrapped = {"model": STATE, "epoch": 3}
    parallel = {f"module.{name}": tensor for name, tensor in STATE.items()}
    old = {"_use_new_zipfile_serialization": False}
    contents = (_saved(STATE), _saved(wrapped), _saved(parallel, **old), _saved(STATE, **old))
    pickled = _pickle_of(contents[0])
    return [
        *(Seed(data, "whole") for data in contents),
        Seed(safetensors.torch.save(dict(STATE)), "safetensors"),
        Seed(_scripted(), "torchscript"),
        # The pickle alone is damaged too, inside an archive whose checksums are right.
        Seed(pickled, "pickle"),
    ]


class _Small(torch.nn.Module):
    """Three tensors for TorchScript to save."""

    def __init__(self):
        super().__init__()
        for name, tensor in STATE.items():
            self.register_buffer(name, tensor.clone())

    def forward(self, x):
        return x


def _scripted():
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is on its way out
        torch.jit.save(torch.jit.trace(_Small(), torch.zeros(1)), file)
    return file.getvalue()


def _pickle_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        return archive.read(name)


def _packed(data, seed):
    if seed.about != "pickle":
        return data
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_saved(STATE))) as old,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as new,
    ):
        for info in old.infolist():
            new.writestr(info, data if info.filename.endswith("/data.pkl") else old.read(info))
    return file.getvalue()


def _checkpoint_read(data, seed, folder):
    name = "w.safetensors" if seed.about == "safetensors" else "w.pth"
    return read_state_dict(write(folder, name, _packed(data, seed)))


def _checkpoint_check(data, seed, value):
    """Every number is one of the file's, and lies where the file has it."""
    packed = _packed(data, seed)
    for name, tensor in value.items():
        assert isinstance(name, str) and isinstance(tensor, torch.Tensor)
        assert tensor.numel() * tensor.element_size() <= len(packed)
        raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        rows = [raw] if tensor.is_contiguous() else [bytes([b]) for b in raw]
        assert all(row in packed for row in rows), f"{name} has bytes that the file has not"
    if seed.about in ("whole", "torchscript") and packed.startswith(b"PK"):
        # Checksums cover every record of the present format.
        for name, tensor in value.items():
            assert torch.equal(tensor, STATE[name]), name


# --- graphs ------------------------------------------------------------------------------------

ONNX_TOKENS = (
    b"Conv", b"Gemm", b"MatMul", b"Loop", b"If", b"Reshape", b"Expand", b"ai.onnx", b"weight", b"image",
    b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x10\x01", b"\x70\x01", b"location",
    b"j\x14\n\x08location\x12\x08/etc/pwd", b"\x0a" * 120, b"\xff" * 10, b"\x12\x00",
)  # fmt: skip


def small_graph():
    """Return a graph of a convolution and a product, with every number chosen by hand."""
    kernel = numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "kernel")
    weight = numpy_helper.from_array(np.ones((8, 4), np.float32), "weight")
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["maps"], name="conv"),
        helper.make_node("Flatten", ["maps"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [2, 3, 2, 2])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [2, 4])],
        [kernel, weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _onnx_seeds(folder):
    whole = small_graph()
    fixed = small_graph()
    fixed.graph.node[1].op_type = "Reshape"
    fixed.graph.node[1].input.append("shape")
    fixed.graph.initializer.append(numpy_helper.from_array(np.array([2, 8]), "shape"))
    return [Seed(whole.SerializeToString()), Seed(fixed.SerializeToString())]


def _onnx_read(data, seed, folder):
    return summarise(write(folder, "m.onnx", data))


def _onnx_check(data, seed, value):
    """Counted again from the message, without the reader's own arithmetic."""
    model = onnx.load_from_string(data)
    assert sum(value.operators.values()) == len(model.graph.node) == len(value.layers)
    numbers = 0
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)  # fails where the bytes are not the shape's
        numbers += array.size if np.issubdtype(array.dtype, np.floating) else 0
    assert value.n_parameters == numbers
    assert value.file_bytes == len(data) and value.flops >= 0
    assert value.flops == sum(layer.flops for layer in value.layers)
    for shape in (*value.inputs.values(), *value.outputs.values()):
        assert all(isinstance(axis, str) or axis >= 0 for axis in shape)


SUBJECTS = {
    "checkpoint": Subject(_checkpoint_seeds, _checkpoint_read, _checkpoint_check, PICKLE_TOKENS),
    "onnx": Subject(_onnx_seeds, _onnx_read, _onnx_check, ONNX_TOKENS),
}
