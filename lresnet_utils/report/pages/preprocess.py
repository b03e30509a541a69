"""The preprocess page: what the set holds, and what could not be read."""

from __future__ import annotations

from lresnet_utils.data.draw import one_per_block
from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.report.displays import FaceSheetDisplay
from lresnet_utils.report.pages.common import properties, short_hash
from lresnet_utils.report.show import Column, note, say, show, table
from lresnet_utils.report.style import fmt_count
from lresnet_utils.report.words import recorded, tr

_SHOWN_FAILURES = 10


def contents(faces: FaceSet) -> None:
    """Show the set's counts, its hash and whom to credit."""
    about = faces.describe()
    slots = tr(
        "{n_slots}, {repeated_slots} of them repeats",
        n_slots=fmt_count(about["n_slots"]),
        repeated_slots=fmt_count(about["repeated_slots"]),
    )
    more = []
    if faces.templates is not None:
        more.append((tr("Templates"), fmt_count(about["n_templates"])))
    if "n_aligned" in about:
        more.append((tr("Faces found and aligned here"), fmt_count(about["n_aligned"])))
    if faces.folds is not None:
        more.append((tr("Folds"), tr("{folds}, the set's own", folds=faces.folds)))
    properties(
        [
            (tr("Set"), faces.name),
            (tr("Kind"), recorded(about.get("kind", ".bin set"))),
            (tr("Distinct images"), fmt_count(faces.n_images)),
            (tr("Image slots in the pairs"), slots),
            (tr("Genuine pairs"), fmt_count(about["n_genuine"])),
            (tr("Impostor pairs"), fmt_count(about["n_impostor"])),
            *more,
            (tr("SHA-256 of the set"), short_hash(faces.sha256)),
            (tr("Credit"), faces.credit or tr("not stated by the file")),
        ],
        tr("The verification set"),
    )


def samples(faces: FaceSet, count: int = 6) -> None:
    """Show some faces, from all parts of the set, in every variant."""
    picked = one_per_block(faces.n_images, min(count, faces.n_images))
    labels = faces.labels()
    show(
        FaceSheetDisplay(
            {
                recorded(labels[variant]): faces.images(variant)[picked]
                for variant in faces.variants
            },
            caption=recorded(faces.credit),
        )
    )


def failures(faces: FaceSet) -> None:
    """Say how many images cannot be used, and which."""
    if not faces.failures:
        say(
            tr(
                "None: all {n_images} distinct images were decoded, with the right size.",
                n_images=faces.n_images,
            )
        )
        return
    note(
        tr(
            "{n} of {n_images} distinct images cannot be used.",
            n=len(faces.failures),
            n_images=faces.n_images,
        ),
        "warning",
    )
    rows = [{"image": image, "reason": why} for image, why in faces.failures[:_SHOWN_FAILURES]]
    more = len(faces.failures) - len(rows)
    caption = tr("Failures to acquire") + (
        tr(", the first {n}; {more} more", n=len(rows), more=more) if more else ""
    )
    table(rows, [Column("image", "Image"), Column("reason", "Reason")], caption)
