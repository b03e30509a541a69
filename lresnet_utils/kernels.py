"""Jupyter kernels that cannot collide and can all be stopped at once."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from pathlib import Path

from jupyter_client.manager import AsyncKernelManager
from traitlets import Unicode, default

_live: weakref.WeakSet[PrivateKernelManager] = weakref.WeakSet()


class PrivateKernelManager(AsyncKernelManager):
    """A kernel manager whose kernel listens on Unix sockets in a folder of its own.

    TCP ports are chosen before the kernel binds them, so two kernels started together can get the
    same one (papermill issue 511). A private folder rules that out, and nobody else on the
    machine can listen in.
    """

    transport = Unicode("ipc").tag(config=True)

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        _live.add(self)

    @default("ip")
    def _private_folder(self) -> str:
        # Unix socket paths are short (108 bytes on Linux, 104 on macOS), so no long names here.
        self._folder = tempfile.mkdtemp(prefix="lr-")
        return str(Path(self._folder) / "k")

    def cleanup_resources(self, restart: bool = False) -> None:
        """Remove the sockets' folder with the kernel's other files."""
        super().cleanup_resources(restart=restart)
        if not restart and hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)


def stop_all_kernels() -> None:
    """Kill every kernel that this process started and that still runs."""
    for manager in list(_live):
        process = getattr(manager.provisioner, "process", None)
        if process is not None and process.poll() is None:
            with contextlib.suppress(OSError):
                process.kill()
