"""Charts of speed: throughput and latency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from matplotlib.axes import Axes

from lresnet_utils.report.charts.display import (
    INK,
    MUTED,
    PAPER,
    SMALL_PT,
    WIDTH_IN,
    Display,
    end_labels,
    ends_of,
    grid,
    handle,
    interval_mark,
    legend_below,
    listed,
    log_axis,
    look_of,
    name_x,
    name_y,
    percent_axis,
    positive_axis,
    rows_axis,
    spread,
    target_handle,
    write_beside,
    write_near,
)
from lresnet_utils.text.language import tr, translatable
from lresnet_utils.text.numbers import fmt_interval, fmt_number, fmt_percent, fmt_rate

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
    interval: str = translatable("Student t over repeats, 95 %")

    @property
    def reading(self) -> str:
        """How to read the chart, with the sources of the references."""
        text = tr("Higher is better. Error bars: {interval}.", interval=tr(self.interval))
        sources = [
            tr("{name}: {value}", name=tr(ref["label"]), value=tr(ref["source"]))
            for ref in self.references
        ]
        return text + listed(tr(" Grey, without intervals: "), sources) if sources else text

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
                value=fmt_interval(row["value"], row["low"], row["high"]),
            )
            for row in self.rows
        ]
        for ref in self.references:
            parts += [
                tr(
                    "{label} (reference) at batch {size}: {value}",
                    label=tr(ref["label"]),
                    size=size,
                    value=fmt_number(value),
                )
                for size, value in zip(ref["batch_size"], ref["values"], strict=True)
            ]
        return listed(tr("Throughput in images per second. "), parts)

    def size_in(self) -> tuple[float, float]:
        """One row per target when there is one batch size."""
        if len(self.batch_sizes) > 1:
            return WIDTH_IN, 3.3
        return WIDTH_IN, 0.75 + _ROW_IN * (len(self.rows) + len(self._reference_rows()))

    def _reference_rows(self) -> list[tuple[str, float]]:
        """Return label and value of the references at the only batch size."""
        return [
            (tr(ref["label"]), value)
            for ref in self.references
            for size, value in zip(ref["batch_size"], ref["values"], strict=True)
            if size in self.batch_sizes
        ]

    def draw(self, ax: Axes) -> None:
        """Draw lines over several batch sizes, or one row per target for a single one."""
        if len(self.batch_sizes) > 1:
            sizes = sorted(
                {*self.batch_sizes, *(s for ref in self.references for s in ref["batch_size"])}
            )
            place = {size: i for i, size in enumerate(sizes)}
            ends, handles = [], []
            for target, rows in _by_target(self.rows).items():
                look = look_of(target)
                x, y = [place[row["batch_size"]] for row in rows], [row["value"] for row in rows]
                ax.plot(x, y, color=look.colour, linestyle=look.dash)
                for row, at in zip(rows, x, strict=True):
                    interval_mark(ax, at, row["value"], target, yends=(row["low"], row["high"]))
                ends.append((x[-1], y[-1], target, target))
            for ref in self.references:
                handles += ax.plot(
                    [place[size] for size in ref["batch_size"]],
                    ref["values"],
                    color=MUTED,
                    linestyle=(0, (2, 2)),
                    linewidth=1.2,
                    marker="so^v"[len(handles) % 4],
                    markersize=4.5,
                    markerfacecolor=PAPER,
                    label=tr(ref["label"]),
                )
            ax.set_xticks(range(len(sizes)), [str(size) for size in sizes])
            ax.set_xlim(-0.25, len(sizes) - 0.75)
            values = [
                *_every_end(self.rows),
                *(v for ref in self.references for v in ref["values"]),
            ]
            logarithmic = positive_axis(ax.yaxis, ax.set_ylim, values, 1.15)
            grid(ax, "y")
            name_y(ax, tr("images per second{logarithmic}", logarithmic=logarithmic))
            name_x(ax, tr("batch size (images)"))
            end_labels(ax, ends, gap=0.075)
            if handles:
                legend_below(ax, handles, columns=1)
            return
        references = self._reference_rows()
        ys = rows_axis(ax, [row["target"] for row in self.rows] + [name for name, _ in references])
        for row, y in zip(self.rows, ys, strict=False):
            ends = (row["low"], row["high"])
            interval_mark(ax, row["value"], y, row["target"], xends=ends)
            text = fmt_interval(row["value"], *ends)
            write_beside(ax, max(row["value"], row["high"] or 0), y, text)
        for (_, value), y in zip(references, ys[len(self.rows) :], strict=True):
            ax.plot(value, y, marker="|", markersize=11, markeredgewidth=2, color=MUTED)
            write_beside(ax, value, y, fmt_number(value))
        values = [*_every_end(self.rows), *(value for _, value in references)]
        end = {"logarithmic": positive_axis(ax.xaxis, ax.set_xlim, values, 1.5)}
        end["batch_sizes"] = self.batch_sizes[0]
        name_x(ax, tr("images per second at batch size {batch_sizes}{logarithmic}", **end))


def _every_end(estimates: Iterable[Mapping[str, Any]]) -> list[float]:
    return [end for found in estimates for end in ends_of(found) if end is not None]


def _by_target(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return each target's rows, batch sizes ascending."""
    found: dict[str, list[Mapping[str, Any]]] = {row["target"]: [] for row in rows}
    for row in sorted(rows, key=lambda row: row["batch_size"]):
        found[row["target"]].append(row)
    return found


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
    height_in: ClassVar = (1.0, 0.36)
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
                tr("{name} {value} ms", name=name, value=fmt_number(row[name]))
                for name in _PERCENTILES
                if row.get(name) is not None
            ]
            known += [
                tr("no {name} ({why})", name=name, why=tr(why))
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
        return listed(tr("Latency percentiles. "), parts)

    def draw(self, ax: Axes) -> None:
        """Draw median and tails on one line per row."""
        several = len({row["batch_size"] for row in self.rows}) > 1
        labels = [
            row["target"]
            + (tr(", batch {batch_size}", batch_size=row["batch_size"]) if several else "")
            for row in self.rows
        ]
        for row, y in zip(self.rows, rows_axis(ax, labels), strict=True):
            colour = look_of(row["target"]).colour
            known = {name: row[name] for name in _PERCENTILES if row.get(name) is not None}
            ax.plot(list(known.values()), [y] * len(known), color=colour, linewidth=1.5)
            for name, value in known.items():
                ax.plot(value, y, color=colour, linestyle="none", **_PERCENTILES[name])
            words = [fmt_number(known["p50"])] if "p50" in known else []
            refused = list(row.get("refused") or {})
            words += [tr("(no {refused})", refused=tr(", ").join(refused))] if refused else []
            write_beside(ax, max(known.values(), default=0), y, " ".join(words))
        values = [row[n] for row in self.rows for n in _PERCENTILES if row.get(n) is not None]
        end = {"logarithmic": positive_axis(ax.xaxis, ax.set_xlim, values, 1.35)}
        end["size"] = "" if several else tr(" of {batch_size}", **self.rows[0])
        name_x(ax, tr("milliseconds per batch{size}{logarithmic}", **end))
        marks = [handle(name, color=INK, **mark) for name, mark in _PERCENTILES.items()]
        legend_below(ax, marks, columns=3)


# Where the time goes, and what accuracy costs in speed.

_STAGES = {
    "data_read": translatable("read"),
    "preprocess": translatable("preprocess"),
    "infer": translatable("infer"),
    "post": translatable("post-process"),
    "e2e": translatable("end to end"),
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
                f"{tr(words)} {fmt_number(stages[key]['ms_per_image'])}"
                for key, words in _STAGES.items()
                if key in stages
            )
            parts.append(tr("{name}: {value}", name=target, value=times))
        return listed(tr("Milliseconds per image by pipeline stage. "), parts)

    def size_in(self) -> tuple[float, float]:
        """One bar per stage, one gap per target."""
        bars = sum(key in stages for stages in self.stages.values() for key in _STAGES)
        return WIDTH_IN, 0.55 + 0.2 * (bars + 1.5 * len(self.stages))

    def draw(self, ax: Axes) -> None:
        """Draw five bars per target, under the target's name."""
        y, ticks, labels = 0.0, [], []
        for target, stages in self.stages.items():
            head = {"xycoords": ("axes fraction", "data"), "fontweight": "bold", "va": "center"}
            write_near(ax, target, (0, y), (3, 0), **head)
            y += 1
            for key, words in _STAGES.items():
                if key not in stages:
                    continue
                value, whole = stages[key]["ms_per_image"], key == "e2e"
                colour = look_of(target).colour
                ax.barh(y, value, height=0.72, color=colour, alpha=1.0 if whole else 0.5)
                text = fmt_number(value)
                if whole and "images_per_second" in stages[key]:
                    text += f"  ({fmt_rate(stages[key]['images_per_second'])})"
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
        parts = [
            tr(
                "{target} at batch {batch_size}: accuracy {written}, {value} images per second",
                target=row["target"],
                batch_size=row["batch_size"],
                written=fmt_interval(*ends_of(row["accuracy"]), fmt_percent),
                value=fmt_interval(*ends_of(row["throughput_ips"])),
            )
            for row in self.rows
        ]
        return listed(tr("Accuracy against throughput. "), parts)

    def draw(self, ax: Axes) -> None:
        """Draw one cross per cell; cells of one target are joined in order of batch size."""
        targets = _by_target(self.rows)
        for target, rows in targets.items():
            x = [row["throughput_ips"]["value"] for row in rows]
            y = [row["accuracy"]["value"] for row in rows]
            ax.plot(x, y, color=look_of(target).colour, linewidth=1, alpha=0.5)
            for row, *at in zip(rows, x, y, strict=True):
                ends = {"xends": row["throughput_ips"], "yends": row["accuracy"]}
                spans = {name: ends_of(estimate)[1:] for name, estimate in ends.items()}
                interval_mark(ax, *at, target, **spans)
        rates = _every_end(row["throughput_ips"] for row in self.rows)
        logarithmic = positive_axis(ax.xaxis, ax.set_xlim, rates, 1.1)
        heights = _every_end(row["accuracy"] for row in self.rows)
        room = max(max(heights) - min(heights), 0.002)
        # Each target has a line for its batch sizes, and their places on it in axes units. Those
        # whose batch sizes would mingle on one line get one above the other.
        to_axes = ax.transData + ax.transAxes.inverted()
        taken: list[float] = []
        lines = {}
        rates_of: dict[str, list[float]] = {}
        for row in self.rows:
            rates_of.setdefault(row["target"], []).append(row["throughput_ips"]["value"])
        for target, values in sorted(rates_of.items(), key=lambda item: min(item[1])):
            places = spread([to_axes.transform((value, 0))[0] for value in values], _LABEL_GAP)
            free = [i for i, end in enumerate(taken) if end + _LABEL_GAP <= min(places)]
            line = free[0] if free else len(taken)
            taken[line : line + 1] = [max(places)]
            lines[target] = line, places
        above = 0.18 + 0.09 * max(line for line, _ in lines.values())
        ax.set_ylim(min(heights) - 0.08 * room, max(heights) + above * room)
        percent_axis(ax.yaxis)
        grid(ax, "y")
        name_y(ax, tr("accuracy (%)"))
        name_x(ax, tr("images per second{logarithmic}", logarithmic=logarithmic))
        # Each batch size stands above its cross, on its target's line.
        to_axes = ax.transData + ax.transAxes.inverted()
        for target, (line, places) in lines.items():
            rows = [row for row in self.rows if row["target"] == target]
            for row, x in zip(rows, places, strict=True):
                top = max(filter(None, ends_of(row["accuracy"])))
                height = to_axes.transform((ax.get_xlim()[0], top))[1]
                ax.text(
                    x,
                    height + 0.02 + _LINE_GAP * line,
                    str(row["batch_size"]),
                    transform=ax.transAxes,
                    ha="center",
                    color=look_of(target).colour,
                    fontweight="bold",
                    fontsize=SMALL_PT,
                )
        legend_below(ax, [target_handle(target) for target in targets])


# The roofline: what a layer could reach, by its arithmetic per byte, and what it reached.

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
    height_in: ClassVar = (3.7, 0.0)
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
        roofs = tr(", ").join(f"{name} {fmt_number(tops)}" for name, tops in self.roofs.items())
        longest = sorted(self.points, key=lambda point: -point["ms"])[:3]
        layers = tr("; ").join(
            tr(
                "{name} ({kind}) {ms} ms at {intensity} operations per byte, {tops} TOP/s",
                name=point["name"],
                kind=tr(point["kind"]),
                ms=fmt_number(point["ms"]),
                intensity=fmt_number(point["intensity"]),
                tops=fmt_number(point["tops"]),
            )
            for point in longest
        )
        return tr(
            "Roofline of {n} layers of {target}. Ceilings in TOP/s: {roofs}; memory {gb_per_s} "
            "GB/s. Longest layers: {layers}.",
            n=len(self.points),
            target=self.target,
            roofs=roofs,
            gb_per_s=fmt_number(self.gb_per_s),
            layers=layers,
        )

    def draw(self, ax: Axes) -> None:
        """Draw the roofs in grey, the target's own one stronger, and a mark per layer."""
        log_axis(ax.xaxis, between=(1, 3))
        log_axis(ax.yaxis, between=(1, 3))
        ridges = {name: tops * 1000 / self.gb_per_s for name, tops in self.roofs.items()}
        intensities = [point["intensity"] for point in self.points]
        left, right = min(intensities) / 1.6, max([*intensities, *ridges.values()]) * 5
        for name, tops in self.roofs.items():
            # The slope of memory up to a ceiling, and the ceiling.
            own = name == self.precision
            ax.plot(
                [left, ridges[name], right],
                [left * self.gb_per_s / 1000, tops, tops],
                color=INK if own else MUTED,
                linewidth=1.8 if own else 1.0,
                linestyle="-" if own else (0, (4, 2)),
            )
            close = any(tops < other < tops * _TOO_CLOSE for other in self.roofs.values())
            weight = "bold" if own else "normal"
            text = f"{name} {fmt_number(tops)}"
            write_near(
                ax, text, (right, tops), (0, -11 if close else 3), ha="right", fontweight=weight
            )
        colour, handles = look_of(self.target).colour, {}
        longest = max(point["ms"] for point in self.points)
        for point in self.points:
            kind, marker = point["kind"], _MARKERS.get(point["kind"], _OTHER)
            ax.scatter(
                point["intensity"],
                point["tops"],
                s=max(_LEAST_AREA, _AREA * point["ms"] / longest),
                marker=marker,
                color=colour,
                alpha=0.6,
            )
            handles[kind] = handle(tr(kind), color=colour, marker=marker)
        rates = [point["tops"] for point in self.points]
        ax.set_xlim(left, right)
        ax.set_ylim(min(rates) / 1.8, max([*self.roofs.values(), *rates]) * 1.8)
        grid(ax, "y")
        name_y(ax, tr("{target}: 10¹² operations per second (logarithmic)", target=self.target))
        name_x(ax, tr("operations per byte (logarithmic)"))
        legend_below(ax, list(handles.values()), columns=3)
