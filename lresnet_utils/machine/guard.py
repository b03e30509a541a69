"""The process behind :class:`lresnet_utils.machine.processes.Guard`, run with ``python -m``."""

from __future__ import annotations

import shutil
import signal
import sys

from lresnet_utils.machine.processes import end_marked


def main(mark: str, folder: str) -> None:
    """Wait until standard input closes, then end what carries the mark and remove the folder."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_marked(mark)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
