"""Tasks on Dask's workers: processes of this machine, or whatever a scheduler has."""

from __future__ import annotations

import importlib.util
import logging
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lresnet_utils.cluster.tasks import Engine, Here
from lresnet_utils.errors import ParamsError, RunError, nearest
from lresnet_utils.machine.disk import HALF_MADE
from lresnet_utils.machine.facts import usable_cores

if TYPE_CHECKING:
    import distributed

Files = Literal["auto", "shared", "sent"]
_FILES = ("auto", "shared", "sent")

_SECONDS_TO_JOIN = 120


@contextmanager
def open_engine(
    *,
    workers: int = 0,
    scheduler: str | None = None,
    files: Files = "auto",
    folder: Path | None = None,
) -> Iterator[Engine]:
    """Yield who does tasks: this process, worker processes beside it, or a cluster.

    Parameters
    ----------
    workers : int
        Worker processes to start on this machine; 0 for none. They listen on the loopback
        interface only, encrypted with a key that only they have, and end with the block.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tls://10.0.0.1:8786``; it and its workers stay.
    files : {"auto", "shared", "sent"}
        Whether workers see this machine's files under the same names, or files are sent through
        Dask; "auto" tries it out in `folder`.
    folder : Path, optional
        Where the work's files go; it must exist for "auto".

    Raises
    ------
    ParamsError
        When the choices do not go together.
    RunError
        When Dask is not installed, the scheduler does not answer, or no worker joins.
    """
    if workers and scheduler:
        raise ParamsError(
            "Workers are either started here or found at a scheduler.",
            where="--workers and --scheduler",
            fix="give one of them",
        )
    if files not in _FILES:
        raise ParamsError(f"Unknown word {files!r}.", where="--files", fix=nearest(files, _FILES))
    if not workers and not scheduler:
        yield Here()
        return
    missing = [m for m in ("distributed", "cryptography") if importlib.util.find_spec(m) is None]
    if missing:
        raise RunError(
            f"Workers need {' and '.join(missing)}, which is not installed.",
            where="--workers, --scheduler",
            fix="python -m pip install 'lresnet-utils[cluster]'",
        )
    import distributed

    from lresnet_utils.cluster.dask_engine import DaskEngine

    with ExitStack() as stack:
        cluster = stack.enter_context(_local_cluster(workers)) if workers else scheduler
        client = stack.enter_context(_connected(cluster))
        try:
            client.wait_for_workers(workers or 1, timeout=_SECONDS_TO_JOIN)
        except distributed.TimeoutError as error:
            raise RunError(
                f"No worker joined within {_SECONDS_TO_JOIN} s.",
                where=client.scheduler.address,
                fix="start workers for this scheduler, see docs/cluster.md",
            ) from error
        shared = files == "shared" or (files == "auto" and (workers or _sees(client, folder)))
        yield DaskEngine(
            client, shared=bool(shared), cores=max(1, usable_cores() // workers) if workers else 0
        )


@contextmanager
def _local_cluster(workers: int) -> Iterator[distributed.LocalCluster]:
    import dask
    import distributed

    # Dask would give its workers one OpenMP thread each, and kernels would inherit that: a cell
    # must run with the same settings whoever executes it.
    settings = {"distributed.nanny.pre-spawn-environ": {}}
    # Each of them opens a port for plain HTTP, whatever it is told: nothing is served there.
    settings |= {f"distributed.{role}.http.routes": [] for role in ("scheduler", "worker")}
    with tempfile.TemporaryDirectory(prefix="lresnet-workers-") as folder, ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        try:
            cluster = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host="127.0.0.1",
                # Any free port instead of a fixed one.
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                security=distributed.Security.temporary(),
                local_directory=folder,
                silence_logs=logging.CRITICAL,
            )
        except (OSError, RuntimeError) as error:
            # Dask says only that they did not start; why stands at the bottom of the chain.
            cause: BaseException = error
            while cause.__context__ is not None:
                cause = cause.__context__
            raise RunError(
                f"Workers cannot be started here: {cause}.",
                where="--workers",
                fix="do without --workers, or see that /dev/shm can be written",
            ) from error
        yield stack.enter_context(cluster)


@contextmanager
def _connected(cluster: distributed.LocalCluster | str) -> Iterator[distributed.Client]:
    import distributed

    try:
        client = distributed.Client(cluster, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RunError(
            f"The scheduler does not answer: {error}.",
            where=str(cluster),
            fix="see docs/cluster.md for how to start one; tls:// needs its certificates here too",
        ) from error
    with client:
        yield client


def _sees(client: distributed.Client, folder: Path | None) -> bool:
    """Try out whether every worker that is there finds a file of ours, with what is in it."""
    if folder is None:
        return False
    token = secrets.token_hex(16)
    with tempfile.NamedTemporaryFile("w", prefix=HALF_MADE, dir=folder) as file:
        file.write(token)
        file.flush()
        answers = client.run(_content, file.name)
    return all(answer == token for answer in answers.values())


def _content(name: str) -> str | None:
    try:
        return Path(name).read_text(encoding="utf-8")
    except OSError:
        return None
