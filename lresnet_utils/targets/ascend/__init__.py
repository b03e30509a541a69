"""Ascend NPUs by CANN's own tools: ``atc`` builds, ais_bench, msame or benchmark.x86_64 run."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

from lresnet_utils.errors import TargetError
from lresnet_utils.machine.disk import read_json, sha256_file, to_json
from lresnet_utils.run import resolve
from lresnet_utils.targets.ascend.runners import (
    RUNNERS,
    AscendJob,
    AscendRunner,
    cann_version,
    check_environment,
    explain,
    write_inputs,
)
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
    importable,
    require_unchanged,
)
from lresnet_utils.targets.embed import Embedding, StageRate, StageRates, combine
from lresnet_utils.targets.onnxruntime import OnnxRuntimeSession, provider_only
from lresnet_utils.targets.tool_log import PerfRecord
from lresnet_utils.targets.tools import find_tool, run_tool
from lresnet_utils.text.language import message
from lresnet_utils.untrusted.settings import QUAD_CHIP_CARDS, ToolOptions

INPUT_NAME = "image"
_SUCCESS = r"ATC run success"
_PROBE_ROUNDS = 10
_NO_RUNNER = "no tool that runs .om builds is here (ais_bench, msame or benchmark.x86_64)"
_GET_RUNNER = (
    "on the host with the NPU: pip install the ais_bench and aclruntime wheels "
    "(https://gitee.com/ascend/tools), or put msame or benchmark.x86_64 on the PATH"
)


class NpuTool(SetTool):
    """Runs ``.om`` builds with whichever of the three tools is there."""

    def embed_set(self, artefact: Artefact, job: SetJob) -> Embedding:
        """Write the inputs, run the tool over them, read its dump; see :class:`SetTool`."""
        runner, build = _prepared(artefact, job.folder)
        started = time.perf_counter()
        try:
            inputs = write_inputs(
                job,
                build.folder / "inputs",
                images_per_file=runner.images_per_file(build.batch_size),
                as_bytes="aipp_config" in artefact.options,
            )
            written_s = time.perf_counter() - started
            result = runner.embed(build, inputs)
        finally:
            shutil.rmtree(build.folder / "inputs", ignore_errors=True)
        vectors, failed, reasons = combine(result.views, job.usable, len(job.images), job.known)
        wall_s = time.perf_counter() - started
        record, n = result.record, len(job.usable) * len(result.views)
        if record.stages:
            rates = record.stage_rates()
        else:
            # e2e is the wall clock with the tool's start, preprocess is writing the input files,
            # infer the tool's own figure for the device, post reading the results; data read is
            # inside the tool and has no figure.
            rates = StageRates(
                e2e=StageRate.of(n, wall_s),
                data_read=StageRate(),
                preprocess=StageRate.of(n, written_s),
                infer=StageRate(record.throughput_ips, 1000 / record.throughput_ips, n),
                post=StageRate.of(n, result.read_s),
            )
        return Embedding(vectors, failed, reasons, rates)

    def measure(
        self, artefact: Artefact, folder: Path, *, warmup: int, seconds: float, repeats: int
    ) -> list[PerfRecord]:
        """Time pure inference; a first short run finds how many executions fill a repeat.

        See :meth:`SetTool.measure`. Of the three tools only ais_bench has a warm-up; msame
        runs at most a hundred executions and leaves the first one out of its average.
        """
        runner, build = _prepared(artefact, folder)
        options = artefact.options
        folder.mkdir(parents=True, exist_ok=True)
        probe = runner.measure(build, _PROBE_ROUNDS, warmup, "probe")
        batches_per_second = probe.throughput_ips / build.batch_size
        rounds = max(_PROBE_ROUNDS, math.ceil(seconds * batches_per_second))
        rounds = min(rounds, runner.most_rounds)
        records = []
        for repeat in range(1, repeats + 1):
            record = runner.measure(build, rounds, warmup, f"repeat_{repeat}")
            asked = message(
                "one chip, device {device}, {n} executions asked for",
                device=options["device"],
                n=rounds,
            )
            notes = [*record.notes, asked]
            if options["card_extrapolation"] and options["soc_version"] in QUAD_CHIP_CARDS:
                notes.append(card_note(record.throughput_ips, options["soc_version"]))
            records.append(dataclasses.replace(record, notes=tuple(notes)))
        return records


class AscendTarget(Target):
    """The guide's road: a graph compiled by ``atc``, run on one NPU by one of three tools.

    atc computes in fp16 unless told otherwise; input and output are fp32. The artefact is the
    ``.om`` file. A build that takes part in AIPP gets RGB bytes, and its AIPP file has to do what
    the network's preprocessing does: channel order and normalisation.
    """

    runtime = "ascend"
    distribution = "cann"
    suffix = ".om"
    precision = "fp16"
    look = Look("#d54885", "p", (0, (3, 1.4, 1.3, 1.4)))
    set_tool = NpuTool()
    tools = ToolOptions()

    def available(self) -> Availability:
        """Say whether ``atc`` is there with its environment."""
        able = check_environment()
        if able.ok and find_runner(self.tools.runner) is None:
            return Availability(
                True, note=message("{why}: it can be built here, not run", why=_NO_RUNNER)
            )
        return able

    def versions(self) -> dict[str, str]:
        """Return CANN's version, as its toolkit states it."""
        version = cann_version()
        return {"CANN": version} if version else {}

    def options(self) -> dict[str, Any]:
        tools = self.tools
        options = {
            "soc_version": tools.soc_version,
            "atc_log": tools.atc_log,
            "device": tools.device,
            "timeout_s": tools.timeout_s,
            "runner": tools.runner,
            "card_extrapolation": tools.card_extrapolation,
        }
        if tools.precision_mode:
            options["precision_mode"] = tools.precision_mode
        if tools.aipp_config:
            config = resolve(tools.aipp_config)
            if not config.is_file():
                raise TargetError("The AIPP file does not exist.", where=str(config))
            options |= {"aipp_config": config.as_posix(), "aipp_sha256": sha256_file(config)}
        return options

    def write(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        options.pop("threads")  # the NPU has none to set
        atc = find_tool("atc", variable="LRESNET_ATC")
        run_tool(
            [atc, *atc_arguments(files.onnx, path, files.batch_size, options)],
            log=path.parent / "atc.log",
            timeout_s=options["timeout_s"],
            cwd=path.parent,
            success=_SUCCESS,
            explain=explain,
        )
        if path.stat().st_size == 0:
            raise TargetError(
                "atc reports success, but its build is empty.", where=str(path.parent / "atc.log")
            )


def atc_arguments(onnx: Path, om: Path, batch_size: int, options: dict[str, Any]) -> list[str]:
    """Return atc's arguments: the guide's, in its order, then what was asked for besides.

    Parameters
    ----------
    onnx, om : Path
        The graph, and the build; atc adds the ``.om`` itself.
    batch_size : int
        Images per execution.
    options : dict
        ``atc_log``, ``soc_version`` and, if any, ``aipp_config`` and ``precision_mode``.

    Examples
    --------
    >>> guide = {"atc_log": "debug", "soc_version": "Ascend310"}
    >>> atc_arguments(Path("/m/bs1_sim.onnx"), Path("/m/bs1.om"), 1, guide)
    ['--framework=5', '--model=/m/bs1_sim.onnx', '--output=/m/bs1', '--input_format=NCHW',
     '--input_shape=image:1,3,112,112', '--log=debug', '--soc_version=Ascend310']
    """
    arguments = [
        "--framework=5",
        f"--model={Path(onnx).absolute()}",
        f"--output={om.absolute().with_suffix('')}",
        "--input_format=NCHW",
        f"--input_shape={INPUT_NAME}:{batch_size},3,112,112",
        f"--log={options['atc_log']}",
        f"--soc_version={options['soc_version']}",
    ]
    if "aipp_config" in options:
        arguments.append(f"--insert_op_conf={options['aipp_config']}")
    if "precision_mode" in options:
        arguments.append(f"--precision_mode={options['precision_mode']}")
    return arguments


def find_runner(name: str) -> AscendRunner | None:
    """Return the runner of this machine: ais_bench, else msame, else benchmark.x86_64.

    Parameters
    ----------
    name : {'auto', 'ais_bench', 'msame', 'benchmark'}
        Take this one only, or the first that is there.
    """
    kinds = RUNNERS.values() if name == "auto" else [RUNNERS[name]]
    return next((found for found in (kind.find() for kind in kinds) if found), None)


def card_note(rate_ips: float, soc_version: str) -> str:
    """Say what the guide makes of one chip's rate, and that it was not measured.

    Examples
    --------
    >>> card_note(186.532, "Ascend310")
    'the guide would state 746.1 images/s for a card of four Ascend310: 4 x this chip, not measured'
    """
    return (
        f"the guide would state {4 * rate_ips:.1f} images/s for a card of four {soc_version}: "
        "4 x this chip, not measured"
    )


def _prepared(artefact: Artefact, folder: Path) -> tuple[AscendRunner, AscendJob]:
    """Return the program that runs a build here, and what it is to run in a folder."""
    runner = find_runner(artefact.options["runner"])
    if runner is None:
        wanted = artefact.options["runner"]
        reason = _NO_RUNNER if wanted == "auto" else f"{wanted} is not here"
        raise UnavailableError(f"{reason}.", fix=_GET_RUNNER)
    names = ("batch_size", "embedding_size", "device", "timeout_s")
    settings = {name: artefact.options[name] for name in names}
    return runner, AscendJob(artefact.path.absolute(), folder=folder, **settings)


# Ascend NPUs through ONNX Runtime's CANN provider, inside this process.

PROVIDER = "CANNExecutionProvider"
_HOW = (
    "on an Ascend host with CANN's set_env.sh sourced: pip uninstall onnxruntime, then "
    "pip install onnxruntime-cann"
)


class CannTarget(Target):
    """ONNX Runtime's CANN provider with fp16 arithmetic; input and output are fp32.

    CANN compiles the graph when it is loaded, so the artefact is a small file that names the
    graph, relative to itself, and its hash. No node may fall back to the CPU.

    Of the tools' settings `device` and `precision_mode` count.
    """

    runtime = "cann"
    distribution = "onnxruntime-cann"
    suffix = ".json"
    precision = "fp16"
    look = Look("#c42c6c", "h", (0, (1.4, 2.4)))
    tools = ToolOptions()

    def available(self) -> Availability:
        """Say whether ONNX Runtime is here and was built with the provider."""
        able = importable("onnxruntime", "onnxruntime-cann")
        if not able.ok:
            return able
        import onnxruntime

        if PROVIDER not in onnxruntime.get_available_providers():
            return Availability(
                False,
                message("this onnxruntime was built without {provider}", provider=PROVIDER),
                _HOW,
            )
        return Availability(True, note="compiled by CANN when it is loaded")

    def versions(self) -> dict[str, str]:
        """Return the versions of ONNX Runtime and of CANN, where they are known."""
        cann = cann_version()
        return super().versions() | ({"CANN": cann} if cann else {})

    def options(self) -> dict[str, Any]:
        return {
            "device": self.tools.device,
            "precision_mode": self.tools.precision_mode or "force_fp16",
        }

    def write(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        options.pop("threads")  # the NPU has none to set
        content = {
            "onnx": Path(os.path.relpath(files.onnx, path.parent)).as_posix(),
            "onnx_sha256": sha256_file(files.onnx),
        }
        path.write_text(to_json(content) + "\n", encoding="utf-8")

    def open(self, artefact: Artefact) -> Session:
        content = read_json(artefact.path)
        graph = artefact.path.parent / content["onnx"]
        require_unchanged(graph, content["onnx_sha256"], "The graph is gone or was")
        settings = {
            "device_id": artefact.options["device"],
            "precision_mode": artefact.options["precision_mode"],
            "enable_cann_graph": 1,
        }
        return OnnxRuntimeSession(provider_only(graph, PROVIDER, settings), artefact.options)
