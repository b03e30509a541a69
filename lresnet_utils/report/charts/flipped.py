"""Pairs that changed sides between two builds, as cards with both faces."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from lresnet_utils.text.language import tr

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
    name = tr("Pairs lost") if kind == "lost" else tr("Pairs gained")
    cards = "".join(_card(row, picture) for row in rows[:PICTURED])
    sheet = f'<ul class="lr-cards" aria-label="{escape(name)}">{cards}</ul>'
    more = tr(", ").join(str(row["pair"]) for row in rows[PICTURED:])
    if more:
        text = tr("{name}, less clearly: {pairs}.", name=name, pairs=more)
        sheet += f'<p class="lr-say">{escape(text)}</p>'
    return sheet


def _card(row: Mapping[str, Any], picture: Callable[[int], bytes | None]) -> str:
    told = tr(", ") + (tr("same person") if row["same_person"] else tr("different people"))
    faces = "".join(
        _face(picture(image), tr("Pair {pair}, image {image}", pair=row["pair"], image=image))
        for image in row["images"]
    )
    numbers = "".join(
        "<br>"
        + tr(
            "{side}: {distance:.3f} at {threshold:.2f}",
            side=side.upper(),
            distance=row["distance"][side],
            threshold=row["threshold"][side],
        )
        for side in "ab"
    )
    name = tr("Pair {pair}", pair=row["pair"])
    return (
        f'<li class="lr-card"><div class="lr-card-faces">{faces}</div>'
        f"<strong>{name}</strong>{tr(', ')}{told}{numbers}</li>"
    )


def _face(jpeg: bytes | None, alt: str) -> str:
    if jpeg is None:
        text = tr("{alt}: only in the folder", alt=alt)
        return f'<span class="lr-card-none">{escape(text)}</span>'
    data = base64.b64encode(jpeg).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(alt)}" width="96" height="96">'
