"""How often the 95 % intervals hold the truth: people with several images each, drawn anew.

Every set has `people` people with `images` images each, in ten folds of different people: all
genuine pairs, and `impostors` impostor pairs per person. An image is its person's random direction
plus noise whose size differs between people, which is what makes pairs of one person fail together.
``python benchmarks/coverage.py`` prints a table and draws ``docs/images/coverage.svg``.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lresnet_utils.report.charts.display import (
    INK,
    chart_style,
    legend_below,
    look_of,
    name_x,
    percent_axis,
    rows_axis,
    standalone_svg,
)
from lresnet_utils.verify.curves import roc, tar_at_far
from lresnet_utils.verify.intervals import KNOWN, PairIdentities, wilson
from lresnet_utils.verify.protocol import fold_numbers, guide_protocol
from lresnet_utils.verify.uncertainty import uncertainty

FOLDS, SIZE, NOISE, SPREAD = 10, 32, 0.75, 0.25
FAR = 0.01
NAMES = ("accuracy", "EER", "TAR@FAR 0.01", "AUC")
DESIGNS = {
    "200 people, 5 images": (200, 5, 10, NOISE),
    "100 people, 6 images": (100, 6, 15, NOISE),
    "200 people, 5 images, fewer impostors": (200, 5, 3, NOISE),
    "40 people, 10 images": (40, 10, 45, NOISE),
    # About five wrong pairs, and about one.
    "200 people, 5 images, nearly perfect": (200, 5, 10, 0.4),
    "100 people, 6 images, nearly perfect": (100, 6, 15, 0.35),
}


def draw(rng: np.random.Generator, people: int, images: int, impostors: int, noise: float):
    """Return distances, labels and the person on each side."""
    centre = rng.normal(size=(people, 1, SIZE))
    noise = noise * np.exp(SPREAD * rng.normal(size=(people, 1, 1)))
    x = centre + noise * rng.normal(size=(people, images, SIZE))
    x = (x / np.linalg.norm(x, axis=-1, keepdims=True)).reshape(-1, SIZE)
    first, second = np.triu_indices(images, 1)
    each, left, right, same = people // FOLDS, [], [], []
    for start in range(0, people, each):
        who = np.arange(start, start + each)[:, None] * images
        a = rng.integers(0, each, impostors * each)
        b = (a + rng.integers(1, each, len(a))) % each
        left += [(who + first).ravel(), (start + a) * images + rng.integers(0, images, len(a))]
        right += [(who + second).ravel(), (start + b) * images + rng.integers(0, images, len(b))]
        same += [np.ones(each * len(first), bool), np.zeros(len(a), bool)]
    left, right = np.concatenate(left), np.concatenate(right)
    distances = np.square(x[left] - x[right]).sum(axis=1)
    return distances, np.concatenate(same), left // images, right // images


def one(
    rng: np.random.Generator, design: tuple[int, int, int, float], replicates: int
) -> np.ndarray:
    """Return value, interval and naive interval of every statistic of one set."""
    distances, same, a, b = draw(rng, *design)
    protocol, curve = guide_protocol(distances, same, folds=FOLDS), roc(distances, same)
    found = uncertainty(
        distances,
        same,
        fold_numbers(len(same), FOLDS),
        protocol.best_thresholds,
        curve,
        PairIdentities(a, b, design[0], KNOWN),
        accuracy=protocol.mean_accuracy,
        far_targets=[FAR],
        replicates=replicates,
        seed=0,
    )
    (row,) = tar_at_far(distances, same, [FAR])
    smaller = min(curve.n_genuine, curve.n_impostor)
    naive = (
        wilson(protocol.n - protocol.errors, protocol.n),
        wilson(round(curve.eer * smaller), smaller),
        (row["low"], row["high"]),
        wilson(round(curve.auc * smaller), smaller),
    )
    own = (found.accuracy, found.eer, found.tar[FAR] or (np.nan, np.nan), found.auc)
    values = (protocol.mean_accuracy, curve.eer, row["tar"], curve.auc)
    return np.array([[v, *o, *n] for v, o, n in zip(values, own, naive, strict=True)])


def sample(task: tuple) -> np.ndarray:
    seed, sets, design, replicates = task
    rng = np.random.default_rng(seed)
    return np.array([one(rng, design, replicates) for _ in range(sets)])


def truth(design: tuple[int, int, int, float], found: np.ndarray, seed: int) -> np.ndarray:
    """Return EER, TAR and AUC of a set of 4,000 people, and the mean accuracy of the sets.

    The accuracy depends on how well thresholds can be chosen, thus on the size of the set.
    """
    distances, same, _, _ = draw(np.random.default_rng(seed), 4000, design[1], 200, design[3])
    curve = roc(distances, same)
    (row,) = tar_at_far(distances, same, [FAR])
    return np.array([found[:, 0, 0].mean(), curve.eer, row["tar"], curve.auc])


def coverage(name: str, sets: int, replicates: int, seed: int) -> list[dict]:
    """Return the share of sets whose interval holds the truth, per statistic."""
    design, parts = DESIGNS[name], 8
    tasks = [([seed, part], sets // parts, design, replicates) for part in range(parts)]
    with ProcessPoolExecutor() as pool:
        found = np.concatenate(list(pool.map(sample, tasks)))
    true = truth(design, found, seed + 1)
    given = ~np.isnan(found[:, :, 1])
    held = (found[:, :, 1] <= true) & (true <= found[:, :, 2])
    naive = (found[:, :, 3] <= true) & (true <= found[:, :, 4])
    return [
        {
            "design": name,
            "statistic": statistic,
            "truth": float(true[k]),
            "n": int(given[:, k].sum()),
            "sets": len(found),
            "coverage": float(held[given[:, k], k].mean()),
            "naive": float(naive[:, k].mean()),
            "interval": wilson(int(held[given[:, k], k].sum()), int(given[:, k].sum())),
        }
        for k, statistic in enumerate(NAMES)
    ]


@dataclass
class CoverageChart:
    """The shares with the 95 % that they should be."""

    rows: list[dict]
    title: str = "Coverage of the 95 % intervals"

    def describe(self) -> str:
        parts = [
            f"{r['design']}, {r['statistic']}: {r['coverage']:.1%}, naive {r['naive']:.1%}"
            for r in self.rows
        ]
        return "Share of simulated sets whose interval holds the truth. " + "; ".join(parts) + "."

    def plot(self) -> CoverageChart:
        with chart_style():
            self.figure_ = Figure(figsize=(6.4, 1.1 + 0.27 * len(self.rows)), layout="constrained")
            ax = self.figure_.subplots()
            names = [f"{row['statistic']}, {row['design']}" for row in self.rows]
            ys = rows_axis(ax, names)
            ax.axvspan(0.93, 0.97, color=INK, alpha=0.12, linewidth=0, label="93 to 97 %")
            colours = look_of("torch-fp32").colour, look_of("onnxruntime-fp32").colour
            for key, colour, marker, label in (
                ("coverage", colours[0], "o", "people as clusters"),
                ("naive", colours[1], "D", "naive: Wilson over pairs"),
            ):
                x = [row[key] for row in self.rows]
                ax.plot(x, ys, color=colour, marker=marker, linestyle="none", label=label)
            ax.set_xlim(0.2, 1.02)
            percent_axis(ax.xaxis)
            name_x(ax, "sets whose interval holds the truth (%)")
            handles, _ = ax.get_legend_handles_labels()
            legend_below(ax, handles, columns=3)
        return self


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=1600, help="simulated sets per design")
    parser.add_argument("--replicates", type=int, default=100, help="of the bootstrap")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--designs", nargs="*", choices=DESIGNS, default=list(DESIGNS))
    parser.add_argument("--rows", type=Path, help="JSON to add these rows to before drawing")
    parser.add_argument("--chart", type=Path, default=Path("docs/images/coverage.svg"))
    options = parser.parse_args()
    rows = json.loads(options.rows.read_text()) if options.rows and options.rows.exists() else []
    for name in options.designs:
        rows += coverage(name, options.sets, options.replicates, options.seed)
    for row in rows:
        low, high = row["interval"]
        print(
            f"{row['design']:40} {row['statistic']:14} truth {row['truth']:.7g}  covered "
            f"{row['coverage']:.1%} [{low:.1%}, {high:.1%}] of {row['n']}  naive {row['naive']:.1%}"
        )
    if options.rows:
        options.rows.write_text(json.dumps(rows))
    options.chart.write_text(standalone_svg(CoverageChart(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
