"""Another batch size for a graph in which one is written down."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from lresnet_utils.graph.rewrite.values import constant, name_of, new_constant, nodes, shape_of


def rebatch(graph: ir.Graph, old: int, new: int) -> int:
    """Replace the batch size in the shapes that nodes ask for; return how many did.

    Only a shape that begins with `old` is changed, and only where it is asked of a tensor that
    begins with `old` or with an axis that inference does not know, so shapes of weights stay. What
    the graph's input and output say is left to the caller, and so is the proof that the network
    still computes the same.

    Parameters
    ----------
    graph : Graph
        With inferred shapes; changed in place.
    old, new : int
        Images per run, before and after.
    """
    count = 0
    for node in nodes(graph, "Reshape", "Expand"):
        target = constant(node.inputs[1])
        shape = shape_of(node.inputs[0])
        if target is None or constant(node.inputs[0]) is not None or not target.size:
            continue
        if target[0] == old and (shape is None or shape[0] in (old, None)):
            changed = np.array([new, *target[1:]], np.int64)
            node.replace_input_with(1, new_constant(graph, f"{name_of(node)}.shape", changed))
            count += 1
    return count
