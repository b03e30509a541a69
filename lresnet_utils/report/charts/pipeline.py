"""Where the time goes, and what accuracy costs in speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from matplotlib.axes import Axes

from lresnet_utils.report.charts import style
from lresnet_utils.report.charts.display import (
    Display,
    ends_of,
    grid,
    interval_mark,
    legend_below,
    name_x,
    name_y,
    percent_axis,
    positive_axis,
    spread,
    target_handle,
    write_beside,
    write_near,
)
from lresnet_utils.text.language import mark, tr

_STAGES = {
    "data_read": mark("read"),
    "preprocess": mark("preprocess"),
    "infer": mark("infer"),
    "post": mark("post-process"),
    "e2e": mark("end to end"),
}


@dataclass
class StageDisplay(Display):
    """Where the time of the pipeline goes: milliseconds per image in every stage.

    Parameters
    ----------
    stages : dict
        Target name to ``{"e2e" | "data_read" | "preprocess" | "infer" | "post":
        {"ms_per_image", "images_per_second", ...}}``.
    """

    title: ClassVar[str] = "Time per image, stage by stage"
    reading: ClassVar[str] = (
        "Time a stage was busy, per network input. The stages overlap, so the end-to-end time is "
        "about the longest stage, not their sum."
    )
    stages: Mapping[str, Mapping[str, Mapping[str, float]]]

    def describe(self) -> str:
        """Say the milliseconds per image of every stage and the end-to-end rate."""
        parts = []
        for target, stages in self.stages.items():
            times = tr(", ").join(
                f"{tr(words)} {style.fmt_number(stages[key]['ms_per_image'])}"
                for key, words in _STAGES.items()
                if key in stages
            )
            parts.append(tr("{name}: {value}", name=target, value=times))
        return tr("Milliseconds per image by pipeline stage. ") + tr("; ").join(parts) + tr(".")

    def size_in(self) -> tuple[float, float]:
        """One bar per stage, one gap per target."""
        bars = sum(len([k for k in _STAGES if k in stages]) for stages in self.stages.values())
        return style.WIDTH_IN, 0.55 + 0.2 * (bars + 1.5 * len(self.stages))

    def draw(self, ax: Axes) -> None:
        """Draw five bars per target, under the target's name."""
        y, ticks, labels = 0.0, [], []
        for target, stages in self.stages.items():
            write_near(
                ax,
                target,
                (0, y),
                (3, 0),
                xycoords=("axes fraction", "data"),
                fontweight="bold",
                va="center",
            )
            y += 1
            for key, words in _STAGES.items():
                if key not in stages:
                    continue
                value = stages[key]["ms_per_image"]
                whole = key == "e2e"
                ax.barh(
                    y,
                    value,
                    height=0.72,
                    color=style.look(target).colour,
                    alpha=1.0 if whole else 0.5,
                )
                text = style.fmt_number(value)
                if whole and "images_per_second" in stages[key]:
                    text += f"  ({style.fmt_rate(stages[key]['images_per_second'])})"
                write_beside(ax, value, y, text)
                ticks.append(y)
                labels.append(tr(words))
                y += 1
            y += 0.5
        ax.set_yticks(ticks, labels)
        ax.set_ylim(y - 0.6, -0.7)
        longest = max(s["ms_per_image"] for stages in self.stages.values() for s in stages.values())
        ax.set_xlim(0, longest * 1.42)
        ax.spines["left"].set_visible(False)
        name_x(ax, tr("milliseconds per image"))


# Between the batch sizes of one line, and between two lines, in axes units.
_LABEL_GAP, _LINE_GAP = 0.04, 0.06


@dataclass
class AccuracySpeedDisplay(Display):
    """What accuracy costs in speed: one cross of two intervals per target and batch size.

    Parameters
    ----------
    rows : sequence of dict
        ``{"target", "batch_size", "accuracy": {"value", "low", "high"},
        "throughput_ips": {"value", "low", "high"}}``, as the cells of ``results.json``.
    """

    title: ClassVar[str] = "Accuracy against speed"
    reading: ClassVar[str] = (
        "Up and to the right is better. Numbers above the marks are batch sizes; bars are the "
        "95 % intervals of accuracy (people as clusters) and throughput (Student t over repeats)."
    )
    rows: Sequence[Mapping[str, Any]]

    def describe(self) -> str:
        """Say accuracy and throughput of every cell."""
        parts = []
        for row in self.rows:
            accuracy, rate = row["accuracy"], row["throughput_ips"]
            written = style.fmt_interval(*ends_of(accuracy), style.fmt_percent)
            parts.append(
                tr(
                    "{target} at batch {batch_size}: accuracy {written}, {value} images per second",
                    target=row["target"],
                    batch_size=row["batch_size"],
                    written=written,
                    value=style.fmt_interval(*ends_of(rate)),
                )
            )
        return tr("Accuracy against throughput. ") + tr("; ").join(parts) + tr(".")

    def draw(self, ax: Axes) -> None:
        """Draw one cross per cell; cells of one target are joined in order of batch size."""
        targets = list(dict.fromkeys(row["target"] for row in self.rows))
        for target in targets:
            rows = sorted(
                (r for r in self.rows if r["target"] == target), key=lambda r: r["batch_size"]
            )
            x = [row["throughput_ips"]["value"] for row in rows]
            y = [row["accuracy"]["value"] for row in rows]
            ax.plot(x, y, color=style.look(target).colour, linewidth=1, alpha=0.5)
            for row, at, height in zip(rows, x, y, strict=True):
                interval_mark(
                    ax,
                    at,
                    height,
                    target,
                    xends=ends_of(row["throughput_ips"])[1:],
                    yends=ends_of(row["accuracy"])[1:],
                )
        rates = [v for row in self.rows for v in ends_of(row["throughput_ips"]) if v is not None]
        logarithmic = positive_axis(ax.xaxis, ax.set_xlim, rates, 1.1)
        heights = [v for row in self.rows for v in ends_of(row["accuracy"]) if v is not None]
        room = max(max(heights) - min(heights), 0.002)
        lines = self._lines_of_batches(ax)
        above = 0.18 + 0.09 * max(line for line, _ in lines.values())
        ax.set_ylim(min(heights) - 0.08 * room, max(heights) + above * room)
        percent_axis(ax.yaxis)
        grid(ax, "y")
        name_y(ax, tr("accuracy (%)"))
        name_x(ax, tr("images per second{logarithmic}", logarithmic=logarithmic))
        self._name_batches(ax, lines)
        legend_below(ax, [target_handle(target) for target in targets])

    def _lines_of_batches(self, ax: Axes) -> dict[str, tuple[int, Sequence[float]]]:
        """Give each target a line for its batch sizes, and their places on it in axes units.

        Targets whose batch sizes would mingle on one line get one above the other.
        """
        to_axes = ax.transData + ax.transAxes.inverted()
        ends: list[float] = []
        lines = {}
        rates: dict[str, list[float]] = {}
        for row in self.rows:
            rates.setdefault(row["target"], []).append(row["throughput_ips"]["value"])
        for target, values in sorted(rates.items(), key=lambda item: min(item[1])):
            places = spread([to_axes.transform((value, 0))[0] for value in values], _LABEL_GAP)
            free = [i for i, end in enumerate(ends) if end + _LABEL_GAP <= min(places)]
            line = free[0] if free else len(ends)
            ends[line : line + 1] = [max(places)]
            lines[target] = line, places
        return lines

    def _name_batches(self, ax: Axes, lines: Mapping[str, tuple[int, Sequence[float]]]) -> None:
        """Write each batch size above its cross, on its target's line."""
        to_axes = ax.transData + ax.transAxes.inverted()
        for target, (line, places) in lines.items():
            rows = [row for row in self.rows if row["target"] == target]
            for row, x in zip(rows, places, strict=True):
                top = max(filter(None, ends_of(row["accuracy"])))
                ax.text(
                    x,
                    to_axes.transform((ax.get_xlim()[0], top))[1] + 0.02 + _LINE_GAP * line,
                    str(row["batch_size"]),
                    transform=ax.transAxes,
                    ha="center",
                    color=style.look(target).colour,
                    fontweight="bold",
                    fontsize=style.SMALL_PT,
                )
