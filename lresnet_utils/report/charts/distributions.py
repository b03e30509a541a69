"""How scores and folds are spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lresnet_utils.report.charts import style
from lresnet_utils.report.charts.display import (
    Display,
    grid,
    interval_mark,
    legend_below,
    log_axis,
    name_x,
    name_y,
    percent_axis,
    rows_axis,
    target_handle,
    write_near,
)
from lresnet_utils.text.language import recorded, tr
from lresnet_utils.text.numbers import fmt_count, fmt_interval, fmt_number, fmt_percent


@dataclass
class ScoreHistogramDisplay(Display):
    """How the distances of genuine and impostor pairs are spread, and where the threshold cuts.

    Parameters
    ----------
    distances : array, shape (n,)
        Squared L2 distances; NaN where a face could not be embedded.
    same : bool array, shape (n,)
        True for genuine pairs.
    threshold : float
        Pairs below it are called the same person.
    target : str, optional
        Whose scores these are.
    """

    title: ClassVar[str] = "Distances of the pairs"
    reading: ClassVar[str] = (
        "Each histogram is a share of its own class. Genuine pairs right of the line are missed, "
        "impostor pairs left of it are let in."
    )
    distances: np.ndarray
    same: np.ndarray
    threshold: float
    target: str = ""

    def counts(self) -> dict[str, int]:
        """Return the number of pairs of each class and how many are on the wrong side."""
        distances, same = np.asarray(self.distances, float), np.asarray(self.same, bool)
        known = ~np.isnan(distances)
        below = distances < self.threshold
        return {
            "genuine": int(np.sum(known & same)),
            "impostor": int(np.sum(known & ~same)),
            "missed": int(np.sum(known & same & ~below)),
            "let_in": int(np.sum(known & ~same & below)),
            "left_out": int(np.sum(~known)),
        }

    def describe(self) -> str:
        """Say how many pairs of each class fall on the wrong side."""
        n = self.counts()
        whose = tr(" of {target}", target=self.target) if self.target else ""
        text = tr(
            "Histogram of the pair distances{whose}. At the threshold {threshold:.2f}, {missed} "
            "of {genuine} genuine pairs are missed and {let_in} of {impostor} impostor pairs are "
            "let in.",
            whose=whose,
            threshold=self.threshold,
            missed=n["missed"],
            genuine=fmt_count(n["genuine"]),
            let_in=n["let_in"],
            impostor=fmt_count(n["impostor"]),
        )
        return text + (
            tr(" {left_out} pairs without a distance are left out.", left_out=n["left_out"])
            * bool(n["left_out"])
        )

    def draw(self, ax: Axes) -> None:
        """Draw both histograms with their names above them, and the threshold."""
        blue, orange = style.look("torch-fp32").colour, style.look("onnxruntime-fp32").colour
        same = np.asarray(self.same, bool)
        top = max(
            self._draw_class(ax, same, tr("same person"), "center", color=blue),
            self._draw_class(
                ax, ~same, tr("different people"), "left", color=orange, linestyle=(0, (4, 1.3))
            ),
        )
        ax.set_ylim(0, max(top, 0.01) * 1.48)
        ax.set_xlim(0, 4)
        ax.axvline(self.threshold, color=style.INK, linewidth=1.2)
        far_right = self.threshold > 2.8
        write_near(
            ax,
            tr("threshold {threshold:.2f}", threshold=self.threshold),
            (self.threshold, 1),
            (-5 if far_right else 5, -2),
            ha="right" if far_right else "left",
            xycoords=("data", "axes fraction"),
            va="top",
        )
        percent_axis(ax.yaxis)
        grid(ax, "y")
        name_y(ax, tr("share of the class's pairs per 0.05 of distance (%)"))
        name_x(ax, tr("squared distance between the two faces (no unit, 0 to 4)"))

    def _draw_class(
        self, ax: Axes, members: np.ndarray, name: str, align: str, **look: Any
    ) -> float:
        """Draw one class's histogram and return its highest share."""
        values = np.asarray(self.distances, float)[members]
        values = values[~np.isnan(values)]
        if not len(values):
            return 0.0
        counts, edges = np.histogram(np.clip(values, 0, 4), 80, (0, 4))
        share = counts / len(values)
        ax.stairs(share, edges, fill=True, color=look["color"], alpha=0.3)
        ax.stairs(share, edges, linewidth=1.5, **look)
        peak = int(np.argmax(share))
        # Above its own peak a name cannot be taken for the other histogram's.
        write_near(
            ax,
            tr("{name}\n{n} pairs", name=name, n=fmt_count(len(values))),
            # Near the left edge a centred name would run into the axis.
            (max(edges[peak], 0.45) if align == "center" else edges[peak], share[peak]),
            (0, 5),
            ha=align,
            va="bottom",
            linespacing=1.3,
        )
        return float(share[peak])


@dataclass
class FoldDisplay(Display):
    """Accuracy and chosen threshold of every fold.

    Parameters
    ----------
    accuracy : dict
        Target name to the accuracy of each fold, shape (k,), shares of one.
    thresholds : dict
        Target name to the threshold chosen on the other folds, shape (k,).
    """

    title: ClassVar[str] = "Fold by fold"
    reading: ClassVar[str] = (
        "Each fold is judged with the threshold that was best on the other folds; the spread "
        "between folds shows how far one data set's accuracy can be trusted."
    )
    accuracy: Mapping[str, np.ndarray]
    thresholds: Mapping[str, np.ndarray]

    def describe(self) -> str:
        """Say the range of accuracy and threshold over the folds, per target."""
        parts = []
        for name, values in self.accuracy.items():
            cut = self.thresholds[name]
            parts.append(
                tr(
                    "{name}: accuracy {low} to {high} (mean {mean}), threshold "
                    "{cut_low:.2f} to {cut_high:.2f}",
                    name=name,
                    low=fmt_percent(np.min(values)),
                    high=fmt_percent(np.max(values)),
                    mean=fmt_percent(np.mean(values)),
                    cut_low=np.min(cut),
                    cut_high=np.max(cut),
                )
            )
        folds = len(next(iter(self.accuracy.values())))
        return (
            tr("Accuracy and threshold over {folds} folds. ", folds=folds)
            + tr("; ").join(parts)
            + tr(".")
        )

    def size_in(self) -> tuple[float, float]:
        """Make room for two panels."""
        return style.WIDTH_IN, 4.0

    def make_axes(self, figure: Figure) -> Sequence[Axes]:
        """Return the accuracy panel and the threshold panel."""
        return figure.subplots(2, 1, sharex=True)

    def draw(self, ax: Sequence[Axes]) -> None:
        """Draw one marker per fold and target, side by side within a fold."""
        top, bottom = ax
        names = list(self.accuracy)
        offsets = (np.arange(len(names)) - (len(names) - 1) / 2) * min(0.2, 0.66 / len(names))
        for name, offset in zip(names, offsets, strict=True):
            look = style.look(name)
            for panel, values in ((top, self.accuracy[name]), (bottom, self.thresholds[name])):
                folds = np.arange(1, len(values) + 1)
                panel.plot(
                    folds + offset,
                    values,
                    color=look.colour,
                    marker=look.marker,
                    linestyle="none",
                    markersize=4.5,
                )
        folds = len(next(iter(self.accuracy.values())))
        for panel in ax:
            grid(panel, "y")
            panel.margins(y=0.12)
            panel.set_xlim(0.4, folds + 0.6)
            for edge in np.arange(1, folds) + 0.5:
                panel.axvline(edge, color=style.FAINT, linewidth=0.5)
        bottom.set_xticks(np.arange(1, folds + 1))
        percent_axis(top.yaxis)
        name_y(top, tr("accuracy (%)"))
        name_y(bottom, tr("threshold on the squared distance (no unit)"))
        name_x(bottom, tr("fold"))
        legend_below(bottom, [target_handle(name) for name in names])


# Charts that set one thing beside another: variants, graphs, outputs.


@dataclass
class RobustnessDisplay(Display):
    """Accuracy on faces as they are and on degraded ones.

    Parameters
    ----------
    rows : sequence of dict
        ``{"target", "variant", "accuracy", "low", "high"}``, shares of one.
    labels : dict, optional
        Variant name to words.
    """

    title: ClassVar[str] = "Accuracy on degraded faces"
    reading: ClassVar[str] = (
        "Right is better. Error bars: 95 %, people as clusters. Targets that agree on easy faces "
        "may part on hard ones."
    )
    rows: Sequence[Mapping[str, Any]]
    labels: Mapping[str, str] | None = None

    def describe(self) -> str:
        """Say the accuracy of every variant and target."""
        parts = [
            f"{self._label(row['variant'])}, {row['target']}: "
            + fmt_interval(row["accuracy"], row["low"], row["high"], fmt_percent)
            for row in self.rows
        ]
        return tr("Accuracy by kind of face image. ") + tr("; ").join(parts) + tr(".")

    def _label(self, variant: str) -> str:
        return recorded((self.labels or {}).get(variant, variant))

    @property
    def variants(self) -> list[str]:
        """Variants in the order of the rows."""
        return list(dict.fromkeys(row["variant"] for row in self.rows))

    @property
    def targets(self) -> list[str]:
        """Targets in the order of the rows."""
        return list(dict.fromkeys(row["target"] for row in self.rows))

    def size_in(self) -> tuple[float, float]:
        """One line per variant and target."""
        return style.WIDTH_IN, 1.0 + len(self.variants) * (0.16 + 0.15 * len(self.targets))

    def draw(self, ax: Axes) -> None:
        """Draw one block per variant, targets one above the other."""
        ys = dict(
            zip(self.variants, rows_axis(ax, [self._label(v) for v in self.variants]), strict=True)
        )
        step = 0.78 / len(self.targets)
        for row in self.rows:
            slot = self.targets.index(row["target"]) - (len(self.targets) - 1) / 2
            interval_mark(
                ax,
                row["accuracy"],
                ys[row["variant"]] + step * slot,
                row["target"],
                xends=(row["low"], row["high"]),
            )
        for edge in np.arange(1, len(ys)) - 0.5:
            ax.axhline(edge, color=style.FAINT, linewidth=0.7)
        ax.set_ylim(len(ys) - 0.5, -0.5)
        percent_axis(ax.xaxis)
        name_x(ax, tr("accuracy (%)"))
        legend_below(ax, [target_handle(target) for target in self.targets])


@dataclass
class OperatorDisplay(Display):
    """How many nodes of each operator a graph had before and has after simplification.

    Parameters
    ----------
    before, after : dict
        Operator name to number of nodes.
    """

    title: ClassVar[str] = "Operators of the graph"
    reading: ClassVar[str] = "Nodes per ONNX operator, most frequent first."
    before: Mapping[str, int]
    after: Mapping[str, int]

    @property
    def operators(self) -> list[str]:
        """Operators of both graphs, most nodes first, then by name."""
        return sorted(
            {*self.before, *self.after},
            key=lambda op: (-max(self.before.get(op, 0), self.after.get(op, 0)), op),
        )

    def describe(self) -> str:
        """Say the totals and every count that changed."""
        changed = [
            tr(
                "{op} {before} to {after}",
                op=op,
                before=self.before.get(op, 0),
                after=self.after.get(op, 0),
            )
            for op in self.operators
            if self.before.get(op, 0) != self.after.get(op, 0)
        ]
        text = tr(
            "Nodes by operator: {before} before, {after} after simplification. ",
            before=sum(self.before.values()),
            after=sum(self.after.values()),
        )
        return text + (
            tr("Changed: ") + tr(", ").join(changed) + tr(".")
            if changed
            else tr("No count changed.")
        )

    def size_in(self) -> tuple[float, float]:
        """One row per operator."""
        return style.WIDTH_IN, 0.95 + 0.29 * len(self.operators)

    def draw(self, ax: Axes) -> None:
        """Draw two bars per operator with their counts."""
        colour = style.look("torch-fp32").colour
        for op, y in zip(self.operators, rows_axis(ax, self.operators), strict=True):
            for counts, shift, fill in (
                (self.before, -0.19, style.MUTED[0]),
                (self.after, 0.19, colour),
            ):
                ax.barh(
                    y + shift, counts.get(op, 0), 0.36, color=fill, alpha=0.4 if shift < 0 else 1
                )
            before, after = self.before.get(op, 0), self.after.get(op, 0)
            write_near(
                ax,
                str(before) if before == after else f"{before} → {after}",
                (max(before, after), y),
                (5, 0),
                va="center",
            )
        ax.set_xlim(0, 1.18 * max([*self.before.values(), *self.after.values(), 1]))
        ax.grid(visible=False)
        name_x(ax, tr("nodes in the graph"))
        bars = ax.patches[:2]
        bars[0].set_label(tr("before ({n} nodes)", n=sum(self.before.values())))
        bars[1].set_label(tr("after ({n} nodes)", n=sum(self.after.values())))
        legend_below(ax, bars)


# Unit round-off 2^-p of each format with p significant bits (Higham 2002, section 2.1).
_ROUND_OFF = {"fp32": 2.0**-24, "fp16": 2.0**-11, "bf16": 2.0**-8}


@dataclass
class ParityDisplay(Display):
    """How far two executions of one network are apart, on the same images.

    Parameters
    ----------
    rows : sequence of dict
        ``{"pair", "min_cosine", "mean_cosine", "max_abs_difference", "n"}`` over unit embeddings.
    """

    title: ClassVar[str] = "Agreement of the embeddings"
    reading: ClassVar[str] = (
        "Further left is closer. A mark on the left edge is 10⁻⁹ or less. Dotted lines: the size "
        "of one rounding error in each number format."
    )
    rows: Sequence[Mapping[str, Any]]

    def describe(self) -> str:
        """Say the smallest cosine and the largest difference of every pair."""
        parts = [
            tr(
                "{pair}: smallest cosine {min_cosine:.7f}, largest difference of a component "
                "{max_abs_difference} over {n} images",
                pair=row["pair"],
                min_cosine=row["min_cosine"],
                max_abs_difference=fmt_number(row["max_abs_difference"]),
                n=fmt_count(row["n"]),
            )
            for row in self.rows
        ]
        return tr("Agreement of unit embeddings. ") + tr("; ").join(parts) + tr(".")

    def size_in(self) -> tuple[float, float]:
        """One row per pair."""
        return style.WIDTH_IN, 1.35 + 0.36 * len(self.rows)

    def draw(self, ax: Axes) -> None:
        """Draw two marks per pair on a logarithmic axis."""
        floor, colours = (
            1e-9,
            (style.look("torch-fp32").colour, style.look("onnxruntime-fp32").colour),
        )
        log_axis(ax.xaxis)
        ys = rows_axis(ax, [row["pair"] for row in self.rows])
        for row, y in zip(self.rows, ys, strict=True):
            # Rounding can put a cosine a hair above one.
            for value, shift, colour, marker in (
                (row["max_abs_difference"], -0.13, colours[0], "o"),
                (max(0.0, 1 - row["min_cosine"]), 0.13, colours[1], "D"),
            ):
                ax.plot(max(value, floor), y + shift, color=colour, marker=marker, clip_on=False)
        for name, size in _ROUND_OFF.items():
            ax.axvline(size, color=style.INK, alpha=0.55, linewidth=1, linestyle=(0, (1, 2)))
            write_near(
                ax,
                name,
                (size, 1),
                (0, 3),
                xycoords=("data", "axes fraction"),
                ha={"fp16": "right", "bf16": "left"}.get(name, "center"),
                color=style.MUTED,
            )
        ax.set_xlim(floor, 1)
        ax.set_xticks([10.0**power for power in range(-9, 1, 3)])
        ax.tick_params(axis="y", pad=11)
        name_x(ax, tr("difference (no unit, logarithmic)"))
        handles = [
            target_handle("torch-fp32", label=tr("largest difference of a component")),
            target_handle("onnxruntime-fp32", label=tr("1 − smallest cosine")),
        ]
        handles[1].set_marker("D")
        legend_below(ax, handles)
