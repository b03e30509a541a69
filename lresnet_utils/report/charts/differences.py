"""Charts of what lies between two reports: accuracy differences, and cosines of embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes

from lresnet_utils.report.charts import style
from lresnet_utils.report.charts.display import Display, log_axis, name_x, rows_axis, write_near
from lresnet_utils.text.language import tr


@dataclass
class DifferenceDisplay(Display):
    """The difference in accuracy of every pair of cells, with the margin that does not matter.

    Parameters
    ----------
    rows : sequence of dict
        ``{"cell", "value", "low", "high", "n"}``: B minus A, shares of one.
    margin_points : float
        Half the width of the shaded band, percentage points.
    """

    title: ClassVar[str] = "Difference in accuracy"
    rows: Sequence[Mapping[str, Any]]
    margin_points: float

    @property
    def reading(self) -> str:
        """How to read the chart."""
        return tr(
            "B minus A with its 95 % interval; right of zero B is better. Shaded: differences "
            "within the margin of {margin_points:g} percentage points. An interval inside the "
            "band means equivalent.",
            margin_points=self.margin_points,
        )

    def describe(self) -> str:
        """Say every difference with its interval."""
        parts = [
            tr(
                "{cell}: {value} points [{low}, {high}]",
                cell=_flat(row["cell"]),
                value=style.fmt_points(row["value"]),
                low=style.fmt_points(row["low"]),
                high=style.fmt_points(row["high"]),
            )
            for row in self.rows
        ]
        return tr("Difference in accuracy, B minus A. ") + tr("; ").join(parts) + tr(".")

    def size_in(self) -> tuple[float, float]:
        """One row per pair of cells."""
        return style.WIDTH_IN, 0.95 + 0.36 * len(self.rows)

    def draw(self, ax: Axes) -> None:
        """Draw the band, zero, and one interval per row."""
        ys = rows_axis(ax, [row["cell"] for row in self.rows])
        colour = style.look("torch-fp32").colour
        ax.axvspan(-self.margin_points, self.margin_points, color=colour, alpha=0.14, linewidth=0)
        ax.axvline(0, color=style.INK, linewidth=1, alpha=0.6)
        for row, y in zip(self.rows, ys, strict=True):
            value, low, high = (100 * row[key] for key in ("value", "low", "high"))
            ax.errorbar(
                value,
                y,
                xerr=[[value - low], [high - value]],
                color=colour,
                marker="o",
                elinewidth=1.6,
                markersize=5.5,
            )
        ends = [100 * row[key] for row in self.rows for key in ("low", "high")]
        reach = 1.15 * max(self.margin_points, *map(abs, ends))
        ax.set_xlim(-reach, reach)
        name_x(ax, tr("accuracy of B minus A (percentage points)"))


@dataclass
class CosineDisplay(Display):
    """How far the embeddings of the same faces have moved.

    Parameters
    ----------
    cosines : dict
        Pair of cells to the cosine of both embeddings of each image, shape (n,).
    """

    title: ClassVar[str] = "Agreement of the embeddings"
    reading: ClassVar[str] = (
        "One minus the cosine between both embeddings of a face, each face a tick; further left "
        "is closer. The large mark is the median. What is 10⁻⁹ or less stands on the left edge."
    )
    cosines: Mapping[str, np.ndarray]

    def describe(self) -> str:
        """Say the smallest and the median cosine of every pair of cells."""
        parts = [
            tr(
                "{name}: smallest cosine {least:.7f}, median {median:.7f} over {n} faces",
                name=_flat(name),
                least=np.min(values),
                median=np.median(values),
                n=style.fmt_count(len(values)),
            )
            for name, values in self.cosines.items()
        ]
        return tr("Agreement of the embeddings of A and B. ") + tr("; ").join(parts) + tr(".")

    def size_in(self) -> tuple[float, float]:
        """One row per pair of cells."""
        return style.WIDTH_IN, 1.05 + 0.5 * len(self.cosines)

    def draw(self, ax: Axes) -> None:
        """Draw a strip of ticks per row and its median."""
        floor, colour = 1e-9, style.look("torch-fp32").colour
        log_axis(ax.xaxis)
        ys = rows_axis(ax, list(self.cosines))
        for values, y in zip(self.cosines.values(), ys, strict=True):
            lost = np.maximum(1 - np.asarray(values, float), floor)
            # Two hundred ticks show the spread of any number of faces; the ends are among them.
            ticks = np.quantile(lost, np.linspace(0, 1, 200))
            ax.vlines(ticks, y - 0.22, y + 0.22, color=colour, linewidth=0.9, alpha=0.45)
            middle = float(np.median(lost))
            ax.plot(middle, y, marker="D", color=style.INK, markersize=5.5, clip_on=False)
            write_near(ax, style.fmt_number(middle), (middle, y), (0, 15), ha="center")
        ax.set_xlim(floor, 2)
        ax.set_xticks([10.0**power for power in range(-9, 1, 3)])
        name_x(ax, tr("1 − cosine (no unit, logarithmic)"))


def _flat(label: str) -> str:
    return label.replace("\n", " ")
