"""The preprocess page: what the set holds, and what could not be read."""

from __future__ import annotations

import numpy as np

from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.report.displays import FaceSheetDisplay
from lresnet_utils.report.pages.common import properties, short_hash
from lresnet_utils.report.show import Column, note, say, show, table
from lresnet_utils.report.style import fmt_count

_SHOWN_FAILURES = 10


def contents(faces: FaceSet) -> None:
    """Show the set's counts, its hash and whom to credit."""
    about = faces.describe()
    slots = f"{fmt_count(about['n_slots'])}, {fmt_count(about['repeated_slots'])} of them repeats"
    more = []
    if faces.templates is not None:
        more.append(("Templates", fmt_count(about["n_templates"])))
    if "n_aligned" in about:
        more.append(("Faces found and aligned here", fmt_count(about["n_aligned"])))
    if faces.folds is not None:
        more.append(("Folds", f"{faces.folds}, the set's own"))
    properties(
        [
            ("Set", faces.name),
            ("Kind", about.get("kind", ".bin set")),
            ("Distinct images", fmt_count(faces.n_images)),
            ("Image slots in the pairs", slots),
            ("Genuine pairs", fmt_count(about["n_genuine"])),
            ("Impostor pairs", fmt_count(about["n_impostor"])),
            *more,
            ("SHA-256 of the set", short_hash(faces.sha256)),
            ("Credit", faces.credit or "not stated by the file"),
        ],
        "The verification set",
    )


def samples(faces: FaceSet, count: int = 6) -> None:
    """Show some faces, evenly picked, in every variant."""
    picked = np.linspace(0, faces.n_images - 1, min(count, faces.n_images)).astype(int)
    labels = faces.labels()
    show(
        FaceSheetDisplay(
            {labels[variant]: faces.images(variant)[picked] for variant in faces.variants},
            caption=faces.credit,
        )
    )


def failures(faces: FaceSet) -> None:
    """Say how many images cannot be used, and which."""
    if not faces.failures:
        say(f"None: all {faces.n_images} distinct images were decoded, with the right size.")
        return
    note(f"{len(faces.failures)} of {faces.n_images} distinct images cannot be used.", "warning")
    rows = [{"image": image, "reason": why} for image, why in faces.failures[:_SHOWN_FAILURES]]
    more = len(faces.failures) - len(rows)
    caption = "Failures to acquire" + (f", the first {len(rows)}; {more} more" if more else "")
    table(rows, [Column("image", "Image"), Column("reason", "Reason")], caption)
