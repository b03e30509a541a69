"""Move the threshold and see what it does to the error rates."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import ipywidgets
import numpy as np

from lresnet_utils.errors import EvaluationError
from lresnet_utils.report.charts.distributions import ScoreHistogramDisplay
from lresnet_utils.report.publish.scripts import page_scripts
from lresnet_utils.report.show import Column, figure_html, table_html
from lresnet_utils.text.language import tr
from lresnet_utils.text.numbers import fmt_percent
from lresnet_utils.verify.intervals import wilson

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_STEP = 0.01


def threshold_explorer(
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]], start: float | Mapping[str, float]
) -> ThresholdExplorer:
    """Return a slider for the threshold with the rates and the histogram that follow from it.

    In a live notebook it is a row of widgets. A published page gets a slider of its own (see
    :mod:`lresnet_utils.report.charts.explorer`); where neither can run, the same cell shows
    the table and the figure at `start`.

    Parameters
    ----------
    scores : dict
        Target name to ``(distances, same)``, both of shape (n,): squared L2 distances, NaN where
        a face could not be embedded, and True for genuine pairs.
    start : float or dict
        The threshold to begin with, one for all or one per target.
    """
    return ThresholdExplorer(scores, start)


class ThresholdExplorer:
    """What :func:`threshold_explorer` returns; the last line of a cell shows it.

    Attributes
    ----------
    target, threshold : ipywidgets.Dropdown, ipywidgets.FloatSlider
        What the reader moves.
    widget : ipywidgets.VBox
        All of it.
    """

    def __init__(
        self,
        scores: Mapping[str, tuple[np.ndarray, np.ndarray]],
        start: float | Mapping[str, float],
    ):
        self.scores = {
            name: (np.asarray(distances, float), np.asarray(same, bool))
            for name, (distances, same) in scores.items()
        }
        self.start = (
            dict(start) if isinstance(start, Mapping) else dict.fromkeys(self.scores, float(start))
        )
        first = next(iter(self.scores))
        self.target = ipywidgets.Dropdown(
            options=list(self.scores), value=first, description=tr("Target")
        )
        self.threshold = ipywidgets.FloatSlider(
            value=self.start[first],
            min=0.0,
            max=4.0,
            step=_STEP,
            description=tr("Threshold"),
            readout_format=".2f",
            layout=ipywidgets.Layout(width="26rem", max_width="100%"),
        )
        self._view = ipywidgets.HTML()
        self.widget = ipywidgets.VBox(
            [
                ipywidgets.HBox([self.target, self.threshold], layout={"flex_flow": "row wrap"}),
                self._view,
            ]
        )
        self.target.observe(self._update, names="value")
        self.threshold.observe(self._update, names="value")
        self._update()

    def html(self) -> str:
        """Return the table and the figure at the threshold now chosen."""
        return self._html({self.target.value: self.threshold.value})

    def static_html(self) -> str:
        """Return the table of all targets and the first one's figure, at the starting threshold."""
        return self._html(self.start)

    def _html(self, thresholds: Mapping[str, float]) -> str:
        rows = [
            {"target": name, "threshold": cut} | rates_at(*self.scores[name], cut)
            for name, cut in thresholds.items()
            if name in self.scores
        ]
        first = rows[0]
        histogram = ScoreHistogramDisplay(
            *self.scores[first["target"]], first["threshold"], first["target"]
        )
        caption = tr("Rates at the threshold, with 95 % Wilson intervals")
        return table_html(rows, _COLUMNS, caption) + figure_html(histogram)

    def _update(self, _change: Any = None) -> None:
        self._view.value = self.html()

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        return {
            _WIDGET_VIEW: {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.widget.model_id,
            },
            "text/html": explorer_html(self.scores, self.start, self.static_html()),
            "text/plain": tr("Threshold explorer"),
        }


def rates_at(distances: np.ndarray, same: np.ndarray, threshold: float) -> dict[str, Any]:
    """Return accuracy, FMR and FNMR at one threshold, each with its Wilson 95 % interval.

    Parameters
    ----------
    distances : float array, shape (n,)
        Squared L2 distances; NaN is left out.
    same : bool array, shape (n,)
        True for genuine pairs.
    threshold : float
        Pairs strictly below it are called the same person.

    Returns
    -------
    dict
        ``accuracy``, ``fmr`` and ``fnmr``, each ``{"value", "low", "high", "n"}``, or
        ``{"refused": why}`` when the data hold no such pair.

    Examples
    --------
    >>> rates_at(np.array([0.2, 1.9]), np.array([True, False]), 1.0)["accuracy"]["value"]
    1.0
    """
    known = ~np.isnan(distances)
    distances, same = distances[known], same[known]
    below = distances < threshold
    return {
        "accuracy": _proportion(below == same, "no pairs"),
        "fmr": _proportion(below[~same], "no impostor pairs"),
        "fnmr": _proportion(~below[same], "no genuine pairs"),
    }


def _proportion(counted: np.ndarray, without: str) -> dict[str, Any]:
    k, n = int(np.sum(counted)), len(counted)
    if not n:
        return {"refused": without}
    low, high = wilson(k, n)
    return {"value": k / n, "low": low, "high": high, "n": n}


_COLUMNS = (
    Column("target", "Target"),
    Column("threshold", "Threshold", format=".2f"),
    Column("accuracy", "Accuracy", format=fmt_percent),
    Column("fmr", "False match rate", format=fmt_percent),
    Column("fnmr", "False non-match rate", format=fmt_percent),
)


# The threshold explorer of a published page: its data, packed, and the static stand-in.
#
# Its script is `template/explorer.js`, which counts every number it shows from the data packed
# here.

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
