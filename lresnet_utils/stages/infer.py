"""Stage 4: every distinct face becomes a unit embedding, per target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lresnet_utils.data.face_set import FaceSet, image_file, open_store
from lresnet_utils.embed import Embedding
from lresnet_utils.files import stream_arrays
from lresnet_utils.run import RunFolder
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
) -> dict[str, Any]:
    """Embed the set with every target that was built, and time the five parts of doing so.

    Parameters
    ----------
    run : RunFolder
        Must hold the files of ``1_export``, ``2_compile`` and ``3_preprocess``; gets one
        embeddings file per target, variant and further set, and ``4_infer.json``.
    batch_size, targets, flip, variants, more
        As declared in :class:`lresnet_utils.params.Params`; `variants` besides the set as it is.

    Returns
    -------
    dict
        ``targets``: per target the status, ``stages`` (rates of the clean set), per variant and
        further set the number of images embedded and the failures to acquire with their reasons,
        and ``custody``.
    """
    faces = open_faces(run)
    sets = open_more(run) if more else {}
    spec = run.record("1_export", batch_size)["input"]
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
    record = {"flip": flip, "n_images": faces.n_images, "targets": entries}
    return run.write_record("4_infer", batch_size, record)


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
    target = get_target(name)
    # Name of the files, the set, and the kind of its images.
    work = [(variant, faces, variant) for variant in variants]
    work += [(set_variant(key), own, CLEAN) for key, own in sets.items()]
    results = {}
    with target.embedder(artefact) as embed_images:
        for key, images, variant in work if target.embeds_variants else work[:1]:
            with stream_arrays(run.embeddings(batch_size, name, key)) as file:
                with file.table("vectors", images.n_images) as write:
                    result = embed_images(
                        images.images(variant),
                        folder=run.engine(batch_size, name) / f"infer_{key}",
                        slots=images.slots(),
                        channel_order=spec["channel_order"],
                        normalisation=spec["normalisation"],
                        flip=flip,
                        failures=images.failures,
                        write=write,
                    )
                file.add("failed", result.failed)
            results[key] = result
    pictures = {key: image_file(own.folder, kind) for key, own, kind in work if key in results}
    options = {"flip": flip, "batch_size": batch_size} | {
        key: spec[key] for key in ("channel_order", "normalisation")
    }
    return {
        "custody": of_embeddings(run, batch_size, target, artefact, pictures, options),
        "stages": results[CLEAN].stages.to_json(),
        "variants": {
            variant: _counts(results[variant]) for variant in variants if variant in results
        },
        "sets": {
            key: _counts(results[set_variant(key)]) for key in sets if set_variant(key) in results
        },
    }


def _counts(result: Embedding) -> dict[str, Any]:
    return {
        "n_images": len(result.failed),
        "n_failed": int(np.count_nonzero(result.failed)),
        "failures": {str(image): why for image, why in sorted(result.reasons.items())},
    }
