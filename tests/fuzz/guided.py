"""One reader under atheris: ``python guided.py MODULE READER SECONDS``; status 0 when it holds."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]


def main(module: str, reader: str, seconds: str) -> None:
    """Fuzz until the time is over or an input breaks a promise, which ends the process."""
    import atheris  # of `make fuzz` alone; tests import every module

    with atheris.instrument_imports(include=["lresnet_utils"]):
        subjects = importlib.import_module(f"fuzzkit.{module}").SUBJECTS
    subject = subjects[reader]
    with tempfile.TemporaryDirectory() as folder:
        files, corpus = Path(folder) / "files", Path(folder) / "corpus"
        files.mkdir()
        corpus.mkdir()
        seeds = subject.seeds(files)
        for number, seed in enumerate(seeds):
            (corpus / str(number)).write_bytes(bytes([number]) + seed.data)

        def one_input(data: bytes) -> None:
            # The first byte says which seed's reader and check are meant.
            seed = seeds[data[0] % len(seeds)] if data else seeds[0]
            try:
                value = subject.read(data[1:], seed, files)
            except subject.errors:
                return
            subject.check(data[1:], seed, value)

        limits = [f"-max_total_time={seconds}", "-timeout=5", "-rss_limit_mb=2500"]
        atheris.Setup([sys.argv[0], *limits, str(corpus)], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
