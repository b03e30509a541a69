"""ONNX Runtime on the CPU: fp32, and graphs quantised to int8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lresnet_utils.targets.base import (
    Artefact,
    Availability,
    ModelFiles,
    Session,
    Target,
    importable,
)

if TYPE_CHECKING:
    import onnxruntime

    from lresnet_utils.targets.base import Recipe

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

    def available(self) -> Availability:
        """Say whether ONNX Runtime can be imported."""
        return importable("onnxruntime", "onnxruntime")

    def quantise(self, graph: Path, folder: Path, inputs: np.ndarray, recipe: Recipe) -> Path:
        """Write a quantised graph; see :mod:`lresnet_utils.targets.quantisers`."""
        from lresnet_utils.targets.quantisers import quantise_onnx

        return quantise_onnx(graph, folder / "quantised.onnx", inputs, recipe)

    def rests(self) -> list[str]:
        """Return the precisions that layers which are not quantised may have."""
        return ["fp32"]

    def running_options(self, cores: int) -> list[dict[str, Any]]:
        """Return one batch on all cores first, then several batches that share them out."""
        lanes = sorted({1, 2, cores} & set(range(1, cores + 1)))
        return [{"lanes": number, "threads": max(1, cores // number)} for number in lanes]

    def _options(self) -> dict[str, Any]:
        return {"graph_optimization": "all", "spinning": False, "lanes": 1}

    def _build(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        import onnxruntime

        settings = _settings(options["threads"])
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        settings.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(str(files.graph), settings, providers=_PROVIDERS)

    def _load(self, artefact: Artefact) -> Session:
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

    def _run(self, batch: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: batch})[0]

    def _free(self) -> None:
        """Free the graph and the runtime's threads."""
        self._session = None
