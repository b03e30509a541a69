"""A font without shapes that tells Matplotlib how wide Chinese is.

Charts keep their text as text, and the reader's browser draws it in a font of its own. Matplotlib
only has to leave the room. Its own font knows no Chinese, and asking the fonts of this machine
would give other bytes on another. Every Chinese character is one em wide in every font, so one
empty glyph of that width, mapped to all of them, is all it needs: less than a kilobyte.
"""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
from functools import cache
from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib.tables._c_m_a_p import CmapSubtable
from fontTools.ttLib.tables._g_l_y_f import Glyph
from matplotlib import font_manager

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
