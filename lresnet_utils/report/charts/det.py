"""The DET curve: both errors on probit axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.special import ndtr, ndtri

from lresnet_utils.report.charts import style
from lresnet_utils.report.charts.display import Display, grid, legend_below, name_x, name_y
from lresnet_utils.text.language import tr

_TICKS = (1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8)
_LEAST = 1e-6


@dataclass
class DetDisplay(Display):
    """False non-match rate against false match rate, one curve per target, on probit axes.

    On these axes normally distributed scores give a straight line. Each curve ends where one pair
    of the class is left, as nothing finer can be measured.

    Parameters
    ----------
    curves : dict
        Target name to ``(fmr, fnmr, eer)``; shape (n,), shares of one.
    n_genuine, n_impostor : int
        Pairs behind the curves.
    band : tuple of arrays (fmr, low, high), optional
        Pointwise 95 % interval of the false non-match rate of the first target.
    """

    title: ClassVar[str] = "DET curve"
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, float]]
    n_genuine: int
    n_impostor: int
    band: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    @classmethod
    def from_rocs(cls, rocs: Mapping[str, Any], band: Any = None) -> DetDisplay:
        """Take `verify.curves.Roc` records and the `verify.uncertainty.Band` of the first."""
        curves = {name: (roc.fmr, 1 - roc.tmr, roc.eer) for name, roc in rocs.items()}
        first = next(iter(rocs.values()))
        shade = None if band is None else (band.fmr, 1 - band.high, 1 - band.low)
        return cls(curves, first.n_genuine, first.n_impostor, shade)

    @property
    def reading(self) -> str:
        """How to read the chart."""
        text = tr(
            "Lower and further left is better; both axes are stretched by the normal quantile. "
            "The dotted diagonal is where both errors are equal. A curve out of sight made no "
            "error here."
        )
        if self.band is not None and len(self.band[0]):
            first = next(iter(self.curves))
            text += tr(
                " Shaded: pointwise 95 % interval of {first}, people as clusters.", first=first
            )
        return text

    def describe(self) -> str:
        """Say the equal error rate of every target."""
        parts = [
            tr("{name}: equal error rate {eer}", name=name, eer=style.fmt_percent(eer))
            for name, (_, _, eer) in self.curves.items()
        ]
        return (
            (
                tr("DET curves of 1 target. ")
                if len(parts) == 1
                else tr("DET curves of {n} targets. ", n=len(parts))
            )
            + tr("; ").join(parts)
            + tr(".")
        )

    def size_in(self) -> tuple[float, float]:
        """Make room for one legend line per target."""
        return style.WIDTH_IN, 3.2 + 0.19 * len(self.curves)

    def draw(self, ax: Axes) -> None:
        """Draw the curves, widest first, so that coinciding ones all stay visible."""
        least_x, least_y = 0.5 / self.n_impostor, 0.5 / self.n_genuine
        widths = np.linspace(6.6, 1.5, len(self.curves)) if len(self.curves) > 1 else [2.0]
        for (name, (fmr, fnmr, eer)), width in zip(self.curves.items(), widths, strict=True):
            look = style.look(name)
            x, y = _steps(fmr, fnmr)
            seen = (x >= 2 * least_x * 0.999) & (y >= 2 * least_y * 0.999)
            ax.plot(
                ndtri(np.where(seen, np.clip(x, _LEAST, 1 - _LEAST), np.nan)),
                ndtri(np.clip(y, _LEAST, 1 - _LEAST)),
                color=look.colour,
                linewidth=width,
                linestyle="-" if width > 1.5 else look.dash,
                label=tr("{name}: EER {eer}", name=name, eer=style.fmt_percent(eer)),
            )
        self._draw_band(ax, least_y)
        for axis, least in ((ax.xaxis, least_x), (ax.yaxis, least_y)):
            ticks = [tick for tick in _TICKS if tick >= least]
            axis.set_major_locator(FixedLocator(ndtri(ticks)))
            axis.set_major_formatter(FuncFormatter(_percent))
            axis.set_minor_locator(NullLocator())
        ax.set_xlim(ndtri(least_x), ndtri(0.6))
        ax.set_ylim(ndtri(least_y), ndtri(0.6))
        ends = ndtri([max(least_x, least_y), 0.6])
        ax.plot(ends, ends, color=style.INK, alpha=0.5, linewidth=0.9, linestyle=(0, (1, 2)))
        grid(ax, "both")
        name_y(ax, tr("false non-match rate (%, probit)"))
        name_x(ax, tr("false match rate (%, probit)"))
        legend_below(ax, ax.get_lines()[:-1], columns=1)

    def _draw_band(self, ax: Axes, least: float) -> None:
        if self.band is None or not len(self.band[0]):
            return
        fmr, low, high = (np.clip(np.asarray(v, float), least / 10, 1 - _LEAST) for v in self.band)
        colour = style.look(next(iter(self.curves))).colour
        ax.fill_between(
            ndtri(fmr), ndtri(low), ndtri(high), step="post", linewidth=0, alpha=0.16, color=colour
        )


def _steps(fmr: np.ndarray, fnmr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the curve as horizontal and vertical lines: rates change one at a time."""
    fmr, fnmr = np.asarray(fmr, float), np.asarray(fnmr, float)
    return np.repeat(fmr, 2)[1:], np.repeat(fnmr, 2)[:-1]


def _percent(value: float, _position: int | None = None) -> str:
    return f"{100 * ndtr(value):.3g}"
