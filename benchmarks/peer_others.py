"""What others would run: every runtime as its documentation shows it, no graph rewritten."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from peer_work import PEER, Side, Work

from lresnet_utils.targets import TARGETS
from lresnet_utils.targets.base import Artefact, ModelFiles, Session, Target
from lresnet_utils.targets.onnxruntime import OnnxRuntimeSession, OnnxRuntimeTarget
from lresnet_utils.targets.openvino import OpenVinoTarget


class PlainOnnxRuntime(OnnxRuntimeTarget):
    """ONNX Runtime as its documentation shows it: any graph, default session options."""

    def running_options(self, cores: int) -> list[dict[str, Any]]:
        """Return the default first, then batches side by side that share the cores out."""
        several = sorted({2, cores} & set(range(2, cores + 1)))
        return [
            {"lanes": 1, "threads": 0},
            *({"lanes": n, "threads": max(1, cores // n)} for n in several),
        ]

    def options(self) -> dict[str, Any]:
        return {"lanes": 1, "threads": 0}

    def write(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        shutil.copyfile(files.graph, path)

    def open(self, artefact: Artefact) -> Session:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = artefact.options["threads"]
        session = onnxruntime.InferenceSession(
            str(artefact.path), settings, providers=["CPUExecutionProvider"]
        )
        return OnnxRuntimeSession(session, artefact.options)


def peer_sides(work: Work) -> Iterator[Side]:
    """Yield what others would run on this machine, from the graph as onnxsim leaves it."""
    graph = "on the onnxsim graph"
    plain = PlainOnnxRuntime("fp32")
    yield _peer("ONNX Runtime fp32", f"default session options, {graph}", plain, lambda: work.files)
    for precision in ("fp32", "bf16"):
        target = OpenVinoTarget(precision)
        if target.available().ok:
            yield _peer(
                f"OpenVINO {precision}", f"{precision} hint, {graph}", target, lambda: work.files
            )
    nncf = OpenVinoTarget("int8")
    if nncf.available().ok:
        # Without a hint OpenVINO computes in bf16 where the processor does.
        rest = {"rest": nncf.quantiser.rests()[0]}
        words = f"nncf.quantize with defaults {graph}, OpenVINO"
        yield _peer("NNCF int8", words, nncf, lambda: _nncf_defaults(work), rest)
    words = f"quantize_static with defaults {graph}, default session options"
    int8 = PlainOnnxRuntime("int8")
    yield _peer("ONNX Runtime int8", words, int8, lambda: _ort_defaults(work))
    for name, target in TARGETS.items():
        if target.runtime.startswith("torch") and target.available().ok:
            how = "compiled" if "compile" in name else "eager"
            words = f"PyTorch {how}, channels_last, the network as it is"
            yield _peer(f"PyTorch {how} {target.precision}", words, target, lambda: work.files)


def _peer(
    name: str,
    words: str,
    target: Target,
    files: Callable[[], ModelFiles],
    fixed: dict[str, Any] | None = None,
) -> Side:
    return Side(PEER, name, words, target, files, fixed or {}, {})


def _nncf_defaults(work: Work) -> ModelFiles:
    """Quantise with NNCF, naming nothing but the model and the faces."""
    import openvino

    from lresnet_utils.targets.openvino import import_nncf

    # Quantised once, for one image; it takes any batch.
    one = work.at_one
    out = one.quantised("nncf-defaults") / "quantised.xml"
    if not out.is_file():
        nncf = import_nncf()
        model = openvino.Core().read_model(str(one.files.onnx))
        faces = [face[None] for face in one.calibration.inputs]
        quantised = nncf.quantize(model, nncf.Dataset(faces))
        out.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(quantised, str(out))
    return replace(work.files, prepared=out)


def _ort_defaults(work: Work) -> ModelFiles:
    """Quantise with ONNX Runtime, naming nothing but the files and the faces."""
    from onnxruntime import quantization

    from lresnet_utils.targets.onnxruntime import face_reader

    out = work.quantised("onnxruntime-defaults") / "quantised.onnx"
    if not out.is_file():
        out.parent.mkdir(parents=True, exist_ok=True)
        reader = face_reader(quantization, work.files.onnx, work.calibration.inputs)
        quantization.quantize_static(str(work.files.onnx), str(out), reader)
    return replace(work.files, prepared=out)
