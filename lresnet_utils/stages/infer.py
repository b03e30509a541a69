"""Stage 4: every distinct face becomes a unit embedding, per target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.data.align import aligned_again, looks_off
from lresnet_utils.data.collection import one_per_block
from lresnet_utils.data.face_set import FaceSet, image_file, open_store
from lresnet_utils.data.network_input import PIXEL_SCALES
from lresnet_utils.ledger.custody import Link, made
from lresnet_utils.ledger.entries import Ledger
from lresnet_utils.machine.disk import stream_arrays, write_arrays
from lresnet_utils.machine.isolation import LimitOptions
from lresnet_utils.machine.locks import hold_machine
from lresnet_utils.results import CLEAN, OK
from lresnet_utils.run import RunFolder
from lresnet_utils.targets import get_target
from lresnet_utils.targets.attempts import attempt_apart, build_of, carried, not_ok
from lresnet_utils.targets.base import Artefact, Target
from lresnet_utils.text.language import message
from lresnet_utils.tuning.judge import Sample, draw_sample

Stored = dict[str, tuple[Path, str]]
"""Folder of the store and image variant, by the name of the embeddings' file."""


def infer(
    run: RunFolder,
    *,
    batch_size: int,
    targets: list[str],
    flip: bool = True,
    variants: Sequence[str] = (),
    more: Sequence[Mapping[str, str]] = (),
    channel_test: bool = False,
    limits: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Embed the set with every target that was built, and time the five parts of doing so.

    Parameters
    ----------
    run : RunFolder
        Must hold the files of ``1_export``, ``2_compile`` and ``3_preprocess``; gets one
        embeddings file per target, variant and further set, and ``4_infer.json``.
    batch_size, targets, flip, variants, more, channel_test, limits
        As declared in :class:`lresnet_utils.params.Params`; `variants` besides the set as it is.

    Returns
    -------
    dict
        ``targets``: per target the status, ``stages`` (rates of the clean set), per variant and
        further set the number of images embedded and the failures to acquire with their reasons,
        and ``custody``.
        ``channel_test``: which target embedded the set in the other channel order, or why none
        did; None where it was not asked for. ``input_test`` likewise for a sample in every order
        and scale.
    """
    faces = open_faces(run)
    exported = run.record("1_export", batch_size)
    built = carried(run, "2_compile", batch_size, targets)
    sets = list(open_more(run)) if more else []
    spec, bounds = exported["input"], LimitOptions.from_values(limits or {})
    work = _Work(run, batch_size, spec, flip, [CLEAN, *variants], sets)
    ledger = Ledger.of_stage(run, "4_infer", batch_size, timed=True)
    with hold_machine(alone=True):
        able = {name: entry for name, entry in built.items() if entry["status"] == OK}
        found = {}
        for name, entry in able.items():
            target = get_target(name)
            stored = work.stored(target)
            found[name] = work.kept(target, entry, stored, ledger, bounds, name)
            if found[name]["status"] == OK:
                embedded = found[name]["variants"]
                further = [key for key in sets if set_variant(key) in stored]
                found[name]["sets"] = {key: embedded.pop(set_variant(key)) for key in further}
        entries = {name: found.get(name) or not_ok(entry) for name, entry in built.items()}
        tested = (
            _other_order(work, faces, built, entries, exported, ledger, bounds)
            if channel_test
            else None
        )
        ways = (
            _other_inputs(work, faces, built, entries, exported, ledger, bounds)
            if channel_test
            else None
        )
    record = {"flip": flip, "n_images": faces.n_images, "targets": entries, "channel_test": None}
    if tested is not None:
        record |= {"custody": tested.pop("custody", []), "channel_test": tested}
    record["input_test"] = ways
    return run.write_record("4_infer", batch_size, record)


@dataclass(frozen=True)
class _Work:
    """What embedding for one batch size needs: plain values, which a process can be given."""

    run: RunFolder
    batch_size: int
    spec: dict[str, Any]
    flip: bool
    variants: list[str]
    sets: list[str]

    def stored(self, target: Target) -> dict[str, tuple[Path, str]]:
        """Return store and variant of whatever a target embeds, by the name of its file."""
        clean = {CLEAN: (self.run.faces, CLEAN)}
        if target.recorded:
            return clean
        stored = {variant: (self.run.faces, variant) for variant in self.variants}
        further = {set_variant(key): (self.run.more_faces(key), CLEAN) for key in self.sets}
        return clean | stored | further

    def made_from(
        self, target: Target, artefact: Artefact, stored: Stored, ledger: Ledger
    ) -> dict[str, Any]:
        """Return what a target's embeddings depend on."""
        sets = {name: open_store(folder) for name, (folder, _) in stored.items()}
        pictures = {name: image_file(*place) for name, place in stored.items()}
        return {
            "build": [target.name, artefact.sha256, artefact.options],
            "versions": target.versions(),
            "pictures": {name: ledger.sha256(path) for name, path in pictures.items()},
            "sets": {n: [s.record["pairs_sha256"], s.failures] for n, s in sets.items()},
            "input": self.spec,
            "flip": self.flip,
        }

    def kept(
        self,
        target: Target,
        built: dict[str, Any],
        stored: Stored,
        ledger: Ledger,
        limits: LimitOptions,
        part: str,
    ) -> dict[str, Any]:
        """Return a target's entry from an earlier time, or embed in a process of its own."""
        artefact = build_of(self.run, self.batch_size, built)
        log = self.run.engine(self.batch_size, target.name) / "infer.log"

        def make() -> dict[str, Any]:
            # Per thousand pictures, at least one.
            n = sum(open_store(folder).n_images for folder, _ in stored.values())
            seconds = limits.seconds * max(1.0, n * (2 if self.flip else 1) / 1000)
            how = {"limits": limits, "log": log, "doing": "embedding", "seconds": seconds}
            return attempt_apart(_embed, target, artefact, self, stored, **how)

        def files() -> list[Path]:
            return [self.run.embeddings(self.batch_size, target.name, name) for name in stored]

        if target.recorded:
            return make()
        return ledger.kept(part, self.made_from(target, artefact, stored, ledger), make, files)


def _other_order(work, faces, built, entries, exported, ledger, limits) -> dict[str, Any]:
    """Let one target embed the set with red and blue exchanged, or say why that is no use."""
    name = order_target(name for name, entry in entries.items() if entry["status"] == OK)
    refused = why_not(faces, exported["network"]["trained"], name)
    if refused is not None:
        return refused
    used, other = work.spec["channel_order"], other_order(work.spec["channel_order"])
    turned = replace(work, spec=work.spec | {"channel_order": other})
    stored = {OTHER_ORDER: (work.run.faces, CLEAN)}
    entry = turned.kept(get_target(name), built[name], stored, ledger, limits, OTHER_ORDER)
    if entry["status"] != OK:
        return {"refused": message("{what}: {why}", what=name, why=entry["reason"])}
    return {
        "target": name,
        "colour_levels": colourfulness(faces.images()),
        "used_order": used,
        "other_order": other,
        "custody": entry["custody"],
    }


def _other_inputs(work, faces, built, entries, exported, ledger, limits) -> dict[str, Any]:
    """Let one target embed a sample in every channel order and scale, or say why it cannot."""
    name = order_target(name for name, entry in entries.items() if entry["status"] == OK)
    if not exported["network"]["trained"]:
        return {"refused": RANDOM}
    if name is None:
        return {"refused": NO_TARGET}
    target, run = get_target(name), work.run
    artefact = build_of(run, work.batch_size, built[name])
    spec, colour = work.spec, colourfulness(faces.images())
    ways = input_ways(spec["channel_order"], spec["normalisation"], colour)
    if looks_off(run.record("3_preprocess").get("alignment")):
        ways.append((*ways[0], ALIGNED))
    path = run.embeddings(work.batch_size, name, INPUTS)
    made_from = work.made_from(target, artefact, {CLEAN: (run.faces, CLEAN)}, ledger)

    def make() -> dict[str, Any]:
        log = run.engine(work.batch_size, name) / "infer.log"
        seconds = limits.seconds * len(ways)
        how = {"limits": limits, "log": log, "doing": "embedding", "seconds": seconds}
        return attempt_apart(_embed_ways, target, artefact, work, ways, path, **how)

    entry = ledger.kept(INPUTS, made_from | {"ways": ways}, make, lambda: [path])
    if entry["status"] != OK:
        return {"refused": message("{what}: {why}", what=name, why=entry["reason"])}
    return {"target": name, "colour_levels": colour, "ways": ways}


def _embed_ways(
    target: Target, artefact: Artefact, work: _Work, ways: Sequence[tuple[str, ...]], path: Path
) -> dict[str, Any]:
    """Embed the sample of :func:`input_sample` once for every way of feeding pixels."""
    faces = open_store(work.run.faces)
    rows, known = input_sample(faces).images, dict(faces.failures)
    failures = [(place, known[i]) for place, i in enumerate(rows.tolist()) if i in known]
    images, arrays = np.asarray(faces.images()[rows]), {}
    with target.embedder(artefact) as embed_images:
        for way in ways:
            order, scale, *again = way
            result = embed_images(
                aligned_again(images) if again else images,
                folder=path.parent,
                slots=np.arange(len(rows)),
                channel_order=order,
                normalisation=scale,
                flip=False,
                failures=failures,
            )
            arrays["_".join(("vectors", *way))] = result.vectors
            arrays["_".join(("failed", *way))] = result.failed
    write_arrays(path, **arrays)
    return {}


def open_faces(run: RunFolder) -> FaceSet:
    """Open the run's image store, or say that ``3_preprocess`` comes first."""
    run.record("3_preprocess")
    return open_store(run.faces)


def open_more(run: RunFolder) -> dict[str, FaceSet]:
    """Open the stores of a run's further sets, by their keys in the order of the params file."""
    record = run.record("3_preprocess")
    return {key: open_store(run.more_faces(key)) for key in record.get("sets", {})}


def set_variant(key: str) -> str:
    """Return the name of a further set among a target's files of embeddings and scores."""
    return f"set_{key}"


def _embed(target: Target, artefact: Artefact, work: _Work, stored: Stored) -> dict[str, Any]:
    """Embed image variants of sets, each into a file of its own name; the first is timed."""
    results, run = {}, work.run
    with target.embedder(artefact) as embed_images:
        for name, (folder, variant) in stored.items():
            faces = open_store(folder)
            with stream_arrays(run.embeddings(work.batch_size, target.name, name)) as file:
                with file.table("vectors", faces.n_images) as write:
                    result = embed_images(
                        faces.images(variant),
                        folder=run.engine(work.batch_size, target.name) / f"infer_{name}",
                        slots=faces.slots(),
                        channel_order=work.spec["channel_order"],
                        normalisation=work.spec["normalisation"],
                        flip=work.flip,
                        failures=faces.failures,
                        write=write,
                    )
                file.add("failed", result.failed)
            results[name] = result
    pictures = {name: image_file(*place) for name, place in stored.items()}
    options = {"flip": work.flip, "batch_size": work.batch_size} | {
        key: work.spec[key] for key in ("channel_order", "normalisation")
    }
    return {
        "custody": of_embeddings(run, work.batch_size, target, artefact, pictures, options),
        "stages": next(iter(results.values())).stages.to_json(),
        "variants": {
            variant: {
                "n_images": len(result.failed),
                "n_failed": int(np.count_nonzero(result.failed)),
                "failures": {str(image): why for image, why in sorted(result.reasons.items())},
            }
            for variant, result in results.items()
        },
    }


def of_embeddings(
    run: RunFolder,
    batch_size: int,
    target: Target,
    artefact: Artefact,
    pictures: Mapping[str, Path],
    options: Mapping[str, Any],
) -> list[Link]:
    """Return the links from a build and the pictures to a target's embeddings.

    `pictures` maps the name that an embeddings file bears to the file of its pictures.
    """
    return [
        made(
            run,
            run.embeddings(batch_size, target.name, name),
            [artefact.path, path],
            tools=target.versions(),
            options={"variant": name} | dict(options),
        )
        for name, path in pictures.items()
    ]


# Whether pixels come as the network was trained: embedded here, judged in ``5_evaluate``.
#
# Channel order and scale are the field's silent mistakes: a network fed in the wrong order or in
# -1..1 in place of 0..255 still works, only less well. One target embeds the set once more with red
# and blue exchanged, and a sample of it in every other order and scale, and the pairs tell.

OTHER_ORDER = "other-channel-order"
"""Stands in the name of the embeddings' file where others have the image variant."""

ALIGNED = "aligned"
"""Third part of a way of feeding pixels in which the faces are found and aligned anew."""
INPUTS = "input-test"
"""Stands there for the sample in every order and scale."""
RANDOM = "the weights are random (seeded)"
NO_TARGET = "no target embeds anything but the set as it is"
_SAMPLE_IMAGES = 160
# Fast and in fp32; the order matters to every target alike, so one is enough.
_PREFERRED = ("openvino-fp32", "onnxruntime-fp32", "torch-fp32")
_MOST_IMAGES = 256
_GREY = 3.0


def other_order(order: str) -> str:
    """Return "bgr" for "rgb" and the reverse."""
    return {"rgb": "bgr", "bgr": "rgb"}[order]


def colourfulness(images: np.ndarray) -> float:
    """Return how far red and blue are apart, in grey levels from 0 to 255.

    Parameters
    ----------
    images : uint8 array, shape (n, height, width, 3)
        At most 256 of them, from all parts of the set, are looked at.

    Returns
    -------
    float
        The mean absolute difference; exactly 0 for grey pictures, 1 or 2 for grey pictures that
        went through JPEG in colour.

    Examples
    --------
    >>> colourfulness(np.full((1, 2, 2, 3), 7, np.uint8))
    0.0
    """
    rows = one_per_block(len(images), min(len(images), _MOST_IMAGES))
    sample = np.asarray(images[rows], np.int16)
    return float(np.abs(sample[..., 0] - sample[..., 2]).mean())


def order_target(names: Iterable[str]) -> str | None:
    """Return the target that embeds the other order: fast and in fp32 where there is one."""
    able = [name for name in names if not get_target(name).recorded]
    return next((name for name in _PREFERRED if name in able), able[0] if able else None)


def input_ways(order: str, normalisation: str, colour: float) -> list[tuple[str, str]]:
    """Return the ways of feeding pixels that are tried, the one in use first.

    Examples
    --------
    >>> input_ways("rgb", "raw", colour=0.0)
    [('rgb', 'raw'), ('rgb', 'minus1_1'), ('rgb', 'centred_128'), ('rgb', 'zero_1')]
    >>> len(input_ways("rgb", "raw", colour=40.0))
    8
    """
    orders = [order] if colour < _GREY else [order, other_order(order)]
    ways = [(o, scale) for o in orders for scale in PIXEL_SCALES]
    return [(order, normalisation), *(w for w in ways if w != (order, normalisation))]


def input_sample(faces: FaceSet) -> Sample:
    """Return the pairs that every way of feeding pixels is tried on."""
    return draw_sample(faces, _SAMPLE_IMAGES)


def why_not(faces: FaceSet, trained: bool, target: str | None) -> dict[str, Any] | None:
    """Return why the order cannot be tested at all, or None when it can."""
    if not trained:
        return {"refused": RANDOM}
    colour = colourfulness(faces.images())
    if colour < _GREY:
        return {
            "refused": message(
                "the faces are grey: red and blue differ by {levels:.1f} of 255 levels on "
                "average, so both orders are the same to the network",
                levels=colour,
            ),
            "colour_levels": colour,
        }
    if target is None:
        return {"refused": NO_TARGET}
    return None
