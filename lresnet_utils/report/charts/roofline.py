"""The roofline: what a layer could reach, by its arithmetic per byte, and what it reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lresnet_utils.report.charts import style
from lresnet_utils.report.charts.display import (
    Display,
    grid,
    legend_below,
    log_axis,
    name_x,
    name_y,
    write_near,
)
from lresnet_utils.text.language import recorded, tr

_MARKERS = {"convolution": "o", "depthwise convolution": "^", "fully connected": "s"}
_OTHER = "D"
# The largest mark's area in square points; a layer's area is its share of the longest layer.
_AREA = 110.0
_LEAST_AREA = 7.0
# Roofs that differ by less than this would be written over one another.
_TOO_CLOSE = 1.35


@dataclass
class RooflineDisplay(Display):
    """Layers under the roofs of arithmetic and memory (Williams, Waterman and Patterson 2009).

    Parameters
    ----------
    points : sequence of dict
        ``{"name", "kind", "intensity", "tops", "ms"}`` per layer: operations per byte,
        10^12 operations per second, milliseconds per batch.
    roofs : dict of str to float
        Per precision the ceiling in 10^12 operations per second.
    gb_per_s : float
        Memory bandwidth in 10^9 bytes per second.
    target : str
        Whose layers these are.
    precision : str
        The roof that is theirs.
    """

    title: ClassVar[str] = "Roofline"
    reading: ClassVar[str] = (
        "Each mark is a layer at its measured rate, its area its time. Right of the slope only "
        "arithmetic limits a layer, under it memory does. The roofs are measured: the fastest "
        "plain matrix products and a stream through memory; layers whose data stay in the caches, "
        "or whose kernels are better than the matrix products, may lie above them. Layers without "
        "counted arithmetic are in the table only."
    )
    points: Sequence[Mapping[str, Any]]
    roofs: Mapping[str, float]
    gb_per_s: float
    target: str
    precision: str

    def describe(self) -> str:
        """Say the roofs, and which layers take longest."""
        roofs = tr(", ").join(
            f"{name} {style.fmt_number(tops)}" for name, tops in self.roofs.items()
        )
        longest = sorted(self.points, key=lambda point: -point["ms"])[:3]
        layers = tr("; ").join(
            tr(
                "{name} ({kind}) {ms} ms at {intensity} operations per byte, {tops} TOP/s",
                name=point["name"],
                kind=recorded(point["kind"]),
                ms=style.fmt_number(point["ms"]),
                intensity=style.fmt_number(point["intensity"]),
                tops=style.fmt_number(point["tops"]),
            )
            for point in longest
        )
        return tr(
            "Roofline of {n} layers of {target}. Ceilings in TOP/s: {roofs}; memory {gb_per_s} "
            "GB/s. Longest layers: {layers}.",
            n=len(self.points),
            target=self.target,
            roofs=roofs,
            gb_per_s=style.fmt_number(self.gb_per_s),
            layers=layers,
        )

    def size_in(self) -> tuple[float, float]:
        """Room for the legend."""
        return style.WIDTH_IN, 3.7

    def draw(self, ax: Axes) -> None:
        """Draw the roofs in grey, the target's own one stronger, and a mark per layer."""
        left, right = self._span()
        log_axis(ax.xaxis, between=(1, 3))
        log_axis(ax.yaxis, between=(1, 3))
        for name, tops in self.roofs.items():
            self._draw_roof(ax, name, tops, left, right)
        look = style.look(self.target)
        longest = max(point["ms"] for point in self.points)
        for point in self.points:
            ax.scatter(
                point["intensity"],
                point["tops"],
                s=max(_LEAST_AREA, _AREA * point["ms"] / longest),
                marker=_MARKERS.get(point["kind"], _OTHER),
                color=look.colour,
                alpha=0.6,
            )
        rates = [point["tops"] for point in self.points]
        ax.set_xlim(left, right)
        ax.set_ylim(min(rates) / 1.8, max([*self.roofs.values(), *rates]) * 1.8)
        grid(ax, "y")
        name_y(ax, tr("{target}: 10¹² operations per second (logarithmic)", target=self.target))
        name_x(ax, tr("operations per byte (logarithmic)"))
        legend_below(ax, self._handles(), columns=3)

    def _span(self) -> tuple[float, float]:
        intensities = [point["intensity"] for point in self.points]
        ridges = [tops * 1000 / self.gb_per_s for tops in self.roofs.values()]
        return min(intensities) / 1.6, max([*intensities, *ridges]) * 5

    def _draw_roof(self, ax: Axes, name: str, tops: float, left: float, right: float) -> None:
        """Draw the slope of memory up to a ceiling, and the ceiling."""
        ridge = tops * 1000 / self.gb_per_s
        own = name == self.precision
        ax.plot(
            [left, ridge, right],
            [left * self.gb_per_s / 1000, tops, tops],
            color=style.INK if own else style.MUTED,
            linewidth=1.8 if own else 1.0,
            linestyle="-" if own else (0, (4, 2)),
        )
        close = [t for t in self.roofs.values() if tops < t < tops * _TOO_CLOSE]
        write_near(
            ax,
            f"{name} {style.fmt_number(tops)}",
            (right, tops),
            (0, -11 if close else 3),
            ha="right",
            fontweight="bold" if own else "normal",
        )

    def _handles(self) -> list[Line2D]:
        look = style.look(self.target)
        kinds = dict.fromkeys(point["kind"] for point in self.points)
        return [
            Line2D(
                [],
                [],
                color=look.colour,
                marker=_MARKERS.get(kind, _OTHER),
                linestyle="none",
                label=recorded(kind),
            )
            for kind in kinds
        ]
