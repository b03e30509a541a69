"""Error rates as curves: ROC, and rates by threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.special import ndtr, ndtri

from lresnet_utils.report.charts import style
from lresnet_utils.report.charts.display import (
    Display,
    grid,
    legend_below,
    log_axis,
    name_x,
    name_y,
    percent_axis,
)
from lresnet_utils.text.language import tr, translatable
from lresnet_utils.text.numbers import fmt_count, fmt_percent

_DASHED = (0, (5, 1.6))
_DOTTED = (0, (1.2, 1.3))


@dataclass
class RocDisplay(Display):
    """True match rate against false match rate, one curve per target.

    The false match rate is drawn on a logarithmic axis and no further left than one impostor
    pair in all: what lies below cannot be measured with this data set.

    Parameters
    ----------
    curves : dict
        Target name to ``(fmr, tmr, auc, eer)``; `fmr` and `tmr` ascending, shape (n,), shares of
        one.
    n_impostor : int
        Impostor pairs behind the curves.
    n_genuine : int
        Genuine pairs behind the curves.
    band : tuple of arrays (fmr, low, high), optional
        Pointwise interval of the true match rate of the first target.
    band_method : str
        What kind of interval it is, in a word or two.
    """

    title: ClassVar[str] = "ROC curve"
    curves: Mapping[str, tuple[np.ndarray, np.ndarray, float, float]]
    n_impostor: int
    n_genuine: int
    band: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    band_method: str = translatable("Wilson")

    @classmethod
    def from_rocs(cls, rocs: Mapping[str, Any], band: Any = None) -> RocDisplay:
        """Take `verify.curves.Roc` records and the `verify.uncertainty.Band` of the first.

        Without a band it is Wilson's, which takes pairs as independent.
        """
        from lresnet_utils.verify.intervals import wilson

        curves = {name: (roc.fmr, roc.tmr, roc.auc, roc.eer) for name, roc in rocs.items()}
        first = next(iter(rocs.values()))
        if band is not None:
            shade = (band.fmr, band.low, band.high) if len(band.fmr) else None
            return cls(
                curves, first.n_impostor, first.n_genuine, shade, translatable("people as clusters")
            )
        fmr, tmr = _measurable(first.fmr, first.tmr, first.n_impostor)
        ends = np.array([wilson(round(rate * first.n_genuine), first.n_genuine) for rate in tmr])
        return cls(curves, first.n_impostor, first.n_genuine, (fmr, ends[:, 0], ends[:, 1]))

    @property
    def reading(self) -> str:
        """How to read the chart."""
        text = tr(
            "Higher and further left is better. {n_genuine} genuine and {n_impostor} impostor "
            "pairs; the curve starts at one impostor pair in all, as nothing finer can be "
            "measured.",
            n_genuine=fmt_count(self.n_genuine),
            n_impostor=fmt_count(self.n_impostor),
        )
        if self.band is not None:
            first = next(iter(self.curves))
            text += tr(
                " Shaded: pointwise 95 % interval ({band_method}) of {first}.",
                band_method=tr(self.band_method),
                first=first,
            )
        return text

    def describe(self) -> str:
        """Say AUC and EER of every target, and the best match rate at the finest FMR."""
        finest = 1 / self.n_impostor
        parts = []
        for name, (fmr, tmr, auc, eer) in self.curves.items():
            start = _measurable(fmr, tmr, self.n_impostor)[1][0]
            parts.append(
                tr(
                    "{name}: AUC {auc:.5f}, equal error rate {eer}, true match rate {start} at a "
                    "false match rate of {finest}",
                    name=name,
                    auc=auc,
                    eer=fmt_percent(eer),
                    start=fmt_percent(start),
                    finest=fmt_percent(finest, _digits(finest)),
                )
            )
        return (
            (
                tr("ROC curves of 1 target. ")
                if len(parts) == 1
                else tr("ROC curves of {n} targets. ", n=len(parts))
            )
            + tr("; ").join(parts)
            + tr(".")
        )

    def draw(self, ax: Axes) -> None:
        """Draw the curves and say AUC and EER of each below."""
        lowest = self._draw_curves(ax)
        if self.band is not None:
            fmr, low, high = self.band
            colour = style.look(next(iter(self.curves))).colour
            ax.fill_between(fmr, low, high, step="post", linewidth=0, alpha=0.16, color=colour)
            lowest = min(lowest, float(low[0]))
        log_axis(ax.xaxis, percent=True)
        ax.set_xlim(1 / self.n_impostor, 1)
        room = max(0.004, 1 - lowest)
        ax.set_ylim(max(0.0, lowest - 0.06 * room), 1 + 0.05 * room)
        percent_axis(ax.yaxis)
        grid(ax, "both")
        name_y(ax, tr("true match rate (%)"))
        name_x(ax, tr("false match rate (%, logarithmic)"))
        legend_below(ax, ax.get_lines(), columns=1)

    def _draw_curves(self, ax: Axes) -> float:
        """Draw the curves, widest first, so that coinciding ones all stay visible."""
        widths = np.linspace(6.6, 1.5, len(self.curves)) if len(self.curves) > 1 else [2.0]
        lowest = 1.0
        for (name, (fmr, tmr, auc, eer)), width in zip(self.curves.items(), widths, strict=True):
            look = style.look(name)
            x, y = _measurable(fmr, tmr, self.n_impostor)
            ax.plot(
                x,
                y,
                drawstyle="steps-post",
                color=look.colour,
                linewidth=width,
                linestyle="-" if width > 1.5 else look.dash,
                label=tr(
                    "{name}: AUC {auc:.5f}, EER {eer}",
                    name=name,
                    auc=auc,
                    eer=fmt_percent(eer),
                ),
            )
            lowest = min(lowest, float(y[0]))
        return lowest

    def size_in(self) -> tuple[float, float]:
        """Make room for one legend line per target."""
        return style.WIDTH_IN, 3.0 + 0.19 * len(self.curves)


def _measurable(fmr, tmr, n_impostor: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the curve from one impostor pair up: the best `tmr` reached at or below each `fmr`."""
    fmr, tmr = np.asarray(fmr, float), np.maximum.accumulate(np.asarray(tmr, float))
    finest = 1 / n_impostor
    # Rates are multiples of 1/n_impostor up to rounding; half a step separates them safely.
    last = np.flatnonzero(np.append(np.diff(fmr) > finest / 2, True))
    x, y = fmr[last], tmr[last]
    at_finest = y[x <= finest * 1.5]
    keep = x > finest * 1.5
    start = at_finest[-1] if len(at_finest) else 0.0
    x, y = np.append(finest, x[keep]), np.append(start, y[keep])
    return (x, y) if x[-1] >= 1 else (np.append(x, 1.0), np.append(y, y[-1]))


def _digits(share: float) -> int:
    return max(2, int(np.ceil(-np.log10(share * 100))) + 1)


@dataclass
class ThresholdDisplay(Display):
    """Accuracy and error rates as functions of the decision threshold.

    Parameters
    ----------
    thresholds : array, shape (t,)
        Squared L2 distances.
    accuracy, fmr, fnmr : array, shape (t,)
        Shares of one at each threshold.
    chosen : float
        The threshold that is used.
    target : str, optional
        Whose scores these are.
    """

    title: ClassVar[str] = "Accuracy and errors by threshold"
    reading: ClassVar[str] = (
        "A pair is called the same person when its distance is below the threshold. The lower "
        "panel is logarithmic; a rate that ends has reached zero observed errors."
    )
    thresholds: np.ndarray
    accuracy: np.ndarray
    fmr: np.ndarray
    fnmr: np.ndarray
    chosen: float
    target: str = ""

    def at_chosen(self) -> tuple[float, float, float]:
        """Return accuracy, FMR and FNMR at the tabulated threshold nearest to the chosen one."""
        nearest = int(np.argmin(np.abs(np.asarray(self.thresholds) - self.chosen)))
        return float(self.accuracy[nearest]), float(self.fmr[nearest]), float(self.fnmr[nearest])

    def describe(self) -> str:
        """Say the three rates at the chosen threshold."""
        accuracy, fmr, fnmr = self.at_chosen()
        whose = tr(" of {target}", target=self.target) if self.target else ""
        return tr(
            "Accuracy and error rates{whose} by threshold. At {chosen:.2f} the accuracy is "
            "{accuracy}, the false match rate {fmr} and the false non-match rate {fnmr}.",
            whose=whose,
            chosen=self.chosen,
            accuracy=fmt_percent(accuracy),
            fmr=fmt_percent(fmr),
            fnmr=fmt_percent(fnmr),
        )

    def size_in(self) -> tuple[float, float]:
        """Make room for two panels."""
        return style.WIDTH_IN, 4.7

    def make_axes(self, figure: Figure) -> Sequence[Axes]:
        """Return the accuracy panel and the error panel."""
        return figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.45))

    def draw(self, ax: Sequence[Axes]) -> None:
        """Draw accuracy above, error rates below, and the chosen threshold through both."""
        top, bottom = ax
        accuracy = self.at_chosen()[0]
        top.plot(self.thresholds, self.accuracy, color=style.INK)
        top.set_ylim(min(0.5, float(np.min(self.accuracy))), 1.03)
        percent_axis(top.yaxis)
        name_y(
            top,
            tr(
                "accuracy (%): {accuracy:.2f} at threshold {chosen:.2f}",
                accuracy=100 * accuracy,
                chosen=self.chosen,
            ),
        )
        self._draw_errors(bottom)
        for panel in ax:
            panel.axvline(self.chosen, color=style.INK, linewidth=1, alpha=0.6)
            grid(panel, "y")
            panel.set_xlim(float(np.min(self.thresholds)), float(np.max(self.thresholds)))

    def _draw_errors(self, ax: Axes) -> None:
        accuracy, fmr, fnmr = self.at_chosen()
        curves = (
            (tr("false match rate"), self.fmr, fmr, style.look("onnxruntime-fp32").colour, "-"),
            (tr("false non-match rate"), self.fnmr, fnmr, style.look("torch-fp32").colour, _DASHED),
            (tr("all errors"), 1 - np.asarray(self.accuracy), 1 - accuracy, style.INK, _DOTTED),
        )
        handles = []
        for name, rates, chosen, colour, dash in curves:
            handles += ax.plot(
                self.thresholds,
                np.where(np.asarray(rates) > 0, rates, np.nan),
                color=colour,
                linestyle=dash,
                label=tr(
                    "{name} ({rate} at {threshold:.2f})",
                    name=name,
                    rate=fmt_percent(chosen),
                    threshold=self.chosen,
                ),
            )
        log_axis(ax.yaxis, percent=True)
        ax.set_ylim(top=1.3)
        name_y(ax, tr("share of pairs (%, logarithmic)"))
        name_x(ax, tr("threshold on the squared distance (no unit, 0 to 4)"))
        legend_below(ax, handles, columns=1)


# The DET curve: both errors on probit axes.

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
            tr("{name}: equal error rate {eer}", name=name, eer=fmt_percent(eer))
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
                label=tr("{name}: EER {eer}", name=name, eer=fmt_percent(eer)),
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
