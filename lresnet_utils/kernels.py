"""Jupyter kernels that cannot collide, keep their noise to themselves, and stop at once."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager
from traitlets import Unicode, default

_live: weakref.WeakSet[PrivateKernelManager] = weakref.WeakSet()
_thread = threading.local()


@contextlib.contextmanager
def kernel_log(path: Path) -> Iterator[Path]:
    """Send what kernels started by this thread write to stderr into `path`.

    A runtime's C++ code writes there without asking, and so does a kernel that is told to stop.
    The file is kept only when the block raises: then it may hold a crashed kernel's last words.
    """
    with path.open("wb") as file:
        _thread.stderr = file
        try:
            yield path
        finally:
            _thread.stderr = None
    path.unlink()


class PrivateKernelManager(AsyncKernelManager):
    """A kernel manager whose kernel listens on Unix sockets in a folder of its own.

    TCP ports are chosen before the kernel binds them, so two kernels started together can get the
    same one (papermill issue 511). A private folder rules that out, and nobody else on the
    machine can listen in.
    """

    transport = Unicode("ipc").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _live.add(self)

    @default("ip")
    def _private_folder(self) -> str:
        # Unix socket paths are short (108 bytes on Linux, 104 on macOS), so no long names here.
        self._folder = tempfile.mkdtemp(prefix="lr-")
        return str(Path(self._folder) / "k")

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        stderr = getattr(_thread, "stderr", None)
        await super()._async_launch_kernel(kernel_cmd, **kw | {"stderr": stderr})

    async def cleanup_resources(self, restart: bool = False) -> None:
        """Remove the sockets' folder with the kernel's other files."""
        await super().cleanup_resources(restart=restart)
        if not restart and hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)


def stop_all_kernels() -> None:
    """Kill every kernel that this process started and that still runs."""
    for manager in list(_live):
        process = getattr(manager.provisioner, "process", None)
        if process is not None and process.poll() is None:
            with contextlib.suppress(OSError):
                process.kill()
