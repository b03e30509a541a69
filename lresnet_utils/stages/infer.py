"""Stage 4: every distinct face becomes a unit embedding, per target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lresnet_utils.data.face_set import FaceSet, image_file, open_store
from lresnet_utils.embed import Embedding
from lresnet_utils.files import stream_arrays
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.channels import (
    OTHER_ORDER,
    colourfulness,
    order_target,
    other_order,
    why_not,
)
from lresnet_utils.stages.links import of_embeddings
from lresnet_utils.stages.preprocess import open_more
from lresnet_utils.stages.status import OK, attempt, carried, not_ok
from lresnet_utils.targets import get_target
from lresnet_utils.targets.base import Artefact

# The images as the set gives them; every other variant is a degraded copy of these.
CLEAN = "aligned"


def infer(
    run: RunFolder,
    *,
    batch_size: int,
    targets: list[str],
    flip: bool = True,
    variants: Sequence[str] = (),
    more: Sequence[Mapping[str, str]] = (),
    channel_test: bool = False,
) -> dict[str, Any]:
    """Embed the set with every target that was built, and time the five parts of doing so.

    Parameters
    ----------
    run : RunFolder
        Must hold the files of ``1_export``, ``2_compile`` and ``3_preprocess``; gets one
        embeddings file per target, variant and further set, and ``4_infer.json``.
    batch_size, targets, flip, variants, more, channel_test
        As declared in :class:`lresnet_utils.params.Params`; `variants` besides the set as it is.

    Returns
    -------
    dict
        ``targets``: per target the status, ``stages`` (rates of the clean set), per variant and
        further set the number of images embedded and the failures to acquire with their reasons,
        and ``custody``.
        ``channel_test``: which target embedded the set in the other channel order, or why none
        did; None where it was not asked for.
    """
    faces = open_faces(run)
    sets = open_more(run) if more else {}
    exported = run.record("1_export", batch_size)
    spec = exported["input"]
    built = carried(run, "2_compile", batch_size, targets)
    entries = {}
    for name, entry in built.items():
        if entry["status"] != OK:
            entries[name] = not_ok(entry)
            continue
        artefact = Artefact.from_json(entry["artefact"])
        entries[name] = attempt(
            lambda name=name, artefact=artefact: _embed_variants(
                run, faces, sets, name, artefact, spec, batch_size, flip, [CLEAN, *variants]
            )
        )
    record = {"flip": flip, "n_images": faces.n_images, "targets": entries, "channel_test": None}
    if channel_test:
        tested = _embed_other_order(run, faces, built, entries, exported, batch_size, flip)
        record |= {"custody": tested.pop("custody", []), "channel_test": tested}
    return run.write_record("4_infer", batch_size, record)


def _embed_other_order(run, faces, built, entries, exported, batch_size, flip) -> dict[str, Any]:
    """Let one target embed the set with red and blue exchanged, or say why that is no use."""
    name = order_target(name for name, entry in entries.items() if entry["status"] == OK)
    refused = why_not(faces, exported["network"]["trained"], name)
    if refused is not None:
        return refused
    spec = exported["input"]
    used, other = spec["channel_order"], other_order(spec["channel_order"])
    spec = spec | {"channel_order": other}
    artefact = Artefact.from_json(built[name]["artefact"])
    entry = attempt(
        lambda: _embed(run, name, artefact, spec, batch_size, flip, {OTHER_ORDER: (faces, CLEAN)})
    )
    if entry["status"] != OK:
        return {"refused": f"{name}: {entry['reason']}"}
    return {
        "target": name,
        "colour_levels": colourfulness(faces.images()),
        "used_order": used,
        "other_order": other,
        "custody": entry["custody"],
    }


def open_faces(run: RunFolder) -> FaceSet:
    """Open the run's image store, or say that ``3_preprocess`` comes first."""
    run.record("3_preprocess")
    return open_store(run.faces)


def set_variant(key: str) -> str:
    """Return the name of a further set among a target's files of embeddings and scores."""
    return f"set_{key}"


def _embed_variants(
    run, faces, sets, name, artefact, spec, batch_size, flip, variants
) -> dict[str, Any]:
    """Embed the set as it is, its degraded copies and the further sets; see `_embed`."""
    stored = {variant: (faces, variant) for variant in variants}
    stored |= {set_variant(key): (own, CLEAN) for key, own in sets.items()}
    if not get_target(name).embeds_variants:
        stored, sets = {CLEAN: (faces, CLEAN)}, {}
    entry = _embed(run, name, artefact, spec, batch_size, flip, stored)
    return entry | {"sets": {key: entry["variants"].pop(set_variant(key)) for key in sets}}


def _embed(run, name, artefact, spec, batch_size, flip, stored) -> dict[str, Any]:
    """Embed image variants of sets, each into a file of its own name; the first is timed."""
    results = {}
    target = get_target(name)
    with target.embedder(artefact) as embed_images:
        for stored_as, (faces, variant) in stored.items():
            with stream_arrays(run.embeddings(batch_size, name, stored_as)) as file:
                with file.table("vectors", faces.n_images) as write:
                    result = embed_images(
                        faces.images(variant),
                        folder=run.engine(batch_size, name) / f"infer_{stored_as}",
                        slots=faces.slots(),
                        channel_order=spec["channel_order"],
                        normalisation=spec["normalisation"],
                        flip=flip,
                        failures=faces.failures,
                        write=write,
                    )
                file.add("failed", result.failed)
            results[stored_as] = result
    pictures = {key: image_file(own.folder, variant) for key, (own, variant) in stored.items()}
    options = {"flip": flip, "batch_size": batch_size} | {
        key: spec[key] for key in ("channel_order", "normalisation")
    }
    return {
        "custody": of_embeddings(run, batch_size, target, artefact, pictures, options),
        "stages": next(iter(results.values())).stages.to_json(),
        "variants": {variant: _counts(result) for variant, result in results.items()},
    }


def _counts(result: Embedding) -> dict[str, Any]:
    return {
        "n_images": len(result.failed),
        "n_failed": int(np.count_nonzero(result.failed)),
        "failures": {str(image): why for image, why in sorted(result.reasons.items())},
    }
