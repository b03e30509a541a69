import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx.reference import ReferenceEvaluator

from lresnet_utils.errors import GraphError
from lresnet_utils.graph import to_onnx
from lresnet_utils.graph.adopt import adopt_onnx, open_foreign
from lresnet_utils.graph.inspect import summarise
from lresnet_utils.graph.parity import run_onnx
from lresnet_utils.graph.to_onnx import simplify_onnx
from lresnet_utils.verify.scores import unit_rows

FACES = np.random.default_rng(3).integers(0, 256, (3, 3, 112, 112)).astype(np.float32)


def truth(path, faces, *, layout="nchw", dtype=np.float32, batch=1):
    """The file's embeddings by the ONNX reference implementation, or by ONNX Runtime alone."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    faces = faces if layout == "nchw" else faces.transpose(0, 2, 3, 1)
    name = session.get_inputs()[0].name
    parts = [faces[i : i + batch].astype(dtype) for i in range(0, len(faces), batch)]
    return np.concatenate([session.run(None, {name: part})[0] for part in parts])


def adopted(path, tmp_path, batch_size=3, **options):
    """Adopt and simplify a file; return the record and the embeddings of FACES."""
    foreign = open_foreign(path, output=options.pop("output", "auto"))
    out, simple = tmp_path / "adopted.onnx", tmp_path / "simple.onnx"
    record = adopt_onnx(foreign, out, batch_size=batch_size, input_range=(0, 255), **options)
    simplify_onnx(out, simple, batch_size=batch_size, input_range=(0, 255), checks=1)
    assert summarise(out).inputs == {"image": (batch_size, 3, 112, 112)}
    assert summarise(out).outputs == {"features": (batch_size, record.embedding_size)}
    found = [run_onnx(graph, FACES[:batch_size]) for graph in (out, simple)]
    np.testing.assert_allclose(unit_rows(found[0]), unit_rows(found[1]), atol=1e-5)
    return record, found[0]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch": 1},
        {"batch": 3},
        {"name": "input.1", "batch": 1, "flatten": [1, -1]},
        {"name": "image", "batch": 1, "flatten": [1, 392]},
        {"name": "features", "flatten": [-1, 392]},
        {"flatten": [0, -1], "normalised": True},
        {"opset": 7, "ir_version": 3, "weights_as_inputs": True},
        {"weights_as_inputs": True, "batch": 1},
        {"slope": "one"},
        *({"opset": opset, "normalised": True} for opset in (9, 11, 13, 15, 18, 20, 21)),
    ],
    ids=str,
)
def test_the_adopted_graph_embeds_as_the_file_does(stored, tmp_path, options):
    if options.get("opset", 0) > 19:
        options = options | {"ir_version": 9}
    path = stored(**options)
    record, found = adopted(path, tmp_path)
    expected = truth(path, FACES, batch=options.get("batch") or 1)
    np.testing.assert_allclose(unit_rows(found), unit_rows(expected), atol=1e-5)
    assert (record.batch_size, record.embedding_size) == (3, 16)
    assert record.compared_with == "the file as it is"
    assert 0 <= record.max_abs_difference < 1e-5
    assert record.length == pytest.approx(1) or not options.get("normalised")
    assert ("batch-size" in record.changes) == (options.get("batch") == 1)
    assert ("weights-not-inputs" in record.changes) == ("weights_as_inputs" in options)


def test_channels_last_and_bytes_come_in_as_floats(stored, tmp_path):
    path = stored(layout="nhwc", pixels="uint8")
    record, found = adopted(path, tmp_path)
    expected = truth(path, FACES, layout="nhwc", dtype=np.uint8)
    np.testing.assert_allclose(unit_rows(found), unit_rows(expected), atol=1e-5)
    assert record.changes == {"channels-last-input": 1, "float-input": 1}


def test_sixteen_bit_weights_become_float32(stored, tmp_path):
    lead = lambda maker, x: maker.op("Div", x, maker.weight(255))  # noqa: E731
    path = stored(weights="float16", lead=lead, norm={"epsilon": 1e-5})
    record, found = adopted(path, tmp_path)
    # Truth is the same network with the same, rounded, weights in float32.
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(model, tmp_path / "wide.onnx")
    expected = truth(tmp_path / "wide.onnx", FACES)
    np.testing.assert_allclose(unit_rows(found), unit_rows(expected), atol=1e-6)
    assert record.changes["half-to-single"] > 8
    assert 1e-6 < record.max_abs_difference < 1e-2


def test_flat_slopes_are_read_as_one_per_channel(stored, tmp_path):
    path, right = stored(slope="flat"), stored("right.onnx")
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.Fail, match="broadcast"):
        truth(path, FACES)
    record, found = adopted(path, tmp_path)
    np.testing.assert_allclose(unit_rows(found), unit_rows(truth(right, FACES)), atol=1e-6)
    assert record.changes == {"prelu-per-channel": 1}
    assert record.compared_with.startswith("the repaired graph, since the file as it is cannot")


def test_a_slope_per_column_where_the_width_allows_it_stays(tmp_path, stored):
    def widen(model):  # 14 channels on 14 x 14 pixels
        weights = {t.name: t for t in model.graph.initializer}
        slope = next(n for n in model.graph.node if n.op_type == "PRelu").input[1]
        weights[slope].CopyFrom(onnx.numpy_helper.from_array(np.full(14, 0.3, "f4"), slope))

    path = stored(change=widen)
    _, found = adopted(path, tmp_path)
    np.testing.assert_allclose(unit_rows(found), unit_rows(truth(path, FACES)), atol=1e-5)


@pytest.mark.parametrize(
    ("opset", "norm"),
    [(8, {"spatial": 0}), (11, {"spatial": 0}), (13, {"outputs": 5}), (17, {"training_mode": 1})],
)
def test_attributes_that_break_batch_normalisation_are_repaired(stored, tmp_path, opset, norm):
    if norm.get("training_mode"):
        norm = norm | {"outputs": 3}
    path = stored(opset=opset, norm=norm)
    record, found = adopted(path, tmp_path)
    right = truth(stored("right.onnx", opset=opset), FACES)
    np.testing.assert_allclose(unit_rows(found), unit_rows(right), atol=1e-6)
    name = "norm-per-channel" if "spatial" in norm else "training-ended"
    assert record.changes == {name: 1}
    assert record.compared_with != "the file as it is"


def test_dropout_in_training_mode_is_removed(stored, tmp_path):
    def lead(maker, x):
        return maker.op("Dropout", x, maker.weight(0.5), maker.weight(True, "bool"))

    record, found = adopted(stored(lead=lead), tmp_path)
    right = truth(stored("right.onnx"), FACES)
    np.testing.assert_allclose(unit_rows(found), unit_rows(right), atol=1e-6)
    assert record.changes == {"training-ended": 1}
    assert "Dropout" not in summarise(tmp_path / "adopted.onnx").operators


def test_of_two_outputs_the_embedding_is_taken(stored, tmp_path):
    path = stored(outputs=2)
    record, found = adopted(path, tmp_path)
    np.testing.assert_allclose(unit_rows(found), unit_rows(truth(path, FACES)), atol=1e-5)
    assert record.changes == {"other-outputs-dropped": 1}
    assert "ReduceSum" not in summarise(tmp_path / "adopted.onnx").operators


def test_of_two_embeddings_one_must_be_named(stored, tmp_path):
    path = stored(outputs="ambiguous")
    with pytest.raises(GraphError, match=r"2 of the graph's 2 outputs.*\n.*\n.*model\.output"):
        open_foreign(path)
    last = onnx.load(path).graph.output[1].name
    _, found = adopted(path, tmp_path, output=last)
    assert (found >= 0).all()
    with pytest.raises(GraphError, match="has no output 'x'"):
        open_foreign(path, output="x")


def test_an_output_of_four_axes_is_flattened(stored, tmp_path):
    def pooled(model):
        last = model.graph.output[0]
        axes = onnx.helper.make_tensor("axes", 7, [2], [2, 3])
        node = onnx.helper.make_node("Unsqueeze", [last.name, "axes"], ["out"])
        model.graph.initializer.append(axes)
        model.graph.node.append(node)
        last.CopyFrom(onnx.helper.make_tensor_value_info("out", 1, ["N", 16, 1, 1]))

    path = stored(change=pooled)
    record, found = adopted(path, tmp_path)
    expected = truth(path, FACES).reshape(3, 16)
    np.testing.assert_allclose(unit_rows(found), unit_rows(expected), atol=1e-5)
    assert record.changes == {"flat-output": 1}


def test_a_batch_that_cannot_be_changed_is_refused_with_the_one_that_works(stored, tmp_path):
    def lead(maker, x):  # a shape that begins with the batch, but of pictures cut into rows
        return maker.op("Concat", x, maker.weight(np.zeros((1, 3, 112, 112))), axis=0)

    path = stored(batch=1, lead=lead, flatten=[2, -1])
    foreign = open_foreign(path)
    out = tmp_path / "out.onnx"
    with pytest.raises(GraphError, match="does not hold one embedding per picture"):
        adopt_onnx(foreign, out, batch_size=3)
    assert not out.exists()


def test_rows_that_depend_on_their_neighbours_are_found(stored, tmp_path):
    def lead(maker, x):  # subtracts the mean of the batch
        return maker.op("Sub", x, maker.op("ReduceMean", x, axes=[0], keepdims=1))

    def offset(maker, x):
        return maker.op("Add", lead(maker, x), maker.weight(1.0))

    foreign = open_foreign(stored(batch=1, lead=offset))
    with pytest.raises(GraphError, match="computes something else than the file") as caught:
        adopt_onnx(foreign, tmp_path / "out.onnx", batch_size=3)
    assert caught.value.fix.startswith("set batch_sizes: [1]")


@pytest.mark.parametrize(
    ("options", "what", "fix"),
    [
        ({"size": 128}, r"other pictures than 112 x 112.*\(N, 3, 128, 128\)", "aligned to 112"),
        ({"size": 160, "layout": "nhwc"}, r"\(N, 160, 160, 3\)", "aligned to 112"),
        ({"channels": 1}, "pictures of 1 channels", "colour pictures"),
    ],
)
def test_other_pictures_are_refused(stored, options, what, fix):
    with pytest.raises(GraphError, match=what) as caught:
        open_foreign(stored(**options))
    assert fix in caught.value.fix
    assert len(str(caught.value).splitlines()) == 3


def test_other_inputs_are_refused(stored):
    def second(model):
        model.graph.input.append(onnx.helper.make_tensor_value_info("phase", 1, [16]))
        model.graph.node.add(op_type="Add", input=[model.graph.output[0].name, "phase"])
        model.graph.node[-1].output.append("sum")

    def rows(model):
        model.graph.input[0].type.tensor_type.ClearField("shape")

    def text(model):
        model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT64

    for change, what in (
        (second, "2 inputs instead of one: data, phase"),
        (rows, "no batch of pictures"),
        (text, "INT64, not pixels"),
    ):
        with pytest.raises(GraphError, match=what):
            open_foreign(stored(change=change))


def test_inputs_that_nothing_reads_are_dropped(stored, tmp_path):
    """Quantisers leave them behind: what was a weight's name is an input that no node reads."""

    def leave_behind(model):
        model.graph.input.append(onnx.helper.make_tensor_value_info("old_weight", 1, [8, 3]))

    record, found = adopted(stored(change=leave_behind), tmp_path)
    assert record.changes == {"unused-inputs-dropped": 1}
    expected = truth(stored("plain.onnx"), FACES)
    np.testing.assert_allclose(unit_rows(found), unit_rows(expected), atol=1e-5)


@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("batch_size", [2, 4, 5])
def test_neighbours_are_found_where_the_file_takes_any_batch(stored, tmp_path, place, batch_size):
    def lead(maker, x):  # adds one picture of the batch to all
        return maker.op("Add", x, maker.op("Gather", x, maker.weight([place], "int64"), axis=0))

    foreign = open_foreign(stored(lead=lead))
    assert adopt_onnx(foreign, tmp_path / "one.onnx", batch_size=1).max_abs_difference < 1e-5
    with pytest.raises(GraphError, match="computes something else than the file") as caught:
        adopt_onnx(foreign, tmp_path / "out.onnx", batch_size=batch_size)
    assert caught.value.fix.startswith("set batch_sizes: [1]")


def test_a_batch_behind_an_axis_that_nobody_knows_is_replaced(stored, tmp_path):
    """PyTorch's expand asks for a shape by Where and Equal, through which no inference sees."""

    def lead(maker, x):
        asked = maker.weight([1, 3, 112, 112], "int64")
        ones = maker.weight([1, 1, 1, 1], "int64")
        shape = maker.op("Where", maker.op("Equal", asked, maker.op("Neg", ones)), ones, asked)
        means = maker.op("ReduceMean", x, axes=[2, 3], keepdims=1)
        return maker.op("Add", x, maker.op("Expand", means, shape))

    path = stored(batch=1, lead=lead, flatten=[1, -1])
    record, found = adopted(path, tmp_path)
    assert "batch-size" in record.changes
    np.testing.assert_allclose(unit_rows(found), unit_rows(truth(path, FACES)), atol=1e-5)


def test_a_graph_that_runs_at_no_other_batch_is_refused_with_the_one_that_works(stored, tmp_path):
    def lead(maker, x):  # joins the pictures along another axis than the first
        return maker.op("Reshape", maker.op("Abs", x), maker.weight([-1, 3, 112, 112], "int64"))

    def fixed(model):
        model.graph.node[0].op_type = "Identity"
        model.graph.node.insert(0, onnx.helper.make_node("Add", ["data", "one"], ["added"]))
        model.graph.node[1].input[0] = "added"
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.zeros((2, 3, 112, 112), np.float32), "one")
        )

    foreign = open_foreign(stored(batch=2, lead=lead, change=fixed))
    with pytest.raises(GraphError, match="ONNX Runtime cannot run it") as caught:
        adopt_onnx(foreign, tmp_path / "out.onnx", batch_size=3)
    assert caught.value.fix.startswith("set batch_sizes: [2]")
    assert adopt_onnx(foreign, tmp_path / "two.onnx", batch_size=2).max_abs_difference < 1e-5


def test_symbolic_height_and_width_are_fixed(stored, tmp_path):
    def free(model):
        for axis in model.graph.input[0].type.tensor_type.shape.dim[1:]:
            axis.dim_param = f"a{id(axis)}"

    path = stored(change=free)
    _, found = adopted(path, tmp_path)
    np.testing.assert_allclose(unit_rows(found), unit_rows(truth(path, FACES)), atol=1e-5)
    last = open_foreign(stored(change=free, layout="nhwc")).ports
    assert (last.layout, last.batch) == ("nhwc", None)


def test_the_reference_implementation_agrees(stored, tmp_path):
    """One graph by onnx's own evaluator, which shares nothing with ONNX Runtime."""
    path = stored(batch=1, flatten=[1, -1], normalised=True)
    _, found = adopted(path, tmp_path)
    evaluator = ReferenceEvaluator(str(path))
    expected = np.concatenate([evaluator.run(None, {"data": face[None]})[0] for face in FACES])
    np.testing.assert_allclose(unit_rows(found), unit_rows(expected), atol=1e-5)


def test_a_quantised_graph_is_simplified_as_it_is(stored, tmp_path, monkeypatch):
    """A runtime fuses its roundings and so rounds otherwise: no fault of the simplifier."""

    def fused(path, batches, *, as_written=False):
        rows = run_onnx(path, batches, as_written=as_written)
        return rows if as_written else rows + 0.01 * np.abs(rows).max()

    path = tmp_path / "adopted.onnx"
    adopt_onnx(open_foreign(stored(batch=1)), path, batch_size=3, input_range=(0, 255))
    monkeypatch.setattr(to_onnx, "run_onnx", fused)
    record = simplify_onnx(path, tmp_path / "simple.onnx", batch_size=3, input_range=(0, 255))
    assert record.max_abs_difference < 1e-5
