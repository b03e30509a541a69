"""Sheets of faces: HTML grids that wrap on a narrow screen."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, ClassVar

import cv2
import numpy as np

from lresnet_utils.errors import DataError
from lresnet_utils.text.language import tr
from lresnet_utils.text.numbers import join_words

_JPEG_QUALITY = 88
_FACE_PX = 96
_GRID = (
    "display:grid;gap:1rem 1.1rem;"
    "grid-template-columns:repeat(auto-fill,minmax(min(10rem,45%),1fr))"
)
_LABEL = "font-size:.8125rem;line-height:1.35;margin-top:.25rem;font-variant-numeric:tabular-nums"


def data_uri(image: np.ndarray) -> str:
    """Return an image as a JPEG data URI.

    Parameters
    ----------
    image : uint8 array, shape (height, width, 3)
        RGB.

    Raises
    ------
    DataError
        When the array is not such an image.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(
            f"A picture must be uint8 of shape (height, width, 3), not {image.dtype} {image.shape}."
        )
    settings = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]), settings)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")


def _img(image: np.ndarray, alt: str, width_px: int = _FACE_PX) -> str:
    return (
        f'<img src="{data_uri(image)}" alt="{escape(alt)}" width="{width_px}" '
        f'style="display:block;width:{width_px}px;max-width:100%;height:auto;border-radius:3px">'
    )


@dataclass
class PairSheetDisplay:
    """Pairs of faces as pictures, each with its distance and what went wrong, worst first.

    Parameters
    ----------
    images : uint8 array, shape (n, 112, 112, 3)
        RGB faces that `left` and `right` index; a read-only memory map is fine.
    left, right : int array, shape (k,)
        The pairs to show.
    distances : array, shape (k,)
        Squared L2 distance of each pair.
    same : bool array, shape (k,)
        True for genuine pairs.
    threshold : float
        Pairs below it are called the same person.
    caption : str, optional
        Words under the sheet.
    """

    title: ClassVar[str] = "The hardest pairs"
    images: np.ndarray
    left: np.ndarray
    right: np.ndarray
    distances: np.ndarray
    same: np.ndarray
    threshold: float
    caption: str = ""

    @property
    def reading(self) -> str:
        """How to read the sheet."""
        return self.caption or (
            tr(
                "Squared distance of each pair; the threshold is {threshold:.2f}. Genuine pairs "
                "should be below it, impostor pairs not.",
                threshold=self.threshold,
            )
        )

    def verdict(self, pair: int) -> str:
        """Say what kind of pair it is and whether it is judged rightly."""
        below = self.distances[pair] < self.threshold
        if self.same[pair]:
            return tr("same person, found") if below else tr("same person, missed")
        return tr("different people, let in") if below else tr("different people, told apart")

    def describe(self) -> str:
        """Say how many pairs are shown, how many are wrong, and the range of distances."""
        wrong = sum(
            bool(d < self.threshold) != bool(s)
            for d, s in zip(self.distances, self.same, strict=True)
        )
        if not len(self.distances):
            return tr("No pairs to show.")
        return tr(
            "{n} pairs of faces with distances {low:.3f} to {high:.3f}; {wrong} of "
            "them are on the wrong side of the threshold {threshold:.2f}.",
            n=len(self.distances),
            low=np.min(self.distances),
            high=np.max(self.distances),
            wrong=wrong,
            threshold=self.threshold,
        )

    def html(self) -> str:
        """Return the sheet: one card per pair."""
        cards = []
        for pair, (left, right) in enumerate(zip(self.left, self.right, strict=True)):
            verdict, distance = self.verdict(pair), f"{self.distances[pair]:.3f}"
            faces = _img(
                self.images[left],
                tr(
                    "Pair {pair}, left face: {verdict}, distance {distance}",
                    pair=pair + 1,
                    verdict=verdict,
                    distance=distance,
                ),
            )
            faces += _img(self.images[right], tr("Pair {pair}, right face", pair=pair + 1))
            cards.append(
                f'<div style="max-width:{2 * _FACE_PX + 2}px">'
                f'<div style="display:grid;grid-template-columns:1fr 1fr;gap:2px">{faces}</div>'
                f'<div style="{_LABEL}"><strong>{distance}</strong><br>{escape(verdict)}</div>'
                "</div>"
            )
        return f'<div style="{_GRID}">{"".join(cards)}</div>'


@dataclass
class FaceSheetDisplay:
    """The same faces in every variant of a data set, one row per variant.

    Parameters
    ----------
    variants : dict
        Variant name or words to its faces, uint8 RGB of shape (k, 112, 112, 3); the same k
        people in the same order.
    caption : str, optional
        Words under the sheet, such as the data set's credit.
    """

    title: ClassVar[str] = "Sample of the faces"
    variants: Mapping[str, Sequence[np.ndarray]]
    caption: str = ""

    @property
    def reading(self) -> str:
        """How to read the sheet."""
        return self.caption or tr(
            "Each column is one image; each row is what the network is given."
        )

    def describe(self) -> str:
        """Say how many faces and which variants are shown."""
        names = list(self.variants)
        faces = len(next(iter(self.variants.values()), ()))
        text = (
            tr("{faces} face images in 1 variant: {names}.")
            if len(names) == 1
            else tr("{faces} face images in {n} variants: {names}.")
        )
        return text.format(faces=faces, n=len(names), names=join_words(names))

    def html(self) -> str:
        """Return the sheet: one picture per variant, its faces side by side."""
        rows = []
        for name, faces in self.variants.items():
            # One strip per row loads faster than many pictures and cannot wrap out of its column.
            strip = np.concatenate([np.asarray(face) for face in faces], axis=1)
            alt = tr("{n} faces, {name}", n=len(faces), name=name)
            rows.append(
                f'<div style="margin:0 0 .6rem"><div style="{_LABEL};margin:0 0 .2rem">'
                f"{escape(name)}</div>{_img(strip, alt, _FACE_PX * len(faces))}</div>"
            )
        return "".join(rows)


# Pairs that changed sides between two builds, as cards with both faces.

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
