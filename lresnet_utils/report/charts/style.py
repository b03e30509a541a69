"""One look for every chart, and one way to write each kind of number."""

from __future__ import annotations

import hashlib
import math
from contextlib import AbstractContextManager
from typing import NamedTuple

import matplotlib as mpl

from lresnet_utils.report.charts.wide_font import wide_font
from lresnet_utils.text.language import spoken, tr

# Ink and paper are stand-ins: an inline SVG gets the page's own text and background colours in
# their place (see `show.figure_html`), so a chart follows a light or dark page.
INK = "#1b1f24"
PAPER = "#fdfdfe"
MUTED = (INK, 0.72)
FAINT = (INK, 0.16)

WIDTH_IN = 5.25
FONT_PT = 10.5
SMALL_PT = 9.5

_SPACE = "\u00a0"
_MINUS = "\u2212"


class Look(NamedTuple):
    """How one target is drawn everywhere.

    Attributes
    ----------
    colour : str
        ``#rrggbb``, at least 3:1 against white and against near-black (WCAG 2.2, 1.4.11).
    marker, dash
        Matplotlib's marker and line style: what tells targets apart without colour.
    """

    colour: str
    marker: str
    dash: str | tuple[float, tuple[float, ...]]


# Chosen by search: far apart for every kind of colour blindness, most of all the demo's five
# targets, which differ in lightness too. tests/report/test_style.py holds them to it.
_LOOKS = {
    "torch-fp32": Look("#0770d3", "o", "-"),
    "torch-compile-fp32": Look("#098abf", "<", (0, (7, 1.5, 1.3, 1.5))),
    "torch-compile-bf16": Look("#874abb", ">", (0, (2, 1))),
    "onnxruntime-fp32": Look("#d47a12", "s", (0, (6, 1.6))),
    "onnxruntime-int8": Look("#c37e31", "X", (0, (6, 1.6, 1.3, 1.6, 1.3, 1.6))),
    "openvino-fp32": Look("#1e9766", "^", (0, (1.4, 1.2))),
    "openvino-bf16": Look("#675aaa", "D", (0, (6, 1.6, 1.3, 1.6))),
    "openvino-int8": Look("#a66d32", "v", (0, (3, 1.4))),
    "tensorrt-fp16": Look("#938b4a", "P", (0, (9, 2))),
    "ascend-fp16": Look("#d54885", "p", (0, (3, 1.4, 1.3, 1.4))),
    "cann-fp16": Look("#c42c6c", "h", (0, (1.4, 2.4))),
    "replay": Look("#71727c", "d", (0, (4, 3))),
}
_SPARE = (
    Look("#5f8a5a", "H", (0, (5, 1, 1, 1))),
    Look("#a8642a", "1", (0, (1, 1))),
    Look("#8d6e55", "*", (0, (7, 1, 2, 1))),
    Look("#7b828c", "8", (0, (1, 1, 4, 1))),
)


def look(target: str) -> Look:
    """Return the colour, marker and dash of a target; the same name always gives the same look.

    Examples
    --------
    >>> look("torch-fp32").colour
    '#0770d3'
    >>> look("a name nobody planned") == look("a name nobody planned")
    True
    """
    if target in _LOOKS:
        return _LOOKS[target]
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


def fmt_percent(share: float | None, digits: int = 2) -> str:
    """Write a share of one as a percentage.

    Examples
    --------
    >>> fmt_percent(0.99766666).replace(chr(160), " ")
    '99.77 %'
    >>> fmt_percent(None)
    '–'
    """
    return "–" if _missing(share) else f"{100 * share:.{digits}f}{_SPACE}%"


def fmt_points(share: float | None, digits: int = 2) -> str:
    """Write a difference of two shares in percentage points, always with its sign.

    Examples
    --------
    >>> fmt_points(0.0012), fmt_points(-0.05), fmt_points(-0.0)
    ('+0.12', '−5.00', '0.00')
    """
    if _missing(share):
        return "–"
    text = f"{100 * share + 0.0:+.{digits}f}".replace("-", _MINUS)
    return text[1:] if float(text[1:]) == 0 else text


def fmt_number(value: float | None, significant: int = 3) -> str:
    """Write a number with so many significant digits; very small and large ones as powers of ten.

    Examples
    --------
    >>> fmt_number(746.128), fmt_number(8.6015), fmt_number(0.0123), fmt_number(0)
    ('746', '8.60', '0.0123', '0')
    >>> fmt_number(18422.7).replace(chr(160), " ")
    '18 423'
    >>> fmt_number(3.14e-7).replace(chr(160), " ")
    '3.14 × 10⁻⁷'
    """
    if _missing(value):
        return "–"
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return str(value).replace("-", _MINUS)
    # The exponent after rounding: 9.996 is "10.0", not "10.00".
    exponent = int(f"{value:.{significant - 1}e}".split("e")[1])
    if not -4 <= exponent < 9:
        mantissa = f"{value / 10.0**exponent:.{significant - 1}f}".replace("-", _MINUS)
        return f"{mantissa}{_SPACE}×{_SPACE}{power_of_ten(exponent)}"
    text = f"{value:.{max(0, significant - 1 - exponent)}f}"
    whole, point, rest = text.partition(".")
    if len(whole.lstrip("-")) > 4:
        whole = f"{int(whole):,}".replace(",", _SPACE)
    return (whole + point + rest).replace("-", _MINUS)


def fmt_count(value: int | None) -> str:
    """Write a whole number, thousands apart from 10 000 on.

    Examples
    --------
    >>> fmt_count(6000), fmt_count(78000).replace(chr(160), " ")
    ('6000', '78 000')
    """
    if _missing(value):
        return "–"
    text = f"{int(value):,}".replace(",", _SPACE) if abs(value) >= 10_000 else str(int(value))
    return text.replace("-", _MINUS)


def fmt_rate(images_per_second: float | None) -> str:
    """Write a rate with its unit.

    Examples
    --------
    >>> fmt_rate(78.7504).replace(chr(160), " ")
    '78.8 images/s'
    """
    if _missing(images_per_second):
        return "–"
    return f"{fmt_number(images_per_second)}{_SPACE}{tr('images/s')}"


def fmt_interval(value, low, high, fmt=fmt_number) -> str:
    """Write a value with its interval, both in the form that `fmt` gives.

    Parameters
    ----------
    value, low, high : float or None
        Without both ends only the value is written.
    fmt : callable
        One number to text.

    Examples
    --------
    >>> fmt_interval(0.9977, 0.9961, 0.9986, fmt_percent).replace(chr(160), " ")
    '99.77 % [99.61, 99.86]'
    >>> fmt_interval(31.24, None, None)
    '31.2'
    """
    if _missing(value) or _missing(low) or _missing(high):
        return fmt(value)
    ends = [fmt(low), fmt(high)]
    unit = fmt(value).rpartition(_SPACE)[2]
    # The unit is said once; the last group of "18 423" and a power of ten are no units.
    if not any(c.isdigit() for c in unit) and all(end.endswith(_SPACE + unit) for end in ends):
        ends = [end.removesuffix(_SPACE + unit) for end in ends]
    return f"{fmt(value)} [{ends[0]}, {ends[1]}]"


def fmt_bytes(count: int | None) -> str:
    """Write a size in decimal units, as disks and downloads do.

    Examples
    --------
    >>> fmt_bytes(10_667_852).replace(chr(160), " "), fmt_bytes(512).replace(chr(160), " ")
    ('10.7 MB', '512 B')
    """
    if _missing(count):
        return "–"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{fmt_number(count / size)}{_SPACE}{unit}"
    return f"{int(count)}{_SPACE}B"


def join_words(words: list[str]) -> str:
    """Join words as a sentence does.

    Examples
    --------
    >>> join_words(["a", "b", "c"])
    'a, b and c'
    """
    return words[0] if len(words) == 1 else tr(", ").join(words[:-1]) + tr(" and ") + words[-1]


def power_of_ten(exponent: int) -> str:
    """Write a power of ten.

    Examples
    --------
    >>> power_of_ten(-6)
    '10⁻⁶'
    """
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _missing(value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
