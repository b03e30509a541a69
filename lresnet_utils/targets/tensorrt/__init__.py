"""TensorRT at fp16: built and timed by ``trtexec``, embedded through Python where that is there."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.errors import TargetError
from lresnet_utils.machine.disk import sha256_file
from lresnet_utils.targets.base import (
    Artefact,
    Availability,
    Look,
    ModelFiles,
    Session,
    SetJob,
    SetTool,
    Target,
    UnavailableError,
    require_unchanged,
)
from lresnet_utils.targets.embed import Embedding, embed
from lresnet_utils.targets.onnxruntime import OnnxRuntimeSession, provider_only
from lresnet_utils.targets.tensorrt.trtexec_log import read_trtexec
from lresnet_utils.targets.tool_log import PerfRecord
from lresnet_utils.targets.tools import find_tool, run_tool
from lresnet_utils.text.language import message
from lresnet_utils.untrusted.settings import ToolOptions

INPUT_NAME = "image"
USUAL_FOLDERS = (Path("/usr/src/tensorrt/bin"), Path("/opt/tensorrt/bin"))
"""Where Debian packages and NVIDIA's containers put ``trtexec``, off the ``PATH``."""

_SUCCESS = r"&&&& PASSED"
_BANNER = re.compile(r"\[TensorRT v(\d+)\]")
_WARM_UP_MS = 200
_ABSENT = "trtexec (NVIDIA TensorRT) is not installed"
_INSTALL = (
    "on a host with an NVIDIA GPU: install TensorRT 10 or older (apt: libnvinfer-bin) and put "
    "trtexec on the PATH, or set LRESNET_TRTEXEC"
)


@dataclass(frozen=True)
class Trtexec:
    """A ``trtexec`` of this machine.

    Attributes
    ----------
    path : Path
        The program.
    version : str
        ``'8.5.3'``, or ``'unknown'``.
    options : frozenset of str
        The options that its ``--help`` names.
    """

    path: Path
    version: str
    options: frozenset[str]


class TrtexecTool(SetTool):
    """Times an engine with ``trtexec``, and embeds in this process, where Python can run it."""

    def embed_set(self, artefact: Artefact, job: SetJob) -> Embedding:
        """Embed in this process: no files, and the figures of :func:`targets.embed.embed`."""
        with open_session(artefact) as session:
            return embed(
                job.images,
                session,
                channel_order=job.channel_order,
                normalisation=job.normalisation,
                flip=job.flip,
                failures=job.failures,
            )

    def measure(
        self, artefact: Artefact, folder: Path, *, warmup: int, seconds: float, repeats: int
    ) -> list[PerfRecord]:
        """Time the engine with ``trtexec --loadEngine``; see :meth:`SetTool.measure`.

        trtexec warms up by time, not by batches: 200 ms, its own default, unless `warmup` is 0.
        A repeat is at least a whole second, since older releases read whole seconds.
        """
        options, tool = artefact.options, find_trtexec()
        if tool is None:
            raise TargetError(f"{artefact.target}: {_ABSENT}", fix=_INSTALL)
        arguments = [f"--loadEngine={artefact.path.absolute()}"]
        if options["dynamic_batch"]:
            arguments.append(_shapes(options["batch_size"]))
        arguments += [
            f"--device={options['device']}",
            f"--warmUp={_WARM_UP_MS if warmup else 0}",
            f"--duration={max(1, math.ceil(seconds))}",
        ]
        records = []
        for repeat in range(1, repeats + 1):
            log = run_tool(
                [tool.path, *arguments],
                log=folder / f"repeat_{repeat}.log",
                timeout_s=options["timeout_s"],
                cwd=folder,
                success=_SUCCESS,
                explain=explain,
            )
            records.append(read_trtexec(log, batch_size=options["batch_size"]))
        return records


class TensorRtTarget(Target):
    """NVIDIA's TensorRT with fp16 arithmetic; input and output are fp32.

    The artefact is the engine that ``trtexec`` saves. It also times the engine; embeddings need
    the ``tensorrt`` package with a CUDA build of PyTorch, or ONNX Runtime with its TensorRT
    provider (which builds an engine of its own from the same graph). Without either, this target
    has speed but no embeddings.
    """

    runtime = "tensorrt"
    distribution = "tensorrt"
    suffix = ".engine"
    precision = "fp16"
    look = Look("#938b4a", "P", (0, (9, 2)))
    set_tool = TrtexecTool()
    tools = ToolOptions()

    def available(self) -> Availability:
        """Say whether there is a ``trtexec`` that can compile an fp32 graph to fp16."""
        try:
            tool = find_trtexec()
        except TargetError as error:
            return Availability(False, error.what, error.fix)
        if tool is None:
            return Availability(False, _ABSENT, _INSTALL)
        if "--fp16" not in tool.options:
            return Availability(
                False,
                message(
                    "TensorRT {version} has no --fp16: its precision is the graph's own",
                    version=tool.version,
                ),
                "use TensorRT 10 or older",
            )
        return Availability(
            True, note=message("trtexec of TensorRT {version}", version=tool.version)
        )

    def versions(self) -> dict[str, str]:
        """Return TensorRT's version, as ``trtexec`` states it."""
        tool = find_trtexec()
        return {"TensorRT": tool.version} if tool else {}

    def options(self) -> dict[str, Any]:
        return {"device": self.tools.device, "timeout_s": self.tools.timeout_s}

    def write(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        options.pop("threads")  # the GPU has none to set
        # For ONNX Runtime's TensorRT provider, which starts from the graph.
        options["onnx"] = Path(os.path.relpath(files.onnx, path.parent)).as_posix()
        options["onnx_sha256"] = sha256_file(files.onnx)
        options["dynamic_batch"] = has_dynamic_batch(files.onnx)
        tool = find_trtexec()
        arguments = [
            *guide_arguments(files.onnx, files.batch_size, options),
            f"--saveEngine={path.absolute()}",
        ]
        if "--timingCacheFile" in tool.options:
            arguments.append(f"--timingCacheFile={path.absolute().parent / 'timing.cache'}")
        run_tool(
            [tool.path, *arguments],
            log=path.parent / "trtexec_build.log",
            timeout_s=options["timeout_s"],
            cwd=path.parent,
            success=_SUCCESS,
            explain=explain,
        )
        if path.stat().st_size == 0:
            raise TargetError("trtexec passed, but its engine is empty.", where=str(path.parent))


def guide_arguments(onnx: Path, batch_size: int, options: dict[str, Any]) -> list[str]:
    """Return the arguments of the guide's section 3.1, step 5.

    ``--shapes`` is for graphs with a symbolic batch, as the guide's own; TensorRT 8 and later
    refuse it for a static one.

    Examples
    --------
    >>> guide_arguments(Path("/m/bs1_sim.onnx"), 1, {"device": 0, "dynamic_batch": True})
    ['--onnx=/m/bs1_sim.onnx', '--fp16', '--shapes=image:1x3x112x112', '--device=0']
    """
    shapes = [_shapes(batch_size)] if options["dynamic_batch"] else []
    return [f"--onnx={Path(onnx).absolute()}", "--fp16", *shapes, f"--device={options['device']}"]


def has_dynamic_batch(onnx_path: Path) -> bool:
    """Say whether the graph's first input has a symbolic batch."""
    import onnx

    graph = onnx.load(str(onnx_path), load_external_data=False).graph
    return not graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")


def find_trtexec() -> Trtexec | None:
    """Return this machine's ``trtexec`` with its version and options, or None.

    Raises
    ------
    TargetError
        When it is there but does not start, such as without its libraries.
    """
    path = find_tool("trtexec", variable="LRESNET_TRTEXEC", folders=USUAL_FOLDERS)
    return _ask(path, path.stat().st_mtime_ns) if path else None


@cache
def _ask(path: Path, changed_ns: int) -> Trtexec:
    """Ask a program for its help; `changed_ns` makes a replaced one be asked anew."""
    with tempfile.TemporaryDirectory() as folder:
        log = run_tool(
            [path, "--help"],
            log=Path(folder) / "help.log",
            timeout_s=120,
            cwd=Path(folder),
            explain=explain,
        )
        text = log.read_text(encoding="utf-8", errors="replace")
    banner = _BANNER.search(text)
    options = frozenset(re.findall(r"^\s+(--\w+)", text, re.MULTILINE))
    return Trtexec(path, dotted_version(banner[1]) if banner else "unknown", options)


def dotted_version(number: str) -> str:
    """Read TensorRT's version number: three parts, of which the first was shorter before 10.

    Examples
    --------
    >>> dotted_version("7103"), dotted_version("8503"), dotted_version("100300")
    ('7.1.3', '8.5.3', '10.3.0')
    """
    value = int(number)
    major = 10_000 if value >= 100_000 else 1000
    return f"{value // major}.{value % major // 100}.{value % 100}"


def explain(line: str) -> str | None:
    """Say what to do about an error line of ``trtexec``.

    Examples
    --------
    >>> explain("[E] Cuda failure: no CUDA-capable device is detected")
    'run it on a host with an NVIDIA GPU whose driver fits this TensorRT'
    """
    if re.search(r"Cuda failure|CUDA (error|initialization failure)|no CUDA-capable", line):
        return "run it on a host with an NVIDIA GPU whose driver fits this TensorRT"
    if "error while loading shared libraries" in line:
        return "add TensorRT's lib folder to LD_LIBRARY_PATH"
    if "version" in line.lower() and re.search(r"[Ee]ngine|serializ|plan", line):
        return "the engine is of another TensorRT or GPU: run 2_compile again on this host"
    return None


def _shapes(batch_size: int) -> str:
    return f"--shapes={INPUT_NAME}:{batch_size}x3x112x112"


# TensorRT engines inside this process, by NVIDIA's package or by ONNX Runtime's provider.

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
    if importlib.util.find_spec("tensorrt"):
        import torch

        if torch.cuda.is_available():
            return EngineSession(artefact, device=f"cuda:{artefact.options['device']}")
    import onnxruntime

    if PROVIDER not in onnxruntime.get_available_providers():
        raise UnavailableError(
            "TensorRT cannot be run from Python here, so there are no embeddings (only speed).",
            fix=_HOW,
        )
    graph = artefact.path.parent / artefact.options["onnx"]
    require_unchanged(graph, artefact.options["onnx_sha256"], "The graph is gone or was")
    folder = str(artefact.path.absolute().parent)
    settings = {
        "device_id": artefact.options["device"],
        "trt_fp16_enable": True,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": folder,
    }
    return OnnxRuntimeSession(provider_only(graph, PROVIDER, settings), artefact.options)


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

    def run(self, batch: np.ndarray) -> np.ndarray:
        self._input.copy_(self._torch.from_numpy(batch))
        # Copies from and to plain host memory are done when they return, and so is execute_v2.
        if not self._context.execute_v2([self._input.data_ptr(), self._output.data_ptr()]):
            raise TargetError("TensorRT did not execute the engine.")
        return self._output.cpu().numpy().copy()

    def free(self) -> None:
        """Free the engine and its memory."""
        self._context = self._kept = self._input = self._output = None
