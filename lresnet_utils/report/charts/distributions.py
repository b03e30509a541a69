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
    legend_below,
    name_x,
    name_y,
    percent_axis,
    target_handle,
    write_near,
)
from lresnet_utils.text.language import tr


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
            genuine=style.fmt_count(n["genuine"]),
            let_in=n["let_in"],
            impostor=style.fmt_count(n["impostor"]),
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
            tr("{name}\n{n} pairs", name=name, n=style.fmt_count(len(values))),
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
                    low=style.fmt_percent(np.min(values)),
                    high=style.fmt_percent(np.max(values)),
                    mean=style.fmt_percent(np.mean(values)),
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
