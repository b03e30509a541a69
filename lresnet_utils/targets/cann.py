"""Ascend NPUs through ONNX Runtime's CANN provider, inside this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lresnet_utils.errors import TargetError
from lresnet_utils.machine.disk import read_json, sha256_file, to_json
from lresnet_utils.targets.ascend_environment import cann_version
from lresnet_utils.targets.base import Artefact, Availability, ModelFiles, Target, importable
from lresnet_utils.targets.onnxruntime import OnnxRuntimeSession
from lresnet_utils.targets.session import Session
from lresnet_utils.targets.tensorrt_sessions import provider_only
from lresnet_utils.untrusted.options import ToolOptions

PROVIDER = "CANNExecutionProvider"
_HOW = (
    "on an Ascend host with CANN's set_env.sh sourced: pip uninstall onnxruntime, then "
    "pip install onnxruntime-cann"
)


class CannTarget(Target):
    """ONNX Runtime's CANN provider with fp16 arithmetic; input and output are fp32.

    CANN compiles the graph when it is loaded, so the artefact is a small file that names the
    graph, relative to itself, and its hash. No node may fall back to the CPU.

    Parameters
    ----------
    tools : ToolOptions, optional
        Of which `device` and `precision_mode` count.
    """

    runtime = "cann"
    distribution = "onnxruntime-cann"
    suffix = ".json"
    precision = "fp16"

    def __init__(self, tools: ToolOptions | None = None) -> None:
        self.tools = tools or ToolOptions()

    def configured(self, tools: ToolOptions) -> CannTarget:
        """Return the same target with other settings."""
        return type(self)(tools)

    def available(self) -> Availability:
        """Say whether ONNX Runtime is here and was built with the provider."""
        able = importable("onnxruntime", "onnxruntime-cann")
        if not able.ok:
            return able
        import onnxruntime

        if PROVIDER not in onnxruntime.get_available_providers():
            return Availability(False, f"this onnxruntime was built without {PROVIDER}", _HOW)
        return Availability(True, note="compiled by CANN when it is loaded")

    def versions(self) -> dict[str, str]:
        """Return the versions of ONNX Runtime and of CANN, where they are known."""
        cann = cann_version()
        return super().versions() | ({"CANN": cann} if cann else {})

    def _options(self) -> dict[str, Any]:
        return {
            "device": self.tools.device,
            "precision_mode": self.tools.precision_mode or "force_fp16",
        }

    def _build(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        options.pop("threads")  # the NPU has none to set
        content = {
            "onnx": Path(os.path.relpath(files.onnx, path.parent)).as_posix(),
            "onnx_sha256": sha256_file(files.onnx),
        }
        path.write_text(to_json(content) + "\n", encoding="utf-8")

    def _load(self, artefact: Artefact) -> Session:
        content = read_json(artefact.path)
        graph = artefact.path.parent / content["onnx"]
        if not graph.is_file() or sha256_file(graph) != content["onnx_sha256"]:
            raise TargetError(
                "The graph is gone or was changed since the build.",
                where=str(graph),
                fix="run 1_export and 2_compile again",
            )
        settings = {
            "device_id": artefact.options["device"],
            "precision_mode": artefact.options["precision_mode"],
            "enable_cann_graph": 1,
        }
        return OnnxRuntimeSession(provider_only(graph, PROVIDER, settings), artefact.options)
