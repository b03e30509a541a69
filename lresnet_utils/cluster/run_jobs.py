"""A run's notebooks on the workers of a cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lresnet_utils.cluster.engine import Files, Here, Part, Place, open_engine
from lresnet_utils.cluster.engine import Task as Call
from lresnet_utils.errors import LResNetError, RunError, StorageError
from lresnet_utils.ledger.hashes import Hashes
from lresnet_utils.params import Params
from lresnet_utils.run import RunFolder
from lresnet_utils.running.executor import (
    Done,
    Executor,
    LocalExecutor,
    NotebookTask,
    Waiting,
    execute,
    first_line,
)
from lresnet_utils.running.plan import TIMED, needs, phases
from lresnet_utils.running.resume import SHOWN, sources

if TYPE_CHECKING:
    from lresnet_utils.cluster.dask_engine import DaskEngine

_RUN, _PROJECT, _NOTEBOOK = "run/", "project/", "notebook"
# What a worker must have for a target; others run anywhere.
_DEVICES = {"tensorrt": "tensorrt", "ascend": "ascend", "cann": "ascend"}
# Notebooks given out at once where workers may still join; Dask lets them wait for one.
_SLOTS = 32


@contextmanager
def open_executor(
    params: Params,
    run: RunFolder,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    files: Files = "auto",
) -> Iterator[Executor]:
    """Yield who executes a run's notebooks.

    Parameters
    ----------
    params, run : Params, RunFolder
    workers, scheduler, files
        As for :func:`lresnet_utils.cluster.engine.open_engine`.

    Raises
    ------
    LResNetError
        As :func:`lresnet_utils.cluster.engine.open_engine`.
    """
    with open_engine(
        workers=workers, scheduler=scheduler, files=files, folder=run.folder
    ) as engine:
        if isinstance(engine, Here):
            yield LocalExecutor()
            return
        yield ClusterExecutor(engine, params, run, workers or _SLOTS)
    # What a worker that was lost left half made; the others have ended.
    run.sweep()


@dataclass(frozen=True)
class _Order:
    """A notebook to execute wherever a worker is.

    Attributes
    ----------
    task : Task
        As it would be executed here.
    run : Path
        The run's folder here.
    """

    task: NotebookTask
    run: Path


class ClusterExecutor:
    """Executes notebooks on workers; see :class:`lresnet_utils.running.executor.Executor`.

    A job that times something is alone on its machine whoever gets it, as that machine's own lock
    keeps work of this project apart.

    Parameters
    ----------
    engine : DaskEngine
    params : Params
    run : RunFolder
    slots : int
        Notebooks that are given out at the same time.
    """

    one_machine = False

    def __init__(self, engine: DaskEngine, params: Params, run: RunFolder, slots: int) -> None:
        self.slots = slots
        self._engine = engine
        self._run = run
        self._jobs = [job for phase in phases(params) for job in phase.jobs]
        self._hashes = Hashes(run.state / "hashes.json")
        self._resources = resources(params.targets)

    def run(self, task: NotebookTask, waiting: Waiting) -> Done:
        """Execute a notebook on a worker, and bring what it made here when that is elsewhere."""
        if not self._engine.shared and task.job.stage == "7_summary":
            # It reads what all others made, which is here by now.
            return execute(task, waiting)
        try:
            wanted = self._resources if task.job.stage in TIMED else {}
            order = _Order(task, self._run.folder)
            parts = {}
            if not self._engine.shared:
                # What a worker that sees none of our files needs: of the run's files these are
                # what others left for this notebook, and its own earlier parts.
                run, job = self._run, task.job
                left = [p for o in needs(job, self._jobs) for p in run.files(o.stage, o.batch_size)]
                inputs = [path for path in left if path.suffix not in SHOWN]
                inputs += run.state_of(job.stage, job.batch_size).glob("*.json")
                named = {_RUN + path.relative_to(run.folder).as_posix(): path for path in inputs}
                for path in sources(task.parameters):
                    if path.is_file() and not path.is_relative_to(task.root):
                        raise RunError(
                            "A file outside the project's folder cannot be sent to workers.",
                            where=str(path),
                            fix="put it below the project's folder, or share the folder: "
                            "--files shared",
                        )
                    if path.is_file():
                        named[_PROJECT + path.relative_to(task.root).as_posix()] = path
                named[_NOTEBOOK] = task.notebook
                parts = {
                    name: Part.whole(path, keep=True, sha256=self._hashes.of(path)["sha256"])
                    for name, path in sorted(named.items())
                }
            return self._engine.call(Call(_execute, order, self._run.folder, parts, wanted))
        except LResNetError as error:
            return Done(0.0, error.what, isinstance(error, StorageError))
        # A worker can raise anything; the other notebooks are not concerned.
        except Exception as error:
            return Done(0.0, f"{type(error).__name__}: {first_line(str(error))}")

    def stop(self) -> None:
        """Give up what is under way."""
        self._engine.cancel()


def resources(targets: list[str]) -> dict[str, float]:
    """Return what a worker must offer for the timed stages of these targets.

    Examples
    --------
    >>> resources(["torch-fp32", "tensorrt-fp16", "cann-fp16", "ascend-fp16"])
    {'ascend': 1, 'tensorrt': 1}
    """
    runtimes = {target.partition("-")[0] for target in targets}
    return dict.fromkeys(sorted({_DEVICES[name] for name in runtimes & _DEVICES.keys()}), 1)


def _execute(place: Place, order: _Order) -> Done:
    """Execute a notebook at a worker."""
    task = order.task
    if place.folder == order.run:
        return execute(task)
    folder = place.laid_out(_RUN)
    # A folder that stands for the project's here, with the files that were sent.
    root = place.folder.parent / "project"
    for name in ("notebooks", "params"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, part in place.parts.items():
        if name.startswith(_PROJECT):
            path = root / name.removeprefix(_PROJECT)
            path.parent.mkdir(parents=True, exist_ok=True)
            # Another task may be reading the one that is there, so it is replaced, not written.
            link = path.with_name(f".{path.name}.{place.folder.name}")
            os.link(part.path, link)
            link.replace(path)
    parameters = _moved(task.parameters, str(task.root), str(root)) | {"run_dir": str(folder)}
    output, notebook = folder / task.output.relative_to(order.run), place.parts[_NOTEBOOK].path
    return execute(
        replace(task, notebook=notebook, output=output, root=root, parameters=parameters)
    )


def _moved(value: Any, old: str, new: str) -> Any:
    """Put one folder's name in the place of another's wherever parameters name it."""
    if isinstance(value, dict):
        return {key: _moved(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_moved(inner, old, new) for inner in value]
    if isinstance(value, str) and (value == old or value.startswith(f"{old}/")):
        return new + value[len(old) :]
    return value
