"""Results recorded on another machine, judged here like any other target's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lresnet_utils.data.inside import inside
from lresnet_utils.errors import DataError, LResNetError, TargetError, nearest
from lresnet_utils.machine.disk import read_json, to_json
from lresnet_utils.run import resolve
from lresnet_utils.targets.ascend.npu_logs import (
    read_ais_bench,
    read_benchmark_pure,
    read_benchmark_vision,
    read_msame,
)
from lresnet_utils.targets.base import (
    Artefact,
    Availability,
    Look,
    ModelFiles,
    SetJob,
    SetTool,
    Target,
    UnavailableError,
)
from lresnet_utils.targets.dumps import read_dump
from lresnet_utils.targets.embed import Embedding, StageRate, StageRates, combine
from lresnet_utils.targets.openvino.benchmark_app import read_benchmark_app
from lresnet_utils.targets.tensorrt.trtexec_log import read_trtexec
from lresnet_utils.targets.tool_log import MAX_BYTES, PerfRecord, read_lines
from lresnet_utils.text.language import clause, message
from lresnet_utils.untrusted.bytes import read_bytes
from lresnet_utils.untrusted.settings import ToolOptions
from lresnet_utils.untrusted.yaml import load_yaml
from lresnet_utils.verify.scores import unit_rows

LABEL = "recorded.yaml"
_LOGS = (".txt", ".log", ".json")
# Two results of one picture differ by the device's rounding, two faces by far more.
_LEAST_COSINE = 0.99
# Clocks are not mixed: the first tool of this order that left a log gives the speed.
_PREFERENCE = (
    "ais_bench",
    "trtexec",
    "msame",
    "benchmark.x86_64 (pure inference)",
    "benchmark.x86_64",
    "benchmark_app",
)


class Recorded(BaseModel):
    """What ``recorded.yaml`` says about the results beside it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    device: str = Field(min_length=1, description="chip or processor, and how many were used")
    tool: str = Field(min_length=1, description="tool that wrote the results, with its version")
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="day of the run, 2022-03-18")
    source: str = Field(min_length=1, description="who ran it, or where the results are from")
    precision: str = Field(min_length=1, description="arithmetic of the build: fp16, int8, ...")
    numbering: Literal["pairs", "distinct"] = Field(
        "pairs",
        description="pairs: images 2k and 2k+1 are pair k, as the guide numbers them; distinct: "
        "each distinct picture once, in the order of the image store",
    )
    note: str = Field("", description="anything else a reader should know")


class RecordedSet(SetTool):
    """Reads what was recorded, after checking that nothing of it changed since the build."""

    def embed_set(self, artefact: Artefact, job: SetJob) -> Embedding:
        """Read the recorded dump; see :class:`SetTool`.

        The job's images only say how many there are; how they were prepared is the recording's
        affair. In the guide's numbering a picture that is in several pairs has several results,
        which must agree.
        """
        dump, n = _recording(artefact) / "dump", len(job.images)
        if not dump.is_dir():
            raise UnavailableError("No embeddings were recorded (no dump/).", where=str(dump))
        # Which picture each recorded number is.
        if artefact.options["numbering"] == "distinct":
            numbers = np.arange(n)
        elif job.slots is None:
            what = "The results are numbered by pairs, and the pairs are not known here."
            raise TargetError(what, where=str(dump))
        else:
            numbers = np.asarray(job.slots)
        mirrored = any(dump.glob("*_flip_*"))
        views = read_dump(
            dump,
            len(numbers),
            artefact.options["embedding_size"],
            views=("plain", "flip") if job.flip or mirrored else ("plain",),
        )[: 2 if job.flip else 1]
        rows, first = np.unique(numbers, return_index=True)
        # Results of one picture that differ: the dump is of another set or order.
        earliest = first[np.searchsorted(rows, numbers)]
        for view in views:
            units = unit_rows(view)
            cosines = (units * units[earliest]).sum(axis=1)
            worst = int(np.argmin(cosines))
            if cosines[worst] < _LEAST_COSINE:
                raise DataError(
                    f"Results {earliest[worst]} and {worst} are of the same picture "
                    f"({numbers[worst]}) but differ (cosine {cosines[worst]:.3f}): the dump is of "
                    "another set, or in another order.",
                    where=str(dump),
                    fix="record the set that this run evaluates",
                )
        keep = ~np.isin(rows, list(job.known))
        chosen = tuple(view[first[keep]] for view in views)
        vectors, failed, reasons = combine(chosen, rows[keep], n, job.known)
        with_stages = [record for record in _records(artefact) if record.stages]
        rates = with_stages[0].stage_rates() if with_stages else StageRates(*[StageRate()] * 5)
        return Embedding(vectors, failed, reasons, rates)

    def measure(
        self, artefact: Artefact, folder: Path, *, warmup: int, seconds: float, repeats: int
    ) -> list[PerfRecord]:
        """Read the recorded logs of one tool, one record per run; nothing is timed here.

        Of several tools the first of ais_bench, trtexec, msame, benchmark.x86_64 (pure inference,
        then real data) and benchmark_app counts, since their clocks cover different things. A log
        that repeats another's figures, as ais_bench's screen log does its summary's, counts once.
        """
        records = _records(artefact)
        if not records:
            raise UnavailableError(
                "No performance log was recorded.", where=str(_recording(artefact))
            )
        tool = min((record.tool for record in records), key=_PREFERENCE.index)
        return [record for record in records if record.tool == tool]


class ReplayTarget(Target):
    """Dumps and logs that another machine left, as cells of this run.

    The folder (``tools.replay_folder``) holds ``recorded.yaml`` (see :class:`Recorded`) and, per
    batch size, ``bs<B>/dump/`` with one result per view in any convention of
    :mod:`lresnet_utils.targets.dumps`, and the performance logs ``bs<B>/*.txt``, ``*.log`` and
    ``*.json`` of any tool of :data:`READERS`. Either may be absent; the
    cell then has speed only, or accuracy only.

    Its artefact lists every file with its SHA-256; a file that changes afterwards is refused.
    """

    runtime = "replay"
    distribution = "replay"
    suffix = ".json"
    look = Look("#71727c", "d", (0, (4, 3)))
    set_tool = RecordedSet()
    tools = ToolOptions()
    recorded = True

    @property
    def name(self) -> str:
        """``replay``: the precision is the recording's and stands in its label."""
        return "replay"

    def available(self) -> Availability:
        """Say whether a folder with recorded results is named and there."""
        how = message(
            "set tools.replay_folder to a folder with {label} and bs<B>/dump", label=LABEL
        )
        if not self.tools.replay_folder:
            return Availability(False, "no folder with recorded results is named", how)
        folder = resolve(self.tools.replay_folder)
        if not (folder / LABEL).is_file():
            return Availability(
                False, message("{folder} has no {label}", folder=folder, label=LABEL), how
            )
        try:
            recorded = read_recorded(folder)
        except LResNetError as error:
            return Availability(
                False,
                message("{what}: {why}", what=folder / LABEL, why=clause(error.what)),
                error.fix,
            )
        return Availability(
            True,
            note=message(
                "recorded on {date}, not measured here: {source}",
                date=recorded.date,
                source=recorded.source,
            ),
        )

    def options(self) -> dict[str, Any]:
        recorded = read_recorded(resolve(self.tools.replay_folder))
        return {"recorded": True} | recorded.model_dump()

    def versions(self) -> dict[str, str]:
        """Return nothing: the label names the tool and its version."""
        return {}

    def sources(self, files: ModelFiles) -> tuple[Path, ...]:
        """Return nothing: the recording names its files and their hash in the options."""
        return ()

    def write(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        options.pop("threads")  # those of the other machine, if any
        folder = resolve(self.tools.replay_folder)
        hashes = hash_files(folder, files.batch_size)
        content = {"folder": folder.as_posix(), "files": hashes}
        # One hash of all files, as sha256sum's lines would give it.
        lines = "".join(f"{value}  {name}\n" for name, value in sorted(hashes.items()))
        options["files_sha256"] = hashlib.sha256(lines.encode()).hexdigest()
        path.write_text(to_json(content) + "\n", encoding="utf-8")


def _records(artefact: Artefact) -> list[PerfRecord]:
    size, records = artefact.options["batch_size"], {}
    # JSON first: of the same run a summary has more digits than the screen.
    logs = sorted(_logs(_recording(artefact)), key=lambda path: (path.suffix != ".json", path.name))
    for log in logs:
        record = read_log(log, batch_size=size)
        records.setdefault((record.tool, f"{record.throughput_ips:.5g}"), record)
    return list(records.values())


def _recording(artefact: Artefact) -> Path:
    """Return the folder of the batch size, after checking that nothing in it changed."""
    content = read_json(artefact.path)
    folder, size = Path(content["folder"]), artefact.options["batch_size"]
    if hash_files(folder, size) != content["files"]:
        raise TargetError(
            "The recorded results were changed since the build.",
            where=str(folder / f"bs{size}"),
            fix="run 2_compile again to take them as they are now",
        )
    return folder / f"bs{size}"


def read_recorded(folder: Path) -> Recorded:
    """Read ``recorded.yaml``.

    Raises
    ------
    LResNetError
        When it is missing, not YAML, or lacks a key; names the first that is wrong.
    """
    path = inside(folder, LABEL)
    values = load_yaml(path, what="The label", fix="write it as docs/run_elsewhere.md says")
    try:
        return Recorded.model_validate(values)
    except ValidationError as error:
        first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    key = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        raise DataError(
            f"Unknown key {key!r}.", where=str(path), fix=nearest(key, Recorded.model_fields)
        )
    state = "is missing" if first["type"] == "missing" else f"is not accepted: {first['msg']}"
    raise DataError(
        f"The key {key!r} {state}.",
        where=str(path),
        fix=f"{key}: {Recorded.model_fields[key].description}",
    )


def hash_files(folder: Path, batch_size: int) -> dict[str, str]:
    """Return the SHA-256 of the label and of every result and log of one batch size, by name.

    Raises
    ------
    UnavailableError
        When nothing was recorded at this batch size.
    DataError
        When a link leads out of the folder, or a file is larger than any log.
    """
    inner = folder / f"bs{batch_size}"
    if not inner.is_dir():
        there = sorted(int(p.name[2:]) for p in folder.glob("bs*") if p.name[2:].isdecimal())
        raise UnavailableError(
            message("Nothing was recorded at batch size {batch_size}.", batch_size=batch_size),
            where=str(folder),
            fix=message(
                "recorded: {batch_sizes}", batch_sizes=", ".join(map(str, there)) or "no batch size"
            ),
        )
    dump = sorted(path for path in (inner / "dump").glob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in (*_logs(inner), *dump)]
    files = {name: inside(folder, name) for name in (LABEL, *names)}
    return {
        name: hashlib.sha256(read_bytes(path, most=MAX_BYTES)).hexdigest()
        for name, path in files.items()
    }


def _logs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in _LOGS and path.is_file())


# Logs of any known tool.

# The mark by which a tool's log is known, tried in this order: a tool's name may stand in the
# paths that another tool prints, so marks that are names come last.
READERS = {
    r"\[e2e\] throughputRate": read_benchmark_vision,
    r"ave_throughputRate": read_benchmark_pure,
    r"TensorRT\.trtexec|=== Performance summary ===|\[I\] Host Latency": read_trtexec,
    r"execution_results|\[Step \d+/\d+\]|Throughput:\s+\S+ FPS": read_benchmark_app,
    r"NPU_compute_time|aisbench|ais_bench": read_ais_bench,
    r"Inference average time|\bmsame\b": read_msame,
}


def read_log(path: Path | str, *, batch_size: int | None = None) -> PerfRecord:
    """Read a vendor's performance log of any known tool.

    Parameters
    ----------
    path : path
        The log.
    batch_size : int, optional
        Images per execution, where the log does not say or to check it.

    Raises
    ------
    DataError
        When the tool is not known, or its reader refuses the log.
    """
    log = read_lines(path)
    for mark, reader in READERS.items():
        if log.find(mark):
            return reader(path, batch_size=batch_size)
    raise log.refuse(
        "No known tool prints such a log.",
        0,
        fix="known: benchmark.x86_64, ais_bench, msame, trtexec, benchmark_app",
    )
