"""Pairs that changed sides between two builds, as cards with both faces."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

# Pictures are most of the page; more of them tell no more.
PICTURED = 36


def flipped_html(
    rows: Sequence[Mapping[str, Any]], picture: Callable[[int], bytes | None], kind: str
) -> str:
    """Return pairs as cards: both faces, both distances, and the thresholds they were held to.

    Parameters
    ----------
    rows : sequence of dict
        ``lost`` or ``gained`` of a comparison's record.
    picture : callable
        Image number to a JPEG file, or None where there is no picture of it.
    kind : str
        "lost" or "gained".

    Returns
    -------
    str
        HTML; beyond :data:`PICTURED` pairs only their numbers.
    """
    cards = "".join(_card(row, picture) for row in rows[:PICTURED])
    sheet = f'<ul class="lr-cards" aria-label="Pairs {escape(kind)}">{cards}</ul>'
    more = ", ".join(str(row["pair"]) for row in rows[PICTURED:])
    if more:
        sheet += f'<p class="lr-say">Also {escape(kind)}, less clearly: pairs {more}.</p>'
    return sheet


def _card(row: Mapping[str, Any], picture: Callable[[int], bytes | None]) -> str:
    told = "same person" if row["same_person"] else "different people"
    faces = "".join(
        _face(picture(image), f"Pair {row['pair']}, image {image}") for image in row["images"]
    )
    numbers = "".join(
        f"<br>{side.upper()}: {row['distance'][side]:.3f} at {row['threshold'][side]:.2f}"
        for side in "ab"
    )
    return (
        f'<li class="lr-card"><div class="lr-card-faces">{faces}</div>'
        f"<strong>Pair {row['pair']}</strong>, {told}{numbers}</li>"
    )


def _face(jpeg: bytes | None, alt: str) -> str:
    if jpeg is None:
        return f'<span class="lr-card-none">{escape(alt)}: only in the folder</span>'
    data = base64.b64encode(jpeg).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(alt)}" width="96" height="96">'
