"""Small graphs with random constants, and the proof that a rewrite keeps what they compute."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from builders import onnx_model
from onnx import helper, numpy_helper


class Net:
    """A graph in the making; every method returns the name of a value."""

    def __init__(self, *, seed=0, opset=17, shape=(2, 4, 6, 6)):
        self.rng = np.random.default_rng(seed)
        self.opset, self.shape = opset, shape
        self.nodes, self.constants = [], []

    def constant(self, array):
        array = np.asarray(array)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        self.constants.append(numpy_helper.from_array(array, f"w{len(self.constants)}"))
        return self.constants[-1].name

    def op(self, operator, *inputs, domain="", **attributes):
        name = f"v{len(self.nodes)}"
        node = helper.make_node(operator, inputs, [name], f"n{len(self.nodes)}", domain=domain)
        for key, value in attributes.items():
            node.attribute.append(helper.make_attribute(key, value))
        self.nodes.append(node)
        return name

    def conv(self, x, c_in, c_out, kernel=3, *, bias=True, group=1, **attributes):
        scale = (c_in // group * kernel**2) ** -0.5
        weight = scale * self.rng.normal(size=(c_out, c_in // group, kernel, kernel))
        constants = [self.constant(weight)]
        if bias:
            constants.append(self.constant(self.rng.normal(size=c_out)))
        return self.op("Conv", x, *constants, group=group, **attributes)

    def norm(self, x, channels, *, gamma=None):
        gamma = self.rng.uniform(-2, 2, channels) if gamma is None else np.array(gamma, float)
        beta, mean = self.rng.normal(size=(2, channels))
        constants = (gamma, beta, mean, self.rng.uniform(0.2, 3, channels))
        return self.op("BatchNormalization", x, *map(self.constant, constants), epsilon=2e-3)

    def prelu(self, x, channels):
        return self.op("PRelu", x, self.constant(self.rng.uniform(-1, 1, (channels, 1, 1))))

    def linear(self, x, n_in, n_out, *, turned=1, bias=True):
        shape = (n_out, n_in) if turned else (n_in, n_out)
        constants = [self.constant(n_in**-0.5 * self.rng.normal(size=shape))]
        if bias:
            constants.append(self.constant(self.rng.normal(size=n_out)))
        return self.op("Gemm", x, *constants, transB=turned)

    def model(self, *outputs):
        weights = {tensor.name: tensor for tensor in self.constants}
        ends = {"image": self.shape}, dict.fromkeys(outputs)
        model = onnx_model(self.nodes, *ends, weights, opset=self.opset)
        others = sorted({node.domain for node in self.nodes} - {""})
        model.opset_import.extend(helper.make_opsetid(domain, 1) for domain in others)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def outputs_of(model, faces):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": faces}), strict=True))


@pytest.fixture(scope="session")
def net():
    return Net


@pytest.fixture(scope="session")
def rewritten():
    """Return a function that rewrites a model and checks it against the model as it was.

    ``rewritten(model, rewrite, ...)`` gives the new model and how often each rewrite fitted. The
    truth is the old graph, run by ONNX Runtime node by node.
    """

    def apply(model, *rewrites, shape=None):
        changed = ir.from_proto(model)
        counts = [rewrite(changed.graph) for rewrite in rewrites]
        new = ir.to_proto(changed)
        onnx.checker.check_model(new, full_check=True)
        axes = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
        faces = np.random.default_rng(9).normal(size=shape or axes).astype(np.float32)
        expected, found = outputs_of(model, faces), outputs_of(new, faces)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert np.isfinite(value).all() and value.std() > 1e-3
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5 * np.abs(value).max())
        return new, counts[0] if len(counts) == 1 else counts

    return apply


@pytest.fixture(scope="session")
def operators():
    """Return a function that counts the operators of a model."""

    def count(model):
        names = [node.op_type for node in model.graph.node]
        return {name: names.count(name) for name in sorted(set(names))}

    return count


@pytest.fixture(scope="session")
def untouched():
    """Return a function that checks that rewrites leave every byte of a model as it was."""

    def check(model, *rewrites):
        before = ir.to_proto(ir.from_proto(model)).SerializeToString(deterministic=True)
        changed = ir.from_proto(model)
        assert [rewrite(changed.graph) for rewrite in rewrites] == [0] * len(rewrites)
        assert ir.to_proto(changed).SerializeToString(deterministic=True) == before

    return check
