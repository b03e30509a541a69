"""Stage 4: every distinct face becomes a unit embedding, per target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.data.face_set import FaceSet, image_file, open_store
from lresnet_utils.embed import Embedding
from lresnet_utils.exclusive import machine
from lresnet_utils.files import stream_arrays
from lresnet_utils.isolation import LimitOptions
from lresnet_utils.resume.parts import Parts
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.apart import attempt_apart
from lresnet_utils.stages.links import of_embeddings
from lresnet_utils.stages.status import OK, build_of, carried, not_ok
from lresnet_utils.targets import get_target
from lresnet_utils.targets.base import Artefact, Target
from lresnet_utils.targets.tool import ToolTarget

# The images as the set gives them; every other variant is a degraded copy of these.
CLEAN = "aligned"


def infer(
    run: RunFolder,
    *,
    batch_size: int,
    targets: list[str],
    flip: bool = True,
    variants: list[str] = (),
    limits: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Embed the set with every target that was built, and time the five parts of doing so.

    Parameters
    ----------
    run : RunFolder
        Must hold the files of ``1_export``, ``2_compile`` and ``3_preprocess``; gets one
        embeddings file per target and variant, and ``4_infer.json``.
    batch_size, targets, flip, variants, limits
        As declared in :class:`lresnet_utils.params.Params`; `variants` besides the set as it is.

    Returns
    -------
    dict
        ``targets``: per target the status, ``stages`` (rates of the clean set), per variant the
        number of images embedded and the failures to acquire with their reasons, and ``custody``.
    """
    faces = open_faces(run)
    built = carried(run, "2_compile", batch_size, targets)
    spec = run.record("1_export", batch_size)["input"]
    bounds = LimitOptions.from_values(limits or {})
    work = _Work(run, batch_size, spec, flip, [CLEAN, *variants])
    parts = Parts(run, "4_infer", batch_size, timed=True)
    with machine(alone=True):
        entries = {
            name: _kept(name, entry, work, parts, bounds)
            if entry["status"] == OK
            else not_ok(entry)
            for name, entry in built.items()
        }
    record = {"flip": flip, "n_images": faces.n_images, "targets": entries}
    return run.write_record("4_infer", batch_size, record)


def open_faces(run: RunFolder) -> FaceSet:
    """Open the run's image store, or say that ``3_preprocess`` comes first."""
    run.record("3_preprocess")
    return open_store(run.faces)


@dataclass(frozen=True)
class _Work:
    """What embedding for one batch size needs."""

    run: RunFolder
    batch_size: int
    spec: dict[str, Any]
    flip: bool
    variants: list[str]

    def of(self, target: Target) -> list[str]:
        """Return the variants that a target embeds."""
        return self.variants if target.embeds_variants else [CLEAN]

    def files(self, target: Target) -> list[Path]:
        """Return the files of a target's embeddings."""
        return [self.run.embeddings(self.batch_size, target.name, v) for v in self.of(target)]

    def made_from(self, target: Target, artefact: Artefact, parts: Parts) -> dict[str, Any]:
        """Return what a target's embeddings depend on."""
        faces = open_faces(self.run)
        images = {v: parts.sha256(image_file(faces.folder, v)) for v in self.of(target)}
        return {
            "build": [target.name, artefact.sha256, artefact.options],
            "versions": target.versions(),
            "images": images,
            "pairs": faces.record["pairs_sha256"],
            "failures": faces.failures,
            "input": self.spec,
            "flip": self.flip,
        }


def _kept(
    name: str, built: dict[str, Any], work: _Work, parts: Parts, limits: LimitOptions
) -> dict[str, Any]:
    """Return a target's entry from an earlier time, or embed in a process of its own."""
    target, artefact = get_target(name), build_of(work.run, work.batch_size, built)

    def make() -> dict[str, Any]:
        log = work.run.engine(work.batch_size, name) / "infer.log"
        how = {"log": log, "doing": "embedding", "seconds": _seconds(target, work, limits)}
        return attempt_apart(_embed_variants, target, artefact, work, limits=limits, **how)

    if not target.repeatable:
        return make()
    made_from = work.made_from(target, artefact, parts)
    return parts.kept(name, made_from, make, lambda: work.files(target))


def _seconds(target: Target, work: _Work, limits: LimitOptions) -> float:
    """Return the time limit: per thousand pictures, at least one; tools have their own."""
    if isinstance(target, ToolTarget):
        return math.inf
    n = open_faces(work.run).n_images * len(work.of(target)) * (2 if work.flip else 1)
    return limits.seconds * max(1.0, n / 1000)


def _embed_variants(target: Target, artefact: Artefact, work: _Work) -> dict[str, Any]:
    results, faces = {}, open_faces(work.run)
    slots = np.stack([faces.left, faces.right], axis=1).ravel()
    with target.embedder(artefact) as embed_images:
        for variant, path in zip(work.of(target), work.files(target), strict=True):
            with stream_arrays(path) as file:
                with file.table("vectors", faces.n_images) as write:
                    result = embed_images(
                        faces.images(variant),
                        folder=work.run.engine(work.batch_size, target.name) / f"infer_{variant}",
                        slots=slots,
                        channel_order=work.spec["channel_order"],
                        normalisation=work.spec["normalisation"],
                        flip=work.flip,
                        failures=faces.failures,
                        write=write,
                    )
                file.add("failed", result.failed)
            results[variant] = result
    options = {"flip": work.flip, "batch_size": work.batch_size} | {
        key: work.spec[key] for key in ("channel_order", "normalisation")
    }
    return {
        "custody": of_embeddings(work.run, work.batch_size, target, artefact, results, options),
        "stages": results[CLEAN].stages.to_json(),
        "variants": {variant: _counts(result) for variant, result in results.items()},
    }


def _counts(result: Embedding) -> dict[str, Any]:
    return {
        "n_images": len(result.failed),
        "n_failed": int(np.count_nonzero(result.failed)),
        "failures": {str(image): why for image, why in sorted(result.reasons.items())},
    }
