"""Everything that can be refused before work starts, refused before work starts."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch
import yaml

from lresnet_utils.data.collection import PAIR_WORDS
from lresnet_utils.data.degrade import VARIANTS
from lresnet_utils.data.known_sets import known_sources
from lresnet_utils.data.source import ORL, check_source
from lresnet_utils.errors import (
    CheckpointError,
    DataError,
    ParamsError,
    nearest,
    one_line,
    print_line,
)
from lresnet_utils.machine.disk import require_free
from lresnet_utils.models.architectures import ARCHITECTURES, architecture
from lresnet_utils.models.checkpoint import (
    fitting_architectures,
    load_into,
    read_checkpoint,
)
from lresnet_utils.params import Params
from lresnet_utils.run import NO_FACES, ONNX, RunFolder, resolve
from lresnet_utils.running.plan import parameter_names, phases
from lresnet_utils.stages.export import RECORDED, foreign_input, look_at
from lresnet_utils.targets import get_target
from lresnet_utils.verify.scored_pairs import threshold_of

# Graphs of one batch size: as exported, simplified, and two rewritten forms.
_GRAPHS = 4
# What a JPEG picture of a face grows by when it is decoded.
_DECODED = 10
# Bytes of the packaged weights and faces; seeded weights are those of the largest network.
_WORDS = {"packaged": 40_000_000, "seeded": 300_000_000, "recorded": 0, ORL: 2_000_000, NO_FACES: 0}


def check(params: Params, run: RunFolder) -> None:
    """Refuse what cannot work: names, files, weights, data, the room on the disk.

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
    weights, faces = params.model.weights, [params.dataset, *params.dataset.more]
    named = [] if weights in ("packaged", "seeded", RECORDED) else [weights]
    named += [item.source for item in faces if item.source not in (ORL, NO_FACES)]
    missing = [path for path in map(resolve, named) if not path.exists()]
    if missing:
        names = {path.name for path in missing}
        hints = [
            f"{file.file}: {file.page or file.url}, see lresnet fetch {source.name}"
            for source in known_sources().values()
            for file in source.files
            if file.file in names
        ]
        one = len(missing) == 1
        kind = DataError if one and missing[0].suffix == ".bin" else CheckpointError
        raise kind(
            "A file that the run needs is missing."
            if one
            else f"{len(missing)} files that the run needs are missing.",
            where=", ".join(str(path) for path in missing),
            fix="put it there"
            + (f" ({'; '.join(hints)})" if hints else "")
            + ", or try params/demo.yaml, which needs no files",
        )
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


def check_sets(params: Params) -> None:
    """Refuse sets whose lists, labels or files do not fit; warn where much would be passed over."""
    if params.dataset.source == NO_FACES:
        return
    for given in (params.dataset, *params.dataset.more):
        # See that a set's lists, labels and files are there and fit together.
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
    targets = [get_target(name, params.tools) for name in params.targets]
    if params.reference not in params.targets:
        raise ParamsError(
            f"The reference {params.reference!r} is not one of the targets.",
            where="reference",
            fix=f"one of: {', '.join(params.targets)}",
        )
    if params.model.architecture == ONNX:
        # See that a network given as a graph is compared with something that runs graphs.
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
    for target in targets:
        if target.recorded and not (able := target.available()).ok:
            raise ParamsError(f"{target.name}: {able.reason}.", where="tools", fix=able.remedy)
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


def _check_weights(params: Params) -> None:
    """See that the checkpoint's names and shapes fit, on a network that holds no numbers."""
    weights = params.model.weights
    if weights == "seeded":
        return
    if weights == RECORDED:
        if not all(get_target(name).recorded for name in params.targets):
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
    load_into(module, read_checkpoint(path).state, where=str(path))


# What a weights file or an ONNX file is, and what a params file must say about it.

_SHOWN = 6
_LONGEST = 100


def inspect_file(path: Path | str, *, output: str = "auto") -> list[str]:
    """Describe a file in a few lines, the last of which can be pasted into a params file.

    Parameters
    ----------
    path : path
        A checkpoint, a TorchScript or safetensors file, or an ``.onnx`` file.
    output : str
        Of an ``.onnx`` file with several outputs, the embedding's name.

    Raises
    ------
    CheckpointError, GraphError
        When the file cannot be used; the message says what to do.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        seen = look_at(path, output=output)
        told, size = seen["told"], seen["batch"]
        batch = "any batch size" if size is None else f"batches of {size}"
        quantised = seen["quantised"]
        repairs = [f"{name} ({count})" for name, count in seen["repairs"].items()]
        told_quantised = quantised and (
            f"  quantised     {quantised['what']} already, in {', '.join(quantised['types'])}; "
            "int8 targets cannot quantise it again"
        )
        lines = [
            f"{path.name}: an ONNX graph, opset {seen['opset']}, "
            f"{seen['n_parameters']:,} parameters",
            *([told_quantised] if quantised else []),
            f"  input         {_named([seen['input']])}, {seen['layout'].upper()}, "
            f"{seen['input_type']}, {batch}",
            f"  output        {_named([seen['output']])}",
            f"  pixels        {one_line(told['because'])}",
            f"  repairs       {_named(repairs) or 'none needed'}",
            "model:",
            "  architecture: onnx",
            _yaml("weights", str(path)),
            "  channel_order: bgr  # or rgb: it exchanges them; 5_evaluate tests it"
            if told["exchanged"]
            else "  channel_order: rgb  # or bgr: no graph tells; 5_evaluate tests it",
        ]
        if not told["followed"]:
            lines.append("  # normalisation: as its maker scaled the pixels; 5_evaluate tests it")
        elif told["normalisation"] is None:
            lines.append("  normalisation: minus1_1  # or as its maker scaled the pixels")
        if output != "auto":
            lines.append(_yaml("output", output))
        return lines
    checkpoint = read_checkpoint(path)
    fitting = fitting_architectures(checkpoint.state)
    lines = [f"{path.name}: {len(checkpoint.state)} tensors"]
    if checkpoint.ignored:
        more = ", ..." if len(checkpoint.ignored) > _SHOWN else ""
        lines.append(f"  left out      {_named(checkpoint.ignored[:_SHOWN])}{more}")
    if not fitting:
        return [*lines, "  They fit no network known here; docs/add_a_network.md says what to do."]
    # Which input is assumed of these architectures, and whose weights want another.
    known = [ARCHITECTURES[name] for name in fitting]
    assumed = dict.fromkeys(f"{k.channel_order.upper()}, {k.normalisation}" for k in known)
    lines.append(
        f"  input         {' or '.join(assumed)}, as its maker trained it; 5_evaluate tests it"
    )
    lines += dict.fromkeys(
        f"  but           {maker}'s weights have the same names: for them set "
        f"channel_order: {order}, normalisation: {scale}"
        for k in known
        for maker, order, scale in k.others
    )
    said = {"architecture": " or ".join(fitting), "weights": str(path)}
    return [*lines, "model:", *(_yaml(*item) for item in said.items())]


def _named(names: list[str]) -> str:
    """Return names of a file in one line, each cut where it is very long."""
    return ", ".join(one_line(name, _LONGEST) for name in names)


def _yaml(key: str, value: str) -> str:
    """Return a line of a params file that reads back as exactly this value."""
    # Quoted, whatever a terminal would obey becomes an escape, a line's end too.
    style = None if re.fullmatch(r"[A-Za-z/][\w/.-]*", value) else '"'
    readable = one_line(value, len(value)) == value
    text = yaml.safe_dump(value, default_style=style, allow_unicode=readable, width=float("inf"))
    return f"  {key}: {text.splitlines()[0]}"
