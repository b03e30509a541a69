"""Graphs of a few nodes whose values swell: again and again gathered, tiled, spread, split.

Libraries make such values while they read a graph: for its shapes, for its constants, and to learn
how pixels are scaled. Readers of graphs do so in a process of their own, so that what these cost is
measured from outside, by the test that has them read.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fuzzkit.multiplying import Choices

_MOST = 31
"""The largest power of two that a node asks for by a number."""


class _Chain:
    """Makes nodes of choices, each of the one before; every value is of int64."""

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self._rank = 1 + choices.below(2)
        self.last = self._number(np.zeros([1] * self._rank, np.int64))
        self._powers = choices.below(2) * _MOST

    def _number(self, value: np.ndarray) -> str:
        name = f"n{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def _sides(self, first: int = 1) -> str:
        return self._number(np.array([first, *[1] * (self._rank - 1)], np.int64))

    def _power(self) -> int:
        return self._choices.size(self._powers)

    def _add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> None:
        names = [f"v{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, **attributes))
        self.last = names[0]

    def step(self) -> None:
        """Add one node that may make its value larger."""
        way, value = self._choices.below(8), self.last
        if way == 0 and self._rank < 2**20:
            self._add("Gather", value, value)
            self._rank = 2 * self._rank - 1
        elif way == 1:
            self._add("Concat", *[value] * self._choices.size(4), axis=0)
        elif way == 2 and self._rank < 64:
            self._add("Tile", value, self._sides(self._power()))
        elif way == 3 and self._rank < 64:
            self._add("Expand", value, self._sides(self._power()))
        elif way == 4:
            zero = helper.make_tensor("zero", TensorProto.INT64, [1], [0])
            self._rank = 1
            self._add("ConstantOfShape", self._number(np.array([self._power()])), value=zero)
        elif way == 5:
            self._add("Split", value, num_outputs=self._power())
        elif way == 6:
            self._rank = 1
            ends = (self._number(np.array(n, np.int64)) for n in (0, self._power(), 1))
            self._add("Range", *ends)
        elif way == 7 and self._rank < 64:
            ends = [0] * self._rank + [self._power() - 1] + [0] * (self._rank - 1)
            self._add("Pad", value, self._number(np.array(ends, np.int64)))


def swelling_graph(data: bytes) -> bytes:
    """Return an ``.onnx`` file: a small network, behind a value that some nodes make large.

    Its pixels are moved by that value's mean, or nothing takes it.
    """
    choices = Choices(data)
    chain = _Chain(choices)
    for _ in range(choices.size(5)):
        chain.step()
    rng = np.random.default_rng(0)
    shapes = {"kernel": (8, 3, 8, 8), "weight": (32, 1568)}
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.1, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    moved = "moved" if choices.below(2) else "image"
    nodes = [
        *chain.nodes,
        helper.make_node("Cast", [chain.last], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], keepdims=0),
        helper.make_node("Add", ["image", "mean"], ["moved"]),
        helper.make_node("Conv", [moved, "kernel"], ["maps"], strides=[8, 8]),
        helper.make_node("Flatten", ["maps"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["out"], transB=1),
    ]
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
        for name, shape in (("image", [1, 3, 112, 112]), ("out", [1, 32]))
    ]
    graph = helper.make_graph(nodes, "swelling", *ends, [*chain.weights, *weights])
    model: ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    )
    return model.SerializeToString()
