"""One look for every chart, and one way to write each kind of number."""

from __future__ import annotations

import atexit
import hashlib
import logging
import shutil
import tempfile
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import matplotlib as mpl
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib.tables._c_m_a_p import CmapSubtable
from fontTools.ttLib.tables._g_l_y_f import Glyph
from matplotlib import font_manager

from lresnet_utils.targets import TARGETS
from lresnet_utils.targets.base import Look
from lresnet_utils.text.language import spoken

# Ink and paper are stand-ins: an inline SVG gets the page's own text and background colours in
# their place (see `show.figure_html`), so a chart follows a light or dark page.
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


def look(target: str) -> Look:
    """Return the colour, marker and dash of a target; the same name always gives the same look.

    Examples
    --------
    >>> look("torch-fp32").colour
    '#0770d3'
    >>> look("a name nobody planned") == look("a name nobody planned")
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
