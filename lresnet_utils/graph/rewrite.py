"""Small, named, exact rewrites of ONNX graphs, and proof that the network computes the same.

Each rewrite is a function that changes an ``onnx_ir.Graph`` in place and returns how often its
pattern fitted; what it does not know it leaves alone. :data:`REWRITES` names them all, and
:func:`prepare_onnx` applies some of them to a file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from lresnet_utils.errors import GraphError, nearest
from lresnet_utils.graph.parity import run_onnx, same_embeddings
from lresnet_utils.graph.reading import read_message
from lresnet_utils.graph.values import (
    attribute,
    batch_norm,
    bypass,
    can_replace,
    constant,
    floats,
    is_op,
    is_padded,
    located,
    name_of,
    new_constant,
    nodes,
    only_user,
    put_after,
    put_before,
    set_weight_and_bias,
    shape_of,
    weight_and_bias,
)
from lresnet_utils.machine.disk import atomic_path

# Exact rewrites of one node at a time: identity pooling, global pooling, PReLU's slope.


def remove_identity_pooling(graph: ir.Graph) -> int:
    """Remove poolings over windows of one pixel at stride one, and Identity nodes.

    The maximum and the mean of a single number are the number: ``pool(x) = x``. The shortcuts of
    IR networks are such poolings wherever they do not sub-sample; simplifiers leave them, and
    runtimes copy the tensor.
    """
    count = 0
    for node in nodes(graph, "MaxPool", "AveragePool", "Identity"):
        if node.op_type != "Identity":
            kernel = attribute(node, "kernel_shape")
            strides = attribute(node, "strides", (1,))
            if {*kernel, *strides} != {1} or is_padded(node) or len(node.outputs) > 1:
                continue
        if can_replace(node, node.inputs[0]):
            bypass(graph, node, node.inputs[0])
            count += 1
    return count


def global_pooling(graph: ir.Graph) -> int:
    """Turn a mean over height and width into GlobalAveragePool.

    ``ReduceMean(x, axes=(2, 3), keepdims=1) = GlobalAveragePool(x)`` by definition, and so is
    AveragePool with a window as large as x. Exporters write squeeze-and-excitation's pooling in
    these ways too; runtimes have a kernel for GlobalAveragePool.
    """
    count = 0
    for node in nodes(graph, "ReduceMean", "AveragePool"):
        x = node.inputs[0]
        shape = shape_of(x)
        if shape is None or len(shape) != 4:
            continue
        if node.op_type == "ReduceMean":
            axes = attribute(node, "axes")
            if axes is None and len(node.inputs) > 1:
                axes = constant(node.inputs[1])
            whole = axes is not None and attribute(node, "keepdims", 1)
            fits = whole and sorted(int(axis) % 4 for axis in np.ravel(axes)) == [2, 3]
        else:
            dilated = {*attribute(node, "dilations", (1,))} != {1}
            spans = tuple(attribute(node, "kernel_shape")) == shape[2:]
            fits = spans and not (is_padded(node) or dilated)
        if fits:
            pooled = put_before(graph, node, ir.node("GlobalAveragePool", [x]), node.outputs[0])
            bypass(graph, node, pooled)
            count += 1
    return count


def shape_prelu_slope(graph: ir.Graph) -> int:
    """Give PReLU's slope the shape (1, C, 1, 1).

    ``PReLU(x) = max(x, 0) + slope * min(x, 0)`` with the slope broadcast to x from the right, so
    (C, 1, 1) and (1, C, 1, 1) mean the same for a 4-d x. OpenVINO fuses only the second into the
    convolution before it.
    """
    count = 0
    for node in nodes(graph, "PRelu"):
        slope, shape = constant(node.inputs[1]), shape_of(node.inputs[0])
        if slope is None or shape is None or len(shape) != 4 or slope.shape != (shape[1], 1, 1):
            continue
        reshaped = new_constant(graph, node.inputs[1].name, slope[None])
        node.replace_input_with(1, reshaped)
        count += 1
    return count


# Squeeze-and-excitation in the form that runtimes fuse: 1x1 convolutions, and a plain product.

_ELEMENTWISE = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "Tanh")


def gate_convolutions(graph: ir.Graph) -> int:
    """Turn fully connected layers between a Flatten and its reversal into 1x1 convolutions.

    On an image of one pixel a 1x1 convolution is ``W x + b``, what Gemm and MatMul compute for
    the flattened image. Flatten and the final Reshape then have nothing left to do. This is how
    exporters write the gate of squeeze-and-excitation when it was made of linear layers; the
    whole chain is turned, or nothing.
    """
    count = 0
    for start in nodes(graph, "Flatten", "Reshape", "Squeeze"):
        value = x = start.inputs[0]
        shape, flat = shape_of(x), shape_of(start.outputs[0])
        if shape is None or len(shape) != 4 or shape[2:] != (1, 1) or shape[1] is None:
            continue
        # Follow the value through layers and activations, to what comes after them.
        chain, end = [], only_user(start.outputs[0])
        reached = start.outputs[0]
        while is_op(end, *_ELEMENTWISE) or (
            is_op(end, "Gemm", "MatMul") and _linear(end) is not None
        ):
            if end.inputs[0] is not reached or len(shape_of(end.outputs[0]) or ()) != 2:
                break
            chain.append(end)
            reached = end.outputs[0]
            end = only_user(reached)
        linear = [node for node in chain if is_op(node, "Gemm", "MatMul")]
        if flat is None or flat[1:] != shape[1:2] or not linear:
            continue
        if not is_op(end, "Reshape", "Unsqueeze"):
            continue
        # It must turn (n, c) into (n, c, 1, 1). Equal channels make equal batches, known or not:
        # both hold the same numbers.
        before, after = shape_of(end.inputs[0]), shape_of(end.outputs[0])
        if None in (before, after) or None in before[1:] or after[1:] != (*before[1:], 1, 1):
            continue
        for node in chain:
            if node in linear:
                name, (weight, bias) = name_of(node), _linear(node)
                inputs = [value, new_constant(graph, f"{name}.weight", weight[..., None, None])]
                if bias is not None:
                    inputs.append(new_constant(graph, f"{name}.bias", bias))
                value = put_before(graph, node, ir.node("Conv", inputs), node.outputs[0])
            else:
                node.replace_input_with(0, value)
                value = node.outputs[0]
            value.shape = ir.Shape([x.shape[0], shape_of(node.outputs[0])[1], 1, 1])
        bypass(graph, end, value)
        for node in reversed([start, *linear]):
            graph.remove(node, safe=True)
        count += 1
    return count


def _linear(node: ir.Node) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Return weight (outputs, inputs) and bias of a Gemm or MatMul; no bias where it is zero."""
    if node.op_type == "MatMul":
        weight = floats(node.inputs[1])
        return None if weight is None or weight.ndim != 2 else (weight.T, None)
    known = weight_and_bias(node)
    return known and (known[0], known[1] if known[1].any() else None)


def gate_scaling(graph: ir.Graph) -> int:
    """Multiply an image by its gate without expanding the gate, the image first.

    ``x * Expand(g, shape of x) = x * g``, since Mul broadcasts by itself, and ``g * x = x * g``.
    """
    count = 0
    for node in nodes(graph, "Mul"):
        fits = False
        for index in (0, 1):
            expand = node.inputs[index].producer()
            if not is_op(expand, "Expand") or constant(expand.inputs[1]) is None:
                continue
            shape = shape_of(expand.outputs[0])
            if shape is None or None in shape or shape != shape_of(node.inputs[1 - index]):
                continue
            node.replace_input_with(index, expand.inputs[0])
            if not expand.outputs[0].uses() and not expand.outputs[0].is_graph_output():
                graph.remove(expand, safe=True)
            fits = True
        gate, image = map(shape_of, node.inputs)
        images = gate is not None and image is not None and len(gate) == len(image) == 4
        if images and gate[2:] == (1, 1) and None not in image[2:] and image[2:] != (1, 1):
            for index, value in enumerate(node.inputs[::-1]):
                node.replace_input_with(index, value)
            fits = True
        count += fits
    return count


# Batch normalisation into the linear layer behind or before it.


def fold_norm_backward(graph: ir.Graph) -> int:
    """Fold a batch normalisation into the convolution or fully connected layer before it.

    ``s (W x + b) + t = (s W) x + (s b + t)``, with one s and t per output. Simplifiers do this
    for convolutions and leave the one behind IR's last fully connected layer.
    """
    count = 0
    for node in nodes(graph, "BatchNormalization"):
        norm, layer = batch_norm(node), node.inputs[0].producer()
        alone = is_op(layer, "Conv", "Gemm") and only_user(node.inputs[0]) is not None
        constants = weight_and_bias(layer) if alone else None
        if norm is None or constants is None:
            continue
        (scale, shift), (weight, bias) = norm, constants
        weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
        set_weight_and_bias(graph, layer, weight, scale * bias + shift)
        bypass(graph, node, layer.outputs[0])
        count += 1
    return count


def fold_norm_forward(graph: ir.Graph) -> int:
    """Fold a batch normalisation into the fully connected layer behind it, across a Flatten.

    ``W (s x + t) + b = (W s) x + (W t + b)``. After a Flatten the s and t of a channel stand once
    for each of its pixels. With :func:`fold_norm_backward` this makes one layer of the
    BN-FC-BN at the end of the IR networks.
    """
    count = 0
    for node in nodes(graph, "BatchNormalization"):
        norm, user = batch_norm(node), only_user(node.outputs[0])
        flat = is_op(user, "Flatten", "Reshape")
        if flat:
            # It must turn (n, c, h, w) into (n, c h w).
            before, after = shape_of(user.inputs[0]), shape_of(user.outputs[0])
            if None in (before, after) or len(before) != 4 or None in before[1:]:
                continue
            if after[1:] != (math.prod(before[1:]),):
                continue
        layer = only_user(user.outputs[0]) if flat else user
        constants = weight_and_bias(layer) if is_op(layer, "Gemm") else None
        if norm is None or constants is None:
            continue
        weight, bias = constants
        pixels = weight.shape[1] // len(norm[0])
        scale, shift = (np.repeat(per_channel, pixels) for per_channel in norm)
        set_weight_and_bias(graph, layer, weight * scale, bias + weight @ shift)
        bypass(graph, node, node.inputs[0])
        count += 1
    return count


# A shift of many standard deviations would drown the numbers it is added to.
_LARGEST_SHIFT = 16.0

# A node that reads a value, and as which of its inputs.
_Use = tuple[ir.Node, int]


def carry_norm_shift(graph: ir.Graph) -> int:
    """Fold batch normalisations into the convolutions behind them, padded ones included.

    A convolution pads with zeros *after* the normalisation, so ``W * pad(s x + t)`` is no
    convolution of ``pad(x)``. But with ``z = x + t / s`` it is ``(s W) * pad(z)``: the scale folds
    into the weights and only the shift ``c = t / s`` must be added to x. In a residual network x
    is a sum, and so is everything that reads it: ``x + c`` is made by adding c to one of the
    summands, ``x'= x + r`` becomes ``z' = z + (r + c' - c)``, a projection ``V x`` becomes
    ``V z - V c``, and sub-sampling commutes with adding a constant. So every batch normalisation
    of the stream disappears into weights, biases and one constant per residual branch, which
    itself folds into the branch's last convolution where no gate stands between.

    Where t / s exceeds 16 standard deviations of x (a channel that training switched off), that
    channel is not shifted; its constant t then reaches the convolution's output as a constant map
    ``W * pad(t)``, added there. So it is for all channels where something else reads x that
    cannot make up for the shift. A convolution without padding takes scale and shift directly.
    """
    count = 0
    for node in nodes(graph, "BatchNormalization"):
        norm, x, normalised = batch_norm(node), node.inputs[0], node.outputs[0]
        uses, shape = normalised.uses(), shape_of(x)
        if norm is None or shape is None or len(shape) != 4 or normalised.is_graph_output():
            continue
        if not uses or not all(_is_convolution(graph, *use) for use in uses):
            continue
        layers = [use.node for use in uses]
        padded = [layer for layer in layers if is_padded(layer)]
        # Whoever else reads x must do so once, and be able to do with x plus a constant.
        readers = _uses(x) if padded else None
        others = [use for use in readers or () if use[0] is not node]
        possible = readers is not None and len({user for user, _ in others}) == len(others)
        possible = possible and all(_can_compensate(graph, *use) for use in others)
        scale, shift = norm
        # shift / scale in standard deviations of x is shift / gamma.
        bounded = np.abs(shift) <= _LARGEST_SHIFT * np.abs(floats(node.inputs[1]))
        where = possible & bounded & (scale != 0)
        carried = np.divide(shift, scale, out=np.zeros_like(shift), where=where)
        # Not computed as shift - scale * carried, whose rounding errors would each cost a map.
        left = np.where(carried == 0, shift, 0)
        given_out = any(layer.outputs[0].is_graph_output() for layer in padded)
        if padded and left.any() and (None in shape[1:] or given_out):
            continue
        for layer in layers:
            _fold(graph, layer, scale, left, shape[1:])
        if carried.any():
            # x becomes x + c for this reader, and nothing else changes for the others.
            for user, index in others:
                if is_op(user, "BatchNormalization"):
                    mean = floats(user.inputs[3]) + carried
                    user.replace_input_with(3, new_constant(graph, f"{name_of(user)}.mean", mean))
                elif is_op(user, "Conv"):
                    weight, bias = weight_and_bias(user)
                    bias = bias - _per_output(user, weight, carried)
                    set_weight_and_bias(graph, user, None, bias)
                else:
                    _add_to_branch(graph, user, (1 - index,), -carried)
            producer = x.producer()
            if not _absorb(graph, producer, carried):
                if is_op(producer, "Add") and _is_sum(producer):
                    _add_to_branch(graph, producer, (0, 1), carried)
                else:
                    _add(graph, x, _per_channel(graph, x.name, carried), x.uses())
        bypass(graph, node, node.inputs[0])  # x, or the sum that stands for it now
        count += 1
    return count


def _is_convolution(graph: ir.Graph, node: ir.Node, index: int) -> bool:
    if not is_op(node, "Conv") or node.graph is not graph or index != 0:
        return False
    known = attribute(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
    return known and weight_and_bias(node) is not None


def _fold(
    graph: ir.Graph, layer: ir.Node, scale: np.ndarray, shift: np.ndarray, shape: tuple[int, ...]
) -> None:
    """Let ``layer(s x + t)`` be computed from x, with a constant map where padding needs one."""
    weight, bias = weight_and_bias(layer)
    if shift.any() and is_padded(layer):
        import torch  # a second of every notebook that shows rewrites, were it at the top

        # What an image of these constants adds to the output, borders included.
        image = np.broadcast_to(shift[:, None, None], (1, *shape))
        top, left, bottom, right = attribute(layer, "pads", (0, 0, 0, 0))
        added = torch.nn.functional.conv2d(
            torch.from_numpy(np.pad(image, ((0, 0), (0, 0), (top, bottom), (left, right)))),
            torch.from_numpy(weight),
            stride=list(attribute(layer, "strides", (1, 1))),
            dilation=list(attribute(layer, "dilations", (1, 1))),
            groups=attribute(layer, "group", 1),
        ).numpy()
        output = layer.outputs[0]
        _add(graph, output, new_constant(graph, f"{name_of(layer)}.map", added), output.uses())
    elif shift.any():
        bias = bias + _per_output(layer, weight, shift)
    per_input = _by_group(layer, weight, scale)
    set_weight_and_bias(graph, layer, weight * per_input[..., None, None], bias)


def _by_group(layer: ir.Node, weight: np.ndarray, per_channel: np.ndarray) -> np.ndarray:
    """Lay one number per input channel out as (outputs, inputs of the output's group)."""
    groups = attribute(layer, "group", 1)
    return np.repeat(per_channel.reshape(groups, -1), len(weight) // groups, axis=0)


def _per_output(layer: ir.Node, weight: np.ndarray, per_channel: np.ndarray) -> np.ndarray:
    """Return what a constant image of these channels adds to every output, away from borders."""
    return np.einsum("oi,oi->o", weight.sum((2, 3)), _by_group(layer, weight, per_channel))


def _uses(value: ir.Value) -> list[_Use] | None:
    """List who reads a value or a sub-sampled copy of it; None when the graph gives one out."""
    if value.is_graph_output():
        return None
    found: list[_Use] = []
    for node, index in value.uses():
        pools = is_op(node, "MaxPool", "AveragePool") and {*attribute(node, "kernel_shape")} == {1}
        # Rounding up may add a window that lies outside.
        outside = pools and (is_padded(node) or attribute(node, "ceil_mode", 0))
        if pools and not outside and len(node.outputs) == 1:
            deeper = _uses(node.outputs[0])
            if deeper is None:
                return None
            found += deeper
        else:
            found.append((node, index))
    return found


def _can_compensate(graph: ir.Graph, user: ir.Node, index: int) -> bool:
    if user.graph is not graph:
        return False
    if is_op(user, "BatchNormalization"):
        return index == 0 and batch_norm(user) is not None
    if is_op(user, "Add"):
        return _is_sum(user)
    return _is_convolution(graph, user, index) and not is_padded(user)


def _is_sum(node: ir.Node) -> bool:
    """Say whether a node adds two images of the same shape, so that either may be shifted."""
    left, right = (shape_of(operand) for operand in node.inputs)
    return left is not None and left == right and len(left) == 4 and left[1] is not None


def _add_to_branch(
    graph: ir.Graph, total: ir.Node, candidates: tuple[int, ...], c: np.ndarray
) -> None:
    """Add c to one of the named operands of a sum, at no cost if one of them allows that."""
    private = [i for i in candidates if only_user(total.inputs[i]) is total]
    if any(_absorb(graph, total.inputs[i].producer(), c) for i in private):
        return
    # Not the shortcut, which others read too.
    index = (private or candidates)[0]
    operand = total.inputs[index]
    _add(graph, operand, _per_channel(graph, operand.name, c), [(total, index)])


def _absorb(graph: ir.Graph, node: ir.Node | None, c: np.ndarray) -> bool:
    """Let a node's output grow by c through a constant that the node already adds, if it does."""
    if is_op(node, "Conv") and weight_and_bias(node) is not None:
        set_weight_and_bias(graph, node, None, weight_and_bias(node)[1] + c)
        return True
    for index, operand in enumerate(node.inputs if is_op(node, "Add") else ()):
        known = floats(operand)
        if known is not None and known.shape == (1, len(c), 1, 1):
            joined = _per_channel(graph, name_of(node), known.reshape(-1) + c)
            node.replace_input_with(index, joined)
            return True
    return False


def _per_channel(graph: ir.Graph, name: str, c: np.ndarray) -> ir.Value:
    return new_constant(graph, f"{name}.shift", c.reshape(1, -1, 1, 1))


def _add(graph: ir.Graph, value: ir.Value, number: ir.Value, uses: Iterable[_Use]) -> None:
    """Let these readers of a value read the sum of it and a constant."""
    added = put_after(graph, value, ir.node("Add", [value, number]))
    for user, index in uses:
        user.replace_input_with(index, added)


REWRITES: dict[str, Callable[[ir.Graph], int]] = {
    "identity-pooling": remove_identity_pooling,
    "global-pooling": global_pooling,
    "gate-convolutions": gate_convolutions,
    "gate-scaling": gate_scaling,
    "prelu-slope": shape_prelu_slope,
    "norm-backward": fold_norm_backward,
    "norm-forward": fold_norm_forward,
    "norm-carried": carry_norm_shift,
}
"""Every rewrite by name, in the order in which they are applied."""

TOLERANCE = 1e-5
"""Largest difference of a component of the unit embeddings that rounding may explain."""

# Initializers had to be listed as inputs before this version, and runtimes did not let a caller
# override them; since then, listing one says that a caller may.
_IR_VERSION_OF_DEFAULTS = 4


@dataclass(frozen=True)
class PrepareRecord:
    """What preparing a graph did.

    Attributes
    ----------
    applied : dict of str to int
        For every rewrite asked for, how often its pattern fitted.
    nodes_before, nodes_after : int
        Nodes of the two graphs.
    max_abs_difference : float
        Largest difference of a component of the unit embeddings of random pixels.
    """

    applied: dict[str, int]
    nodes_before: int
    nodes_after: int
    max_abs_difference: float


def prepare_onnx(
    path: Path | str,
    out: Path | str,
    *,
    rewrites: Sequence[str] = tuple(REWRITES),
    input_range: tuple[float, float] = (-1.0, 1.0),
) -> PrepareRecord:
    """Rewrite an ONNX file and compare the two graphs.

    Parameters
    ----------
    path, out : path
        The graph to read and the one file to write, whole or not at all. The graph has one
        input and one output.
    rewrites : sequence of str
        Names in :data:`REWRITES`; they are applied in the order of that table.
    input_range : (float, float)
        Smallest and largest random pixel of the comparison, as the network is used.

    Returns
    -------
    PrepareRecord

    Raises
    ------
    GraphError
        When a rewrite is not known, the file is no such graph, or the unit embeddings of the two
        graphs, both executed node by node, differ by more than :data:`TOLERANCE`. Nothing is
        written then.
    """
    for name in rewrites:
        if name not in REWRITES:
            raise GraphError(f"Unknown rewrite {name!r}.", fix=nearest(name, REWRITES))
    proto = read_message(path)
    with located(path):
        if proto.ir_version < _IR_VERSION_OF_DEFAULTS:
            constants = {tensor.name for tensor in proto.graph.initializer}
            given = [value for value in proto.graph.input if value.name not in constants]
            del proto.graph.input[:]
            proto.graph.input.extend(given)
            proto.ir_version = _IR_VERSION_OF_DEFAULTS
        model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
        inputs = [value for value in model.graph.inputs if value.const_value is None]
        if len(inputs) != 1:
            raise GraphError(f"The graph has {len(inputs)} inputs instead of one.")
        if len(model.graph.outputs) != 1:
            raise GraphError(f"The graph has {len(model.graph.outputs)} outputs instead of one.")
    before, faces = len(model.graph), inputs[0]
    if faces.shape is None:
        raise GraphError(
            f"The shape of the graph's input {faces.name} is not known.", where=str(path)
        )
    # An axis without a number has length one.
    shape = [axis if isinstance(axis, int) else 1 for axis in faces.shape]
    pixels = np.random.default_rng(0).uniform(*input_range, shape)
    batch = pixels.astype(np.uint8 if faces.dtype == ir.DataType.UINT8 else np.float32)
    applied = {n: apply(model.graph) for n, apply in REWRITES.items() if n in rewrites}
    expected = run_onnx(path, batch, as_written=True)
    RemoveUnusedNodesPass()(model)
    with atomic_path(out) as temporary:
        onnx.save(ir.to_proto(model), temporary)
        # Node by node: ONNX Runtime's own optimiser would make some of the same folds in both.
        found = run_onnx(temporary, batch, as_written=True)
        difference = same_embeddings(
            expected,
            found,
            TOLERANCE,
            what="The rewritten graph computes something else",
            where=str(path),
            fix="leave a rewrite out, and report the graph",
        )
    return PrepareRecord(applied, before, len(model.graph), difference)
