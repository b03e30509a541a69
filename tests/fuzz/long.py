"""The long job: more inputs than the test suite gives, then coverage-guided ones.

``make fuzz`` runs it over every reader; ``--inputs`` and ``--seconds`` say for how long. The status
is 1 when something was found; each finding names the reader and the number that gives it again.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from conftest import run_child  # noqa: E402
from test_readers import FEWER, INPUTS, READERS  # noqa: E402


def mutate(inputs: int) -> int:
    """Give every reader `inputs` more mutated files than the tests do; return the findings."""
    found = 0
    for module in READERS:
        with tempfile.TemporaryDirectory() as folder:
            count = inputs // FEWER.get(module, 1)
            outcomes = run_child(
                Path(folder), module, "all", count, first=INPUTS, seconds=24 * 3600
            )
        for reader, outcome in outcomes.items():
            print(
                f"{reader}: {outcome['inputs']:,} inputs, {outcome['accepted']:,} accepted, "
                f"{len(outcome['findings'])} findings"
            )
            for finding in outcome["findings"]:
                print(f"  {finding}")
            found += len(outcome["findings"])
    return found


def guide(seconds: int) -> int:
    """Let atheris look for inputs that reach new code, `seconds` for every reader."""
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed, so nothing was guided by coverage")
        return 0
    found = 0
    for module, readers in READERS.items():
        for reader in readers:
            done = subprocess.run(
                [sys.executable, str(HERE / "guided.py"), module, reader, str(seconds)],
                capture_output=True,
                text=True,
                check=False,
            )
            last = [line for line in done.stderr.splitlines() if line.strip()]
            state = "nothing found" if done.returncode == 0 else f"status {done.returncode}"
            print(f"{reader}: guided for {seconds} s, {state}")
            if done.returncode:
                print("\n".join(f"  {line[:200]}" for line in last[-25:]))
                found += 1
    return found


def main() -> int:
    """Run both parts and return the status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="mutated files per reader")
    parser.add_argument("--seconds", type=int, default=60, help="of atheris, per reader")
    chosen = parser.parse_args()
    return 1 if mutate(chosen.inputs) + guide(chosen.seconds) else 0


if __name__ == "__main__":
    sys.exit(main())
