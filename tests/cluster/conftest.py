"""Stand-in networks for large sets, and Dask workers on the loopback interface."""

import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import cloudpickle
import numpy as np
import pytest

from lresnet_utils.cluster.dask_engine import DaskEngine
from lresnet_utils.cluster.engine import open_engine
from lresnet_utils.targets.base import Session
from lresnet_utils.targets.embed import embed


class Projecting(Session):
    """Every 16th pixel through a fixed matrix, and a pause for each batch."""

    def __init__(self, pause_s):
        super().__init__(8, 16)
        self.matrix = np.random.default_rng(3).normal(size=(3 * 7 * 7, 16)).astype(np.float32)
        self.pause_s = pause_s

    def run(self, batch):
        time.sleep(self.pause_s)
        return batch[:, :, ::16, ::16].reshape(len(batch), -1) @ self.matrix


@dataclass(frozen=True)
class Stub:
    """A network that costs next to nothing."""

    pause_s: float = 0.0
    described: dict = field(default_factory=lambda: {"network": "stub"})
    parts: dict = field(default_factory=dict)
    how: dict = field(
        default_factory=lambda: {
            "channel_order": "rgb",
            "normalisation": "minus1_1",
            "flip": False,
        }
    )

    @contextmanager
    def open(self, place):
        with Projecting(self.pause_s) as session:
            yield lambda images, *, folder, slots, **how: embed(images, session, **how)


@pytest.fixture(scope="session")
def by_value():
    """Return a function that lets workers, which cannot import tests, have a module's classes."""
    return cloudpickle.register_pickle_by_value


@pytest.fixture(scope="session", autouse=True)
def own_lock():
    """Put the lock that keeps timings apart where no other run on this machine holds it."""
    # Its name is short, as sockets below it must be.
    with (
        tempfile.TemporaryDirectory(prefix="lrt-") as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setenv("TMPDIR", folder)
        patched.setattr(tempfile, "tempdir", folder)
        yield


def has(client, n_workers):
    """Wait a while for so many workers."""
    try:
        client.wait_for_workers(n_workers, timeout=30)
    except TimeoutError:
        return False
    return True


@pytest.fixture(scope="session")
def engines(by_value, own_lock):
    """Return a function that gives workers: how many, and whether they see our files."""
    by_value(sys.modules[__name__])
    clients = {}
    with ExitStack() as stack:

        def give(n_workers, files):
            # A worker that was killed is started again, but on a busy machine not always.
            if n_workers not in clients or not has(clients[n_workers], n_workers):
                engine = stack.enter_context(open_engine(workers=n_workers))
                clients[n_workers] = engine._client
            return DaskEngine(clients[n_workers], shared=files == "shared")

        yield give
