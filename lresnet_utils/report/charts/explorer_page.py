"""The threshold explorer of a published page: its data, packed, and the static stand-in.

Its script is `template/explorer.js`, which counts every number it shows from the data packed here.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from functools import cache

import numpy as np

from lresnet_utils.errors import EvaluationError
from lresnet_utils.report.publish.scripts import page_scripts
from lresnet_utils.text.language import tr

LAST = 400
"""Number of the slider's last threshold, 4.00; the first is 0.00."""

_FAILED = 1023


def slider_thresholds() -> np.ndarray:
    """Return the slider's 401 thresholds: the guide's grid and 4.00, float64."""
    return np.arange(LAST + 1) * 0.01


def explorer_html(
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]],
    start: Mapping[str, float],
    static: str,
) -> str:
    """Return the explorer for a published page.

    Parameters
    ----------
    scores : dict
        Target name to ``(distances, same)`` of the same pairs, as in
        :func:`lresnet_utils.report.charts.explorer.threshold_explorer`.
    start : dict
        Target name to the threshold to begin with.
    static : str
        HTML that stands there where the script cannot run.

    Raises
    ------
    EvaluationError
        When the targets were scored on different pairs.
    """
    data = packed_scores(scores, start)
    words = {text: said for text in _texts() if (said := tr(text)) != text}
    data |= {"words": words} if words else {}
    # An inert data block; "<" is escaped so that no name in it can end the block.
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<div class="lr-explorer"><div class="lr-x-static">{static}</div>'
        f'<script type="application/json">{text}</script></div>'
    )


@cache
def _texts() -> list[str]:
    """Return the English texts of the script, which asks for them as ``tr("...")``."""
    script = next(script for script in page_scripts() if "explorer" in script.marker)
    return sorted(set(re.findall(r'\btr\("([^"]+)"', script.text)))


def packed_scores(
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]], start: Mapping[str, float]
) -> dict:
    """Pack labels and distances so that every decision at the slider's thresholds is exact.

    A distance is kept as the number of thresholds at or below it, which is all that decides the
    pair anywhere on the slider. Targets follow each other as differences, low bytes before high
    bytes, and the whole is deflated: builds of one network differ little.

    Parameters
    ----------
    scores, start
        As in :func:`explorer_html`.

    Returns
    -------
    dict
        ``n`` pairs, ``targets``, ``start`` (numbers of thresholds), ``bins`` (base64).
    """
    labels = [np.asarray(same, bool) for _, same in scores.values()]
    if any(not np.array_equal(labels[0], other) for other in labels[1:]):
        raise EvaluationError("The explorer's targets were scored on different pairs.")
    grid = slider_thresholds()
    planes, before = [labels[0].astype(np.uint8)], np.zeros(len(labels[0]), np.uint16)
    for distances, _ in scores.values():
        known = ~np.isnan(distances)
        bins = np.where(known, np.searchsorted(grid, distances, side="right"), _FAILED)
        # Unsigned differences wrap around, and so does their sum.
        difference = bins.astype(np.uint16) - before
        planes += [(difference & 255).astype(np.uint8), (difference >> 8).astype(np.uint8)]
        before = bins.astype(np.uint16)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflate.compress(b"".join(plane.tobytes() for plane in planes)) + deflate.flush()
    return {
        "n": len(labels[0]),
        "targets": list(scores),
        "start": [min(LAST, max(0, round(100 * float(start[name])))) for name in scores],
        "bins": base64.b64encode(packed).decode("ascii"),
    }
