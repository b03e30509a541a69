"""Everything that can be refused before work starts, refused before work starts."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from lresnet_utils.data.degrade import VARIANTS
from lresnet_utils.data.known_sets import known_sources
from lresnet_utils.data.source import ORL, PAIR_WORDS, check_source
from lresnet_utils.errors import CheckpointError, DataError, ParamsError, nearest, print_line
from lresnet_utils.machine.reserve import require_free
from lresnet_utils.models.architectures import architecture
from lresnet_utils.models.checkpoint import load_into, read_state_dict
from lresnet_utils.params import Params
from lresnet_utils.run import NO_FACES, ONNX, RunFolder, prepare_folder, resolve
from lresnet_utils.running.plan import parameter_names, phases
from lresnet_utils.stages.export import RECORDED
from lresnet_utils.stages.foreign import foreign_input, look_at
from lresnet_utils.targets import get_target
from lresnet_utils.verify.transfer import threshold_of

# Graphs of one batch size: as exported, simplified, and two rewritten forms.
_GRAPHS = 4
# What a JPEG picture of a face grows by when it is decoded.
_DECODED = 10
# Bytes of the packaged weights and faces; seeded weights are those of the largest network.
_WORDS = {"packaged": 40_000_000, "seeded": 300_000_000, "recorded": 0, ORL: 2_000_000, NO_FACES: 0}


def check(params: Params, run: RunFolder) -> None:
    """Refuse what cannot work: names, files, weights, data, the output folder.

    Parameters
    ----------
    params : Params
        Checked already for names and types.
    run : RunFolder
        Where the run will write.

    Raises
    ------
    LResNetError
        The first thing that is wrong.
    """
    _check_names(params)
    for stage in {job.stage for phase in phases(params) for job in phase.jobs}:
        parameter_names(run.notebook(stage))
    missing = [path for path in _files(params) if not path.exists()]
    if missing:
        raise _missing(missing)
    _check_weights(params)
    for given in params.fixed_thresholds:
        if isinstance(given, str):
            threshold_of(resolve(given), given)
    if "plain" in params.dataset.variants and params.dataset.source not in (ORL, NO_FACES):
        raise ParamsError(
            "The variant 'plain' exists for the packaged faces only.",
            where="dataset.variants",
            fix="leave 'plain' out, for example dataset.variants: [res28, noise40]",
        )
    check_sets(params)
    require_free(run.folder, room_for(params))
    prepare_folder(run.folder)


def check_sets(params: Params) -> None:
    """Refuse sets whose lists, labels or files do not fit; warn where much would be passed over."""
    if params.dataset.source == NO_FACES:
        return
    for given in (params.dataset, *params.dataset.more):
        # See that a set's lists, labels and files are there and fit together
        source = given.source if given.source == ORL else resolve(given.source)
        pairs = given.pairs if given.pairs in PAIR_WORDS else str(resolve(given.pairs))
        if not pairs.endswith(".csv") and pairs not in PAIR_WORDS:
            raise ParamsError(
                f"Unknown pairs {given.pairs!r}.",
                where="dataset.pairs",
                fix=nearest(given.pairs, PAIR_WORDS),
            )
        warning = check_source(source, pairs, given.align, params.folds)
        if warning:
            print_line(f"Warning: {warning}", file=sys.stderr)


def room_for(params: Params) -> int:
    """Estimate the bytes that a run leaves on disk: copies of the network, decoded pictures.

    Parameters
    ----------
    params : Params
        Names files that exist.

    Returns
    -------
    int
        A rough figure, from the sizes of the checkpoint and of the sets of faces.
    """
    copies = 1 + len(params.batch_sizes) * (_GRAPHS + len(params.targets))
    pictures = _size(params.dataset.source) * (1 + len(params.dataset.variants))
    pictures += sum(_size(item.source) for item in params.dataset.more)
    return _size(params.model.weights) * copies + pictures * _DECODED


def _size(given: str) -> int:
    """Return the bytes of a file, a folder, or of what a word stands for."""
    path = resolve(given)
    if given in _WORDS or not path.exists():
        return _WORDS.get(given, 0)
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _check_names(params: Params) -> None:
    for target in params.targets:
        get_target(target)
    if params.reference not in params.targets:
        raise ParamsError(
            f"The reference {params.reference!r} is not one of the targets.",
            where="reference",
            fix=f"one of: {', '.join(params.targets)}",
        )
    if params.model.architecture == ONNX:
        # See that a network given as a graph is compared with something that runs graphs
        if get_target(params.reference).needs_module:
            graphs = [name for name in params.targets if not get_target(name).needs_module]
            raise ParamsError(
                f"The reference {params.reference} runs PyTorch modules, and the network is a "
                "graph.",
                where="reference",
                fix=f"set reference to {graphs[0]}"
                if graphs
                else "add onnxruntime-fp32 to targets",
            )
        if params.model.weights in ("packaged", "seeded", RECORDED):
            raise ParamsError(
                "The architecture onnx has no weights but those of its file.",
                where="model.weights",
                fix="name the .onnx file",
            )
    else:
        architecture(params.model.architecture)
    if "replay" in params.targets:
        able = get_target("replay", params.tools).available()
        if not able.ok:
            raise ParamsError(f"replay: {able.reason}.", where="tools", fix=able.remedy)
    if params.dataset.source == NO_FACES and params.dataset.more:
        raise ParamsError(
            "Further sets need a first one.",
            where="dataset.more",
            fix="name one of them as dataset.source",
        )
    for variant in params.dataset.variants:
        if variant not in VARIANTS:
            raise ParamsError(
                f"Unknown variant {variant!r}.",
                where="dataset.variants",
                fix=nearest(variant, VARIANTS),
            )


def _files(params: Params) -> list[Path]:
    weights, source = params.model.weights, params.dataset.source
    files = [] if weights in ("packaged", "seeded", RECORDED) else [resolve(weights)]
    sets = [] if source in (ORL, NO_FACES) else [source]
    sets += [item.source for item in params.dataset.more if item.source != ORL]
    return [*files, *(resolve(path) for path in sets)]


def _missing(paths: list[Path]) -> CheckpointError | DataError:
    kind = DataError if len(paths) == 1 and paths[0].suffix == ".bin" else CheckpointError
    names = {path.name for path in paths}
    hints = [
        f"{file.file}: {file.page or file.url}, see lresnet fetch {source.name}"
        for source in known_sources().values()
        for file in source.files
        if file.file in names
    ]
    return kind(
        "A file that the run needs is missing."
        if len(paths) == 1
        else f"{len(paths)} files that the run needs are missing.",
        where=", ".join(str(path) for path in paths),
        fix="put it there"
        + (f" ({'; '.join(hints)})" if hints else "")
        + ", or try params/demo.yaml, which needs no files",
    )


def _check_weights(params: Params) -> None:
    """See that the checkpoint's names and shapes fit, on a network that holds no numbers."""
    weights = params.model.weights
    if weights == "seeded":
        return
    if weights == RECORDED:
        if params.targets != ["replay"]:
            raise ParamsError(
                "Without weights only recorded results can be reported.",
                where="model.weights: recorded",
                fix="set targets: [replay] and reference: replay",
            )
        return
    if weights == "packaged":
        if params.model.architecture != "sface":
            raise ParamsError(
                "Only the sface network has packaged weights.",
                where="model.weights",
                fix="name a weights file, or 'seeded' for speed only",
            )
        return
    path = resolve(weights)
    if params.model.architecture == ONNX:
        seen = look_at(path, output=params.model.output)
        told = seen["told"]
        if seen["quantised"] and get_target(params.reference).precision == "int8":
            raise ParamsError(
                f"The graph is already quantised, and {params.reference} would quantise it again.",
                where="reference",
                fix="set reference to a target that runs it as it is, such as onnxruntime-fp32",
            )
        foreign_input(told, path.name, params.model.channel_order, params.model.normalisation)
        return
    if path.suffix == ".onnx":
        raise ParamsError(
            "An .onnx file is a whole network, not the weights of one.",
            where=f"model.weights: {weights}",
            fix="set model.architecture to onnx",
        )
    with torch.device("meta"):
        module = architecture(params.model.architecture).build()
    load_into(module, read_state_dict(path), where=str(path), assign=True)
