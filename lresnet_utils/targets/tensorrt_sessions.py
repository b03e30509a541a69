"""TensorRT engines inside this process, by NVIDIA's package or by ONNX Runtime's provider."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from lresnet_utils.errors import TargetError
from lresnet_utils.machine.disk import sha256_file
from lresnet_utils.targets.base import Artefact
from lresnet_utils.targets.onnxruntime import OnnxRuntimeSession
from lresnet_utils.targets.session import Session
from lresnet_utils.targets.tools import UnavailableError

PROVIDER = "TensorrtExecutionProvider"
_HOW = (
    "pip install tensorrt (of trtexec's version) beside a CUDA build of PyTorch, or "
    "pip install onnxruntime-gpu with TensorRT's libraries"
)


def open_session(artefact: Artefact) -> Session:
    """Load an engine with the ``tensorrt`` package, else build one with ONNX Runtime's provider.

    Parameters
    ----------
    artefact : Artefact
        An engine that ``trtexec`` saved; its options name the graph that it was built from.

    Raises
    ------
    UnavailableError
        When neither can be used here.
    TargetError
        When the engine or the graph is refused.
    """
    if importlib.util.find_spec("tensorrt") and _has_cuda():
        return EngineSession(artefact, device=f"cuda:{artefact.options['device']}")
    import onnxruntime

    if PROVIDER in onnxruntime.get_available_providers():
        return _provider_session(artefact)
    raise UnavailableError(
        "TensorRT cannot be run from Python here, so there are no embeddings (only speed).",
        fix=_HOW,
    )


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


class EngineSession(Session):
    """An engine with one input and one output, run by the ``tensorrt`` package.

    Parameters
    ----------
    artefact : Artefact
        The engine.
    device : str
        PyTorch's name of the device whose memory holds the batch and the result.
    """

    def __init__(self, artefact: Artefact, *, device: str) -> None:
        import tensorrt
        import torch

        super().__init__(artefact.options["batch_size"], artefact.options["embedding_size"])
        runtime = tensorrt.Runtime(tensorrt.Logger(tensorrt.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine(artefact.path.read_bytes())
        if engine is None:
            raise TargetError(
                "TensorRT refuses the engine: it is of another version or another GPU.",
                where=str(artefact.path),
                fix="build it again on this host: run 2_compile",
            )
        self._context = engine.create_execution_context()
        self._kept = (runtime, engine)  # the context is void without them
        self._input = torch.empty((self.batch_size, 3, 112, 112), device=device)
        self._output = torch.empty((self.batch_size, self.embedding_size), device=device)
        if artefact.options["dynamic_batch"]:
            self._context.set_input_shape(engine.get_tensor_name(0), tuple(self._input.shape))
        self._torch = torch

    def _run(self, batch: np.ndarray) -> np.ndarray:
        self._input.copy_(self._torch.from_numpy(batch))
        # Copies from and to plain host memory are done when they return, and so is execute_v2.
        if not self._context.execute_v2([self._input.data_ptr(), self._output.data_ptr()]):
            raise TargetError("TensorRT did not execute the engine.")
        return self._output.cpu().numpy().copy()

    def _free(self) -> None:
        """Free the engine and its memory."""
        self._context = self._kept = self._input = self._output = None


def _provider_session(artefact: Artefact) -> Session:
    graph = artefact.path.parent / artefact.options["onnx"]
    if not graph.is_file() or sha256_file(graph) != artefact.options["onnx_sha256"]:
        raise TargetError(
            "The graph is gone or was changed since the build.",
            where=str(graph),
            fix="run 1_export and 2_compile again",
        )
    cache = str(artefact.path.absolute().parent)
    settings = {
        "device_id": artefact.options["device"],
        "trt_fp16_enable": True,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": cache,
    }
    return OnnxRuntimeSession(provider_only(graph, PROVIDER, settings), artefact.options)


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
