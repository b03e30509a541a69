"""What a weights file or an ONNX file is, and what a params file must say about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from lresnet_utils.errors import one_line
from lresnet_utils.models.architectures import ARCHITECTURES
from lresnet_utils.models.checkpoint import fitting_architectures, read_checkpoint
from lresnet_utils.stages.foreign import look_at

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
        return _graph(look_at(path, output=output), path, output)
    checkpoint = read_checkpoint(path)
    fitting = fitting_architectures(checkpoint.state)
    lines = [f"{path.name}: {len(checkpoint.state)} tensors"]
    if checkpoint.ignored:
        more = ", ..." if len(checkpoint.ignored) > _SHOWN else ""
        lines.append(f"  left out      {_named(checkpoint.ignored[:_SHOWN])}{more}")
    if not fitting:
        return [*lines, "  They fit no network known here; docs/add_a_network.md says what to do."]
    lines += _inputs(fitting)
    said = {"architecture": " or ".join(fitting), "weights": str(path)}
    return [*lines, "model:", *(_yaml(*item) for item in said.items())]


def _inputs(fitting: list[str]) -> list[str]:
    """Say which input is assumed of these architectures, and whose weights want another."""
    known = [ARCHITECTURES[name] for name in fitting]
    assumed = dict.fromkeys(f"{k.channel_order.upper()}, {k.normalisation}" for k in known)
    lines = [
        f"  input         {' or '.join(assumed)}, as its maker trained it; 5_evaluate tests it"
    ]
    others = dict.fromkeys(other for k in known for other in k.others)
    return lines + [
        f"  but           {maker}'s weights have the same names: for them set "
        f"channel_order: {order}, normalisation: {scale}"
        for maker, order, scale in others
    ]


def _graph(seen: dict[str, Any], path: Path, output: str) -> list[str]:
    told, size = seen["told"], seen["batch"]
    batch = "any batch size" if size is None else f"batches of {size}"
    quantised = seen["quantised"]
    repairs = [f"{name} ({count})" for name, count in seen["repairs"].items()]
    lines = [
        f"{path.name}: an ONNX graph, opset {seen['opset']}, {seen['n_parameters']:,} parameters",
        *([_quantised(quantised)] if quantised else []),
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


def _quantised(found: dict[str, Any]) -> str:
    return (
        f"  quantised     {found['what']} already, in {', '.join(found['types'])}; "
        "int8 targets cannot quantise it again"
    )


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
