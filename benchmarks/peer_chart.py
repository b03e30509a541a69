"""The chart of the benchmark of peers, as a display of this project and as a file by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lresnet_utils.report.charts.display import (
    INK,
    MUTED,
    PAPER,
    Display,
    grid,
    legend_below,
    look_of,
)
from lresnet_utils.text.numbers import fmt_number

_ORDER = ("fp32", "bf16", "int8")
_OURS = look_of("torch-fp32").colour
_MARKERS = ("o", "D", "s", "^")


@dataclass
class PeersDisplay(Display):
    """Images per second of every side: a panel per network, a mark per batch size.

    Parameters
    ----------
    rows : sequence of dict
        ``{"network", "batch_size", "side", "name", "precision", "value", "low", "high"}``, images
        per second; `low` and `high` may be None.
    """

    title: ClassVar[str] = "This project's best builds and what others run"
    rows: Sequence[Mapping[str, Any]]

    @property
    def reading(self) -> str:
        """How to read the chart."""
        return (
            "Images per second, further right is better; this project in blue. Bars: Student t "
            "over turns, 95 %; where none shows, its mark hides it."
        )

    @property
    def networks(self) -> list[str]:
        """One panel each."""
        return list(dict.fromkeys(row["network"] for row in self.rows))

    @property
    def batch_sizes(self) -> list[int]:
        """One marker each, ascending."""
        return sorted({row["batch_size"] for row in self.rows})

    @property
    def names(self) -> list[str]:
        """Sides from the top: by precision, this project's first."""
        keys = {
            (_ORDER.index(row["precision"]), row["side"] != "ours", row["name"])
            for row in self.rows
        }
        return [name for _, _, name in sorted(keys)]

    def describe(self) -> str:
        """Say the rates of the largest batch size."""
        size = self.batch_sizes[-1]
        parts = []
        for network in self.networks:
            rates = {
                row["name"]: fmt_number(row["value"])
                for row in self.rows
                if row["network"] == network and row["batch_size"] == size
            }
            said = ", ".join(f"{name} {rates[name]}" for name in self.names if name in rates)
            parts.append(f"{network}: {said}")
        return f"Images per second at batch {size}. {'; '.join(parts)}."

    def size_in(self) -> tuple[float, float]:
        """One row per side."""
        return 2.1 + 2.1 * len(self.networks), 1.05 + 0.3 * len(self.names)

    @property
    def panels(self) -> dict[str, Any]:
        """One per network, all with the same rows."""
        return {"ncols": len(self.networks), "sharey": True}

    def draw(self, ax: np.ndarray) -> None:
        """Draw every panel, each with its own scale from zero."""
        ax = np.atleast_1d(ax)
        ax[0].figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
        places = {name: place for place, name in enumerate(self.names)}
        for panel, network in zip(ax, self.networks, strict=True):
            for row in self.rows:
                if row["network"] == network:
                    self._mark(panel, row, places[row["name"]] + self._lift(row["batch_size"]))
            panel.set_title(network, loc="left", color=INK)
            panel.set_xlim(left=0)
            panel.locator_params(axis="x", nbins=4)
            grid(panel, "x")
            panel.spines["left"].set_visible(False)
        ax[0].set_yticks(list(places.values()), list(places))
        ax[0].set_ylim(len(places) - 0.4, -0.6)
        for name, label in zip(places, ax[0].get_yticklabels(), strict=True):
            label.set_color(_OURS if self._ours(name) else INK)
        ax[-1].set_xlabel("images per second", loc="right", color=MUTED)
        legend_below(ax[0], [self._handle(size) for size in self.batch_sizes], columns=4)

    def _ours(self, name: str) -> bool:
        return any(row["name"] == name and row["side"] == "ours" for row in self.rows)

    def _lift(self, batch_size: int) -> float:
        """Keep marks of one side apart: small batches a little above large ones."""
        sizes = self.batch_sizes
        return 0.28 * (sizes.index(batch_size) - (len(sizes) - 1) / 2)

    def _mark(self, ax: Axes, row: Mapping[str, Any], place: float) -> None:
        colour = _OURS if row["side"] == "ours" else MUTED
        if row["low"] is not None:
            ax.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.4)
        ax.plot(row["value"], place, color=colour, **self._look(row["batch_size"]))

    def _look(self, batch_size: int) -> dict[str, Any]:
        """Return a filled mark for the largest batch size, hollow ones for the others."""
        sizes = self.batch_sizes
        hollow = {} if batch_size == sizes[-1] else {"markerfacecolor": PAPER}
        marker = _MARKERS[(len(sizes) - 1 - sizes.index(batch_size)) % len(_MARKERS)]
        return {"marker": marker, "markersize": 5.5, "linestyle": "none"} | hollow

    def _handle(self, batch_size: int) -> Line2D:
        look = self._look(batch_size)
        return Line2D([], [], color=INK, label=f"batch size {batch_size}", **look)
