"""Jupyter kernels that cannot collide, keep their noise to themselves, and stop at once."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from jupyter_client.manager import AsyncKernelManager
from traitlets import Unicode, default

from lresnet_utils.errors import RunError
from lresnet_utils.machine.processes import guard

_thread = threading.local()
# Looks at a kernel are a second apart. What lies longer between two of them is no time in which the
# kernel alone was stopped: then this process slept too.
_LOOK_S = 10.0


@contextlib.contextmanager
def kernel_settings(log: Path, environment: Mapping[str, str], stopped_s: float) -> Iterator[Path]:
    """Give kernels started by this thread variables, and send what they write to stderr to `log`.

    A kernel that somebody stopped (SIGSTOP) is waited for `stopped_s` seconds; then the block's
    error says so.

    A runtime's C++ code writes there without asking, and so does a kernel that is told to stop.
    The file is kept only when the block raises: then it may hold a crashed kernel's last words.
    """
    with log.open("wb") as file:
        _thread.settings = {"stderr": file, "env": environment, "stopped_s": stopped_s}
        try:
            yield log
        except Exception as error:
            if "why" in _thread.settings:
                raise RunError(_thread.settings["why"]) from error
            raise
        finally:
            _thread.settings = None
    log.unlink()


class PrivateKernelManager(AsyncKernelManager):
    """A kernel manager whose kernel listens on Unix sockets in a folder of its own.

    TCP ports are chosen before the kernel binds them, so two kernels started together can get the
    same one (papermill issue 511). A private folder rules that out, and nobody else on the
    machine can listen in.
    """

    transport = Unicode("ipc").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        # Below the guard's folder, which is removed however this process ends.
        self._folder = Path(tempfile.mkdtemp(prefix="k-", dir=guard().folder))
        self._settings = {"stderr": None, "env": {}, "stopped_s": float("inf")}
        self._stopped, self._looked = 0.0, time.monotonic()
        super().__init__(connection_file=str(self._folder / "kernel.json"), **kwargs)

    @default("ip")
    def _private_socket(self) -> str:
        return str(self._folder / "k")

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        self._settings = settings = getattr(_thread, "settings", None) or self._settings
        environment = {**kw.get("env", {}), **settings["env"]}
        kw |= {"stderr": settings["stderr"], "env": environment}
        await super()._async_launch_kernel(kernel_cmd, **kw)

    async def _async_is_alive(self) -> bool:
        """Tell whether the kernel lives; whoever waits for it asks that every second.

        One that was stopped, and not continued in time, is killed.
        """
        alive = await super()._async_is_alive()
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, _LOOK_S), now
        with contextlib.suppress(psutil.Error):
            kernel = psutil.Process(self.provisioner.pid) if alive else None
            stopped = kernel is not None and kernel.status() == psutil.STATUS_STOPPED
            self._stopped = self._stopped + passed if stopped else 0.0
            limit = self._settings["stopped_s"]
            if self._stopped > limit:
                self._settings["why"] = (
                    "The notebook's kernel was stopped (SIGSTOP), and nobody continued it in "
                    f"{limit:g} s."
                )
                kernel.kill()
        return alive

    async def cleanup_resources(self, restart: bool = False) -> None:
        """Remove the sockets' folder with the kernel's other files."""
        await super().cleanup_resources(restart=restart)
        if not restart:
            shutil.rmtree(self._folder, ignore_errors=True)
