"""Fuzz readers in a process of their own: ``python child.py MODULE NAMES FIRST COUNT PROGRESS``.

A crash of C code ends this process and not the tests', the largest resident size is this process's
own, and no other test's threads use its time. The last line of the output is JSON by reader.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzzkit.bounds import CodeWatch, arm_timer
from fuzzkit.loop import fuzz

# Each input is written to a file; on a disk that would take longer than reading it.
_IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


def main(module: str, names: str, first: str, count: str, progress: str) -> None:
    """Fuzz `names` (comma-separated, or ``all``) of ``fuzzkit.<module>``."""
    faulthandler.enable()
    arm_timer()
    watch = CodeWatch()
    subjects = importlib.import_module(f"fuzzkit.{module}").SUBJECTS
    chosen = list(subjects) if names == "all" else names.split(",")
    numbers = range(int(first), int(first) + int(count))
    outcomes = {}
    with Path(progress).open("r+b", buffering=0) as marks:
        for name in chosen:

            def note(number: int, name: str = name) -> None:
                marks.seek(0)
                marks.write(f"{name}/{number}".ljust(80).encode())

            with tempfile.TemporaryDirectory(dir=_IN_MEMORY) as folder:
                outcome = fuzz(subjects[name], name, Path(folder), numbers, watch, note)
            outcomes[name] = outcome.to_json()
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(*sys.argv[1:])
