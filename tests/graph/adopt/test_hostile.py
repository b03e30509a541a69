"""ONNX files that reach for other files, or that are small and come to much."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from builders import onnx_model
from onnx import TensorProto, helper, inliner, numpy_helper

from lresnet_utils.errors import GraphError
from lresnet_utils.graph import reading
from lresnet_utils.graph import to_onnx as simplifier
from lresnet_utils.graph.adopt import adopt_onnx, open_foreign
from lresnet_utils.graph.inspect import summarise
from lresnet_utils.graph.reading import external_files, read_foreign
from lresnet_utils.graph.rewrite import prepare_onnx
from lresnet_utils.graph.to_onnx import simplify_onnx

SECRET = np.arange(1, 17, dtype=np.float32)


def outside(location="../secret"):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[16])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def constant(tensor, name="c"):
    return helper.make_node("Constant", [], [name], value=tensor)


def inner(tensor, name="r"):
    """A graph whose one tensor is a constant's."""
    return helper.make_graph(
        [constant(tensor, name)],
        "g",
        [],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [16])],
    )


def function(name, nodes, inputs=("x",), outputs=("y",), **options):
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, inputs, outputs, nodes, imports, **options)


def sparse(values=None, indices=None):
    made = onnx.SparseTensorProto(dims=[16])
    made.values.CopyFrom(values or numpy_helper.from_array(SECRET, "v"))
    made.indices.CopyFrom(indices or numpy_helper.from_array(np.arange(16), "i"))
    if values is None:
        made.indices.dims[:] = [16]
    return made


def attributed(**fields):
    """A node with an attribute of any kind, whether or not an operator has such."""
    node = helper.make_node("Identity", ["data"], ["c"])
    attribute = node.attribute.add(name="a")
    for field, value in fields.items():
        slot = getattr(attribute, field)
        slot.extend(value) if isinstance(value, list) else slot.CopyFrom(value)
    return node


def _in_function(model, tensor):
    body = [constant(tensor), helper.make_node("Add", ["x", "c"], ["y"])]
    model.functions.append(function("Plus", body))


def _in_function_graph(model, tensor):
    body = [
        helper.make_node("If", ["x"], ["y"], then_branch=inner(tensor), else_branch=inner(tensor))
    ]
    model.functions.append(function("Choice", body))


def _as_default(model, tensor):
    given = helper.make_attribute("value", numpy_helper.from_array(SECRET))
    given.t.CopyFrom(tensor)
    body = [helper.make_node("Identity", ["x"], ["y"])]
    model.functions.append(function("Default", body, attribute_protos=[given]))


def _in_branch(model, tensor):
    model.graph.node.append(
        helper.make_node("If", ["q"], ["r"], then_branch=inner(tensor), else_branch=inner(tensor))
    )


def _in_branch_weight(model, tensor):
    graph = inner(numpy_helper.from_array(SECRET))
    graph.initializer.append(tensor)
    model.graph.node.append(helper.make_node("Loop", ["", "q"], ["r"], body=graph))


def _training(which):
    def put(model, tensor):
        getattr(model.training_info.add(), which).CopyFrom(inner(tensor))

    return put


PLACES = {
    "weight": lambda model, tensor: model.graph.initializer.append(tensor),
    "constant": lambda model, tensor: model.graph.node.insert(0, constant(tensor)),
    "function": _in_function,
    "function's graph": _in_function_graph,
    "function's default": _as_default,
    "branch": _in_branch,
    "branch's weight": _in_branch_weight,
    "tensors": lambda model, t: model.graph.node.append(attributed(tensors=[t])),
    "sparse_tensor": lambda model, t: model.graph.node.append(attributed(sparse_tensor=sparse(t))),
    "sparse_tensors": lambda model, t: model.graph.node.append(
        attributed(sparse_tensors=[sparse(indices=t)])
    ),
    "graphs": lambda model, t: model.graph.node.append(attributed(graphs=[inner(t)])),
    "sparse weight": lambda model, t: model.graph.sparse_initializer.append(sparse(t)),
    "sparse places": lambda model, t: model.graph.sparse_initializer.append(sparse(indices=t)),
    "initialization": _training("initialization"),
    "algorithm": _training("algorithm"),
}


def written(model, path):
    # Not by onnx.save, which would move external data about.
    path.write_bytes(model.SerializeToString())
    return path


def raw(path):
    return onnx.load(path, load_external_data=False)


@pytest.mark.parametrize("place", PLACES)
def test_no_tensor_anywhere_is_read_from_outside_the_folder(stored, tmp_path, place):
    (tmp_path.parent / "secret").write_bytes(SECRET.tobytes())
    model = raw(stored())
    PLACES[place](model, outside())
    path = written(model, tmp_path / "m.onnx")
    for reader in (read_foreign, open_foreign):
        with pytest.raises(GraphError, match=r"weights outside its folder: '\.\./secret'"):
            reader(path)
    for reader in (summarise, lambda p: simplify_onnx(p, tmp_path / "s.onnx", batch_size=1)):
        with pytest.raises(GraphError):
            reader(path)
    assert external_files(path) == []


@pytest.mark.parametrize("place", PLACES)
def test_a_tensor_in_a_file_beside_is_found_wherever_it_is(stored, tmp_path, place, monkeypatch):
    (tmp_path / "beside").write_bytes(SECRET.tobytes())
    model = raw(stored())
    PLACES[place](model, outside("beside"))
    path = written(model, tmp_path / "m.onnx")
    assert external_files(path) == [tmp_path / "beside"]
    # What is taken in is seen before anything is put in, dropped or refused for another reason.
    hashed, sha256 = [], reading.sha256_file
    monkeypatch.setattr(inliner, "inline_local_functions", lambda model, *_: model)
    for check in ("_make_dense", "_check_graph"):
        monkeypatch.setattr(reading, check, lambda *_: None)
    monkeypatch.setattr(reading, "sha256_file", lambda file: hashed.append(file) or sha256(file))
    message = read_foreign(path).model.SerializeToString()
    assert {*hashed} == {path, tmp_path / "beside"}
    assert SECRET.tobytes() in message and b"beside" not in message


def test_what_was_external_in_a_function_is_inside_the_adopted_graph(stored, tmp_path):
    """The honest case: a function with a weight of its own, kept in a file beside the graph."""
    model = raw(stored(batch=1))
    tensor = outside("beside")
    body = [constant(tensor), helper.make_node("Add", ["x", "c"], ["y"])]
    model.functions.append(function("Plus", body))
    model.opset_import.append(helper.make_opsetid("own", 1))
    last = model.graph.output[0].name
    model.graph.node.append(helper.make_node("Plus", [last], ["sum"], domain="own"))
    model.graph.output[0].name = "sum"
    (tmp_path / "beside").write_bytes(SECRET.tobytes())
    path = written(model, tmp_path / "m.onnx")
    adopt_onnx(open_foreign(path), tmp_path / "out.onnx", batch_size=1)
    assert SECRET.tobytes() in (tmp_path / "out.onnx").read_bytes()
    assert not any(t.external_data for t in reading.found(raw(tmp_path / "out.onnx"), TensorProto))


@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "folder", "stars"])
def test_only_files_of_the_folder_itself_are_read(stored, tmp_path, kind):
    secret = tmp_path.parent / "secret"
    secret.write_bytes(SECRET.tobytes())
    location = "beside"
    if kind == "link":
        (tmp_path / "beside").symlink_to(secret)
    elif kind == "folder link":
        (tmp_path / "up").symlink_to(tmp_path.parent)
        location = "up/secret"
    elif kind == "pipe":
        os.mkfifo(tmp_path / "beside")
    elif kind == "folder":
        (tmp_path / "beside").mkdir()
    else:  # what ONNX Runtime takes for an address in its own memory
        location = "*/_ORT_MEM_ADDR_/*"
        (tmp_path / "*" / "_ORT_MEM_ADDR_").mkdir(parents=True)
        (tmp_path / location).write_bytes(SECRET.tobytes())
    model = raw(stored())
    model.graph.initializer.append(outside(location))
    with pytest.raises(GraphError, match=r"outside its folder|which is not there"):
        read_foreign(written(model, tmp_path / "m.onnx"))


@pytest.mark.parametrize("key", ["location", "offset", "x" * 5000])
def test_what_is_said_twice_of_a_place_is_refused(stored, tmp_path, key):
    (tmp_path / "beside").write_bytes(SECRET.tobytes())
    tensor = outside("beside")
    for value in ("0", "../secret"):
        tensor.external_data.add(key=key, value=value)
    model = raw(stored())
    model.graph.initializer.append(tensor)
    with pytest.raises(GraphError, match="is described wrongly"):
        read_foreign(written(model, tmp_path / "m.onnx"))


# --- little that comes to much -----------------------------------------------------------------


def call(name, *values, **attributes):
    return helper.make_node(name, values[:1], values[1:], domain="own", **attributes)


def levels(depth, width):
    """Each function calls the one below it `width` times; the last does one Relu."""
    yield function("F0", [helper.make_node("Relu", ["x"], ["y"])])
    for level in range(1, depth + 1):
        names = ["x", *(f"v{k}" for k in range(1, width)), "y"]
        yield function(
            f"F{level}",
            [call(f"F{level - 1}", a, b) for a, b in pairwise(names)],
        )


def _wide(model):
    model.functions.extend(levels(12, 10))
    return [call("F12", "data", "f")]


def _wide_in_branches(model):
    then = helper.make_graph(
        [call("F8", "data", "z")], "g", [], [helper.make_tensor_value_info("z", 1, None)]
    )
    model.functions.extend(levels(8, 10))
    return [helper.make_node("If", ["data"], ["f"], then_branch=then, else_branch=then)]


def _deep(model):
    model.functions.extend(levels(5000, 1))
    return [call("F5000", "data", "f")]


def _unused(model):
    model.functions.extend(levels(12, 10))
    return []


def _itself(model):
    model.functions.append(function("F", [call("F", "x", "y")]))
    return [call("F", "data", "f")]


def _each_other(model):
    model.functions.append(function("F", [call("G", "x", "y")]))
    model.functions.append(function("G", [call("F", "x", "y")]))
    return [call("F", "data", "f")]


def _each_other_unused(model):
    _each_other(model)
    return []


def _long_names(model):
    body = [helper.make_node("Add", ["x", "x"], [f"v{k}"]) for k in range(5000)]
    model.functions.append(function("F", [*body, helper.make_node("Relu", ["x"], ["y"])]))
    return [call("F", "data", "f" * 10**6)]


def _long_attributes(model):
    body = []
    for k in range(5000):
        node = helper.make_node("Constant", [], [f"v{k}"])
        node.attribute.add(name="value_string", ref_attr_name="a", type=onnx.AttributeProto.STRING)
        body.append(node)
    body.append(helper.make_node("Relu", ["x"], ["y"]))
    model.functions.append(function("F", body, attributes=["a"]))
    return [call("F", "data", "f", a="s" * 10**6)]


def _graph_given(model):
    model.functions.append(
        function("F", [helper.make_node("Relu", ["x"], ["y"])], attributes=["g"])
    )
    return [call("F", "data", "f", g=inner(numpy_helper.from_array(SECRET)))]


def _constants(model):
    body = [constant(numpy_helper.from_array(np.zeros(10**6, np.float32)))]
    model.functions.append(function("F", [*body, helper.make_node("Relu", ["x"], ["y"])]))
    names = ["data", *(f"f{k}" for k in range(1000))]
    return [call("F", a, b) for a, b in pairwise(names)]


def _same_name(model):
    for _ in range(2):
        model.functions.append(function("F", [helper.make_node("Relu", ["x"], ["y"])]))
    return [call("F", "data", "f")]


BOMBS = {
    _wide: "come to more than 100,000 nodes",
    _wide_in_branches: "come to more than 100,000 nodes",
    _deep: "or 64 levels",
    _unused: "come to more than 100,000 nodes",
    _itself: "its function 'F' calls itself",
    _each_other: "its function '[FG]' calls itself",
    _each_other_unused: "its function '[FG]' calls itself",
    _long_names: "268,435,456 bytes",
    _long_attributes: "268,435,456 bytes",
    _graph_given: "gives a graph to one of its functions",
    _constants: "268,435,456 bytes",
    _same_name: "two functions 'F'",
}


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb.__name__)
def test_functions_are_counted_before_anything_puts_them_in(stored, tmp_path, bomb, monkeypatch):
    def never(*_, **__):
        raise AssertionError("the graph was given to a library")

    model = raw(stored())
    for node in reversed(bomb(model)):
        model.graph.node.insert(0, node)
    model.opset_import.append(helper.make_opsetid("own", 1))
    path = written(model, tmp_path / "m.onnx")
    for place in ((onnx.shape_inference, "infer_shapes"), (onnx.checker, "check_model")):
        monkeypatch.setattr(*place, never)
    monkeypatch.setattr(inliner, "inline_local_functions", never)
    for reader in (
        read_foreign,
        open_foreign,
        summarise,
        lambda p: simplify_onnx(p, tmp_path / "s.onnx", batch_size=1),
        lambda p: prepare_onnx(p, tmp_path / "s.onnx"),
    ):
        with pytest.raises(GraphError, match=BOMBS[bomb]) as caught:
            reader(path)
        assert len(str(caught.value).splitlines()) == 3
    assert external_files(path) == []


def _behind(model, *nodes):
    """Put nodes between the graph's embedding, which they know as `e`, and its output."""
    name = model.graph.output[0].name
    model.graph.node[-1].output[0] = "e"
    model.graph.node.extend(nodes)
    model.graph.node[-1].output[0] = name


def _runs_alike(path, tmp_path):
    faces = np.random.default_rng(0).uniform(-1, 1, (3, 3, 112, 112)).astype(np.float32)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"data": faces})[0]
    out = tmp_path / "out.onnx"
    adopt_onnx(open_foreign(path), out, batch_size=3)
    session = ort.InferenceSession(out, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"image": faces})[0], expected, atol=1e-4)


def _leaky(alpha):
    leaky = helper.make_node("LeakyRelu", ["x"], ["y"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    return function("Leaky", [leaky], attribute_protos=[helper.make_attribute("slope", alpha)])


def test_what_a_function_takes_by_default_is_kept(stored, tmp_path):
    model = raw(stored())
    model.functions.append(_leaky(0.7))
    model.functions.append(function("Twice", [call("Leaky", "x", "y")]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    _behind(model, call("Twice", "e", "f"), call("Leaky", "f", "g", slope=0.5))
    _runs_alike(written(model, tmp_path / "m.onnx"), tmp_path)


def test_defaults_of_functions_are_counted_before_they_are_put_in(stored, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_GROWN_BYTES", 2**20)
    model = raw(stored())
    made = _leaky(0.7)
    for name in "abc":
        tensor = numpy_helper.from_array(np.zeros(2**14, np.float32))
        made.attribute_proto.append(helper.make_attribute(name, tensor))
    model.functions.append(made)
    model.functions.append(function("Unused", [call("Leaky", "x", f"y{i}") for i in range(9)]))
    path = written(model, tmp_path / "m.onnx")
    with pytest.raises(GraphError, match="come to more than 1"):
        read_foreign(path)


def test_a_function_of_an_older_version_of_the_operators_is_put_in(stored, tmp_path):
    model = raw(stored(opset=18))
    body = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", "s"], ["y"])]
    model.functions.append(function("Swish", body))
    model.opset_import.append(helper.make_opsetid("own", 1))
    _behind(model, call("Swish", "e", "f"))
    _runs_alike(written(model, tmp_path / "m.onnx"), tmp_path)


def test_a_function_in_place_of_a_standard_operator_is_refused(stored, tmp_path):
    """ONNX Runtime passes it over, ONNX's inliner does not: two networks in one file."""
    model = raw(stored())
    body = [helper.make_node("Neg", ["x"], ["y"])]
    for domain in ("", "ai.onnx"):
        del model.functions[:]
        imports = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function(domain, "Flatten", ["x"], ["y"], body, imports))
        with pytest.raises(GraphError, match="stands in for a standard operator"):
            read_foreign(written(model, tmp_path / "m.onnx"))


@pytest.mark.parametrize("where", ["weight", "constant"])
@pytest.mark.parametrize("form", ["places", "coordinates"])
def test_sparse_weights_are_adopted(stored, tmp_path, where, form):
    made = onnx.SparseTensorProto(dims=[1, 16])
    made.values.CopyFrom(numpy_helper.from_array(np.float32([5, 7, 9]), "v"))
    places = np.array([1, 4, 15]) if form == "places" else np.array([[0, 1], [0, 4], [0, 15]])
    made.indices.CopyFrom(numpy_helper.from_array(places))
    model = raw(stored())
    nodes = [helper.make_node("Add", ["e", "v"], ["f"])]
    if where == "weight":
        model.graph.sparse_initializer.append(made)
    else:
        nodes.insert(0, helper.make_node("Constant", [], ["v"], sparse_value=made))
    _behind(model, *nodes)
    _runs_alike(written(model, tmp_path / "m.onnx"), tmp_path)


@pytest.mark.parametrize("wrong", ["large", "negative axis", "far", "before", "fewer"])
def test_sparse_weights_that_are_none_are_refused(stored, tmp_path, wrong):
    dims = {"large": [2**18, 2**18], "negative axis": [-4]}.get(wrong, [16])
    places = {"far": [99], "before": [-1], "fewer": [1, 2]}.get(wrong, [0])
    made = onnx.SparseTensorProto(dims=dims)
    made.values.CopyFrom(numpy_helper.from_array(np.float32([5]), "v"))
    made.indices.CopyFrom(numpy_helper.from_array(np.array(places)))
    model = raw(stored())
    model.graph.sparse_initializer.append(made)
    with pytest.raises(GraphError, match="sparse weight") as caught:
        read_foreign(written(model, tmp_path / "m.onnx"))
    assert len(str(caught.value).splitlines()) == 3


def test_what_readers_would_take_differently_is_refused(stored, tmp_path):
    twice, versions = raw(stored()), raw(stored())
    twice.graph.initializer.append(twice.graph.initializer[0])
    versions.opset_import.append(helper.make_opsetid("ai.onnx", 11))
    for model, what in ((twice, "two weights have one name"), (versions, "says 2 times which")):
        with pytest.raises(GraphError, match=what):
            read_foreign(written(model, tmp_path / "m.onnx"))


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (6, 3), (60, 1), (4, 14)])
def test_functions_within_bounds_are_put_in(stored, tmp_path, shape):
    """As many nodes as arithmetic says: width ** depth Relus, one behind the other."""
    model = raw(stored(batch=1))
    model.functions.extend(levels(*shape))
    model.opset_import.append(helper.make_opsetid("own", 1))
    before = len(model.graph.node)
    model.graph.node.insert(0, call(f"F{shape[0]}", "data", "f"))
    model.graph.node[1].input[0] = "f"
    found = read_foreign(written(model, tmp_path / "m.onnx")).model
    assert sum(n.op_type == "Relu" for n in found.graph.node) == shape[1] ** shape[0]
    assert len(found.graph.node) == before + shape[1] ** shape[0]


@pytest.mark.parametrize("where", ["nodes", "deep inside"])
def test_millions_of_empty_entries_are_refused_before_they_are_made(stored, tmp_path, where):
    entries = b"\x0a\x00" * (reading.MAX_FIELDS + 1)
    if where == "nodes":
        data = b"\x3a" + _length(entries) + entries
    else:
        data = entries
        for tag in (b"\x2a", b"\x0a", b"\x3a"):  # attributes of a node of the graph
            data = tag + _length(data) + data
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    before = _peak()
    for reader in (read_foreign, summarise):
        with pytest.raises(GraphError, match="more than 2,000,000 entries"):
            reader(path)
    assert external_files(path) == []
    assert _peak() - before < 100 * 2**20


def _length(data):
    n, out = len(data), b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def _peak():
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) * 1024


def test_constants_do_not_grow_when_they_are_folded(tmp_path, monkeypatch):
    """A gigabyte of zeros is ten bytes; here a thousandth of both."""
    monkeypatch.setattr(simplifier, "_FOLDED_BYTES", 2**16)
    nodes = [
        helper.make_node("ConstantOfShape", ["length"], ["zeros"]),
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["zeros", "place"], ["zero"]),
        helper.make_node("Add", ["small", "small"], ["two"]),
        helper.make_node("Add", ["zero", "two"], ["sum"]),
        helper.make_node("Mul", ["image", "sum"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["out"]),
    ]
    weights = {"length": np.array([10**6]), "small": np.float32(1)}
    ends = {"image": [1, 3, 2, 2]}, {"out": [1, 12]}
    path = written(onnx_model(nodes, *ends, weights), tmp_path / "m.onnx")
    simplify_onnx(path, tmp_path / "s.onnx", batch_size=1)
    operators = summarise(tmp_path / "s.onnx").operators
    # What is small is folded as ever.
    assert operators["ConstantOfShape"] == operators["Add"] == 1
    assert (tmp_path / "s.onnx").stat().st_size < 2**16


# --- what is wrong is said in three lines ------------------------------------------------------


def _no_slope(model):
    del next(n for n in model.graph.node if n.op_type == "PRelu").input[1:]


def _no_inputs(model):
    del model.graph.node[0].input[:]


def _no_output(model):
    del model.graph.node[0].output[:]


def _short_half(model):
    tensor = model.graph.initializer[0]
    tensor.data_type = TensorProto.FLOAT16
    tensor.raw_data = tensor.raw_data[:-2]


def _negative(model):
    model.graph.initializer[0].dims[:] = [-1, -24]


def _enormous(model):
    tensor = model.graph.initializer[0]
    tensor.raw_data = b""
    tensor.dims[:] = [2**40, 2**40]


def _no_type(model):
    model.graph.initializer[0].data_type = 99


def _two_places(model):
    model.graph.initializer[0].float_data.extend([1.0])


def _empty_name(model):
    model.graph.node[0].output[0] = ""


def _no_graph(model):
    model.ClearField("graph")


def _input_without_type(model):
    model.graph.input[0].ClearField("type")


def _cast_to_nothing(model):
    model.graph.node.insert(0, helper.make_node("Cast", ["data"], ["cast"]))


def _cast_to_unknown(model):
    model.graph.node.insert(0, helper.make_node("Cast", ["data"], ["cast"], to=77))
    model.graph.initializer[0].data_type = TensorProto.FLOAT


def _endless_batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2**40


def _negative_batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1


def _scalar_slope(model):
    model.graph.node.insert(0, helper.make_node("Sub", ["data", ""], ["less"]))


WRONG = (
    _no_slope, _no_inputs, _no_output, _short_half, _negative, _enormous, _no_type, _two_places,
    _empty_name, _no_graph, _input_without_type, _cast_to_nothing,
    _cast_to_unknown, _scalar_slope, _endless_batch, _negative_batch,
)  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.__name__)
@pytest.mark.parametrize("weights", ["float32", "float16"])
def test_what_a_graph_lacks_is_said_in_three_lines(stored, tmp_path, wrong, weights):
    model = raw(stored(weights=weights))
    wrong(model)
    path = written(model, tmp_path / "m.onnx")
    with pytest.raises(GraphError) as caught:
        adopt_onnx(open_foreign(path), tmp_path / "out.onnx", batch_size=2)
    assert len(str(caught.value).splitlines()) <= 3
    assert caught.value.where.startswith(str(tmp_path))
    assert not (tmp_path / "out.onnx").exists()
