"""What strangers' files may cost whoever gives them to a command: 1 GB, 10 s, three lines."""

import os
import pickle
import struct
import sys
import zipfile
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

MOST_BYTES, MOST_SECONDS = 10**9, 10.0


def onnx_file(change):
    """Make an ``.onnx`` file of a small network after a function has changed it."""

    def make(folder):
        rng = np.random.default_rng(0)
        shapes = {"w": (8, 3, 8, 8), "slope": (8, 1, 1), "g": (32, 1568)}
        weights = [
            numpy_helper.from_array(rng.normal(0, 0.1, shape).astype(np.float32), name)
            for name, shape in shapes.items()
        ]
        nodes = [
            helper.make_node("Conv", ["image", "w"], ["c"], strides=[8, 8]),
            helper.make_node("PRelu", ["c", "slope"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "g"], ["e"], transB=1),
        ]
        ends = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
            for name, shape in (("image", [1, 3, 112, 112]), ("e", [1, 32]))
        ]
        graph = helper.make_graph(nodes, "net", *ends, weights)
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        change(model)
        # Without onnx's own checks, which would not write some of these.
        (folder / "x.onnx").write_bytes(model.SerializeToString())
        return ["inspect", folder / "x.onnx"]

    make.__name__ = change.__name__
    return make


def _front(model, *nodes):
    for node in reversed(nodes):
        model.graph.node.insert(0, node)


def _function(model, name, body):
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    model.functions.append(helper.make_function("own", name, ["x"], ["y"], body, imports))


def _call(name, x="x", y="y"):
    return helper.make_node(name, [x], [y], domain="own")


@onnx_file
def nested_functions(model):
    """Ten calls of ten calls, nine levels of them."""
    _function(model, "F0", [helper.make_node("Relu", ["x"], ["y"])])
    for level in range(1, 10):
        names = ["x", *(f"v{k}" for k in range(9)), "y"]
        calls = [_call(f"F{level - 1}", *pair) for pair in pairwise(names)]
        _function(model, f"F{level}", calls)
    _front(model, _call("F9", "image", "z"))


@onnx_file
def recursive_functions(model):
    _function(model, "F", [_call("F")])
    _front(model, _call("F", "image", "z"))


@onnx_file
def doubled_axes(model):
    """Each Gather of a value by itself has twice the axes: forty of them 2 ** 40."""
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1), np.int64), "r0"))
    _front(model, *(helper.make_node("Gather", [f"r{k}"] * 2, [f"r{k + 1}"]) for k in range(40)))


@onnx_file
def a_billion_outputs(model):
    _front(model, helper.make_node("Split", ["image"], ["part"], num_outputs=10**9))


@onnx_file
def a_constant_of_gigabytes(model):
    """Made where the nodes in front of the first layer are run."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([10**9]), "length"))
    made = helper.make_node("ConstantOfShape", ["length"], ["many"])
    mean = helper.make_node("ReduceMean", ["many"], ["mean"], keepdims=0)
    model.graph.node[0].input[0] = "moved"
    _front(model, made, mean, helper.make_node("Add", ["image", "mean"], ["moved"]))


@onnx_file
def no_slope(model):
    del model.graph.node[1].input[1:]


@onnx_file
def short_halves(model):
    model.graph.initializer[0].data_type = TensorProto.FLOAT16
    model.graph.initializer[0].raw_data = bytes(2 * 1535)


def far_offset(folder):
    def change(model):
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "w.bin"), ("offset", str(2**63))):
            tensor.external_data.add(key=key, value=value)

    (folder / "w.bin").write_bytes(bytes(8000))
    return onnx_file(change)(folder)


def itself(folder):
    module = torch.jit.script(nn.Conv2d(1, 1, 1))
    torch.jit.save(module, folder / "good.pt")
    body = b"\x80\x02c__torch__\nNet\n)\x81q\x00}(X\x01\0\0\0ah\x00ub."
    with zipfile.ZipFile(folder / "good.pt") as old, zipfile.ZipFile(folder / "x.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, body if name.endswith("/data.pkl") else old.read(name))
    return ["inspect", folder / "x.pt"]


def names_on_one_storage(folder):
    base = torch.zeros(250_000)
    torch.save({f"w{i}": base[i:] for i in range(4000)}, folder / "x.pth")
    return ["inspect", folder / "x.pth"]


def second_pickle(folder):
    torch.save({"a": torch.zeros(2)}, folder / "good.pth")
    bomb = b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."
    with zipfile.ZipFile(folder / "good.pth") as old, zipfile.ZipFile(folder / "x.pth", "w") as new:
        new.writestr("good/Data.pkl", bomb)
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return ["inspect", folder / "x.pth"]


def a_list_that_is_a_pipe(folder):
    os.mkfifo(folder / "pairs.csv")
    rows = [f"{image},1,faces/p{image}/0.png" for image in range(4)]
    (folder / "set.csv").write_text("\n".join(["template,medium,image", *rows]))
    _people(folder)
    return _run(folder, f"dataset.source={folder}/set.csv", f"dataset.pairs={folder}/pairs.csv")


def _people(folder):
    for person in range(4):
        (folder / "faces" / f"p{person}").mkdir(parents=True)
        for number in range(3):
            face = np.random.default_rng([person, number]).integers(0, 256, (112, 112, 3), np.uint8)
            cv2.imwrite(str(folder / "faces" / f"p{person}" / f"{number}.png"), face)
    return ["pack", folder / "faces", folder / "x.bin", "--folds", 2, "--align", "never"]


def hidden_frame(folder):
    """For libjpeg FF 00 is no marker: it would find the frame of 50,000 x 50,000."""
    command = _people(folder)
    whole = cv2.imencode(".jpg", np.zeros((112, 112, 3), np.uint8))[1].tobytes()
    frame = whole.index(b"\xff\xc0")
    large = whole[frame : frame + 5] + struct.pack(">HH", 50_000, 50_000) + whole[frame + 9 :]
    encoded = whole[:2] + b"\xff\0\0\x15" + large[:19] + whole[2:]
    (folder / "faces" / "p0" / "3.jpg").write_bytes(encoded)
    return command


def sparse_picture(folder):
    command = _people(folder)
    with (folder / "faces" / "p0" / "3.png").open("wb") as file:
        file.truncate(3 * 2**30)
    return command


def pipe(name, *command):
    def make(folder):
        os.mkfifo(folder / name)
        return [str(part).replace("FOLDER", str(folder)) for part in command]

    make.__name__ = f"pipe_{name}"
    return make


def _run(folder, *sets):
    what = [part for one in sets for part in ("--set", one)]
    what += ["--set", "dataset.variants=[]"]
    return ["run", "params/demo.yaml", "--dry-run", "--output", f"{folder}/run", *what]


def shapes_of_arrays(folder):
    """A picture whose shape is an array, where the shapes of others are tuples."""
    array = pickle.dumps(np.zeros(4, np.uint8), 2).replace(b"K\x04\x85", b"NK\x04\x86")
    whole = b"\x80\x02]" + array[2:-1] + b"a]\x88a\x86."
    (folder / "x.bin").write_bytes(whole)
    return _run(folder, f"dataset.source={folder}/x.bin")


def memories_of_other_types(folder):
    (folder / "run" / "resume").mkdir(parents=True)
    (folder / "run" / "run.json").write_text('{"name": "demo", "params": {}, "notebooks": []}')
    for name in ("hashes", "1_export", "run"):
        (folder / "run" / "resume" / f"{name}.json").write_text('[{"files": [1], "seal": {}}]')
    return _run(folder)


def braces_in_the_output(folder):
    return _run(folder / "{x} {0}")


def overlong_path(folder):
    return ["inspect", folder / ("x" * 5000)]


def path_that_is_no_text(folder):
    return ["inspect", folder / os.fsdecode(b"\xff.pth")]


CASES = {
    nested_functions: "come to more than 100,000 nodes",
    recursive_functions: "calls itself",
    doubled_axes: "GiB of memory while reading the graph",
    a_billion_outputs: "GiB of memory while reading the graph",
    a_constant_of_gigabytes: "GiB of memory while reading the graph",
    no_slope: "PRelu",
    short_halves: "not as long as its shape",
    far_offset: "The file ends before weight",
    itself: "more names than any network",
    names_on_one_storage: "2 times the file's bytes",
    second_pickle: None,
    hidden_frame: None,
    sparse_picture: None,
    pipe("x.pth", "inspect", "FOLDER/x.pth"): "not a file",
    pipe("x.onnx", "inspect", "FOLDER/x.onnx"): "it is a pipe",
    pipe("x.csv", *_run("FOLDER", "dataset.source=FOLDER/x.csv")): "does not exist",
    pipe("x.bin", *_run("FOLDER", "dataset.source=FOLDER/x.bin")): "does not exist",
    a_list_that_is_a_pipe: "it is a pipe",
    shapes_of_arrays: "an array with an impossible shape",
    memories_of_other_types: None,
    braces_in_the_output: None,
    overlong_path: "File name too long",
    path_that_is_no_text: "The weights file does not exist",
}  # fmt: skip


@pytest.fixture
def told(metered):
    """Return a function that runs the command line under the meter."""

    def run(*command):
        return metered(sys.executable, "-m", "lresnet_utils", *command)

    return run


def _is_bounded(status, out, err, size, seconds, message):
    told = err.strip().splitlines()
    assert (status, "Traceback" in err) == (2 if message else 0, False), out + err
    assert (message or "") in err and (message is None or len(told) <= 3), err
    assert size < MOST_BYTES, size
    assert seconds < MOST_SECONDS, seconds


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_small_file_costs_little_whatever_it_says(told, tmp_path, case):
    command = case(tmp_path)
    _is_bounded(*told(*command), CASES[case])


def test_a_picture_of_gigabytes_of_nothing_costs_embed_little(told, tmp_path, demo_run):
    sparse_picture(tmp_path)
    out = tmp_path / "embeddings"
    command = ("embed", demo_run.folder, tmp_path / "faces", "--cell", "16/torch-fp32")
    found = told(*command, "--output", out, "--trust")
    _is_bounded(*found, None)
    assert "13 images" in found[1] and "1 cannot be used" in found[1], found
