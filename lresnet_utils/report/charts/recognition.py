"""How well it recognises: error rates as curves, distances, folds, hard images, the explorer."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import ipywidgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.special import ndtr, ndtri

from lresnet_utils.errors import EvaluationError
from lresnet_utils.report.charts.display import (
    FAINT,
    INK,
    WIDTH_IN,
    Display,
    ends_of,
    grid,
    interval_mark,
    legend_below,
    listed,
    log_axis,
    look_of,
    name_x,
    name_y,
    percent_axis,
    rows_axis,
    target_handle,
    write_near,
)
from lresnet_utils.report.publish.scripts import page_scripts
from lresnet_utils.report.show import Column, figure_html, table_html
from lresnet_utils.text.language import tr, translatable
from lresnet_utils.text.numbers import fmt_count, fmt_interval, fmt_percent
from lresnet_utils.verify.intervals import wilson

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
    height_in: ClassVar = (3.0, 0.19)
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
        digits = max(2, int(np.ceil(-np.log10(finest * 100))) + 1)
        parts = [
            tr(
                "{name}: AUC {auc:.5f}, equal error rate {eer}, true match rate {start} at a "
                "false match rate of {finest}",
                name=name,
                auc=auc,
                eer=fmt_percent(eer),
                start=fmt_percent(_measurable(fmr, tmr, self.n_impostor)[1][0]),
                finest=fmt_percent(finest, digits),
            )
            for name, (fmr, tmr, auc, eer) in self.curves.items()
        ]
        several = tr("ROC curves of {n} targets. ", n=len(parts))
        return listed(tr("ROC curves of 1 target. ") if len(parts) == 1 else several, parts)

    def draw(self, ax: Axes) -> None:
        """Draw the curves and say AUC and EER of each below."""
        lowest = 1.0
        for name, (fmr, tmr, auc, eer), look in _widest_first(self.curves):
            x, y = _measurable(fmr, tmr, self.n_impostor)
            label = tr("{name}: AUC {auc:.5f}, EER {eer}", name=name, auc=auc, eer=fmt_percent(eer))
            ax.plot(x, y, drawstyle="steps-post", label=label, **look)
            lowest = min(lowest, float(y[0]))
        if self.band is not None:
            fmr, low, high = self.band
            colour = look_of(next(iter(self.curves))).colour
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


def _widest_first(curves: Mapping[str, tuple]) -> Iterator[tuple[str, tuple, dict[str, Any]]]:
    """Yield each curve with how it is drawn: all stay visible, those that coincide too."""
    widths = np.linspace(6.6, 1.5, len(curves)) if len(curves) > 1 else [2.0]
    for (name, curve), width in zip(curves.items(), widths, strict=True):
        look = look_of(name)
        dash = "-" if width > 1.5 else look.dash
        yield name, curve, {"color": look.colour, "linewidth": width, "linestyle": dash}


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
    height_in: ClassVar = (4.7, 0.0)
    panels: ClassVar = {"nrows": 2, "sharex": True, "height_ratios": (1, 1.45)}
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

    def draw(self, ax: Sequence[Axes]) -> None:
        """Draw accuracy above, error rates below, and the chosen threshold through both."""
        top, bottom = ax
        accuracy, fmr, fnmr = self.at_chosen()
        top.plot(self.thresholds, self.accuracy, color=INK)
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
        curves = (
            (tr("false match rate"), self.fmr, fmr, look_of("onnxruntime-fp32").colour, "-"),
            (tr("false non-match rate"), self.fnmr, fnmr, look_of("torch-fp32").colour, _DASHED),
            (tr("all errors"), 1 - np.asarray(self.accuracy), 1 - accuracy, INK, _DOTTED),
        )
        handles = []
        for name, rates, chosen, colour, dash in curves:
            handles += bottom.plot(
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
        log_axis(bottom.yaxis, percent=True)
        bottom.set_ylim(top=1.3)
        name_y(bottom, tr("share of pairs (%, logarithmic)"))
        name_x(bottom, tr("threshold on the squared distance (no unit, 0 to 4)"))
        legend_below(bottom, handles, columns=1)
        for panel in ax:
            panel.axvline(self.chosen, color=INK, linewidth=1, alpha=0.6)
            grid(panel, "y")
            panel.set_xlim(float(np.min(self.thresholds)), float(np.max(self.thresholds)))


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
    height_in: ClassVar = (3.2, 0.19)
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
        several = tr("DET curves of {n} targets. ", n=len(parts))
        return listed(tr("DET curves of 1 target. ") if len(parts) == 1 else several, parts)

    def draw(self, ax: Axes) -> None:
        """Draw the curves, and where both errors are equal."""
        least_x, least_y = 0.5 / self.n_impostor, 0.5 / self.n_genuine
        for name, (fmr, fnmr, eer), look in _widest_first(self.curves):
            # Horizontal and vertical lines: rates change one at a time.
            x = np.repeat(np.asarray(fmr, float), 2)[1:]
            y = np.repeat(np.asarray(fnmr, float), 2)[:-1]
            seen = (x >= 2 * least_x * 0.999) & (y >= 2 * least_y * 0.999)
            ax.plot(
                ndtri(np.where(seen, np.clip(x, _LEAST, 1 - _LEAST), np.nan)),
                ndtri(np.clip(y, _LEAST, 1 - _LEAST)),
                label=tr("{name}: EER {eer}", name=name, eer=fmt_percent(eer)),
                **look,
            )
        if self.band is not None and len(self.band[0]):
            ends = (np.clip(np.asarray(v, float), least_y / 10, 1 - _LEAST) for v in self.band)
            colour = look_of(next(iter(self.curves))).colour
            ax.fill_between(*map(ndtri, ends), step="post", linewidth=0, alpha=0.16, color=colour)
        for axis, least in ((ax.xaxis, least_x), (ax.yaxis, least_y)):
            ticks = [tick for tick in _TICKS if tick >= least]
            axis.set_major_locator(FixedLocator(ndtri(ticks)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * ndtr(value):.3g}"))
            axis.set_minor_locator(NullLocator())
        ax.set_xlim(ndtri(least_x), ndtri(0.6))
        ax.set_ylim(ndtri(least_y), ndtri(0.6))
        ends = ndtri([max(least_x, least_y), 0.6])
        ax.plot(ends, ends, color=INK, alpha=0.5, linewidth=0.9, linestyle=(0, (1, 2)))
        grid(ax, "both")
        name_y(ax, tr("false non-match rate (%, probit)"))
        name_x(ax, tr("false match rate (%, probit)"))
        legend_below(ax, ax.get_lines()[:-1], columns=1)


@dataclass
class ScoreHistogramDisplay(Display):
    """How the distances of genuine and impostor pairs are spread, and where the threshold cuts.

    Parameters
    ----------
    distances : array, shape (n,)
        Squared L2 distances; NaN where a face could not be embedded.
    same : bool array, shape (n,)
        True for genuine pairs.
    threshold : float
        Pairs below it are called the same person.
    target : str, optional
        Whose scores these are.
    """

    title: ClassVar[str] = "Distances of the pairs"
    reading: ClassVar[str] = (
        "Each histogram is a share of its own class. Genuine pairs right of the line are missed, "
        "impostor pairs left of it are let in."
    )
    distances: np.ndarray
    same: np.ndarray
    threshold: float
    target: str = ""

    def counts(self) -> dict[str, int]:
        """Return the number of pairs of each class and how many are on the wrong side."""
        distances, same = np.asarray(self.distances, float), np.asarray(self.same, bool)
        known = ~np.isnan(distances)
        below = distances < self.threshold
        return {
            "genuine": int(np.sum(known & same)),
            "impostor": int(np.sum(known & ~same)),
            "missed": int(np.sum(known & same & ~below)),
            "let_in": int(np.sum(known & ~same & below)),
            "left_out": int(np.sum(~known)),
        }

    def describe(self) -> str:
        """Say how many pairs of each class fall on the wrong side."""
        n = self.counts()
        whose = tr(" of {target}", target=self.target) if self.target else ""
        text = tr(
            "Histogram of the pair distances{whose}. At the threshold {threshold:.2f}, {missed} "
            "of {genuine} genuine pairs are missed and {let_in} of {impostor} impostor pairs are "
            "let in.",
            whose=whose,
            threshold=self.threshold,
            **n | {name: fmt_count(n[name]) for name in ("genuine", "impostor")},
        )
        if n["left_out"]:
            text += tr(" {left_out} pairs without a distance are left out.", **n)
        return text

    def draw(self, ax: Axes) -> None:
        """Draw both histograms with their names above them, and the threshold."""
        blue, orange = look_of("torch-fp32").colour, look_of("onnxruntime-fp32").colour
        same, top = np.asarray(self.same, bool), 0.01
        for members, name, align, look in (
            (same, tr("same person"), "center", {"color": blue}),
            (~same, tr("different people"), "left", {"color": orange, "linestyle": (0, (4, 1.3))}),
        ):
            values = np.asarray(self.distances, float)[members]
            values = values[~np.isnan(values)]
            if not len(values):
                continue
            counts, edges = np.histogram(np.clip(values, 0, 4), 80, (0, 4))
            share = counts / len(values)
            ax.stairs(share, edges, fill=True, color=look["color"], alpha=0.3)
            ax.stairs(share, edges, linewidth=1.5, **look)
            peak = int(np.argmax(share))
            # Near the left edge a centred name would run into the axis.
            left = max(edges[peak], 0.45) if align == "center" else edges[peak]
            # Above its own peak a name cannot be taken for the other histogram's.
            write_near(
                ax,
                tr("{name}\n{n} pairs", name=name, n=fmt_count(len(values))),
                (left, share[peak]),
                (0, 5),
                ha=align,
                va="bottom",
                linespacing=1.3,
            )
            top = max(top, float(share[peak]))
        ax.set_ylim(0, top * 1.48)
        ax.set_xlim(0, 4)
        ax.axvline(self.threshold, color=INK, linewidth=1.2)
        far_right = self.threshold > 2.8
        write_near(
            ax,
            tr("threshold {threshold:.2f}", threshold=self.threshold),
            (self.threshold, 1),
            (-5 if far_right else 5, -2),
            ha="right" if far_right else "left",
            xycoords=("data", "axes fraction"),
            va="top",
        )
        percent_axis(ax.yaxis)
        grid(ax, "y")
        name_y(ax, tr("share of the class's pairs per 0.05 of distance (%)"))
        name_x(ax, tr("squared distance between the two faces (no unit, 0 to 4)"))


@dataclass
class FoldDisplay(Display):
    """Accuracy and chosen threshold of every fold.

    Parameters
    ----------
    accuracy : dict
        Target name to the accuracy of each fold, shape (k,), shares of one.
    thresholds : dict
        Target name to the threshold chosen on the other folds, shape (k,).
    """

    title: ClassVar[str] = "Fold by fold"
    height_in: ClassVar = (4.0, 0.0)
    panels: ClassVar = {"nrows": 2, "sharex": True}
    reading: ClassVar[str] = (
        "Each fold is judged with the threshold that was best on the other folds; the spread "
        "between folds shows how far one data set's accuracy can be trusted."
    )
    accuracy: Mapping[str, np.ndarray]
    thresholds: Mapping[str, np.ndarray]

    def describe(self) -> str:
        """Say the range of accuracy and threshold over the folds, per target."""
        parts = [
            tr(
                "{name}: accuracy {low} to {high} (mean {mean}), threshold "
                "{cut_low:.2f} to {cut_high:.2f}",
                name=name,
                low=fmt_percent(np.min(values)),
                high=fmt_percent(np.max(values)),
                mean=fmt_percent(np.mean(values)),
                cut_low=np.min(self.thresholds[name]),
                cut_high=np.max(self.thresholds[name]),
            )
            for name, values in self.accuracy.items()
        ]
        folds = len(next(iter(self.accuracy.values())))
        return listed(tr("Accuracy and threshold over {folds} folds. ", folds=folds), parts)

    def draw(self, ax: Sequence[Axes]) -> None:
        """Draw one marker per fold and target, side by side within a fold."""
        top, bottom = ax
        names = list(self.accuracy)
        offsets = (np.arange(len(names)) - (len(names) - 1) / 2) * min(0.2, 0.66 / len(names))
        for name, offset in zip(names, offsets, strict=True):
            look = look_of(name)
            mark = {"marker": look.marker, "linestyle": "none", "markersize": 4.5}
            for panel, values in ((top, self.accuracy[name]), (bottom, self.thresholds[name])):
                places = np.arange(1, len(values) + 1) + offset
                panel.plot(places, values, color=look.colour, **mark)
        folds = len(next(iter(self.accuracy.values())))
        for panel in ax:
            grid(panel, "y")
            panel.margins(y=0.12)
            panel.set_xlim(0.4, folds + 0.6)
            for edge in np.arange(1, folds) + 0.5:
                panel.axvline(edge, color=FAINT, linewidth=0.5)
        bottom.set_xticks(np.arange(1, folds + 1))
        percent_axis(top.yaxis)
        name_y(top, tr("accuracy (%)"))
        name_y(bottom, tr("threshold on the squared distance (no unit)"))
        name_x(bottom, tr("fold"))
        legend_below(bottom, [target_handle(name) for name in names])


# Charts that set one thing beside another: variants, graphs, outputs.


@dataclass
class RobustnessDisplay(Display):
    """Accuracy on faces as they are and on degraded ones.

    Parameters
    ----------
    rows : sequence of dict
        ``{"target", "variant", "accuracy", "low", "high"}``, shares of one.
    labels : dict, optional
        Variant name to words.
    """

    title: ClassVar[str] = "Accuracy on degraded faces"
    reading: ClassVar[str] = (
        "Right is better. Error bars: 95 %, people as clusters. Targets that agree on easy faces "
        "may part on hard ones."
    )
    rows: Sequence[Mapping[str, Any]]
    labels: Mapping[str, str] | None = None

    @classmethod
    def from_entries(
        cls, entries: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]
    ) -> RobustnessDisplay:
        """Take each target's ``variants``, as the evaluate stage recorded them."""
        rows = [
            {"target": target, "variant": variant}
            | dict(zip(("accuracy", "low", "high"), ends_of(numbers["accuracy"]), strict=True))
            for target, entry in entries.items()
            for variant, numbers in entry["variants"].items()
        ]
        return cls(rows, labels)

    def describe(self) -> str:
        """Say the accuracy of every variant and target."""
        parts = [
            f"{self.variants[row['variant']]}, {row['target']}: "
            + fmt_interval(row["accuracy"], row["low"], row["high"], fmt_percent)
            for row in self.rows
        ]
        return listed(tr("Accuracy by kind of face image. "), parts)

    @property
    def variants(self) -> dict[str, str]:
        """Variants in the order of the rows, and what each is called."""
        labels = self.labels or {}
        return {v: tr(labels.get(v, v)) for v in (row["variant"] for row in self.rows)}

    @property
    def targets(self) -> list[str]:
        """Targets in the order of the rows."""
        return list(dict.fromkeys(row["target"] for row in self.rows))

    def size_in(self) -> tuple[float, float]:
        """One line per variant and target."""
        return WIDTH_IN, 1.0 + len(self.variants) * (0.16 + 0.15 * len(self.targets))

    def draw(self, ax: Axes) -> None:
        """Draw one block per variant, targets one above the other."""
        places = rows_axis(ax, list(self.variants.values()))
        ys = dict(zip(self.variants, places, strict=True))
        step = 0.78 / len(self.targets)
        for row in self.rows:
            slot = self.targets.index(row["target"]) - (len(self.targets) - 1) / 2
            interval_mark(
                ax,
                row["accuracy"],
                ys[row["variant"]] + step * slot,
                row["target"],
                xends=(row["low"], row["high"]),
            )
        for edge in np.arange(1, len(ys)) - 0.5:
            ax.axhline(edge, color=FAINT, linewidth=0.7)
        ax.set_ylim(len(ys) - 0.5, -0.5)
        percent_axis(ax.xaxis)
        name_x(ax, tr("accuracy (%)"))
        legend_below(ax, [target_handle(target) for target in self.targets])


_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_STEP = 0.01


class ThresholdExplorer:
    """A slider for the threshold with the rates and the histogram that follow from it.

    The last line of a cell shows it: in a live notebook as a row of widgets. A published page gets
    a slider of its own (:func:`explorer_html`); where neither can run, the same cell shows the
    table and the figure at `start`.

    Parameters
    ----------
    scores : dict
        Target name to ``(distances, same)``, both of shape (n,): squared L2 distances, NaN where
        a face could not be embedded, and True for genuine pairs.
    start : float or dict
        The threshold to begin with, one for all or one per target.

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


def threshold_explorer(
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]], start: float | Mapping[str, float]
) -> ThresholdExplorer:
    """Return a slider for the threshold: what :class:`ThresholdExplorer` makes of the same."""
    return ThresholdExplorer(scores, start)


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
        :func:`lresnet_utils.report.charts.recognition.threshold_explorer`.
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
