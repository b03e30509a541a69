"""What all charts share: the Display contract and a few marks."""

from __future__ import annotations

import hashlib
import io
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import Formatter, FuncFormatter, LogLocator, NullLocator

from lresnet_utils.errors import visible
from lresnet_utils.machine.disk import write_text
from lresnet_utils.report.charts import style
from lresnet_utils.text.language import tr
from lresnet_utils.text.numbers import power_of_ten


class Display(ABC):
    """Numbers that can draw and describe themselves.

    A display holds every number it shows as an attribute and computes none. After :meth:`plot`
    the axes are in ``ax_`` and the figure in ``figure_``, as in scikit-learn's displays.

    Attributes
    ----------
    title : str
        A few words that name the chart.
    reading : str
        How to read it: what the marks and the intervals are. What a class says of all its charts
        stands there in English and is put into the language spoken when it is shown.
    height_in : (float, float)
        Height of the figure in inches, and what each of the first attribute's entries adds to it.
    panels : dict
        What :meth:`matplotlib.figure.Figure.subplots` makes its axes of; one without.
    """

    title: ClassVar[str] = ""
    reading: str = ""
    height_in: ClassVar[tuple[float, float]] = (3.1, 0.0)
    panels: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def describe(self) -> str:
        """Say in a sentence or two what the chart shows: its alternative text."""

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to draw: no target delivered these numbers."""
        return len(getattr(self, fields(self)[0].name)) == 0

    @abstractmethod
    def draw(self, ax: Any) -> None:
        """Draw into the axes that :meth:`plot` made."""

    def size_in(self) -> tuple[float, float]:
        """Return width and height of the figure in inches."""
        base, more = self.height_in
        return style.WIDTH_IN, base + more * len(getattr(self, fields(self)[0].name))

    def plot(self, ax: Any = None) -> Self:
        """Draw the chart.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure when left out. Charts of two panels want two axes.

        Returns
        -------
        Display
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        with style.chart_style():
            if ax is None:
                figure = Figure(figsize=self.size_in(), layout="constrained")
                figure.get_layout_engine().set(w_pad=0.03, h_pad=0.04)
                ax = figure.subplots(**self.panels)
            self.draw(ax)
        self.ax_ = ax
        self.figure_ = (ax if isinstance(ax, Axes) else ax[0]).figure
        return self


def listed(beginning: str, parts: Sequence[str]) -> str:
    """Return a description: what the chart shows, then one part after the other."""
    return beginning + tr("; ").join(parts) + tr(".")


def ends_of(estimate: Mapping[str, Any]) -> tuple[float, float | None, float | None]:
    """Return value, low and high of an estimate; low and high are None where it has none."""
    return estimate["value"], estimate.get("low"), estimate.get("high")


def name_y(ax: Axes, text: str) -> None:
    """Write the y axis's quantity and unit above it, where it reads without turning the head."""
    ax.set_title(text, loc="left", color=style.MUTED, fontsize=style.SMALL_PT, pad=7)


def name_x(ax: Axes, text: str) -> None:
    """Write the x axis's quantity and unit below it, where a long one has room to the left."""
    ax.set_xlabel(text, loc="right", color=style.MUTED, fontsize=style.SMALL_PT)


def grid(ax: Axes, axis: str) -> None:
    """Draw faint lines to read values of one axis ('x' or 'y') by."""
    ax.grid(axis=axis, color=style.FAINT, linewidth=0.7)


class _Percent(Formatter):
    """Shares as percentages, every tick with as many digits as the one that needs most."""

    def __call__(self, value: float, _position: int | None = None) -> str:
        return self.format_ticks([value])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        texts = [f"{100 * value:.6g}" for value in values]
        digits = max((len(text.partition(".")[2]) for text in texts if "e" not in text), default=0)
        return [f"{100 * value + 0.0:.{digits}f}" for value in values]


def percent_axis(axis: Axis) -> None:
    """Label an axis of shares of one in percent."""
    axis.set_major_formatter(_Percent())


def log_axis(axis: Axis, *, percent: bool = False, between: Sequence[int] = (1,)) -> None:
    """Make an axis logarithmic and label it with plain numbers.

    Parameters
    ----------
    axis : matplotlib.axis.Axis
    percent : bool
        Write shares of one as percentages.
    between : sequence of int
        Multiples of each power of ten that get a tick.
    """

    def write(value: float, _position: int) -> str:
        value = 100 * value if percent else value
        exponent = round(math.log10(value))
        return power_of_ten(exponent) if exponent < -4 else f"{value:.6g}"

    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    axis.set_major_locator(LogLocator(subs=between, numticks=12))
    axis.set_major_formatter(FuncFormatter(write))
    axis.set_minor_locator(NullLocator())


# Beyond this ratio a linear axis would press the small values into its first pixels.
_LOG_RATIO = 20


def positive_axis(
    axis: Axis, set_limits: Callable[[float, float], Any], values: Sequence[float], room: float
) -> str:
    """Scale an axis of positive values, from zero when it can; return words for a log axis."""
    positive = [value for value in values if value > 0]
    if positive and max(positive) / min(positive) > _LOG_RATIO:
        log_axis(axis, between=(1, 3))
        set_limits(min(positive) / 1.5, max(positive) * room**2)
        return tr(" (logarithmic)")
    set_limits(0, max(positive, default=1.0) * room)
    return ""


def write_near(
    ax: Axes, text: str, xy: tuple[float, float], offset_pt: tuple[float, float], **options: Any
) -> None:
    """Write a small text some points away from a place in data units."""
    defaults = {"textcoords": "offset points", "fontsize": style.SMALL_PT, "xytext": offset_pt}
    ax.annotate(text, xy, **{"annotation_clip": False} | defaults | options)


def write_beside(ax: Axes, x: float, y: float, text: str) -> None:
    """Write a value right of its mark."""
    write_near(ax, text, (x, y), (7, 0), va="center")


def rows_axis(ax: Axes, labels: Sequence[str]) -> np.ndarray:
    """Make the y axis a list of names read from the top; return each name's position."""
    positions = np.arange(len(labels), dtype=float)
    ax.set_yticks(positions, labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", pad=6)
    grid(ax, "x")
    return positions


def interval_mark(ax: Axes, x: float, y: float, target: str, **ends: tuple[float, float]) -> None:
    """Draw a target's marker at (x, y) with error bars to `xends` and/or `yends` (low, high)."""
    look = style.look(target)
    spans = {}
    for name, value in (("x", x), ("y", y)):
        low, high = ends.get(f"{name}ends") or (None, None)
        if low is not None and high is not None:
            spans[f"{name}err"] = [[max(0.0, value - low)], [max(0.0, high - value)]]
    ax.errorbar(
        x,
        y,
        **spans,
        color=look.colour,
        marker=look.marker,
        linestyle="none",
        elinewidth=1.4,
        markersize=5.5,
    )


def handle(label: str, **look: Any) -> Line2D:
    """Return a legend entry: a mark without a line, or what `look` says."""
    return Line2D([], [], label=label, **{"linestyle": "none"} | look)


def target_handle(target: str, *, label: str | None = None) -> Line2D:
    """Return a legend entry with a target's mark."""
    look = style.look(target)
    return handle(label or target, color=look.colour, marker=look.marker)


def legend_below(ax: Axes, handles: Sequence[Line2D], columns: int = 2) -> None:
    """Put a legend under the whole figure, left-aligned, where it can hide no mark."""
    ax.figure.legend(
        handles=list(handles),
        loc="outside lower left",
        ncols=min(columns, len(handles)),
        labelcolor=style.INK,
        columnspacing=1.6,
        handletextpad=0.6,
    )


def spread(values: Sequence[float], gap: float) -> np.ndarray:
    """Move values apart until neighbours differ by `gap`, changing them as little as they need.

    Used for labels that would be printed over one another.

    Parameters
    ----------
    values : sequence of float, shape (n,)
    gap : float
        Least difference between two neighbours.

    Returns
    -------
    numpy.ndarray, shape (n,)
        In the order of `values`.

    Examples
    --------
    >>> spread([0.5, 0.5], 0.2).tolist()
    [0.4, 0.6]
    >>> spread([0.9, 0.1], 0.2).tolist()
    [0.9, 0.1]
    """
    order = np.argsort(values, kind="stable")
    # Pool-adjacent-violators on values minus their slots: the least-squares answer.
    blocks: list[list[float]] = []
    for slot, index in enumerate(order):
        blocks.append([float(values[index]) - gap * slot, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, count = blocks.pop()
            blocks[-1] = [
                (blocks[-1][0] * blocks[-1][1] + mean * count) / (blocks[-1][1] + count),
                blocks[-1][1] + count,
            ]
    levels = np.concatenate([np.full(int(count), mean) for mean, count in blocks])
    moved = np.empty(len(order))
    moved[order] = levels + gap * np.arange(len(order))
    return np.round(moved, 12)


def end_labels(ax: Axes, ends: Sequence[tuple[float, float, str, str]], gap: float) -> None:
    """Name lines at their right end instead of in a legend.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Its limits must be final.
    ends : sequence of (x, y, target, text)
        Where each line ends, in data units.
    gap : float
        Height of one label as a share of the axes' height.
    """
    to_axes = ax.transData + ax.transAxes.inverted()
    heights = [to_axes.transform((x, y))[1] for x, y, _, _ in ends]
    for (_, _, target, text), height in zip(ends, spread(heights, gap), strict=True):
        look = style.look(target)
        ax.plot(
            1.035,
            height,
            transform=ax.transAxes,
            clip_on=False,
            color=look.colour,
            marker=look.marker,
            markersize=5.5,
        )
        ax.text(1.07, height, text, transform=ax.transAxes, va="center", fontsize=style.SMALL_PT)


# Charts as SVG: in the middle of a page, and as files of their own.

_FONTS = "system-ui,sans-serif"
_NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'


def inline_svg(figure: Figure, alt: str) -> str:
    """Return a Matplotlib figure as an `<svg>` element for the middle of an HTML page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    alt : str
        Its text alternative.
    """
    buffer = io.StringIO()
    with style.chart_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    # XML prolog, metadata and namespaces have no meaning inside HTML.
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', text).group(1)
    body = text[text.index(">") + 1 : text.rindex("</svg>")].replace("xlink:href", "href")

    # Drop identifiers nothing refers to; make the others unlike those of any other chart.
    used = set(re.findall(r'(?:url\(#|href="#)([\w.-]+)', body))
    own = "c" + hashlib.sha256(body.encode()).hexdigest()[:8]
    body = re.sub(r' id="([\w.-]+)"', lambda m: f' id="{own}{m[1]}"' if m[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)([\w.-]+)', rf"\g<1>{own}\2", body)

    body = body.replace(style.INK, "currentColor")
    body = body.replace(style.PAPER, "var(--lr-paper,var(--jp-layout-color0,Canvas))")
    # The layout was made with DejaVu Sans, which is wider than any of these.
    body = re.sub(rf"'{style.FONT}'(, '{style.NAME}')?", _FONTS, body)
    # Hundredths of a point are finer than any screen; text between the tags keeps its digits.
    body = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), body)

    def shorter(attribute: re.Match[str]) -> str:
        # Spaces around the letters of a path and the signs of a style mean nothing.
        name, value = attribute[1], attribute[2]
        around = r"\s*([A-Za-z])\s*" if name == "d" else r"\s*([:;])\s*"
        value = re.sub(around, r"\1", value).strip()
        return f' {name}="{value}"'

    body = re.sub(r' (d|style)="([^"]+)"', shorter, body)
    body = re.sub(r">\s+<", "><", body).strip()
    return (
        f'<svg role="img" aria-label="{escape(alt)}" viewBox="{box}" '
        'style="display:block;width:100%;max-width:36rem;height:auto">'
        f"{body}</svg>"
    )


def write_figures(folder: Path, displays: Mapping[str, Any]) -> list[Path]:
    """Write each chart as ``<name>.svg``, with its description inside.

    Parameters
    ----------
    folder : Path
        Made when needed.
    displays : dict
        File name to a display that has numbers.

    Returns
    -------
    list of Path
        In the order of `displays`. The same numbers give the same bytes.
    """
    return [
        write_text(folder / f"{name}.svg", standalone_svg(display))
        for name, display in displays.items()
        if not display.is_empty
    ]


def standalone_svg(display: Any) -> str:
    """Return a chart as a whole SVG document: black on white, readable by itself."""
    text = inline_svg(display.plot().figure_, display.describe())
    width, height = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', text).groups()
    # A page lends its colours to an inline chart; a file has to bring its own.
    text = re.sub(r"var\(--lr-paper[^;\"]*?Canvas\)\)", style.PAPER, text)
    about = f"<title>{escape(tr(display.title))}</title><desc>{escape(display.describe())}</desc>"
    paper = f'<rect width="100%" height="100%" fill="{style.PAPER}"/>'
    head, _, body = text.partition(">")
    head = head.replace("<svg", f'<svg {_NAMESPACE} width="{width}pt" height="{height}pt"', 1)
    head = re.sub(r' style="[^"]*"', f' style="color:{style.INK}"', head)
    return visible(f"{head}>{about}{paper}{body}\n")
