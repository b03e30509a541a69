"""Runs of a stand-in project that can be killed: each is forked from here, after all imports.

Reads one folder a line, forks a process that runs the project into it, and answers with that
process's number; a second line says how it ended.
"""

import os
import sys
from pathlib import Path

from lresnet_utils.machine.locks import run_lock
from lresnet_utils.params import Params
from lresnet_utils.run import RunFolder
from lresnet_utils.running.runner import Runner


def work(folder):
    run = RunFolder.open(folder, Path("notebooks"))
    run.folder.mkdir(parents=True, exist_ok=True)
    with run_lock(run.folder):
        Runner(Params(name="x", batch_sizes=[4]), run).execute()


def main():
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            # The guard is ended by hand, since nothing that runs at exit runs here.
            from lresnet_utils.machine.processes import guard

            try:
                work(Path(line.strip()))
            finally:
                guard().end()
                os._exit(0)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


main()
