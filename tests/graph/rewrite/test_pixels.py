import numpy as np
import onnx
import onnx_ir as ir
import pytest

from lresnet_utils.data.network_input import flip, to_network_input
from lresnet_utils.errors import GraphError
from lresnet_utils.graph.parity import run_onnx
from lresnet_utils.graph.rewrite.pixels import add_mirror, take_pixels
from lresnet_utils.verify.scores import unit_rows

SHAPE = (3, 3, 7, 6)
FACES = np.random.default_rng(1).integers(0, 256, (3, 7, 6, 3), np.uint8)


def conv_first(net):
    return net.conv("image", 3, 4, pads=[1, 2, 0, 1])


def sub_first(net):
    return net.conv(net.op("Sub", "image", net.constant(np.array(0.5))), 3, 4)


def grouped_first(net):
    return net.conv("image", 3, 6, group=3)


def read_twice(net):
    return net.op("Add", *(net.conv("image", 3, 4, pads=[1, 1, 1, 1]) for _ in range(2)))


def embedder(net, first, *, target=None, opset=17, shape=SHAPE):
    net = net(opset=opset, shape=shape)
    y = net.op("Relu", first(net))
    axes = net.model(y).graph.output[0].type.tensor_type.shape.dim
    size = int(np.prod([axis.dim_value for axis in axes[1:]]))
    if target is None:
        y = net.op("Flatten", y)
    else:
        y = net.op("Reshape", y, net.constant(np.array([k or size for k in target])))
    return net.model(net.linear(y, size, 8))


def written(model, path):
    onnx.save(ir.to_proto(model) if isinstance(model, ir.Model) else model, path)
    return path


@pytest.mark.parametrize("first", [conv_first, sub_first, grouped_first, read_twice])
@pytest.mark.parametrize("channel_order", ["rgb", "bgr"])
@pytest.mark.parametrize("normalisation", ["raw", "minus1_1", "centred_128", "zero_1"])
def test_bytes_give_what_the_preprocessing_gives(
    first, channel_order, normalisation, net, tmp_path, operators
):
    how = {"channel_order": channel_order, "normalisation": normalisation}
    old = embedder(net, first)
    new = ir.from_proto(old)
    take_pixels(new, **how)
    proto = ir.to_proto(new)
    onnx.checker.check_model(proto, full_check=True)
    expected = run_onnx(written(old, tmp_path / "a"), to_network_input(FACES, **how))
    found = run_onnx(written(new, tmp_path / "b"), FACES, as_written=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    assert ("Gather" in operators(proto)) == (channel_order == "bgr" and first is not conv_first)
    assert [value.name for value in proto.graph.input] == ["image"]


@pytest.mark.parametrize("opset", [11, 18])
@pytest.mark.parametrize("pixels", [False, True])
@pytest.mark.parametrize("target", [None, (3, 0), (-1, 0), (3, -1)])
def test_the_mirrored_view_is_embedded_and_joined_as_by_the_pipeline(
    target, pixels, opset, net, tmp_path
):
    how = {"channel_order": "bgr", "normalisation": "minus1_1"}
    old = embedder(net, conv_first, target=target, opset=opset)
    new = ir.from_proto(old)
    if pixels:
        take_pixels(new, **how)
    add_mirror(new)
    path, plain = written(old, tmp_path / "a"), to_network_input(FACES, **how)
    views = [unit_rows(run_onnx(path, view)) for view in (plain, flip(plain))]
    found = run_onnx(written(new, tmp_path / "b"), FACES if pixels else plain, as_written=True)
    assert found.shape == (3, 8)
    np.testing.assert_allclose(found, unit_rows(sum(views)), rtol=0, atol=1e-6)
    assert np.abs(unit_rows(sum(views)) - views[0]).max() > 0.01
    assert new.graph.outputs[0].name == old.graph.output[0].name


def test_a_single_picture_has_a_mirrored_view_too(net, tmp_path):
    old = embedder(net, conv_first, target=(1, 0), shape=(1, 3, 7, 6))
    new = ir.from_proto(old)
    add_mirror(new)
    plain = FACES[:1].transpose(0, 3, 1, 2) / np.float32(255)
    path = written(old, tmp_path / "a")
    expected = unit_rows(sum(unit_rows(run_onnx(path, view)) for view in (plain, flip(plain))))
    found = run_onnx(written(new, tmp_path / "b"), plain)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_a_batch_size_that_cannot_be_changed_is_refused(net):
    net = net(shape=SHAPE)
    y = net.op("Add", net.op("Flatten", "image"), net.constant(np.ones((3, 126))))
    with pytest.raises(GraphError, match="batch size where it cannot"):
        add_mirror(ir.from_proto(net.model(y)))


@pytest.mark.parametrize("shape", [("n", 3, 7, 6), (3, 3, "h", 6), (3, 7, 6, 3), (3, 126)])
def test_other_inputs_are_refused(shape, net):
    net = net(shape=shape)
    model = net.model(net.op("Relu", "image"))
    with pytest.raises(GraphError):
        add_mirror(ir.from_proto(model))
    if shape[1] != 3:
        with pytest.raises(GraphError, match="is not float32"):
            take_pixels(ir.from_proto(model), channel_order="rgb", normalisation="raw")


def test_what_already_takes_bytes_is_refused(net):
    model = ir.from_proto(embedder(net, conv_first))
    take_pixels(model, channel_order="rgb", normalisation="raw")
    with pytest.raises(GraphError, match="is not float32"):
        take_pixels(model, channel_order="rgb", normalisation="raw")
