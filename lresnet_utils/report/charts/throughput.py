"""Charts of speed: throughput and latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lresnet_utils.report.charts import style
from lresnet_utils.report.charts.display import (
    Display,
    end_labels,
    grid,
    interval_mark,
    legend_below,
    name_x,
    name_y,
    positive_axis,
    rows_axis,
    write_beside,
)
from lresnet_utils.text.language import mark, recorded, tr

_ROW_IN = 0.3


@dataclass
class ThroughputDisplay(Display):
    """Images per second with intervals: by batch size, or as a list when there is only one.

    Parameters
    ----------
    rows : sequence of dict
        ``{"target", "batch_size", "value", "low", "high"}``, images per second; `low` and `high`
        may be None.
    references : sequence of dict, optional
        Published figures to compare with: ``{"label", "batch_size": [..], "values": [..],
        "source"}``. They are drawn in grey, dashed, and have no interval.
    interval : str, optional
        What `low` and `high` are.
    """

    title: ClassVar[str] = "Throughput"
    rows: Sequence[Mapping[str, Any]]
    references: Sequence[Mapping[str, Any]] = ()
    interval: str = mark("Student t over repeats, 95 %")

    @property
    def reading(self) -> str:
        """How to read the chart, with the sources of the references."""
        text = tr("Higher is better. Error bars: {interval}.", interval=tr(self.interval))
        sources = [
            tr("{name}: {value}", name=recorded(ref["label"]), value=recorded(ref["source"]))
            for ref in self.references
        ]
        return text + (
            tr(" Grey, without intervals: ") + tr("; ").join(sources) + tr(".") if sources else ""
        )

    @property
    def batch_sizes(self) -> list[int]:
        """Batch sizes that were measured, ascending."""
        return sorted({row["batch_size"] for row in self.rows})

    def describe(self) -> str:
        """Say every measured rate with its interval, and the references."""
        parts = [
            tr(
                "{target} at batch {batch_size}: {value}",
                target=row["target"],
                batch_size=row["batch_size"],
                value=style.fmt_interval(row["value"], row["low"], row["high"]),
            )
            for row in self.rows
        ]
        for ref in self.references:
            parts += [
                tr(
                    "{label} (reference) at batch {size}: {value}",
                    label=recorded(ref["label"]),
                    size=size,
                    value=style.fmt_number(value),
                )
                for size, value in zip(ref["batch_size"], ref["values"], strict=True)
            ]
        return tr("Throughput in images per second. ") + tr("; ").join(parts) + tr(".")

    def size_in(self) -> tuple[float, float]:
        """One row per target when there is one batch size."""
        if len(self.batch_sizes) > 1:
            return style.WIDTH_IN, 3.3
        return style.WIDTH_IN, 0.75 + _ROW_IN * (len(self.rows) + len(self._reference_rows()))

    def _reference_rows(self) -> list[tuple[str, float]]:
        """Return label and value of the references at the only batch size."""
        return [
            (recorded(ref["label"]), value)
            for ref in self.references
            for size, value in zip(ref["batch_size"], ref["values"], strict=True)
            if size in self.batch_sizes
        ]

    def draw(self, ax: Axes) -> None:
        """Draw lines over several batch sizes, or one row per target for a single one."""
        if len(self.batch_sizes) > 1:
            self._draw_lines(ax)
        else:
            self._draw_rows(ax)

    def _draw_rows(self, ax: Axes) -> None:
        references = self._reference_rows()
        ys = rows_axis(ax, [row["target"] for row in self.rows] + [name for name, _ in references])
        for row, y in zip(self.rows, ys, strict=False):
            ends = (row["low"], row["high"])
            interval_mark(ax, row["value"], y, row["target"], xends=ends)
            text = style.fmt_interval(row["value"], *ends)
            write_beside(ax, max(row["value"], row["high"] or 0), y, text)
        for (_, value), y in zip(references, ys[len(self.rows) :], strict=True):
            ax.plot(value, y, marker="|", markersize=11, markeredgewidth=2, color=style.MUTED)
            write_beside(ax, value, y, style.fmt_number(value))
        logarithmic = positive_axis(ax.xaxis, ax.set_xlim, self._all_values(references), 1.5)
        name_x(
            ax,
            tr(
                "images per second at batch size {batch_sizes}{logarithmic}",
                batch_sizes=self.batch_sizes[0],
                logarithmic=logarithmic,
            ),
        )

    def _draw_lines(self, ax: Axes) -> None:
        sizes = sorted(
            {*self.batch_sizes, *(s for ref in self.references for s in ref["batch_size"])}
        )
        place = {size: i for i, size in enumerate(sizes)}
        ends, handles = [], []
        for target in dict.fromkeys(row["target"] for row in self.rows):
            rows = sorted(
                (row for row in self.rows if row["target"] == target), key=lambda r: r["batch_size"]
            )
            look = style.look(target)
            x, y = [place[row["batch_size"]] for row in rows], [row["value"] for row in rows]
            ax.plot(x, y, color=look.colour, linestyle=look.dash)
            for row, at in zip(rows, x, strict=True):
                interval_mark(ax, at, row["value"], target, yends=(row["low"], row["high"]))
            ends.append((x[-1], y[-1], target, target))
        for ref in self.references:
            x = [place[size] for size in ref["batch_size"]]
            handles += ax.plot(
                x,
                ref["values"],
                color=style.MUTED,
                linestyle=(0, (2, 2)),
                linewidth=1.2,
                marker="so^v"[len(handles) % 4],
                markersize=4.5,
                markerfacecolor=style.PAPER,
                label=recorded(ref["label"]),
            )
        ax.set_xticks(range(len(sizes)), [str(size) for size in sizes])
        ax.set_xlim(-0.25, len(sizes) - 0.75)
        values = self._all_values([("", v) for ref in self.references for v in ref["values"]])
        logarithmic = positive_axis(ax.yaxis, ax.set_ylim, values, 1.15)
        grid(ax, "y")
        name_y(ax, tr("images per second{logarithmic}", logarithmic=logarithmic))
        name_x(ax, tr("batch size (images)"))
        end_labels(ax, ends, gap=0.075)
        if handles:
            legend_below(ax, handles, columns=1)

    def _all_values(self, references: Sequence[tuple[str, float]]) -> list[float]:
        ends = [row[key] for row in self.rows for key in ("value", "low", "high")]
        return [v for v in ends if v is not None] + [value for _, value in references]


_PERCENTILES = {
    "p50": {"marker": "o", "markersize": 6.5, "markeredgewidth": 1.8},
    "p90": {"marker": "|", "markersize": 12, "markeredgewidth": 1.8},
    "p99": {"marker": ">", "markersize": 6.5, "markeredgewidth": 1.8},
}


@dataclass
class LatencyDisplay(Display):
    """Latency percentiles of one batch per target; a refused percentile is absent and says why.

    Parameters
    ----------
    rows : sequence of dict
        ``{"target", "batch_size", "p50", "p90", "p99", "n", "refused": {percentile: why}}``,
        milliseconds for one batch; a refused percentile is None or missing.
    """

    title: ClassVar[str] = "Latency of one batch"
    reading: ClassVar[str] = (
        "Lower is better. The number is the median (p50). A percentile is given only when enough "
        "batches were timed for it."
    )
    rows: Sequence[Mapping[str, Any]]

    def describe(self) -> str:
        """Say every percentile, or that it was refused and why."""
        parts = []
        for row in self.rows:
            known = [
                tr("{name} {value} ms", name=name, value=style.fmt_number(row[name]))
                for name in ("p50", "p90", "p99")
                if row.get(name) is not None
            ]
            known += [
                tr("no {name} ({why})", name=name, why=recorded(why))
                for name, why in (row.get("refused") or {}).items()
            ]
            parts.append(
                tr(
                    "{target} at batch {batch_size} (n = {n}): ",
                    target=row["target"],
                    batch_size=row["batch_size"],
                    n=row["n"] or tr("not told"),
                )
                + tr(", ").join(known)
            )
        return tr("Latency percentiles. ") + tr("; ").join(parts) + tr(".")

    def size_in(self) -> tuple[float, float]:
        """One row per target and batch size."""
        return style.WIDTH_IN, 1.0 + 0.36 * len(self.rows)

    def draw(self, ax: Axes) -> None:
        """Draw median and tails on one line per row."""
        several = len({row["batch_size"] for row in self.rows}) > 1
        labels = [
            row["target"]
            + (tr(", batch {batch_size}", batch_size=row["batch_size"]) if several else "")
            for row in self.rows
        ]
        for row, y in zip(self.rows, rows_axis(ax, labels), strict=True):
            self._draw_row(ax, row, y)
        values = [row[n] for row in self.rows for n in _PERCENTILES if row.get(n) is not None]
        logarithmic = positive_axis(ax.xaxis, ax.set_xlim, values, 1.35)
        size = "" if several else tr(" of {batch_size}", batch_size=self.rows[0]["batch_size"])
        name_x(
            ax, tr("milliseconds per batch{size}{logarithmic}", size=size, logarithmic=logarithmic)
        )
        legend_below(
            ax,
            [
                Line2D([], [], color=style.INK, linestyle="none", label=label, **mark)
                for label, mark in _PERCENTILES.items()
            ],
            columns=3,
        )

    @staticmethod
    def _draw_row(ax: Axes, row: Mapping[str, Any], y: float) -> None:
        colour = style.look(row["target"]).colour
        known = {name: row[name] for name in _PERCENTILES if row.get(name) is not None}
        ax.plot(list(known.values()), [y] * len(known), color=colour, linewidth=1.5)
        for name, value in known.items():
            ax.plot(value, y, color=colour, linestyle="none", **_PERCENTILES[name])
        words = [style.fmt_number(known["p50"])] if "p50" in known else []
        refused = list(row.get("refused") or {})
        words += [tr("(no {refused})", refused=tr(", ").join(refused))] if refused else []
        write_beside(ax, max(known.values(), default=0), y, " ".join(words))
