"""OpenVINO on the CPU: fp32, bf16, and graphs quantised to int8."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import time
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from lresnet_utils.errors import TargetError
from lresnet_utils.machine.facts import bf16_instructions, cpu_flags, isa_limit, no_bf16, version_of
from lresnet_utils.targets.base import (
    IMAGE_SHAPE,
    Artefact,
    Availability,
    Look,
    ModelFiles,
    Quantiser,
    Recipe,
    Session,
    Target,
    importable,
)
from lresnet_utils.text.language import message

if TYPE_CHECKING:
    import openvino


_LOOKS = {
    "fp32": Look("#1e9766", "^", (0, (1.4, 1.2))),
    "bf16": Look("#675aaa", "D", (0, (6, 1.6, 1.3, 1.6))),
    "int8": Look("#a66d32", "v", (0, (3, 1.4))),
}
_DEVICE = "CPU"
# Our names of the precisions to OpenVINO's.
_ELEMENT_TYPES = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoTarget(Target):
    """OpenVINO's CPU plugin at a stated precision.

    The artefact is the compiled model as OpenVINO exports it. It does not keep the precision it
    was compiled for: imported without the hint, an fp32 build runs in bf16 on a machine that can.
    The hint is therefore given again, and read back, on every load.

    Parameters
    ----------
    precision : {'fp32', 'bf16', 'int8'}
        Arithmetic of the network's layers. Input and output are fp32 in all. In ``int8`` the
        graph says which layers are quantised; `rest` in the options is the precision of the
        others.
    """

    runtime = "openvino"
    distribution = "openvino"
    suffix = ".blob"
    tunable = True

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.look = _LOOKS[precision]
        if precision == "int8":
            self.quantiser = NncfQuantiser()

    def available(self) -> Availability:
        """Say whether OpenVINO can be imported and the processor computes in this precision."""
        able = importable("openvino", "openvino")
        if able.ok and self.precision == "int8":
            able = importable("nncf", "nncf")
        if not able.ok or self.precision == "fp32":
            return able
        if self.precision == "int8":
            known = ("amx_int8", "avx512_vnni", "avx_vnni", "asimddp", "i8mm")
            found = [flag for flag in known if flag in (cpu_flags() or ())]
            note = message("int8 arithmetic by {by}", by=", ".join(found))
            if isa_limit():
                note = message("int8 arithmetic within {isa}", isa=isa_limit())
            elif not found:
                note = "this processor's flags name no int8 dot products, so int8 may gain little"
            return Availability(True, note=note)
        found = native_bf16()
        if found is None:
            return Availability(
                False,
                message("bf16 would be slower than fp32: {why}", why=no_bf16()),
                "run it on a processor with AVX512-BF16, AMX or Arm BF16",
            )
        return Availability(True, note=message("bf16 arithmetic by {by}", by=found))

    def versions(self) -> dict[str, str]:
        """Return OpenVINO's version and, for int8, that of the quantiser."""
        nncf = {"nncf": version_of("nncf")} if self.precision == "int8" else {}
        return super().versions() | {name: v for name, v in nncf.items() if v is not None}

    def running_options(self, cores: int) -> list[dict[str, Any]]:
        """Return one stream on all cores first, then streams that share them out.

        Threads that are tied to a core wait for it when another thread of the pipeline is on it,
        so pinning is off first and tried last.
        """
        several = sorted({2, cores // 2, cores} & set(range(2, cores + 1)))
        shared = [_running(n, n, pinning) for n in several for pinning in (False, True)]
        return [_running(1, 1, False), _running(1, 2, False), *shared]

    def options(self) -> dict[str, Any]:
        own = {"rest": "fp32"} if self.precision == "int8" else {}
        return _running(1, 1, False) | own

    def write(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        core = _core()
        model = core.read_model(str(files.graph))
        # A quantised graph is made once, for one image, and takes any batch.
        model.reshape([files.batch_size, *IMAGE_SHAPE])
        compiled = core.compile_model(model, _DEVICE, self._config(options))
        path.write_bytes(compiled.export_model().getvalue())

    def profile(self, artefact: Artefact, batch: np.ndarray, *, seconds: float) -> dict[str, Any]:
        """Time a build layer by layer, on one stream of all threads.

        See :func:`lresnet_utils.targets.openvino.profile_layers`.
        """
        one_stream = self._config(artefact.options | _running(1, 1, False))
        compiled = _core().import_model(
            artefact.path.read_bytes(), _DEVICE, one_stream | {"PERF_COUNT": True}
        )
        return profile_layers(compiled, batch, seconds=seconds)

    def open(self, artefact: Artefact) -> Session:
        options = artefact.options
        compiled = _core().import_model(artefact.path.read_bytes(), _DEVICE, self._config(options))
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if precision != self._element_type(options):
            raise TargetError(
                message(
                    "OpenVINO would compute in {found} instead of {asked}.",
                    found=precision,
                    asked=self._element_type(options),
                ),
                where=str(artefact.path),
            )
        return OpenVinoSession(compiled, options)

    def _element_type(self, options: dict[str, Any]) -> str:
        return _ELEMENT_TYPES[options.get("rest", self.precision)]

    def _config(self, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": self._element_type(options),
            "PERFORMANCE_HINT": options["performance_hint"],
            "INFERENCE_NUM_THREADS": options["threads"],
            "NUM_STREAMS": options["streams"],
            "ENABLE_CPU_PINNING": options["pinning"],
        }


def _running(streams: int, requests: int, pinning: bool) -> dict[str, Any]:
    return {
        "performance_hint": "LATENCY" if streams == 1 else "THROUGHPUT",
        "streams": streams,
        "requests": requests,
        "pinning": pinning,
    }


class OpenVinoSession(Session):
    """A compiled model with one input and one output, and one blocking request per lane.

    Parameters
    ----------
    compiled : openvino.CompiledModel
    options : dict
        The artefact's options.
    """

    def __init__(self, compiled: openvino.CompiledModel, options: dict[str, Any]) -> None:
        lanes = options["requests"]
        super().__init__(options["batch_size"], options["embedding_size"], lanes)
        self._idle: SimpleQueue[openvino.InferRequest] = SimpleQueue()
        for _ in range(lanes):
            self._idle.put(compiled.create_infer_request())

    def run(self, batch: np.ndarray) -> np.ndarray:
        request = self._idle.get()
        try:
            request.infer({0: batch}, share_inputs=True)
            # The request writes every result to the same memory.
            return request.get_output_tensor(0).data.copy()
        finally:
            self._idle.put(request)

    def free(self) -> None:
        """Free the requests and, with them, the compiled model."""
        self._idle = SimpleQueue()


def native_bf16() -> str | None:
    """Return the instruction set with which this processor multiplies bf16, or None.

    OpenVINO also offers bf16 where it has to be emulated, so its word alone is not enough; the
    processor's flags decide where the system tells them.

    Returns
    -------
    str or None
        Such as ``"amx_bf16"``; ``"the processor"`` where only OpenVINO's word is to be had.
    """
    if "BF16" not in _core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"):
        return None
    flags = cpu_flags()
    return "the processor" if flags is None else bf16_instructions(flags)


@cache
def _core() -> openvino.Core:
    """Return the one core of this process; a second one would load the CPU plugin again."""
    import openvino

    # The first array that OpenVINO is given makes it look up NumPy's interface, once per process.
    # Two lanes that do so at the same time wait for each other for ever: one holds the lock of
    # that look-up and needs Python's, the other the reverse. So the first array is this one.
    openvino.Tensor(np.zeros(1, np.float32))
    return openvino.Core()


# Where OpenVINO spends a batch: time, arithmetic and bytes of every layer that it runs.

_LEAST = 3
_BYTES = {"f32": 4, "i32": 4, "f16": 2, "bf16": 2, "i8": 1, "u8": 1, "i64": 8}
# OpenVINO's names of layers to the words of the report; other names are reported as they are.
_KINDS = {
    "Convolution": "convolution",
    "GroupConvolution": "depthwise convolution",
    "FullyConnected": "fully connected",
    "MatMul": "fully connected",
    "Subgraph": "elementwise",
    "Eltwise": "elementwise",
    "PRelu": "elementwise",
    "MulAdd": "elementwise",
    "Pooling": "pooling",
    "Reduce": "pooling",
    "Reorder": "reorder",
    "Transpose": "reorder",
    "FakeQuantize": "quantise",
}


def profile_layers(
    compiled: openvino.CompiledModel, batch: np.ndarray, *, seconds: float
) -> dict[str, Any]:
    """Run batches one by one and return what each layer took.

    Parameters
    ----------
    compiled : openvino.CompiledModel
        Compiled or imported with ``PERF_COUNT``; not run yet.
    batch : ndarray of float32
        Its one input.
    seconds : float
        Least time of all timed batches; there are at least three.

    Returns
    -------
    dict
        ``batches``: how many were timed, after one that was not. ``wall_ms``: mean wall-clock
        time of one. ``layers``: for every layer that was executed its ``name``, ``kind``,
        ``primitive`` (OpenVINO's kernel), ``ms`` (mean, per batch), ``flops`` (two per
        multiply-add of convolutions and matrix products, per batch; 0 for others, which are not
        counted) and ``bytes`` (inputs, weights and outputs, each counted once, at the precision
        in which they are stored; None when OpenVINO does not tell one of them).

    Notes
    -----
    Activations that OpenVINO fused into a layer are in that layer's time. Its clock counts whole
    microseconds.
    """
    request = compiled.create_infer_request()
    request.infer({0: batch}, share_inputs=True)
    first = _counters(request)
    started, n = time.perf_counter(), 0
    while n < _LEAST or time.perf_counter() - started < seconds:
        request.infer({0: batch}, share_inputs=True)
        n += 1
    wall = time.perf_counter() - started
    # The counters give means over all batches; the first, with cold caches, is taken out again.
    means = _counters(request)
    nodes = {node.get_friendly_name(): node for node in compiled.get_runtime_model().get_ops()}
    layers = []
    for name, (kind, primitive, mean) in means.items():
        node = nodes.get(name)
        layers.append(
            {
                "name": name,
                "kind": _KINDS.get(kind, kind),
                "primitive": primitive,
                "ms": max(((n + 1) * mean - first[name][2]) / n, 0.0),
                "flops": 0 if node is None else layer_flops(kind, node),
                "bytes": None if node is None else layer_bytes(node),
            }
        )
    return {"batches": n, "wall_ms": 1000 * wall / n, "layers": layers}


def _counters(request: openvino.InferRequest) -> dict[str, tuple[str, str, float]]:
    """Return layer type, kernel and mean milliseconds of every layer that was executed."""
    return {
        info.node_name: (info.node_type, info.exec_type, 1000 * info.real_time.total_seconds())
        for info in request.get_profiling_info()
        if info.status == info.Status.EXECUTED
    }


def layer_flops(kind: str, node: openvino.Node) -> int:
    """Return two operations per multiply-add of a convolution or matrix product, else 0."""
    outputs = math.prod(node.get_output_shape(0))
    if kind in ("Convolution", "GroupConvolution"):
        # Each output channel has its own share of the weights.
        weights, channels = node.get_input_shape(1), node.get_output_shape(0)[1]
        return 2 * outputs * math.prod(weights) // channels
    if kind in ("FullyConnected", "MatMul"):
        return 2 * outputs * math.prod(node.get_input_shape(1)) // node.get_output_shape(0)[-1]
    return 0


def layer_bytes(node: openvino.Node) -> int | None:
    """Return the bytes of a layer's inputs, weights and outputs, or None when one is not told."""
    total = 0
    for source in [*(value.get_source_output() for value in node.inputs()), *node.outputs()]:
        elements = math.prod(source.get_shape())
        if not elements:  # a bias that is not there
            continue
        kinds = source.get_node().get_rt_info()["outputPrecisions"].astype(str).split(",")
        size = _BYTES.get(kinds[min(source.get_index(), len(kinds) - 1)])
        if size is None:
            return None
        total += size * elements
    return total


# Quantising a graph with NNCF.

_LINEAR = ("Convolution", "GroupConvolution", "MatMul")
_PRESETS = {"symmetric": "PERFORMANCE", "asymmetric": "MIXED"}


class NncfQuantiser(Quantiser):
    """Writes OpenVINO IR by NNCF's post-training quantisation; weights lie beside it in ``.bin``.

    Ranges of activations are means of each face's extremes, and faces are taken one at a time, so
    that the result does not depend on a batch size. Bias correction keeps each layer's mean
    output on the faces.
    """

    suffix = ".xml"

    def rests(self) -> list[str]:
        return ["bf16", "fp32"] if native_bf16() else ["fp32"]

    def quantise(self, graph: Path, out: Path, inputs: np.ndarray, recipe: Recipe) -> None:
        import openvino

        nncf = import_nncf()
        model = openvino.Core().read_model(str(graph))
        model.reshape([1, *IMAGE_SHAPE])
        import onnx

        # OpenVINO's names of the layers to keep. It renames nodes and splits a bias off, but keeps
        # the names of the tensors that they make: the layer is the first linear operation on the
        # way back from its tensor.
        proto = onnx.load(graph, load_external_data=False)
        tensors = {node.output[0] for node in proto.graph.node if node.name in recipe.kept}
        kept = []
        for op in model.get_ordered_ops():
            if op.get_type_name() == "Result":
                continue
            if any(output.get_names() & tensors for output in op.outputs()):
                while op.get_type_name() not in _LINEAR:
                    op = op.input_value(0).get_node()
                kept.append(op.get_friendly_name())
        kept.sort()
        # NNCF's progress bars stay out of a terminal, and of a notebook, which would display them.
        with (
            mock.patch("rich.console._is_jupyter", return_value=False),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            quantised = nncf.quantize(
                model,
                nncf.Dataset([face[None] for face in inputs]),
                preset=getattr(nncf.QuantizationPreset, _PRESETS[recipe.activations]),
                subset_size=len(inputs),
                fast_bias_correction=recipe.bias == "fast",
                ignored_scope=nncf.IgnoredScope(names=kept) if kept else None,
            )
        openvino.save_model(quantised, str(out), compress_to_fp16=False)


def import_nncf() -> Any:
    """Import NNCF without its lines on the screen."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    return nncf
