"""Charts as SVG files of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from lresnet_utils.errors import visible
from lresnet_utils.machine.disk import write_text
from lresnet_utils.report.charts import style
from lresnet_utils.report.show import inline_svg
from lresnet_utils.text.language import tr

_NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'


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
