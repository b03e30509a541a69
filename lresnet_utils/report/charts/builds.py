"""Charts of the search for the fastest build: what rewrites buy, and what eight bits cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lresnet_utils.report.charts import style
from lresnet_utils.report.charts.display import (
    Display,
    ends_of,
    grid,
    legend_below,
    log_axis,
    name_x,
    name_y,
    rows_axis,
    write_near,
)
from lresnet_utils.text.language import recorded, tr, translatable
from lresnet_utils.text.numbers import fmt_count, fmt_interval, fmt_number, fmt_points

_ROW_IN = 0.44


@dataclass
class RewriteDisplay(Display):
    """What each rewrite of the graph buys: a waterfall of throughput, step by step.

    Parameters
    ----------
    steps : sequence of dict
        One per graph measured, each with all rewrites up to its own: ``rewrite``, ``applied``
        (places, or None), ``throughput_ips`` and ``ratio`` to the step before (``value``, ``low``,
        ``high``; None without), ``failure`` (why there is no rate, or None), ``kept``.
    target : str
    batch_size : int
    """

    title: ClassVar[str] = "What each rewrite buys"
    steps: Sequence[Mapping[str, Any]]
    target: str
    batch_size: int

    @property
    def reading(self) -> str:
        """How to read the chart."""
        return tr(
            "{target}, batch size {batch_size}. From the top, each graph has one rewrite more "
            "than the one above; the bar is what that changed, × the ratio to the graph above. "
            "Intervals: 95 %, Student t over repeats. A hollow mark is a rewrite that was "
            "dropped. The axis need not start at zero.",
            target=self.target,
            batch_size=self.batch_size,
        )

    def describe(self) -> str:
        """Say the rate of every graph, its ratio to the one before, and what was kept."""
        parts = [self._words(step) for step in self.steps]
        return (
            tr(
                "Throughput of {target} at batch {batch_size} in images per second, rewrites added "
                "one after the other. ",
                target=self.target,
                batch_size=self.batch_size,
            )
            + tr("; ").join(parts)
            + tr(".")
        )

    def _words(self, step: Mapping[str, Any]) -> str:
        if step["failure"]:
            return tr(
                "{rewrite}: dropped, not measured ({failure})",
                rewrite=step["rewrite"],
                failure=step["failure"],
            )
        text = tr(
            "{name}: {value}",
            name=step["rewrite"],
            value=fmt_interval(*ends_of(step["throughput_ips"])),
        )
        if step["ratio"] is None:
            return text
        verdict = tr("kept") if step["kept"] else tr("dropped")
        return tr(
            "{text}, ratio {ratio}, {verdict}",
            text=text,
            ratio=_ratio(step["ratio"]),
            verdict=verdict,
        )

    def size_in(self) -> tuple[float, float]:
        """One row of two lines per graph."""
        return style.WIDTH_IN, 0.75 + _ROW_IN * len(self.steps)

    def draw(self, ax: Axes) -> None:
        """Draw one mark per graph, and a bar from the rate of the graph before."""
        before = None
        ys = rows_axis(ax, [_step_label(step) for step in self.steps])
        for step, y in zip(self.steps, ys, strict=True):
            if step["failure"]:
                _beside_axes(ax, y, tr("not measured\n(see below)"))
                continue
            now = step["throughput_ips"]
            _beside_axes(ax, y, self._figures(step))
            if before is not None:
                self._bar(ax, before, (now["value"], y))
            self._mark(ax, step, y)
            before = now["value"], y
        _fit(ax, [s["throughput_ips"] for s in self.steps if not s["failure"]])
        name_x(ax, tr("images per second at batch size {batch_size}", batch_size=self.batch_size))

    def _figures(self, step: Mapping[str, Any]) -> str:
        rate = fmt_interval(*ends_of(step["throughput_ips"]))
        return rate if step["ratio"] is None else f"{rate}\n× {_ratio(step['ratio'])}"

    def _bar(self, ax: Axes, before: tuple[float, float], now: tuple[float, float]) -> None:
        colour = style.look(self.target).colour
        ax.barh(now[1], now[0] - before[0], height=0.5, left=before[0], color=colour, alpha=0.35)
        ax.plot([before[0]] * 2, [before[1], now[1] + 0.25], color=style.MUTED, linewidth=0.8)

    def _mark(self, ax: Axes, step: Mapping[str, Any], y: float) -> None:
        look, (value, low, high) = style.look(self.target), ends_of(step["throughput_ips"])
        _cross(ax, (value, y), look.colour, look.marker, xends=(low, high), full=step["kept"])


@dataclass
class TradeOffDisplay(Display):
    """What eight bits cost and buy: accuracy lost against speed, one mark per recipe tried.

    Parameters
    ----------
    tried : sequence of dict
        Per recipe ``title``, ``worst_loss_points`` (percentage points), ``worst_p``,
        ``within_budget``, ``throughput_ips``, ``chosen`` and ``recipe`` (``activations``, ``rest``,
        ``kept``), as the search recorded them. Marks carry their numbers, counted from one.
    target : str
    batch_size : int
        Of the timing.
    budget_points : float
        Percentage points that may be lost.
    """

    title: ClassVar[str] = "Accuracy against speed of the int8 builds tried"
    tried: Sequence[Mapping[str, Any]]
    target: str
    batch_size: int
    budget_points: float

    @property
    def reading(self) -> str:
        """How to read the chart."""
        return tr(
            "{target}, batch size {batch_size}. Up and to the right is better. Height: the worst "
            "loss of accuracy on any variant against the fp32 build; bars: 95 %, Student t over "
            "repeats, for the speed. The numbers are the rows of the table; a thin line joins "
            "one recipe with ever more layers in higher precision; a ring is the build chosen.",
            target=self.target,
            batch_size=self.batch_size,
        )

    def describe(self) -> str:
        """Say loss, speed and verdict of every recipe."""
        parts = []
        for number, entry in enumerate(self.tried, 1):
            chosen = tr(", chosen") if entry["chosen"] else ""
            parts.append(
                tr(
                    "{number}. {title}: loses {worst_loss_points} points at worst, {value} "
                    "images per second, {verdict}{chosen}",
                    number=number,
                    title=entry["title"],
                    worst_loss_points=fmt_number(round(entry["worst_loss_points"], 2) + 0.0),
                    value=fmt_interval(*ends_of(entry["throughput_ips"])),
                    verdict=tr(_VERDICTS[self._verdict(entry)][1]),
                    chosen=chosen,
                )
            )
        return (
            tr(
                "Accuracy lost against speed of {target} at batch {batch_size}; the budget is "
                "{budget_points:g} percentage points. ",
                target=self.target,
                batch_size=self.batch_size,
                budget_points=self.budget_points,
            )
            + tr("; ").join(parts)
            + tr(".")
        )

    def _verdict(self, entry: Mapping[str, Any]) -> str:
        if entry["within_budget"]:
            return "within"
        # As the judge of the search: a rounding of the last digit is no loss.
        over = entry["worst_loss_points"] > self.budget_points + 1e-9
        return "over" if over else "differs"

    def size_in(self) -> tuple[float, float]:
        """Room for the legend of shapes."""
        return style.WIDTH_IN, 3.7

    def draw(self, ax: Axes) -> None:
        """Draw the budget, the families of recipes, and one mark per recipe."""
        colour = style.look(self.target).colour
        ax.axhline(self.budget_points, color=style.INK, linewidth=1, linestyle=_BUDGET_DASH)
        for family in self._families():
            ends = [(e["throughput_ips"]["value"], e["worst_loss_points"]) for e in family]
            ax.plot(*zip(*ends, strict=True), color=colour, linewidth=0.9, alpha=0.55)
        for entry in self.tried:
            self._mark(ax, entry, colour)
        losses = [entry["worst_loss_points"] for entry in self.tried] + [self.budget_points, 0.0]
        room = max(max(losses) - min(losses), 0.1)
        # Less loss is better, and better is up.
        ax.set_ylim(max(losses) + 0.14 * room, min(losses) - 0.2 * room)
        _fit(ax, [entry["throughput_ips"] for entry in self.tried])
        self._number(ax)
        grid(ax, "y")
        name_y(ax, tr("worst loss of accuracy (percentage points)"))
        name_x(ax, tr("images per second at batch size {batch_size}", batch_size=self.batch_size))
        legend_below(ax, self._legend(), columns=1)

    def _families(self) -> list[list[Mapping[str, Any]]]:
        """Return recipes that differ only in how many layers are kept, fewest first."""
        groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for entry in self.tried:
            key = entry["recipe"]["activations"], entry["recipe"]["rest"]
            groups.setdefault(key, []).append(entry)
        return [sorted(group, key=lambda e: len(e["recipe"]["kept"])) for group in groups.values()]

    def _mark(self, ax: Axes, entry: Mapping[str, Any], colour: str) -> None:
        value, low, high = ends_of(entry["throughput_ips"])
        at, verdict = (value, entry["worst_loss_points"]), self._verdict(entry)
        marker = _VERDICTS[verdict][0]
        _cross(ax, at, colour, marker, xends=(low, high), full=verdict == "within")
        if entry["chosen"]:
            ring = {"marker": "o", "markersize": 14, "markeredgewidth": 1.3}
            ax.plot(*at, color=style.INK, markerfacecolor="none", linestyle="none", **ring)

    def _number(self, ax: Axes) -> None:
        """Write each recipe's number beside its mark; marks at one place share a label."""
        to_points = ax.transData.transform
        labels: list[tuple[tuple[float, float], list[str]]] = []
        for number, entry in enumerate(self.tried, 1):
            at = entry["throughput_ips"]["value"], entry["worst_loss_points"]
            here = to_points(at)
            near = [
                names for place, names in labels if max(abs(to_points(place) - here)) < _CLOSE_PX
            ]
            if near:
                near[0].append(str(number))
            else:
                labels.append((at, [str(number)]))
        for at, names in labels:
            write_near(ax, tr(", ").join(names), at, (6, 8), fontweight="bold")

    def _legend(self) -> list[Line2D]:
        colour = style.look(self.target).colour
        words = tr("budget: {budget_points:g} percentage points", budget_points=self.budget_points)
        handles = [
            Line2D([], [], color=style.INK, linewidth=1, linestyle=_BUDGET_DASH, label=words)
        ]
        for verdict in dict.fromkeys(self._verdict(entry) for entry in self.tried):
            marker, words = _VERDICTS[verdict]
            words = tr(words)
            face = colour if verdict == "within" else style.PAPER
            handles.append(
                Line2D(
                    [],
                    [],
                    color=colour,
                    marker=marker,
                    linestyle="none",
                    label=words,
                    markerfacecolor=face,
                )
            )
        return handles


# Marks nearer than this share a label: about the size of a digit.
_CLOSE_PX = 14
_BUDGET_DASH = (0, (4, 2))
_VERDICTS = {
    "within": ("o", translatable("within the budget")),
    "differs": (
        "D",
        translatable("outside: loses little, but decides significantly otherwise (p < 0.05)"),
    ),
    "over": ("X", translatable("outside: loses more than the budget")),
}


def _step_label(step: Mapping[str, Any]) -> str:
    name = recorded(step["rewrite"])
    if step["applied"] is None:
        return name
    places = (
        tr("1 place") if step["applied"] == 1 else tr("{applied} places", applied=step["applied"])
    )
    return f"{name}\n{places}{tr(', ')}{tr('kept') if step['kept'] else tr('dropped')}"


def _beside_axes(ax: Axes, y: float, text: str) -> None:
    """Write figures right of the axes, where no mark can cross them."""
    write_near(ax, text, (1, y), (6, 0), xycoords=("axes fraction", "data"), va="center")


def _fit(ax: Axes, rates: Sequence[Mapping[str, Any]]) -> None:
    """Limit the x axis to the rates and their intervals."""
    ends = [end for rate in rates for end in ends_of(rate) if end is not None]
    if ends:
        room = max(max(ends) - min(ends), 0.02 * max(ends))
        ax.set_xlim(max(0.0, min(ends) - 0.08 * room), max(ends) + 0.08 * room)


def _cross(
    ax: Axes,
    at: tuple[float, float],
    colour: str,
    marker: str,
    *,
    xends: tuple[float | None, float | None],
    full: bool,
) -> None:
    """Draw a mark with an interval of speed, hollow where it was not taken."""
    low, high = xends
    span = None if low is None or high is None else [[at[0] - low], [high - at[0]]]
    face = colour if full else style.PAPER
    mark = {"marker": marker, "markersize": 6, "markerfacecolor": face, "markeredgewidth": 1.4}
    ax.errorbar(*at, xerr=span, color=colour, linestyle="none", elinewidth=1.4, **mark)


def _ratio(ratio: Mapping[str, Any]) -> str:
    return fmt_interval(*ends_of(ratio), lambda value: f"{value:.2f}")


# Charts of what lies between two reports: accuracy differences, and cosines of embeddings.


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
                value=fmt_points(row["value"]),
                low=fmt_points(row["low"]),
                high=fmt_points(row["high"]),
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
                n=fmt_count(len(values)),
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
            write_near(ax, fmt_number(middle), (middle, y), (0, 15), ha="center")
        ax.set_xlim(floor, 2)
        ax.set_xticks([10.0**power for power in range(-9, 1, 3)])
        name_x(ax, tr("1 − cosine (no unit, logarithmic)"))


def _flat(label: str) -> str:
    return label.replace("\n", " ")
