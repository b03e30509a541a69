"""Readers of checkpoints and ONNX graphs."""

from __future__ import annotations

import io
import random
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import onnx
import safetensors.torch
import torch
from onnx import SparseTensorProto, TensorProto, helper, numpy_helper

from fuzzkit.subject import Seed, Subject, write
from lresnet_utils.graph.inspect import summarise
from lresnet_utils.graph.reading import read_foreign
from lresnet_utils.models.checkpoint import read_checkpoint

STATE = OrderedDict(
    weight=torch.arange(6, dtype=torch.float32).reshape(2, 3) / 7,
    bias=torch.tensor([0.5, -0.25]),
    count=torch.tensor(3),
)


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
    return read_checkpoint(write(folder, name, _packed(data, seed))).state


def _checkpoint_check(data, seed, value):
    """Every number is one of the file's, and lies where the file has it."""
    packed = _packed(data, seed)
    for name, tensor in value.items():
        assert isinstance(name, str) and isinstance(tensor, torch.Tensor)
        assert tensor.numel() * tensor.element_size() <= len(packed)
        raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        # A view may repeat numbers or leave some out, so that no file has it as one row.
        size = tensor.element_size()
        rows = [raw] if raw in packed else {raw[at : at + size] for at in range(0, len(raw), size)}
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


# --- graphs whose structure multiplies, or reaches out ------------------------------------------

SECRET = np.arange(1, 17, dtype=np.float32) / 3
_PLACES = ("beside", "./beside", "../secret", "/etc/hostname", "link", "up/secret", "none", "a*b")
_OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


class _Grammar:
    """Makes a graph of bytes: each says which rule is taken next, and they all what comes after.

    Functions call functions, themselves among them, alone or ten times, in graphs of branches too;
    names and attributes of calls are short or long; tensors lie in the file, beside or outside.
    """

    def __init__(self, data):
        self._data, self._at, self._made = data, 0, 0
        self._after = random.Random(bytes(data))
        self._functions = self._below = self.pick(9)

    def pick(self, n):
        at, self._at = self._at, self._at + 1
        return (self._data[at] if at < len(self._data) else self._after.randrange(256)) % n

    def name(self):
        self._made += 1
        return f"v{self._made}" + ("n" * 100_000 if self.pick(40) == 39 else "")

    def tensor(self):
        tensor = numpy_helper.from_array(SECRET[:4] * 2, "t")
        if self.pick(6) == 5:
            tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[16])
            tensor.data_location = TensorProto.EXTERNAL
            place = _PLACES[self.pick(len(_PLACES))]
            tensor.external_data.add(key="location", value=place)
            if self.pick(8) == 7:
                edge = ("0", "1", "-1", str(2**63), "", "9" * 30)[self.pick(6)]
                tensor.external_data.add(key="offset", value=edge)
        return tensor

    def sparse(self):
        values = self.tensor()
        places = numpy_helper.from_array(np.arange(values.dims[0]), "places")
        return SparseTensorProto(values=values, indices=places, dims=values.dims)

    def steps(self, value, levels=2):
        """Return nodes that lead from a value to another, and that one."""
        nodes = []
        for _ in range(1 + self.pick(4)):
            for node in self.step(levels):
                node.input[0] = value
                nodes.append(node)
                value = node.output[0]
        return nodes, value

    def step(self, levels):
        rule = self.pick(8)
        # Mostly a function made before, so that not every graph has a circle.
        some = self._functions if self.pick(30) == 29 else self._below
        if rule in (1, 2, 3) and some:
            called = f"F{some - 1 - self.pick(min(some, 2))}"
            times = (1, 1, 2, 10)[self.pick(4)]
            long = {"a": "s" * 100_000} if self.pick(20) == 19 else {}
            return [
                helper.make_node(called, [""], [self.name()], domain="own", **long)
                for _ in range(times)
            ]
        if rule == 4 and levels:
            branches = []
            for key in ("then_branch", "else_branch"):
                nodes, last = self.steps("x", levels - 1)
                end = helper.make_tensor_value_info(last, TensorProto.FLOAT, None)
                weights = [self.tensor()] if self.pick(3) == 2 else []
                branches.append((key, helper.make_graph(nodes, "g", [], [end], weights)))
            return [helper.make_node("If", [""], [self.name()], **dict(branches))]
        if rule == 5:
            node = helper.make_node("Relu", [""], [self.name()])
            odd = node.attribute.add(name="odd")
            if self.pick(2):
                odd.tensors.append(self.tensor())
            else:
                odd.sparse_tensor.CopyFrom(self.sparse())
            return [node]
        return [helper.make_node("Relu", [""], [self.name()])]

    def model(self):
        model = small_graph()
        nodes, last = self.steps("image")
        for node in reversed(nodes):
            model.graph.node.insert(0, node)
        model.graph.node[len(nodes)].input[0] = last
        for k in range(self._functions):
            self._below = k
            nodes, last = self.steps("x")
            made = helper.make_function("own", f"F{k}", ["x"], [last], nodes, _OPSETS)
            if self.pick(6) == 5:
                made.attribute_proto.add(name="d", type=4).t.CopyFrom(self.tensor())
            model.functions.append(made)
        model.opset_import.append(_OPSETS[1])
        if self.pick(6) == 5:
            model.graph.sparse_initializer.append(self.sparse())
        if self.pick(6) == 5:
            model.training_info.add().algorithm.initializer.append(self.tensor())
        return model


def _structure_seeds(folder):
    (folder / "in").mkdir(exist_ok=True)
    (folder / "in" / "beside").write_bytes((SECRET[::-1] * 3).tobytes())
    (folder / "secret").write_bytes(SECRET.tobytes())
    for link, to in (("link", "../secret"), ("up", "..")):
        if not (folder / "in" / link).is_symlink():
            (folder / "in" / link).symlink_to(to)
    # Functions that call each other and come to a thousand nodes and more, all within bounds.
    return [Seed(data) for data in (b"\x04\x07g", b"\x04\x56g", b"\x03\x95g")]


def _structure_read(data, seed, folder):
    path = write(folder / "in", "m.onnx", _Grammar(data).model().SerializeToString())
    return read_foreign(path).model


def _structure_check(data, seed, value):
    """As many Relus as the calls come to, counted without expanding; nothing from outside."""
    model = _Grammar(data).model()
    bodies = {function.name: function.node for function in model.functions}
    known = {}

    def relus(nodes):
        count = 0
        for node in nodes:
            count += node.op_type == "Relu"
            if node.op_type in bodies:
                if node.op_type not in known:
                    known[node.op_type] = relus(bodies[node.op_type])
                count += known[node.op_type]
            count += sum(relus(a.g.node) for a in node.attribute if a.HasField("g"))
        return count

    wanted, bodies = relus(model.graph.node), {}
    assert relus(value.graph.node) == wanted
    message = value.SerializeToString()
    assert SECRET.tobytes() not in message
    assert b"beside" not in message and not value.functions


SUBJECTS = {
    "checkpoint": Subject(_checkpoint_seeds, _checkpoint_read, _checkpoint_check, PICKLE_TOKENS),
    "onnx": Subject(_onnx_seeds, _onnx_read, _onnx_check, ONNX_TOKENS),
    "onnx-structures": Subject(_structure_seeds, _structure_read, _structure_check),
}
