"""What an ONNX file of another maker is: its input and output, its pixels, and its repairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from lresnet_utils.graph.adopt.pixels import Told, told_pixels
from lresnet_utils.graph.adopt.ports import AUTO, Ports, find_ports
from lresnet_utils.graph.adopt.read import ForeignFile, read_foreign
from lresnet_utils.graph.adopt.repairs import REPAIRS
from lresnet_utils.graph.inspect import Quantised, count_parameters, find_quantised
from lresnet_utils.graph.rewrite.values import located

_IR_VERSION_OF_CONSTANTS = 4


@dataclass(frozen=True)
class Foreign:
    """An ONNX file, understood and repaired, but not yet fitted to a run.

    Attributes
    ----------
    file : ForeignFile
        What was read.
    model : Model
        The repaired graph; its input and output are those of the file, but for their precision.
    ports : Ports
        Input and output as the file has them.
    told : Told
        The scale of the pixels, as far as the graph tells it.
    repairs : dict of str to int
        How often each repair of :data:`~lresnet_utils.graph.adopt.repairs.REPAIRS` was needed;
        only those that were.
    n_parameters : int
        Numbers stored as weights, as floating-point numbers or integers.
    quantised : Quantised or None
        What of it was made integers before it came here.
    """

    file: ForeignFile
    model: ir.Model
    ports: Ports
    told: Told
    repairs: dict[str, int]
    n_parameters: int
    quantised: Quantised | None


def open_foreign(path: Path | str, *, output: str = AUTO) -> Foreign:
    """Read an ONNX file and find out what a run must know about it.

    Parameters
    ----------
    path : path
        The file; see :func:`lresnet_utils.graph.adopt.read.read_foreign`.
    output : str
        Name of the output to take; ``auto`` takes the only one that can be an embedding.

    Raises
    ------
    GraphError
        When the file cannot be read, or its input or output is not that of a face network here.
    """
    file = read_foreign(path)
    with located(path):
        model = ir.from_proto(onnx.shape_inference.infer_shapes(file.model))
        # Before this version weights had to be inputs, which they are no longer below.
        model.ir_version = max(model.ir_version, _IR_VERSION_OF_CONSTANTS)
        first = ("weights-not-inputs", "unused-inputs-dropped")
        counts = {name: REPAIRS[name](model.graph) for name in first}
        ports = find_ports(model.graph, output)
        counts |= {n: fix(model.graph) for n, fix in REPAIRS.items() if n not in counts}
        told = told_pixels(model, ports)
        proto = file.model.graph
        about = count_parameters(proto), find_quantised(proto)
    needed = {name: count for name, count in counts.items() if count}
    return Foreign(file, model, ports, told, needed, *about)
