"""ONNX Runtime on the CPU: fp32, and graphs quantised to int8; and on others' devices."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lresnet_utils.errors import TargetError
from lresnet_utils.targets.base import (
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

if TYPE_CHECKING:
    import onnxruntime

_LOOKS = {
    "fp32": Look("#d47a12", "s", (0, (6, 1.6))),
    "int8": Look("#c37e31", "X", (0, (6, 1.6, 1.3, 1.6, 1.3, 1.6))),
}
_PROVIDERS = ["CPUExecutionProvider"]
_ERRORS_ONLY = 3


class OnnxRuntimeTarget(Target):
    """ONNX Runtime's CPU provider with all of its graph optimisations.

    The artefact is the optimised graph as ONNX Runtime saves it, in the memory layout of this
    machine's processor: loading it skips the optimiser and takes about half the time of loading
    the graph it was made from, at the same speed.

    Parameters
    ----------
    precision : {'fp32', 'int8'}
        In ``int8`` the graph says, by QuantizeLinear and DequantizeLinear, which layers are
        quantised.
    """

    runtime = "onnxruntime"
    distribution = "onnxruntime"
    suffix = ".onnx"
    tunable = True

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.look = _LOOKS[precision]
        if precision == "int8":
            self.quantiser = OnnxQuantiser()

    def available(self) -> Availability:
        """Say whether ONNX Runtime can be imported."""
        return importable("onnxruntime", "onnxruntime")

    def running_options(self, cores: int) -> list[dict[str, Any]]:
        """Return one batch on all cores first, then several batches that share them out."""
        lanes = sorted({1, 2, cores} & set(range(1, cores + 1)))
        return [{"lanes": number, "threads": max(1, cores // number)} for number in lanes]

    def options(self) -> dict[str, Any]:
        return {"graph_optimization": "all", "spinning": False, "lanes": 1}

    def write(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        import onnxruntime

        settings = _settings(options["threads"])
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        settings.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(str(files.graph), settings, providers=_PROVIDERS)

    def open(self, artefact: Artefact) -> Session:
        import onnxruntime

        settings = _settings(artefact.options["threads"])
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(str(artefact.path), settings, providers=_PROVIDERS)
        return OnnxRuntimeSession(session, artefact.options)


def _settings(threads: int) -> onnxruntime.SessionOptions:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    # Threads that spin while they wait take the cores from the rest of the pipeline: as fast on an
    # idle machine, and about half as fast at batch 1 on one that is not.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Saving a graph for this processor alone is meant here; ONNX Runtime warns about it each time.
    settings.log_severity_level = _ERRORS_ONLY
    return settings


class OnnxRuntimeSession(Session):
    """An ONNX Runtime session with one input and one output.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
    options : dict
        The artefact's options.
    """

    def __init__(self, session: onnxruntime.InferenceSession, options: dict[str, Any]) -> None:
        super().__init__(options["batch_size"], options["embedding_size"], options.get("lanes", 1))
        self._session = session
        self._input = session.get_inputs()[0].name

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: batch})[0]

    def free(self) -> None:
        """Free the graph and the runtime's threads."""
        self._session = None


# ONNX Runtime on devices of other makers.


def provider_only(graph: Any, provider: str, settings: dict[str, Any]) -> Any:
    """Return an ONNX Runtime session of which every node runs on one provider.

    Parameters
    ----------
    graph : path
        The ONNX file.
    provider : str
        Such as ``'CANNExecutionProvider'``.
    settings : dict
        The provider's options.

    Raises
    ------
    TargetError
        When ONNX Runtime has not got the provider or could not start it. It would fall back to
        the CPU with a warning, and the CPU's figures would pass for the device's.
    """
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise TargetError(f"This onnxruntime was built without {provider}.", where=str(graph))
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    session = onnxruntime.InferenceSession(
        str(graph),
        options,
        providers=[(provider, {name: str(value) for name, value in settings.items()})],
        enable_fallback=0,
    )
    if session.get_providers()[0] != provider:
        raise TargetError(
            f"ONNX Runtime could not start {provider} and fell back to the CPU.",
            where=str(graph),
            fix="check the driver and the libraries that the provider needs",
        )
    return session


# Quantising a graph with ONNX Runtime's own quantiser.

_OPERATORS = ["Conv", "Gemm", "MatMul"]


class OnnxQuantiser(Quantiser):
    """Puts QuantizeLinear and DequantizeLinear around a graph's linear layers.

    Static quantisation with one scale per output channel of a weight; ranges of activations are
    moving averages of the batches' extremes, which one odd face moves less than extremes over
    all. The last batch of faces is filled up with its last face.
    """

    suffix = ".onnx"

    def quantise(self, graph: Path, out: Path, inputs: np.ndarray, recipe: Recipe) -> None:
        from onnxruntime import quantization as q

        # The quantiser recommends steps that were taken before, once per call.
        logging.getLogger().addFilter(_not_from_quantiser)
        symmetric = recipe.activations == "symmetric"
        q.quantize_static(
            str(graph),
            str(out),
            face_reader(q, graph, inputs),
            quant_format=q.QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            activation_type=q.QuantType.QInt8 if symmetric else q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            nodes_to_exclude=list(recipe.kept),
            calibrate_method=q.CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": symmetric,
                "WeightSymmetric": True,
                "CalibMovingAverage": True,
            },
        )


def _not_from_quantiser(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


def face_reader(q, graph: Path, inputs: np.ndarray):
    """Return what `q`, ONNX Runtime's module of quantisers, reads faces from, batch by batch."""
    import onnx

    model = onnx.load(graph, load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer}
    (faces,) = (value for value in model.graph.input if value.name not in weights)
    batch_size = faces.type.tensor_type.shape.dim[0].dim_value

    class Faces(q.CalibrationDataReader):
        def __init__(self) -> None:
            self._start = 0

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = inputs[self._start : self._start + batch_size]
            if not len(batch):
                return None
            self._start += batch_size
            missing = batch_size - len(batch)
            filled = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)), mode="edge")
            return {faces.name: filled}

    return Faces()
