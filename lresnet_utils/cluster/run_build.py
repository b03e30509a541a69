"""A build of a finished run, as what embeds a large set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lresnet_utils.cluster.embed_set import BUILD
from lresnet_utils.cluster.tasks import Part, Place
from lresnet_utils.data.network_input import Normalisation
from lresnet_utils.errors import RunError, nearest
from lresnet_utils.ledger.signing import read_sealed
from lresnet_utils.machine.disk import read_json
from lresnet_utils.run import RunFolder
from lresnet_utils.targets import get_target
from lresnet_utils.targets.attempts import build_of
from lresnet_utils.targets.base import Artefact
from lresnet_utils.targets.embed import Embedding


@dataclass(frozen=True)
class RunBuild:
    """One cell's build; see :class:`lresnet_utils.cluster.embed_set.Network`."""

    artefact: Artefact
    file: str
    described: dict[str, Any]
    parts: dict[str, Part]
    how: dict[str, Any]

    @contextmanager
    def open(self, place: Place) -> Iterator[Callable[..., Embedding]]:
        """Load the build from its files at the worker."""
        artefact = replace(self.artefact, path=place.laid_out(BUILD) / self.file)
        with get_target(artefact.target).embedder(artefact) as embed_images:
            yield embed_images


def run_build(run: RunFolder, cell: str, *, trust: bool = False) -> RunBuild:
    """Return the build of a cell of a run.

    Parameters
    ----------
    run : RunFolder
        Must hold ``1_export`` and ``2_compile`` of that batch size.
    cell : str
        Such as ``16/openvino-bf16``.
    trust : bool
        True to take a build that another user or machine made: to load one can mean to run it.

    Raises
    ------
    RunError
        When the run has no such cell, it was not built, or not by this user here, or a record is
        damaged.
    """
    try:
        return _run_build(run, cell, trust)
    # A run's records may come from anybody.
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise RunError(
            f"The run's records of its builds are damaged ({type(error).__name__}).",
            where=f"{run.folder}, {cell}",
            fix="run it again, or copy the folder again",
        ) from error


class _How(BaseModel):
    """How pictures become what the build was made for."""

    model_config = ConfigDict(strict=True)

    channel_order: Literal["rgb", "bgr"]
    normalisation: Normalisation
    flip: bool


def _run_build(run: RunFolder, cell: str, trust: bool) -> RunBuild:
    cells = _cells(run)
    if cell not in cells:
        raise RunError("The run has no such cell.", where=cell, fix=nearest(cell, cells))
    batch_size, entry = cells[cell]
    if entry["status"] != "ok":
        raise RunError(f"This cell was not built: {entry['reason']}.", where=f"{run.name}, {cell}")
    artefact = build_of(run, batch_size, entry)
    path = artefact.path
    if f"{batch_size}/{get_target(artefact.target).name}" != cell or path.name in ("", ".."):
        raise ValueError("the build is another cell's, or lies elsewhere")
    part = read_sealed(run.state_of("2_compile", batch_size) / f"{artefact.target}.json")
    if not trust and (part is None or part.get("entry") != entry):
        raise RunError(
            "This build was not made here by this user, or was changed, and a build is a program.",
            where=str(path),
            fix="add --trust if you trust whoever made it, or build it here: lresnet run",
        )
    # A build may name the run's weights or graphs beside its own file.
    left = run.files("2_compile", batch_size)
    beside = [file for file in left if file.is_relative_to(path.parent)]
    files = sorted({path, *beside, *(p for p in (run.network,) if p.is_file())})
    names = {file.relative_to(run.folder).as_posix(): file for file in files}
    spec = run.record("1_export", batch_size)["input"]
    return RunBuild(
        artefact,
        path.relative_to(run.folder).as_posix(),
        {"run": run.name, "cell": cell, "build_sha256": artefact.sha256},
        {
            BUILD + name: Part.whole(
                file, keep=True, sha256=artefact.sha256 if file == path else None
            )
            for name, file in names.items()
        },
        _How(
            channel_order=spec["channel_order"],
            normalisation=spec["normalisation"],
            flip=read_json(run.folder / "run.json")["params"]["flip"],
        ).model_dump(),
    )


def _cells(run: RunFolder) -> dict[str, tuple[int, dict[str, Any]]]:
    return {
        f"{batch_size}/{target}": (batch_size, entry)
        for batch_size in run.batch_sizes()
        if run.stage("2_compile", batch_size).is_file()
        for target, entry in run.record("2_compile", batch_size)["targets"].items()
    }
