"""Jupyter kernels that cannot collide, keep their noise to themselves, and stop at once."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from traitlets import Unicode, default

from lresnet_utils.processes import guard

_thread = threading.local()


@contextlib.contextmanager
def kernel_settings(log: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """Give kernels started by this thread variables, and send what they write to stderr to `log`.

    A runtime's C++ code writes there without asking, and so does a kernel that is told to stop.
    The file is kept only when the block raises: then it may hold a crashed kernel's last words.
    """
    with log.open("wb") as file:
        _thread.settings = {"stderr": file, "env": environment}
        try:
            yield log
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
        super().__init__(connection_file=str(self._folder / "kernel.json"), **kwargs)

    @default("ip")
    def _private_socket(self) -> str:
        return str(self._folder / "k")

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        settings = getattr(_thread, "settings", None) or {"stderr": None, "env": {}}
        environment = {**kw.get("env", {}), **settings["env"]}
        kw |= {"stderr": settings["stderr"], "env": environment}
        await super()._async_launch_kernel(kernel_cmd, **kw)

    async def cleanup_resources(self, restart: bool = False) -> None:
        """Remove the sockets' folder with the kernel's other files."""
        await super().cleanup_resources(restart=restart)
        if not restart:
            shutil.rmtree(self._folder, ignore_errors=True)
