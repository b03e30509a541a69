"""What lies between two builds: graphs, recipes, outputs; and the faces they are told by."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, ClassVar

import cv2
import numpy as np
from matplotlib.axes import Axes

from lresnet_utils.errors import DataError
from lresnet_utils.report.charts.display import (
    INK,
    MUTED,
    PAPER,
    WIDTH_IN,
    Display,
    ends_of,
    grid,
    handle,
    legend_below,
    listed,
    log_axis,
    look_of,
    name_x,
    name_y,
    rows_axis,
    write_near,
)
from lresnet_utils.text.language import tr, translatable
from lresnet_utils.text.numbers import (
    fmt_count,
    fmt_interval,
    fmt_number,
    fmt_points,
    join_words,
)


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

    def counts(self) -> list[tuple[str, int, int]]:
        """Return each operator with its nodes before and after, most nodes first, then by name."""
        both = [
            (op, self.before.get(op, 0), self.after.get(op, 0))
            for op in {*self.before, *self.after}
        ]
        return sorted(both, key=lambda row: (-max(row[1:]), row[0]))

    def describe(self) -> str:
        """Say the totals and every count that changed."""
        changed = [
            tr("{op} {before} to {after}", op=op, before=before, after=after)
            for op, before, after in self.counts()
            if before != after
        ]
        text = tr(
            "Nodes by operator: {before} before, {after} after simplification. ",
            before=sum(self.before.values()),
            after=sum(self.after.values()),
        )
        if not changed:
            return text + tr("No count changed.")
        return text + tr("Changed: ") + tr(", ").join(changed) + tr(".")

    def size_in(self) -> tuple[float, float]:
        """One row per operator."""
        return WIDTH_IN, 0.95 + 0.29 * len(self.counts())

    def draw(self, ax: Axes) -> None:
        """Draw two bars per operator with their counts."""
        colour, rows = look_of("torch-fp32").colour, self.counts()
        ys = rows_axis(ax, [op for op, _, _ in rows])
        for (_, before, after), y in zip(rows, ys, strict=True):
            ax.barh(y - 0.19, before, 0.36, color=MUTED[0], alpha=0.4)
            ax.barh(y + 0.19, after, 0.36, color=colour)
            text = str(before) if before == after else f"{before} → {after}"
            write_near(ax, text, (max(before, after), y), (5, 0), va="center")
        ax.set_xlim(0, 1.18 * max([*self.before.values(), *self.after.values(), 1]))
        ax.grid(visible=False)
        name_x(ax, tr("nodes in the graph"))
        bars = ax.patches[:2]
        bars[0].set_label(tr("before ({n} nodes)", n=sum(self.before.values())))
        bars[1].set_label(tr("after ({n} nodes)", n=sum(self.after.values())))
        legend_below(ax, bars)


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
    height_in: ClassVar = (0.75, 0.44)
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
        parts = []
        for step in self.steps:
            if step["failure"]:
                parts.append(tr("{rewrite}: dropped, not measured ({failure})", **step))
                continue
            rate = fmt_interval(*ends_of(step["throughput_ips"]))
            text = tr("{name}: {value}", name=step["rewrite"], value=rate)
            if step["ratio"] is not None:
                verdict = tr("kept") if step["kept"] else tr("dropped")
                ratio = _ratio(step)
                text = tr(
                    "{text}, ratio {ratio}, {verdict}", text=text, ratio=ratio, verdict=verdict
                )
            parts.append(text)
        beginning = tr(
            "Throughput of {target} at batch {batch_size} in images per second, rewrites added "
            "one after the other. ",
            target=self.target,
            batch_size=self.batch_size,
        )
        return listed(beginning, parts)

    def draw(self, ax: Axes) -> None:
        """Draw one mark per graph, and a bar from the rate of the graph before."""
        labels = []
        for step in self.steps:
            name, places = tr(step["rewrite"]), step["applied"]
            if places is not None:
                told = tr("1 place") if places == 1 else tr("{applied} places", applied=places)
                verdict = tr("kept") if step["kept"] else tr("dropped")
                name += f"\n{told}{tr(', ')}{verdict}"
            labels.append(name)
        look, before = look_of(self.target), None
        for step, y in zip(self.steps, rows_axis(ax, labels), strict=True):
            # Figures stand right of the axes, where no mark can cross them.
            figures = tr("not measured\n(see below)")
            if not step["failure"]:
                figures = fmt_interval(*ends_of(step["throughput_ips"]))
                figures += "" if step["ratio"] is None else f"\n× {_ratio(step)}"
            place = {"xycoords": ("axes fraction", "data"), "va": "center"}
            write_near(ax, figures, (1, y), (6, 0), **place)
            if step["failure"]:
                continue
            value = step["throughput_ips"]["value"]
            if before is not None:
                last, above = before
                ax.barh(y, value - last, height=0.5, left=last, color=look.colour, alpha=0.35)
                ax.plot([last, last], [above, y + 0.25], color=MUTED, linewidth=0.8)
            _cross(ax, step["throughput_ips"], y, look.colour, look.marker, full=step["kept"])
            before = value, y
        _fit(ax, [s["throughput_ips"] for s in self.steps if not s["failure"]])
        name_x(ax, tr("images per second at batch size {batch_size}", batch_size=self.batch_size))


def _ratio(step: Mapping[str, Any]) -> str:
    return fmt_interval(*ends_of(step["ratio"]), lambda value: f"{value:.2f}")


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
    height_in: ClassVar = (3.7, 0.0)
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
        parts = [
            tr(
                "{number}. {title}: loses {worst_loss_points} points at worst, {value} "
                "images per second, {verdict}{chosen}",
                number=number,
                title=entry["title"],
                worst_loss_points=fmt_number(round(entry["worst_loss_points"], 2) + 0.0),
                value=fmt_interval(*ends_of(entry["throughput_ips"])),
                verdict=tr(_VERDICTS[self.verdict(entry)][1]),
                chosen=tr(", chosen") if entry["chosen"] else "",
            )
            for number, entry in enumerate(self.tried, 1)
        ]
        beginning = tr(
            "Accuracy lost against speed of {target} at batch {batch_size}; the budget is "
            "{budget_points:g} percentage points. ",
            target=self.target,
            batch_size=self.batch_size,
            budget_points=self.budget_points,
        )
        return listed(beginning, parts)

    def verdict(self, entry: Mapping[str, Any]) -> str:
        """Return "within" the budget, or why a recipe is outside: "over" it, or "differs"."""
        if entry["within_budget"]:
            return "within"
        # As the judge of the search: a rounding of the last digit is no loss.
        over = entry["worst_loss_points"] > self.budget_points + 1e-9
        return "over" if over else "differs"

    def draw(self, ax: Axes) -> None:
        """Draw the budget, the families of recipes, and one mark per recipe."""
        colour = look_of(self.target).colour
        places = [(e["throughput_ips"]["value"], e["worst_loss_points"]) for e in self.tried]
        budget = {"color": INK, "linewidth": 1, "linestyle": (0, (4, 2))}
        ax.axhline(self.budget_points, **budget)
        # Recipes that differ only in how many layers are kept, fewest first.
        families: dict[tuple[str, str], list[tuple[int, tuple[float, float]]]] = {}
        for entry, place in zip(self.tried, places, strict=True):
            recipe = entry["recipe"]
            family = families.setdefault((recipe["activations"], recipe["rest"]), [])
            family.append((len(recipe["kept"]), place))
        for family in families.values():
            ends = [place for _, place in sorted(family, key=lambda member: member[0])]
            ax.plot(*zip(*ends, strict=True), color=colour, linewidth=0.9, alpha=0.55)
        words = tr("budget: {budget_points:g} percentage points", budget_points=self.budget_points)
        handles = {"budget": handle(words, **budget)}
        for entry, (_, loss) in zip(self.tried, places, strict=True):
            verdict = self.verdict(entry)
            marker, words = _VERDICTS[verdict]
            full = verdict == "within"
            _cross(ax, entry["throughput_ips"], loss, colour, marker, full=full)
            face = colour if full else PAPER
            look = {"color": colour, "marker": marker, "markerfacecolor": face}
            handles[verdict] = handle(tr(words), **look)
            if entry["chosen"]:
                ring = {"marker": "o", "markersize": 14, "markeredgewidth": 1.3}
                at = entry["throughput_ips"]["value"], loss
                ax.plot(*at, color=INK, markerfacecolor="none", linestyle="none", **ring)
        losses = [loss for _, loss in places] + [self.budget_points, 0.0]
        room = max(max(losses) - min(losses), 0.1)
        # Less loss is better, and better is up.
        ax.set_ylim(max(losses) + 0.14 * room, min(losses) - 0.2 * room)
        _fit(ax, [entry["throughput_ips"] for entry in self.tried])
        # Each recipe's number stands beside its mark; marks at one place share a label.
        labels: list[tuple[tuple[float, float], list[str]]] = []
        for number, place in enumerate(places, 1):
            here = ax.transData.transform(place)
            for other, names in labels:
                if max(abs(ax.transData.transform(other) - here)) < _CLOSE_PX:
                    names.append(str(number))
                    break
            else:
                labels.append((place, [str(number)]))
        for place, names in labels:
            write_near(ax, tr(", ").join(names), place, (6, 8), fontweight="bold")
        grid(ax, "y")
        name_y(ax, tr("worst loss of accuracy (percentage points)"))
        name_x(ax, tr("images per second at batch size {batch_size}", batch_size=self.batch_size))
        legend_below(ax, list(handles.values()), columns=1)


# Marks nearer than this share a label: about the size of a digit.
_CLOSE_PX = 14
_VERDICTS = {
    "within": ("o", translatable("within the budget")),
    "differs": (
        "D",
        translatable("outside: loses little, but decides significantly otherwise (p < 0.05)"),
    ),
    "over": ("X", translatable("outside: loses more than the budget")),
}


def _fit(ax: Axes, rates: Sequence[Mapping[str, Any]]) -> None:
    """Limit the x axis to the rates and their intervals."""
    ends = [end for rate in rates for end in ends_of(rate) if end is not None]
    if ends:
        room = max(max(ends) - min(ends), 0.02 * max(ends))
        ax.set_xlim(max(0.0, min(ends) - 0.08 * room), max(ends) + 0.08 * room)


def _cross(
    ax: Axes, rate: Mapping[str, Any], y: float, colour: str, marker: str, *, full: bool
) -> None:
    """Draw a mark with its interval of speed, hollow where it was not taken."""
    value, low, high = ends_of(rate)
    span = None if low is None or high is None else [[value - low], [high - value]]
    face = colour if full else PAPER
    mark = {"marker": marker, "markersize": 6, "markerfacecolor": face, "markeredgewidth": 1.4}
    ax.errorbar(value, y, xerr=span, color=colour, linestyle="none", elinewidth=1.4, **mark)


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
    height_in: ClassVar = (0.95, 0.36)
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
                cell=row["cell"].replace("\n", " "),
                value=fmt_points(row["value"]),
                low=fmt_points(row["low"]),
                high=fmt_points(row["high"]),
            )
            for row in self.rows
        ]
        return listed(tr("Difference in accuracy, B minus A. "), parts)

    def draw(self, ax: Axes) -> None:
        """Draw the band, zero, and one interval per row."""
        ys = rows_axis(ax, [row["cell"] for row in self.rows])
        colour = look_of("torch-fp32").colour
        ax.axvspan(-self.margin_points, self.margin_points, color=colour, alpha=0.14, linewidth=0)
        ax.axvline(0, color=INK, linewidth=1, alpha=0.6)
        for row, y in zip(self.rows, ys, strict=True):
            value, low, high = (100 * row[key] for key in ("value", "low", "high"))
            span = [[value - low], [high - value]]
            mark = {"marker": "o", "elinewidth": 1.6, "markersize": 5.5}
            ax.errorbar(value, y, xerr=span, color=colour, **mark)
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
    height_in: ClassVar = (1.05, 0.5)
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
                name=name.replace("\n", " "),
                least=np.min(values),
                median=np.median(values),
                n=fmt_count(len(values)),
            )
            for name, values in self.cosines.items()
        ]
        return listed(tr("Agreement of the embeddings of A and B. "), parts)

    def draw(self, ax: Axes) -> None:
        """Draw a strip of ticks per row and its median."""
        floor, colour = 1e-9, look_of("torch-fp32").colour
        log_axis(ax.xaxis)
        ys = rows_axis(ax, list(self.cosines))
        for values, y in zip(self.cosines.values(), ys, strict=True):
            lost = np.maximum(1 - np.asarray(values, float), floor)
            # Two hundred ticks show the spread of any number of faces; the ends are among them.
            ticks = np.quantile(lost, np.linspace(0, 1, 200))
            ax.vlines(ticks, y - 0.22, y + 0.22, color=colour, linewidth=0.9, alpha=0.45)
            middle = float(np.median(lost))
            ax.plot(middle, y, marker="D", color=INK, markersize=5.5, clip_on=False)
            write_near(ax, fmt_number(middle), (middle, y), (0, 15), ha="center")
        ax.set_xlim(floor, 2)
        ax.set_xticks([10.0**power for power in range(-9, 1, 3)])
        name_x(ax, tr("1 − cosine (no unit, logarithmic)"))


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
    height_in: ClassVar = (1.35, 0.36)
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
        return listed(tr("Agreement of unit embeddings. "), parts)

    def draw(self, ax: Axes) -> None:
        """Draw two marks per pair on a logarithmic axis."""
        floor, blue = 1e-9, look_of("torch-fp32").colour
        orange = look_of("onnxruntime-fp32").colour
        log_axis(ax.xaxis)
        ys = rows_axis(ax, [row["pair"] for row in self.rows])
        for row, y in zip(self.rows, ys, strict=True):
            # Rounding can put a cosine a hair above one.
            for value, shift, colour, marker in (
                (row["max_abs_difference"], -0.13, blue, "o"),
                (max(0.0, 1 - row["min_cosine"]), 0.13, orange, "D"),
            ):
                ax.plot(max(value, floor), y + shift, color=colour, marker=marker, clip_on=False)
        for name, size in _ROUND_OFF.items():
            ax.axvline(size, color=INK, alpha=0.55, linewidth=1, linestyle=(0, (1, 2)))
            write_near(
                ax,
                name,
                (size, 1),
                (0, 3),
                xycoords=("data", "axes fraction"),
                ha={"fp16": "right", "bf16": "left"}.get(name, "center"),
                color=MUTED,
            )
        ax.set_xlim(floor, 1)
        ax.set_xticks([10.0**power for power in range(-9, 1, 3)])
        ax.tick_params(axis="y", pad=11)
        name_x(ax, tr("difference (no unit, logarithmic)"))
        largest, cosine = tr("largest difference of a component"), tr("1 − smallest cosine")
        marks = [handle(largest, color=blue, marker="o"), handle(cosine, color=orange, marker="D")]
        legend_below(ax, marks)


_JPEG_QUALITY = 88
_FACE_PX = 96
_GRID = (
    "display:grid;gap:1rem 1.1rem;"
    "grid-template-columns:repeat(auto-fill,minmax(min(10rem,45%),1fr))"
)
_LABEL = "font-size:.8125rem;line-height:1.35;margin-top:.25rem;font-variant-numeric:tabular-nums"


def data_uri(image: np.ndarray) -> str:
    """Return an image as a JPEG data URI.

    Parameters
    ----------
    image : uint8 array, shape (height, width, 3)
        RGB.

    Raises
    ------
    DataError
        When the array is not such an image.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(
            f"A picture must be uint8 of shape (height, width, 3), not {image.dtype} {image.shape}."
        )
    settings = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]), settings)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _img(image: np.ndarray, alt: str, width_px: int = _FACE_PX) -> str:
    return (
        f'<img src="{data_uri(image)}" alt="{escape(alt)}" width="{width_px}" '
        f'style="display:block;width:{width_px}px;max-width:100%;height:auto;border-radius:3px">'
    )


@dataclass
class PairSheetDisplay:
    """Pairs of faces as pictures, each with its distance and what went wrong, worst first.

    Parameters
    ----------
    images : uint8 array, shape (n, 112, 112, 3)
        RGB faces that `left` and `right` index; a read-only memory map is fine.
    left, right : int array, shape (k,)
        The pairs to show.
    distances : array, shape (k,)
        Squared L2 distance of each pair.
    same : bool array, shape (k,)
        True for genuine pairs.
    threshold : float
        Pairs below it are called the same person.
    caption : str, optional
        Words under the sheet.
    """

    title: ClassVar[str] = "The hardest pairs"
    images: np.ndarray
    left: np.ndarray
    right: np.ndarray
    distances: np.ndarray
    same: np.ndarray
    threshold: float
    caption: str = ""

    @property
    def reading(self) -> str:
        """How to read the sheet."""
        return self.caption or (
            tr(
                "Squared distance of each pair; the threshold is {threshold:.2f}. Genuine pairs "
                "should be below it, impostor pairs not.",
                threshold=self.threshold,
            )
        )

    def verdict(self, pair: int) -> str:
        """Say what kind of pair it is and whether it is judged rightly."""
        below = self.distances[pair] < self.threshold
        if self.same[pair]:
            return tr("same person, found") if below else tr("same person, missed")
        return tr("different people, let in") if below else tr("different people, told apart")

    def describe(self) -> str:
        """Say how many pairs are shown, how many are wrong, and the range of distances."""
        wrong = sum(
            bool(d < self.threshold) != bool(s)
            for d, s in zip(self.distances, self.same, strict=True)
        )
        if not len(self.distances):
            return tr("No pairs to show.")
        return tr(
            "{n} pairs of faces with distances {low:.3f} to {high:.3f}; {wrong} of "
            "them are on the wrong side of the threshold {threshold:.2f}.",
            n=len(self.distances),
            low=np.min(self.distances),
            high=np.max(self.distances),
            wrong=wrong,
            threshold=self.threshold,
        )

    def html(self) -> str:
        """Return the sheet: one card per pair."""
        cards = []
        for pair, (left, right) in enumerate(zip(self.left, self.right, strict=True)):
            verdict, distance = self.verdict(pair), f"{self.distances[pair]:.3f}"
            faces = _img(
                self.images[left],
                tr(
                    "Pair {pair}, left face: {verdict}, distance {distance}",
                    pair=pair + 1,
                    verdict=verdict,
                    distance=distance,
                ),
            )
            faces += _img(self.images[right], tr("Pair {pair}, right face", pair=pair + 1))
            cards.append(
                f'<div style="max-width:{2 * _FACE_PX + 2}px">'
                f'<div style="display:grid;grid-template-columns:1fr 1fr;gap:2px">{faces}</div>'
                f'<div style="{_LABEL}"><strong>{distance}</strong><br>{escape(verdict)}</div>'
                "</div>"
            )
        return f'<div style="{_GRID}">{"".join(cards)}</div>'


@dataclass
class FaceSheetDisplay:
    """The same faces in every variant of a data set, one row per variant.

    Parameters
    ----------
    variants : dict
        Variant name or words to its faces, uint8 RGB of shape (k, 112, 112, 3); the same k
        people in the same order.
    caption : str, optional
        Words under the sheet, such as the data set's credit.
    """

    title: ClassVar[str] = "Sample of the faces"
    variants: Mapping[str, Sequence[np.ndarray]]
    caption: str = ""

    @property
    def reading(self) -> str:
        """How to read the sheet."""
        return self.caption or tr(
            "Each column is one image; each row is what the network is given."
        )

    def describe(self) -> str:
        """Say how many faces and which variants are shown."""
        names = list(self.variants)
        faces = len(next(iter(self.variants.values()), ()))
        text = (
            tr("{faces} face images in 1 variant: {names}.")
            if len(names) == 1
            else tr("{faces} face images in {n} variants: {names}.")
        )
        return text.format(faces=faces, n=len(names), names=join_words(names))

    def html(self) -> str:
        """Return the sheet: one picture per variant, its faces side by side."""
        rows = []
        for name, faces in self.variants.items():
            # One strip per row loads faster than many pictures and cannot wrap out of its column.
            strip = np.concatenate([np.asarray(face) for face in faces], axis=1)
            alt = tr("{n} faces, {name}", n=len(faces), name=name)
            rows.append(
                f'<div style="margin:0 0 .6rem"><div style="{_LABEL};margin:0 0 .2rem">'
                f"{escape(name)}</div>{_img(strip, alt, _FACE_PX * len(faces))}</div>"
            )
        return "".join(rows)
