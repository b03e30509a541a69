"""The three programs that run ``.om`` builds on an Ascend: ais_bench, msame, benchmark.x86_64."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lresnet_utils.data.network_input import IMAGE_SIZE, to_network_input
from lresnet_utils.data.network_input import flip as mirror
from lresnet_utils.errors import TargetError
from lresnet_utils.run import CHECKOUT
from lresnet_utils.targets.ascend.npu_logs import (
    read_ais_bench,
    read_benchmark_pure,
    read_benchmark_vision,
    read_msame,
)
from lresnet_utils.targets.base import Availability, SetJob
from lresnet_utils.targets.dumps import VIEWS, read_dump
from lresnet_utils.targets.tool_log import PerfRecord
from lresnet_utils.targets.tools import find_tool, run_tool
from lresnet_utils.text.language import message

_CHUNK = 64
_SPARE_BYTES = 1 << 24
_PROBE = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ais_bench') is None)"


@dataclass(frozen=True)
class AscendJob:
    """What a runner runs.

    Attributes
    ----------
    om : Path
        The build; absolute.
    batch_size, embedding_size : int
        Of the build.
    device : int
        Number of the NPU.
    timeout_s : float
        For one run.
    folder : Path
        Where it works; absolute.
    """

    om: Path
    batch_size: int
    embedding_size: int
    device: int
    timeout_s: float
    folder: Path


@dataclass(frozen=True)
class InputFiles:
    """Network inputs as the tools read them.

    Attributes
    ----------
    folder : Path
        Holds ``{k}.bin`` and, with mirrored views, ``{k}_flip.bin``.
    n_files : int
        Files per view.
    n_images : int
        Images per view; the last file is filled up by repeating the last image.
    images_per_file : int
        1, or the batch size for a tool that takes one file per batch.
    views : tuple of str
        ``('plain',)`` or ``('plain', 'flip')``.
    """

    folder: Path
    n_files: int
    n_images: int
    images_per_file: int
    views: tuple[Literal["plain", "flip"], ...]

    def names(self) -> list[str]:
        """Return the files' names, each image beside its mirrored view."""
        return [f"{k}{VIEWS[view]}.bin" for k in range(self.n_files) for view in self.views]


def write_inputs(job: SetJob, folder: Path, *, images_per_file: int, as_bytes: bool) -> InputFiles:
    """Write ``{k}.bin`` and ``{k}_flip.bin`` for the usable pictures, numbered from zero.

    Parameters
    ----------
    job : SetJob
        Its images are read in pieces.
    folder : Path
        Made here; what an interrupted run has left in it is removed.
    images_per_file : int
        See :class:`InputFiles`.
    as_bytes : bool
        Write RGB bytes, height x width x channel, for a build with AIPP, which makes the floats
        itself; else the network's little-endian floats.

    Raises
    ------
    TargetError
        When there is no picture, or the disk has no room.
    """
    rows, views = job.usable, ("plain", "flip") if job.flip else ("plain",)
    if len(rows) == 0:
        raise TargetError("There is no usable picture to embed.")

    def convert(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both views of some pictures."""
        pixels = np.asarray(job.images[rows])
        if as_bytes:
            return pixels, np.ascontiguousarray(pixels[:, :, ::-1])
        how = {"channel_order": job.channel_order, "normalisation": job.normalisation}
        plain = to_network_input(pixels, **how)
        return plain.astype("<f4", copy=False), mirror(plain).astype("<f4", copy=False)

    n_files = -(-len(rows) // images_per_file)
    filled = np.pad(rows, (0, n_files * images_per_file - len(rows)), mode="edge")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    needed = convert(filled[:1])[0].nbytes * len(filled) * len(views)
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise TargetError(
            f"The tool's input needs {needed / 1e9:.2f} GB, but {free / 1e9:.2f} GB are free.",
            where=str(folder),
        )
    step = max(1, _CHUNK // images_per_file) * images_per_file
    for start in range(0, len(filled), step):
        for view, batch in zip(views, convert(filled[start : start + step]), strict=False):
            for offset in range(0, len(batch), images_per_file):
                name = f"{(start + offset) // images_per_file}{VIEWS[view]}.bin"
                batch[offset : offset + images_per_file].tofile(folder / name)
    return InputFiles(folder, n_files, len(rows), images_per_file, views)


@dataclass(frozen=True)
class SetResult:
    """What a tool made of a set: the network's output for each view, and its own figures.

    Attributes
    ----------
    views : tuple of ndarray of float32, each of shape (n_images, embedding_size)
        Not normalised.
    record : PerfRecord
        The tool's own log of the run.
    read_s : float
        Seconds that reading the results took.
    """

    views: tuple[np.ndarray, ...]
    record: PerfRecord
    read_s: float


class AscendRunner(ABC):
    """One program that runs ``.om`` builds.

    Parameters
    ----------
    command : list of str
        How it is started: its absolute path, or a Python with ``-m`` and the module.
    """

    name: str
    most_rounds: int = 1_000_000

    def __init__(self, command: list[str]) -> None:
        self.command = command

    @classmethod
    @abstractmethod
    def find(cls) -> AscendRunner | None:
        """Return the program of this machine, or None."""

    def images_per_file(self, batch_size: int) -> int:
        """Return how many images one input file holds."""
        return 1

    @abstractmethod
    def embed(self, job: AscendJob, inputs: InputFiles) -> SetResult:
        """Run the build over all inputs and read what comes out."""

    @abstractmethod
    def measure(self, job: AscendJob, rounds: int, warmup: int, name: str) -> PerfRecord:
        """Run the build `rounds` times on made-up input; files and log are called `name`."""

    def _run(self, job: AscendJob, arguments: list[str], log: str, success: str | None) -> Path:
        """Run the program and return its log."""
        return run_tool(
            [*self.command, *arguments],
            log=job.folder / log,
            timeout_s=job.timeout_s,
            cwd=job.folder,
            success=success,
            explain=explain,
        )


def _read(dump: Path, job: AscendJob, inputs: InputFiles, record: PerfRecord) -> SetResult:
    """Read a dump whole, then remove it: its content goes on as embeddings."""
    started = time.perf_counter()
    size = job.embedding_size * inputs.images_per_file
    views = read_dump(dump, inputs.n_files, size, views=inputs.views)
    rows = tuple(view.reshape(-1, job.embedding_size)[: inputs.n_images] for view in views)
    shutil.rmtree(dump)
    return SetResult(rows, record, time.perf_counter() - started)


class AisBench(AscendRunner):
    """Huawei's ``ais_bench``: as a program, or as the module of this or of the system's Python."""

    name = "ais_bench"
    _success = r"[Tt]hroughput \(?1000\*batchsize"

    @classmethod
    def find(cls) -> AisBench | None:
        """Look for the program, then for the module where ``python3`` would find it."""
        program = find_tool("ais_bench", variable="LRESNET_AIS_BENCH")
        if program:
            return cls([str(program)])
        if importlib.util.find_spec("ais_bench"):
            return cls([sys.executable, "-m", "ais_bench"])
        python = find_tool("python3")
        if python is None:
            return None
        try:
            # A Python before 3.11 looks for modules in the folder it is started in, come what may.
            probe = subprocess.run(  # noqa: S603 (a fixed program text)
                [str(python), "-c", _PROBE], capture_output=True, timeout=60, check=False, cwd="/"
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return None if probe.returncode else cls([str(python), "-m", "ais_bench"])

    def embed(self, job: AscendJob, inputs: InputFiles) -> SetResult:
        """Run over the folder; it fills batches itself and leaves its padding out of the dump."""
        dump = job.folder / "dump"
        shutil.rmtree(dump, ignore_errors=True)
        arguments = [*self._common(job, "dump"), "--input", str(inputs.folder)]
        self._run(job, arguments, "ais_bench.log", self._success)
        record = read_ais_bench(job.folder / "dump_summary.json", batch_size=job.batch_size)
        return _read(dump, job, inputs, record)

    def measure(self, job: AscendJob, rounds: int, warmup: int, name: str) -> PerfRecord:
        """Run without ``--input``: on made-up input, with warm-up runs that are not counted."""
        arguments = [
            *self._common(job, name),
            *("--pure_data_type", "random"),
            *("--warmup_count", str(warmup), "--loop", str(rounds)),
        ]
        self._run(job, arguments, f"{name}.log", self._success)
        shutil.rmtree(job.folder / name, ignore_errors=True)
        return read_ais_bench(job.folder / f"{name}_summary.json", batch_size=job.batch_size)

    def _common(self, job: AscendJob, name: str) -> list[str]:
        return [
            *("--model", str(job.om)),
            *("--output", str(job.folder), "--output_dirname", name, "--outfmt", "BIN"),
            # Only scales the printed throughput, which is wrong without it.
            *("--batchsize", str(job.batch_size)),
            *("--device", str(job.device)),
        ]


class Msame(AscendRunner):
    """Huawei's ``msame``: one file per execution, so a file holds a whole batch."""

    name = "msame"
    most_rounds = 100
    _success = r"Execute sample success"

    @classmethod
    def find(cls) -> Msame | None:
        """Look on the ``PATH``, or where ``LRESNET_MSAME`` says."""
        program = find_tool("msame", variable="LRESNET_MSAME")
        return cls([str(program)]) if program else None

    def images_per_file(self, batch_size: int) -> int:
        """Return the batch size."""
        return batch_size

    def embed(self, job: AscendJob, inputs: InputFiles) -> SetResult:
        """Run over the folder; the results go into a folder named after the time."""
        output = job.folder / "dump"
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        arguments = ["--input", str(inputs.folder), "--output", str(output)]
        log = self._run(job, [*self._common(job), *arguments], "msame.log", self._success)
        inner = [path for path in output.iterdir() if path.is_dir()]
        record = read_msame(log, batch_size=job.batch_size)
        result = _read(inner[0] if len(inner) == 1 else output, job, inputs, record)
        shutil.rmtree(output, ignore_errors=True)
        return result

    def measure(self, job: AscendJob, rounds: int, warmup: int, name: str) -> PerfRecord:
        """Run without input; it has no warm-up, but an average without the first execution."""
        output = job.folder / name
        output.mkdir(exist_ok=True)
        arguments = [*self._common(job), "--output", str(output), "--loop", str(rounds)]
        log = self._run(job, arguments, f"{name}.log", self._success)
        shutil.rmtree(output)
        return read_msame(log, batch_size=job.batch_size)

    def _common(self, job: AscendJob) -> list[str]:
        return ["--model", str(job.om), "--outfmt", "BIN", "--device", str(job.device)]


class Benchmark(AscendRunner):
    """Huawei's ``benchmark.x86_64``, with the guide's own arguments."""

    name = "benchmark"

    @classmethod
    def find(cls) -> Benchmark | None:
        """Look on the ``PATH``, then, as the guide starts ``./benchmark.x86_64``, in our checkout.

        On an Arm host it is ``benchmark.aarch64``.
        """
        program = find_tool(
            f"benchmark.{platform.machine()}",
            variable="LRESNET_BENCHMARK",
            folders=[CHECKOUT],
        )
        return cls([str(program)]) if program else None

    def embed(self, job: AscendJob, inputs: InputFiles) -> SetResult:
        """Run over an info file, filled up to whole batches by naming the last input again."""
        result = job.folder / "result"
        shutil.rmtree(result, ignore_errors=True)
        names = inputs.names()
        names += names[-1:] * (-len(names) % job.batch_size)
        lines = (
            f"{index} ./{inputs.folder.relative_to(job.folder).as_posix()}/{name} "
            f"{IMAGE_SIZE} {IMAGE_SIZE}\n"
            for index, name in enumerate(names)
        )
        info = job.folder / "inputs.info"
        info.write_text("".join(lines), encoding="ascii")
        arguments = [
            "-model_type=vision",
            f"-device_id={job.device}",
            f"-batch_size={job.batch_size}",
            f"-om_path={job.om}",
            f"-input_text_path={info}",
            f"-input_width={IMAGE_SIZE}",
            f"-input_height={IMAGE_SIZE}",
            "-output_binary=False",
            "-useDvpp=False",
        ]
        self._run(job, arguments, "benchmark.log", None)
        record = read_benchmark_vision(
            result / f"perf_vision_batchsize_{job.batch_size}_device_{job.device}.txt"
        )
        return _read(result / f"dumpOutput_device{job.device}", job, inputs, record)

    def measure(self, job: AscendJob, rounds: int, warmup: int, name: str) -> PerfRecord:
        """Run pure inference; it has no setting for warm-up."""
        folder = job.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        run_tool(
            [
                *self.command,
                f"-round={rounds}",
                f"-batch_size={job.batch_size}",
                f"-om_path={job.om}",
                f"-device_id={job.device}",
            ],
            log=job.folder / f"{name}.log",
            timeout_s=job.timeout_s,
            cwd=folder,
            explain=explain,
        )
        logs = sorted((folder / "result").glob(f"PureInfer_perf_of_*_in_device_{job.device}.txt"))
        if len(logs) != 1:
            raise TargetError(
                f"benchmark left {len(logs)} logs of pure inference instead of one.",
                where=str(folder / "result"),
                fix=f"read {job.folder / f'{name}.log'}",
            )
        return read_benchmark_pure(logs[0], batch_size=job.batch_size)


RUNNERS: dict[str, type[AscendRunner]] = {
    runner.name: runner for runner in (AisBench, Msame, Benchmark)
}


# What CANN's programs need around them, and what their error codes mean.

USUAL_HOMES = (
    Path("/usr/local/Ascend/ascend-toolkit/latest"),
    Path("/usr/local/Ascend/cann"),
    Path.home() / "Ascend/ascend-toolkit/latest",
)
"""Where CANN's installer puts the toolkit unless told otherwise; the guide's is the first."""

INSTALL = (
    "install the CANN toolkit (https://www.hiascend.com/software/cann) on a Linux host, source "
    "its set_env.sh, and start again from that shell"
)

# Texts: CANN's own error list (ge, "error_info_list") where it has one, then what to do here.
_CODES = {
    "E10001": "a value is not accepted: check the tools settings and the input's name and shape",
    "E10003": "a value is not accepted: check the tools settings against this CANN's atc --help",
    "E10007": "a required option is missing: this atc is older or newer than the one documented",
    "E10014": "a value is not accepted: check tools.soc_version with npu-smi info",
    "E10016": "the graph's input has another name than 'image': run 1_export again",
    "E10052": "the AIPP file is not accepted: check tools.aipp_config",
    "E10054": "atc was given no model: run 1_export again",
    "E19010": "this CANN has no parser for an operator at the graph's opset: take a newer CANN, "
    "or export with an older opset",
    "E40000": "CANN's Python parts cannot be imported: put the Python that CANN supports first "
    "on the PATH, with its packages (numpy, decorator, sympy, ...), and source set_env.sh",
    "EC0010": "CANN's Python parts cannot be imported: install the named module into the Python "
    "that CANN uses, and source set_env.sh",
    "EZ3002": "the chip has no kernel for an operator: check tools.soc_version",
    "EZ3003": "no kernel for an operator: check that the OPP package is installed and "
    "ASCEND_OPP_PATH names it, then tools.soc_version",
}
_CODE = re.compile(r"\b(E[0-9A-Z]\d{4})\b")


def explain(line: str) -> str | None:
    """Say what to do about an error line of one of CANN's programs.

    Examples
    --------
    >>> explain("E40000: Failed to import te.platform.log_util.").split(":")[0]
    "CANN's Python parts cannot be imported"
    >>> explain("all is well") is None
    True
    """
    if "error while loading shared libraries" in line:
        return "source CANN's set_env.sh and the driver's (LD_LIBRARY_PATH misses a folder)"
    found = _CODE.search(line)
    return _CODES.get(found[1]) if found else None


def check_environment() -> Availability:
    """Say whether ``atc`` is there with the variables that it needs.

    ``set_env.sh`` sets ``ASCEND_TOOLKIT_HOME``, ``ASCEND_OPP_PATH``, ``LD_LIBRARY_PATH`` and
    ``PATH``; the guide's section 3.2 sets the last three by hand. Either will do.
    """
    if find_tool("atc", variable="LRESNET_ATC") is None:
        home = next((path for path in USUAL_HOMES if path.is_dir()), None)
        if home is None:
            return Availability(False, "atc (Huawei CANN) is not installed", INSTALL)
        return Availability(False, "atc is not on the PATH, though CANN is here", _source(home))
    opp = os.environ.get("ASCEND_OPP_PATH")
    if not opp or not Path(opp).is_dir():
        state = f"names no folder ({opp})" if opp else "is not set"
        return Availability(
            False,
            message("ASCEND_OPP_PATH {state}, so atc would find no operators", state=state),
            _source(toolkit_home()),
        )
    home = toolkit_home()
    libraries = [Path(p) for p in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if p]
    if not any(
        path.is_dir()
        and (path.resolve().is_relative_to(home.resolve()) or path.is_relative_to(home))
        for path in libraries
    ):
        return Availability(
            False,
            message("LD_LIBRARY_PATH names no folder of CANN's in {home}", home=home),
            _source(home),
        )
    return Availability(True)


def toolkit_home() -> Path:
    """Return the toolkit's folder: the variable of ``set_env.sh``, or the operators' parent."""
    for variable, up in (("ASCEND_TOOLKIT_HOME", 0), ("ASCEND_OPP_PATH", 1)):
        value = os.environ.get(variable)
        if value:
            return Path(value).parent if up else Path(value)
    return next((path for path in USUAL_HOMES if path.is_dir()), USUAL_HOMES[0])


def cann_version() -> str | None:
    """Return the version that the toolkit writes about itself, or None.

    Read from ``version.cfg`` (``toolkit_running_version=[7.0.0:CANN-7.0.RC1]``) or from
    ``compiler/version.info`` (``Version=7.0.0``).
    """
    home = toolkit_home()
    for name in ("version.cfg", "compiler/version.info", "atc/version.info", "version.info"):
        try:
            text = (home / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        found = re.search(
            r"^(?:toolkit_\w+_version|Version)=\[?([\w.]+(?::[\w.-]+)?)", text, re.MULTILINE
        )
        if found:
            return found[1].rpartition(":")[2]
    return None


def _source(home: Path) -> str:
    script = next(
        (p / "set_env.sh" for p in (home, home.parent) if (p / "set_env.sh").is_file()),
        home.parent / "set_env.sh",
    )
    return f"run: source {script}, then start again from the same shell"
