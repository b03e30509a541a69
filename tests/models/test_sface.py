import cv2
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lresnet_utils.data.packaged import orl_files, sface_file
from lresnet_utils.models.network import load_network
from lresnet_utils.models.sface import SFace, dequantise, packaged_state_dict


@pytest.fixture(scope="module")
def network():
    return load_network("sface", "packaged").module


def faces(n):
    """Different people's faces, RGB, as OpenCV's recogniser gets them."""
    files = [path for person, path in orl_files()[::10]][:n]
    images = [cv2.resize(cv2.imread(str(path)), (112, 112)) for path in files]
    return np.stack(images)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def test_embeddings_equal_those_of_opencv_running_the_packaged_file(network):
    noise = np.random.default_rng(0).integers(0, 256, (2, 3, 112, 112)).astype(np.float32)
    batch = np.concatenate([faces(3), noise])
    opencv = cv2.dnn.readNetFromONNX(str(sface_file()))
    expected = []
    for image in batch:
        opencv.setInput(image[None], "data")
        expected.append(opencv.forward()[0].copy())
    with torch.inference_mode():
        ours = network(torch.from_numpy(batch)).numpy()
    assert relative(ours, np.stack(expected)) < 3e-6


def test_the_channels_are_in_the_order_of_opencvs_recogniser(network):
    bgr = np.random.default_rng(1).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    # As cv2.FaceRecognizerSF prepares it: channels swapped to RGB, nothing subtracted.
    blob = cv2.dnn.blobFromImage(bgr, 1, (112, 112), (0, 0, 0), True, False)
    opencv = cv2.dnn.readNetFromONNX(str(sface_file()))
    opencv.setInput(blob, "data")
    expected = opencv.forward()
    rgb = np.ascontiguousarray(bgr[..., ::-1].transpose(2, 0, 1)[None], dtype=np.float32)
    with torch.inference_mode():
        assert relative(network(torch.from_numpy(rgb)).numpy(), expected) < 3e-6
        swapped = network(torch.from_numpy(rgb[:, ::-1].copy())).numpy()
    assert relative(swapped, expected) > 1e-2


def test_the_packaged_weights_fill_the_network_exactly():
    state = packaged_state_dict()
    assert SFace().load_state_dict(state).missing_keys == []
    assert state["output.pre_fc1.weight"].shape == (128, 50176)
    assert {t.dtype for k, t in state.items() if "tracked" not in k} == {torch.float32}


def test_the_epsilons_strides_and_scalars_are_those_of_the_file(network):
    graph = onnx.load(sface_file()).graph
    scalars = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer if "op" in t.name}
    assert (scalars["scalar_op1"], scalars["scalar_op2"]) == (127.5, 0.0078125)
    modules = [m for m in network.modules() if not list(m.children())]
    convolutions = [m for m in modules if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in modules if "BatchNorm" in type(m).__name__]
    in_file = {"Conv": [], "BatchNormalization": []}
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        in_file.get(node.op_type, []).append(attributes)
    for ours, theirs in zip(convolutions, in_file["Conv"], strict=True):
        assert list(ours.stride) == theirs["strides"]
        assert (ours.groups, ours.padding[0]) == (theirs["group"], theirs["pads"][0])
    for ours, theirs in zip(norms, in_file["BatchNormalization"], strict=True):
        assert ours.eps == pytest.approx(theirs["epsilon"], rel=1e-6)


@given(
    arrays(np.int8, st.tuples(st.integers(1, 4), st.integers(1, 9))),
    st.integers(0, 1),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_dequantise_equals_the_formula_element_by_element(quantised, axis, block_size, random):
    shape = list(quantised.shape)
    shape[axis] = -(-shape[axis] // block_size)
    rng = np.random.default_rng(random.randrange(1 << 30))
    scale = rng.uniform(1e-3, 1, shape).astype(np.float32)
    zero_point = rng.integers(-128, 128, shape).astype(np.int8)
    got = dequantise(quantised, scale, zero_point, axis=axis, block_size=block_size)
    assert got.dtype == np.float32
    for index, q in np.ndenumerate(quantised):
        block = list(index)
        block[axis] //= block_size
        block = tuple(block)
        assert got[index] == np.float32(int(q) - int(zero_point[block])) * scale[block]
