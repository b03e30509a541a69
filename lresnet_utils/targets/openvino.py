"""OpenVINO on the CPU, fp32 and bf16."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lresnet_utils.errors import TargetError
from lresnet_utils.perf.machine import cpu_flags
from lresnet_utils.targets.base import (
    Artefact,
    Availability,
    ModelFiles,
    Session,
    Target,
    importable,
)

if TYPE_CHECKING:
    import openvino

_DEVICE = "CPU"
# Our names of the precisions to OpenVINO's.
_ELEMENT_TYPES = {"fp32": "f32", "bf16": "bf16"}
# Linux's names of the instructions that multiply bf16 numbers: Intel and AMD, then Arm.
_BF16_FLAGS = ("amx_bf16", "avx512_bf16", "avx_ne_convert", "bf16")


class OpenVinoTarget(Target):
    """OpenVINO's CPU plugin at a stated precision, one batch at a time.

    The artefact is the compiled model as OpenVINO exports it. It does not keep the precision it
    was compiled for: imported without the hint, an fp32 build runs in bf16 on a machine that can.
    The hint is therefore given again, and read back, on every load.

    Parameters
    ----------
    precision : {'fp32', 'bf16'}
        Arithmetic of the network's layers. Input, output and stored weights are fp32 in both.
    """

    runtime = "openvino"
    distribution = "openvino"
    suffix = ".blob"

    def __init__(self, precision: str) -> None:
        self.precision = precision

    def available(self) -> Availability:
        """Say whether OpenVINO can be imported and the processor computes in this precision."""
        able = importable("openvino", "openvino")
        if not able.ok or self.precision == "fp32":
            return able
        found = native_bf16()
        if found is None:
            return Availability(
                False,
                "this processor has no bf16 instructions, so bf16 would be slower than fp32",
                "run it on a processor with AVX512-BF16, AMX or Arm BF16",
            )
        return Availability(True, note=f"bf16 arithmetic by {found}")

    def _options(self) -> dict[str, Any]:
        # Threads tied to a core wait for it when another thread of the pipeline is on it.
        return {"performance_hint": "LATENCY", "streams": 1, "pinning": False}

    def _build(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        core = _core()
        compiled = core.compile_model(
            core.read_model(str(files.onnx)), _DEVICE, self._config(options)
        )
        path.write_bytes(compiled.export_model().getvalue())

    def _load(self, artefact: Artefact) -> Session:
        compiled = _core().import_model(
            artefact.path.read_bytes(), _DEVICE, self._config(artefact.options)
        )
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if precision != _ELEMENT_TYPES[self.precision]:
            raise TargetError(
                f"OpenVINO would compute in {precision} instead of {self.precision}.",
                where=str(artefact.path),
            )
        return OpenVinoSession(compiled, artefact.options)

    def _config(self, options: dict[str, Any]) -> dict[str, Any]:
        return {
            "INFERENCE_PRECISION_HINT": _ELEMENT_TYPES[self.precision],
            "PERFORMANCE_HINT": options["performance_hint"],
            "INFERENCE_NUM_THREADS": options["threads"],
            "NUM_STREAMS": options["streams"],
            "ENABLE_CPU_PINNING": options["pinning"],
        }


class OpenVinoSession(Session):
    """A compiled model with one input and one output, run by one blocking request.

    Parameters
    ----------
    compiled : openvino.CompiledModel
    options : dict
        The artefact's options.
    """

    def __init__(self, compiled: openvino.CompiledModel, options: dict[str, Any]) -> None:
        super().__init__(options["batch_size"], options["embedding_size"])
        self._request = compiled.create_infer_request()

    def _run(self, batch: np.ndarray) -> np.ndarray:
        self._request.infer({0: batch}, share_inputs=True)
        # The request writes every result to the same memory.
        return self._request.get_output_tensor(0).data.copy()

    def _free(self) -> None:
        """Free the request and, with it, the compiled model."""
        self._request = None


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
    if flags is None:
        return "the processor"
    return next((flag for flag in _BF16_FLAGS if flag in flags), None)


@cache
def _core() -> openvino.Core:
    """Return the one core of this process; a second one would load the CPU plugin again."""
    import openvino

    return openvino.Core()
