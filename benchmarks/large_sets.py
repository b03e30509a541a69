"""Whether the memory of embedding a large set stays flat, and whether more workers embed more.

    python benchmarks/large_sets.py

Four measurements, added to ``outputs/bench/large_sets.json`` and drawn as
``docs/images/large_sets.svg``: 200,000 records through the streaming path in one process, with a
stub that costs next to nothing; the same through Dask with four workers whose stub sleeps instead
of computing, beside one and two workers with fewer records; and the rate of scoring all pairs.
Records are 1,000 pictures of seeded noise, read again for every shard: 7.5 GB in all.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from lresnet_utils.cluster.embed_set import embed_set
from lresnet_utils.cluster.engine import Part, open_engine
from lresnet_utils.cluster.records import Pixels
from lresnet_utils.data.face_set import PICTURE
from lresnet_utils.machine.disk import read_json, write_json, write_text
from lresnet_utils.machine.facts import machine
from lresnet_utils.report.charts.display import INK, chart_style, look_of, standalone_svg
from lresnet_utils.run import resolve
from lresnet_utils.targets.base import Session
from lresnet_utils.targets.embed import embed
from lresnet_utils.verify.all_pairs import Rows, count
from lresnet_utils.verify.scores import unit_rows

FOLDER = resolve("outputs/bench")
BATCH, SIZE, SHARD = 16, 512, 1000
SLEEPING_IPS = 250
"""Images per second of the target that sleeps: far below what reading and scaling allow."""


class Stub(Session):
    """Takes pixels for an embedding, and sleeps so long for each batch."""

    def __init__(self, pause_s: float) -> None:
        super().__init__(BATCH, SIZE)
        self._pause_s = pause_s

    def run(self, batch: np.ndarray) -> np.ndarray:
        time.sleep(self._pause_s)
        return np.ascontiguousarray(batch[:, 0].reshape(len(batch), -1)[:, :SIZE])


@dataclass(frozen=True)
class StubNetwork:
    """See :class:`lresnet_utils.cluster.embed_set.BuildNetwork`."""

    pause_s: float
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
    def open(self, place: Any) -> Iterator[Any]:
        with Stub(self.pause_s) as session:
            yield lambda images, *, folder, slots, **how: embed(images, session, **how)


class Again(Pixels):
    """The same pictures for every shard."""

    def shard(self, start: int, stop: int) -> tuple[dict[str, Part], Any]:
        return super().shard(0, stop - start)


class Memory:
    """Samples the memory of this process and of the largest of its children."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float, float]] = []
        self._done, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def progress(self, done: int, total: int) -> None:
        self._done = done

    def _sample(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.5):
            others = [0]
            for child in me.children(recursive=True):
                try:
                    others.append(child.memory_info().rss)
                except psutil.Error:
                    continue
            self.rows.append((self._done, me.memory_info().rss / 1e6, max(others) / 1e6))


def embedded(workers: int, n: int, pause_s: float) -> dict[str, Any]:
    """Embed `n` records and return the rate, and the memory as it went."""
    images = FOLDER / f"images_{SHARD}.npy"
    if not images.is_file():
        FOLDER.mkdir(parents=True, exist_ok=True)
        np.save(images, np.random.default_rng(0).integers(0, 256, (SHARD, *PICTURE), np.uint8))
    records = Again.opened(images)
    records = Again(records.path, n, records.offset, "noise")
    with (
        tempfile.TemporaryDirectory() as folder,
        open_engine(workers=workers, folder=Path(folder)) as engine,
        Memory() as memory,
    ):
        found = embed_set(
            records,
            StubNetwork(pause_s),
            Path(folder),
            engine,
            shard_size=SHARD,
            progress=memory.progress,
        )
    return {
        "workers": workers,
        "n": n,
        "pause_s": pause_s,
        "seconds": found.seconds,
        "images_per_second": n / found.seconds,
        "load": os.getloadavg()[0],
        "memory": memory.rows[:: max(1, len(memory.rows) // 200)],
    }


def scored(n: int = 4096, repeats: int = 5) -> dict[str, Any]:
    """Score a tile of `n` by `n` pairs on one core; return pairs per second of its own time."""
    x = unit_rows(np.random.default_rng(0).normal(size=(2 * n, SIZE)).astype(np.float32))
    rows = Rows.of(x, np.arange(2 * n) // 20)
    rates = []
    with threadpool_limits(1):
        for _ in range(repeats):
            started = time.process_time()
            count(rows[:n], rows[n:], 1 << 20)
            rates.append(n * n / (time.process_time() - started))
    return {
        "pairs_per_core_second": float(np.median(rates)),
        "least": min(rates),
        "most": max(rates),
        "n": repeats,
        "embedding_size": SIZE,
        "load": os.getloadavg()[0],
    }


@dataclass
class LargeSetsChart:
    """Memory against images embedded, and images per second against workers."""

    rows: list[dict]
    title: str = "Large sets: memory and workers"

    def describe(self) -> str:
        parts = []
        for row in self.rows:
            done = [m for m in row["memory"] if m[0] > 0]
            kind = 2 if row["workers"] else 1
            first, last = (np.median(part[:, kind]) for part in np.array_split(done, 2))
            who = f"workers: {row['workers']}" if row["workers"] else "one process, no Dask"
            parts.append(
                f"{who}: {row['n']} images, {row['images_per_second']:.0f} images/s, median memory "
                f"{first:.0f} MB in the first half and {last:.0f} MB in the second"
            )
        return "Embedding synthetic records with a stub. " + "; ".join(parts) + "."

    def plot(self) -> LargeSetsChart:
        with chart_style():
            self.figure_ = Figure(figsize=(6.4, 5.6), layout="constrained")
            memory, rate = self.figure_.subplots(2, 1)
            long = [row for row in self.rows if row["n"] >= 100_000]
            colours = [look_of(name).colour for name in ("torch-fp32", "onnxruntime-fp32")]
            for row, colour, marker in zip(long, colours, "oD", strict=False):
                kind = 2 if row["workers"] else 1
                label = f"largest of {row['workers']} workers" if row["workers"] else "one process"
                done, mb = zip(*((m[0] / 1000, m[kind]) for m in row["memory"]), strict=True)
                memory.plot(done, mb, color=colour, marker=marker, markersize=3, label=label)
            memory.set_ylim(0)
            memory.set_xlabel("images embedded (thousands)")
            memory.set_ylabel("memory (MB)")
            memory.legend(frameon=False)
            few = sorted((r["workers"], r["images_per_second"]) for r in self.rows if r["workers"])
            workers, ips = zip(*few, strict=True)
            rate.plot(workers, ips, color=colours[1], marker="D", label="measured")
            ideal = [SLEEPING_IPS * n for n in workers]
            rate.plot(workers, ideal, color=INK, linestyle=":", label="what sleeping allows")
            rate.set_ylim(0)
            rate.set_xticks(workers)
            rate.set_xlabel("workers, target sleeps")
            rate.set_ylabel("images per second")
            rate.legend(frameon=False)
        return self


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--chart", type=Path, default=Path("docs/images/large_sets.svg"))
    parser.add_argument("--draw-only", action="store_true", help="from the record of earlier")
    options = parser.parse_args()
    path = FOLDER / "large_sets.json"
    if not options.draw_only:
        pause_s, n = BATCH / SLEEPING_IPS, options.images
        now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
        found = {"date": now, "machine": machine(), "pairs": scored(), "runs": []}
        for workers, images in ((0, n), (1, n // 20), (2, n // 10), (4, n)):
            found["runs"].append(embedded(workers, images, pause_s if workers else 0.0))
            write_json(path, found)
    found = read_json(path)
    chart = LargeSetsChart(found["runs"])
    write_text(options.chart, standalone_svg(chart))
    print(chart.describe())
    print(found["pairs"])


if __name__ == "__main__":
    main()
