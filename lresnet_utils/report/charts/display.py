"""What all charts share: the Display contract, one look, a few marks, and how they become SVG."""

from __future__ import annotations

import atexit
import hashlib
import io
import logging
import math
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from functools import cache
from html import escape
from pathlib import Path
from typing import Any, ClassVar, Self

import matplotlib as mpl
import numpy as np
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib.tables._c_m_a_p import CmapSubtable
from fontTools.ttLib.tables._g_l_y_f import Glyph
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import Formatter, FuncFormatter, LogLocator, NullLocator

from lresnet_utils.errors import visible
from lresnet_utils.machine.disk import write_text
from lresnet_utils.targets import TARGETS
from lresnet_utils.targets.base import Look
from lresnet_utils.text.language import spoken, tr
from lresnet_utils.text.numbers import power_of_ten

# Ink and paper are stand-ins: an inline SVG gets the page's own text and background colours in
# their place (see :func:`inline_svg`), so a chart follows a light or dark page.
INK = "#1b1f24"
PAPER = "#fdfdfe"
MUTED = (INK, 0.72)
FAINT = (INK, 0.16)

WIDTH_IN = 5.25
FONT_PT = 10.5
SMALL_PT = 9.5


# For what is no target of ours, such as the rows of a stranger's report.
_SPARE = (
    Look("#5f8a5a", "H", (0, (5, 1, 1, 1))),
    Look("#a8642a", "1", (0, (1, 1))),
    Look("#8d6e55", "*", (0, (7, 1, 2, 1))),
    Look("#7b828c", "8", (0, (1, 1, 4, 1))),
)


def look_of(target: str) -> Look:
    """Return the colour, marker and dash of a target; the same name always gives the same look.

    Examples
    --------
    >>> look_of("torch-fp32").colour
    '#0770d3'
    >>> look_of("a name nobody planned") == look_of("a name nobody planned")
    True
    """
    if target in TARGETS:
        return TARGETS[target].look
    digest = hashlib.sha256(target.encode()).digest()
    return _SPARE[digest[0] % len(_SPARE)]


FONT = "DejaVu Sans"
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lresnet_utils",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": [FONT],
    "font.size": FONT_PT,
    "axes.titlesize": FONT_PT,
    "axes.labelsize": FONT_PT,
    "xtick.labelsize": SMALL_PT,
    "ytick.labelsize": SMALL_PT,
    "legend.fontsize": SMALL_PT,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.borderaxespad": 0.2,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.unicode_minus": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "patch.linewidth": 0,
    "errorbar.capsize": 3,
}


def chart_style() -> AbstractContextManager[None]:
    """Return the Matplotlib settings of every chart, as a context manager.

    Text stays text in the SVG (small, searchable, in the page's font) and identifiers are hashed
    with a fixed salt, so that the same numbers give the same bytes.
    """
    if spoken() == "en":
        return mpl.rc_context(_SETTINGS)
    return mpl.rc_context(_SETTINGS | {"font.family": [FONT, wide_font()]})


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
        return WIDTH_IN, base + more * len(getattr(self, fields(self)[0].name))

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
        with chart_style():
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
    ax.set_title(text, loc="left", color=MUTED, fontsize=SMALL_PT, pad=7)


def name_x(ax: Axes, text: str) -> None:
    """Write the x axis's quantity and unit below it, where a long one has room to the left."""
    ax.set_xlabel(text, loc="right", color=MUTED, fontsize=SMALL_PT)


def grid(ax: Axes, axis: str) -> None:
    """Draw faint lines to read values of one axis ('x' or 'y') by."""
    ax.grid(axis=axis, color=FAINT, linewidth=0.7)


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
    defaults = {"textcoords": "offset points", "fontsize": SMALL_PT, "xytext": offset_pt}
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
    look = look_of(target)
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
    look = look_of(target)
    return handle(label or target, color=look.colour, marker=look.marker)


def legend_below(ax: Axes, handles: Sequence[Line2D], columns: int = 2) -> None:
    """Put a legend under the whole figure, left-aligned, where it can hide no mark."""
    ax.figure.legend(
        handles=list(handles),
        loc="outside lower left",
        ncols=min(columns, len(handles)),
        labelcolor=INK,
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
        look = look_of(target)
        ax.plot(
            1.035,
            height,
            transform=ax.transAxes,
            clip_on=False,
            color=look.colour,
            marker=look.marker,
            markersize=5.5,
        )
        ax.text(1.07, height, text, transform=ax.transAxes, va="center", fontsize=SMALL_PT)


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
    with chart_style():
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

    body = body.replace(INK, "currentColor")
    body = body.replace(PAPER, "var(--lr-paper,var(--jp-layout-color0,Canvas))")
    # The layout was made with DejaVu Sans, which is wider than any of these.
    body = re.sub(rf"'{FONT}'(, '{NAME}')?", _FONTS, body)
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
    text = re.sub(r"var\(--lr-paper[^;\"]*?Canvas\)\)", PAPER, text)
    about = f"<title>{escape(tr(display.title))}</title><desc>{escape(display.describe())}</desc>"
    paper = f'<rect width="100%" height="100%" fill="{PAPER}"/>'
    head, _, body = text.partition(">")
    head = head.replace("<svg", f'<svg {_NAMESPACE} width="{width}pt" height="{height}pt"', 1)
    head = re.sub(r' style="[^"]*"', f' style="color:{INK}"', head)
    return visible(f"{head}>{about}{paper}{body}\n")


# A font without shapes that tells Matplotlib how wide Chinese is.
#
# Charts keep their text as text, and the reader's browser draws it in a font of its own. Matplotlib
# only has to leave the room. Its own font knows no Chinese, and asking the fonts of this machine
# would give other bytes on another. Every Chinese character is one em wide in every font, so one
# empty glyph of that width, mapped to all of them, is all it needs: less than a kilobyte.

NAME = "lresnet wide"

# Signs and punctuation, ideographs (extension A and the common ones), full-width forms.
_RANGES = ((0x3000, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xFF00, 0xFF60))
_EM = 1000


@cache
def wide_font() -> str:
    """Make the font known to Matplotlib, once per process, and return its name."""
    folder = Path(tempfile.mkdtemp(prefix="lresnet-font-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = folder / "wide.ttf"
    font = FontBuilder(_EM, isTTF=True)
    font.setupGlyphOrder([".notdef", "wide"])
    font.setupCharacterMap({})
    # A character map of format 13: whole ranges of characters to one glyph
    table = CmapSubtable.newSubtable(13)
    table.platformID, table.platEncID, table.language = 3, 10, 0
    table.format, table.reserved, table.length, table.nGroups = 13, 0, 0, 0
    table.cmap = {code: "wide" for first, last in _RANGES for code in range(first, last + 1)}
    font.font["cmap"].tables = [table]
    font.setupGlyf({".notdef": Glyph(), "wide": Glyph()})
    font.setupHorizontalMetrics({".notdef": (_EM, 0), "wide": (_EM, 0)})
    font.setupHorizontalHeader(ascent=880, descent=-120)
    font.setupNameTable({"familyName": NAME, "styleName": "Regular"})
    font.setupOS2(sTypoAscender=880, sTypoDescender=-120)
    font.setupPost()
    font.save(path)
    font_manager.fontManager.addfont(path)
    # It has no bold shapes as it has no shapes; Matplotlib would write so into the notebook.
    logging.getLogger(font_manager.__name__).setLevel(logging.ERROR)
    return NAME
