"""The preprocess page: what the set holds, and what could not be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lresnet_utils.data.align import looks_off
from lresnet_utils.data.collection import one_per_block
from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.report.charts.builds import FaceSheetDisplay
from lresnet_utils.report.pages.export import short_hash
from lresnet_utils.report.show import Column, note, properties, say, show, table
from lresnet_utils.run import RunFolder
from lresnet_utils.text.language import tr
from lresnet_utils.text.numbers import fmt_count

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
    if "n_several_faces" in about:
        more.append((tr("Pictures with several faces"), fmt_count(about["n_several_faces"])))
    if faces.folds is not None:
        more.append((tr("Folds"), tr("{folds}, the set's own", folds=faces.folds)))
    properties(
        [
            (tr("Set"), faces.name),
            (tr("Kind"), tr(about.get("kind", ".bin set"))),
            (tr("Distinct images"), fmt_count(faces.n_images)),
            (tr("Image slots in the pairs"), slots),
            (tr("Genuine pairs"), fmt_count(about["n_genuine"])),
            (tr("Impostor pairs"), fmt_count(about["n_impostor"])),
            *more,
            (tr("SHA-256 of the set"), short_hash(faces.sha256)),
            (tr("Credit"), faces.credit or tr("not stated by the file")),
        ],
        "The verification set",
    )


def further_sets(run: RunFolder) -> None:
    """Show what the further sets hold, or that there are none, and the terms of all."""
    record = run.record("3_preprocess")
    rows = [
        {
            "set": own["name"],
            "kind": tr(own.get("kind", ".bin set")),
            "images": own["n_images"],
            "genuine": own["n_genuine"],
            "impostor": own["n_impostor"],
            "folds": own.get("folds") or tr("the run's"),
            "aligned": own.get("n_aligned", 0),
            "failed": len(own["failures"]),
            "passed_over": own.get("passed_over", {}).get("n_files"),
            "several": own.get("n_several_faces"),
            "off": own["alignment"] and own["alignment"]["median_px"],
        }
        for own in record["sets"].values()
    ]
    columns = [
        Column("set", "Set"),
        Column("kind", "Kind"),
        Column("images", "Distinct images"),
        Column("genuine", "Genuine pairs"),
        Column("impostor", "Impostor pairs"),
        Column("folds", "Folds"),
        Column("aligned", "Faces found and aligned here"),
        Column("several", "Pictures with several faces"),
        Column("off", "Off the template", "pixels, median of others", ".1f"),
        Column("passed_over", "Pictures passed over"),
        Column("failed", "Failures to acquire"),
    ]
    if rows:
        table(rows, columns, "Further sets")
    else:
        say("This run has one set; `dataset.more` in a params file names further ones.")
    terms(own.get("licence") for own in (record, *record["sets"].values()))


def terms(licences: Iterator[Mapping[str, Any] | None]) -> None:
    """Show what may be done with the weights and sets, where their names tell what they are."""
    for item in {item["file"]: item for item in licences if item}.values():
        text = f"{item['file']} ({item['title']}): {item['licence']} [{item['source']}]"
        note(text)


def samples(faces: FaceSet, count: int = 6) -> None:
    """Show some faces, from all parts of the set, in every variant."""
    picked = one_per_block(faces.n_images, min(count, faces.n_images))
    labels = faces.labels()
    show(
        FaceSheetDisplay(
            {tr(labels[variant]): faces.images(variant)[picked] for variant in faces.variants},
            caption=tr(faces.credit),
        )
    )


def failures(faces: FaceSet) -> None:
    """Say how many images cannot be used, and which."""
    if not faces.failures:
        say(
            "None: all {n_images} distinct images were decoded, with the right size.",
            n_images=faces.n_images,
        )
        return
    note(
        "{n} of {n_images} distinct images cannot be used.",
        "warning",
        n=len(faces.failures),
        n_images=faces.n_images,
    )
    rows = faces.record["failures"][:_SHOWN_FAILURES]
    more = len(faces.failures) - len(rows)
    caption = tr("Failures to acquire") + (
        tr(", the first {n}; {more} more", n=len(rows), more=more) if more else ""
    )
    columns = [Column("image", "Image"), Column("name", "File"), Column("reason", "Reason")]
    table(rows, columns if "name" in rows[0] else columns[::2], caption)


def doubts(record: Mapping[str, Any]) -> None:
    """Show what was not read, what is there twice, and how faces lie that were not aligned here.

    Parameters
    ----------
    record : mapping
        Of the stage.
    """
    passed_over = record.get("passed_over")
    if passed_over and passed_over["reasons"]:
        rows = [row | {"examples": ", ".join(row["examples"])} for row in passed_over["reasons"]]
        columns = [Column("reason", "Reason"), Column("n", "Files"), Column("examples", "Such as")]
        table(rows, columns, "What of the folder was passed over")
    elif passed_over:
        say("Nothing of the folder was passed over.")
    equal = record.get("equal_files")
    if equal:
        note(
            "Pictures that are there in two files or more: {n}, under two people: {n_of_two}, "
            "such as {example}. Pairs take each for one picture, of the first of these people.",
            "warning" if equal["n_of_two_people"] else "info",
            n=equal["n_pictures"],
            n_of_two=equal["n_of_two_people"],
            example=equal["examples"][0],
        )
    if record.get("n_several_faces"):
        note(
            "Pictures in which several faces were found: {n}, such as {examples}. Of a picture "
            "of LFW the face in the middle is taken, elsewhere the largest, weighed against "
            "its distance from the middle.",
            n=record["n_several_faces"],
            examples=", ".join(record["several_faces"]),
        )
    found = record.get("alignment")
    if found and found["n"]:
        note(
            "Of {n_looked} faces that were looked at, aligning once more would move half by "
            "{median_px:.1f} pixels and {median_degrees:.1f} degrees or more, and {n_off} by more "
            "than {limit_px:g} pixels; in {n_no_face} no face was found.",
            "warning" if looks_off(found) else "info",
            n_looked=found["n"] + found["n_no_face"],
            **found,
        )
    elif found:
        n = found["n_no_face"]
        note("In none of {n} pictures that were looked at was a face found.", "warning", n=n)
