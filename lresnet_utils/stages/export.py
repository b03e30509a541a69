"""Stage 1: a checkpoint becomes an ONNX graph, a simplified one, and proof that they agree."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.data.network_input import IMAGE_SIZE, pixel_range, to_network_input
from lresnet_utils.data.packaged import DISTRIBUTIONS
from lresnet_utils.data.source import ORL, sample_faces
from lresnet_utils.errors import GraphError, ParamsError, TargetError
from lresnet_utils.graph.adopt import Foreign, adopt_onnx, baseline, open_foreign
from lresnet_utils.graph.inspect import summarise
from lresnet_utils.graph.parity import (
    agreement,
    run_network,
    run_onnx,
    sample_health,
)
from lresnet_utils.graph.reading import DO_NOT_USE, external_files
from lresnet_utils.graph.to_onnx import export_onnx, simplify_onnx
from lresnet_utils.ledger.custody import Link, given, made
from lresnet_utils.ledger.entries import WHOLE, Ledger
from lresnet_utils.machine.isolation import LimitOptions, apart
from lresnet_utils.models.architectures import architecture as find_architecture
from lresnet_utils.models.network import Network, load_network, save_network
from lresnet_utils.run import NO_FACES, ONNX, RunFolder, resolve
from lresnet_utils.text.language import message

# The network ran on another machine and only its results are here, for the target `replay`.
RECORDED = "recorded"
# Enough faces to see a wrong layer, few enough that batch size 1 stays quick.
PARITY_FACES = 16


def export(
    run: RunFolder,
    *,
    architecture: str,
    weights: str,
    channel_order: str = "auto",
    normalisation: str = "auto",
    dataset: str = "orl",
    batch_size: int = 16,
    output: str = "auto",
    seed: int = 0,
    limits: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Export a network for one batch size, simplify it, and measure that all three agree.

    A network that is given as an ONNX file is adopted instead; see
    :func:`lresnet_utils.stages.export.export_foreign`.

    Parameters
    ----------
    run : RunFolder
        Gets ``network.pt``, ``model.onnx``, ``model_sim.onnx`` and the record ``1_export.json``.
    architecture, weights, channel_order, normalisation, dataset, batch_size, \
    output, seed, limits
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    dict
        The stage's record: network, both graphs' summaries, the simplifier's check, the
        agreement of PyTorch, ONNX and simplified ONNX on real faces, what those embeddings are
        worth, and the chain of custody.
        With weights ``recorded`` there is no graph here, and the record holds the network's
        description alone.
    """
    if weights == RECORDED:
        # Describe a network whose results were recorded elsewhere.
        known = find_architecture(architecture)
        network = {
            "architecture": known.name,
            "source": known.source,
            "embedding_size": known.embedding_size,
            "weights": RECORDED,
            "trained": True,
        }
        spec = {"channel_order": "auto", "normalisation": "auto"}
        record = {"network": network, "input": input_spec(architecture, **spec), "onnx": None}
        record |= {"input_said_by": said_by(**spec, otherwise=MAKER)}
        return run.write_record("1_export", batch_size, record)
    ledger = Ledger.of_stage(run, "1_export", batch_size, timed=False)
    spec = {"channel_order": channel_order, "normalisation": normalisation}
    how = {"dataset": dataset, "batch_size": batch_size, "seed": seed}
    packaged = weights in ("packaged", "seeded")
    made_from = {
        "network": [architecture, weights if packaged else ledger.sha256(resolve(weights)), output],
        "input": spec,
        "faces": dataset if dataset in (ORL, NO_FACES) else ledger.sha256(resolve(dataset)),
    }
    files = [run.network, run.onnx(batch_size), run.onnx(batch_size, simplified=True)]

    def make() -> dict[str, Any]:
        if architecture == ONNX:
            bounds = LimitOptions.from_values(limits or {})
            path = resolve(weights)
            return export_foreign(run, path, output=output, limits=bounds, **spec, **how)
        network = load_network(
            architecture, weights if packaged else str(resolve(weights)), seed=seed
        )
        record = _exported(run, network, input_spec(architecture, **spec), **how)
        return record | {"input_said_by": said_by(**spec, otherwise=MAKER)}

    # An adopted graph has no weights of ours beside it.
    record = ledger.kept(WHOLE, made_from | how, make, lambda: [p for p in files if p.is_file()])
    return run.write_record("1_export", batch_size, record)


def _exported(
    run: RunFolder,
    network: Network,
    spec: dict[str, Any],
    *,
    dataset: str,
    batch_size: int,
    seed: int,
) -> dict[str, Any]:
    """Write the network and both graphs; return the stage's record."""
    save_network(network, run.network)
    raw = export_onnx(network.module, run.onnx(batch_size), batch_size=batch_size)
    simple = run.onnx(batch_size, simplified=True)
    # Pixels outside the range the network knows would hide a wrong channel.
    pixels = pixel_range(spec["normalisation"])
    check = simplify_onnx(raw, simple, batch_size=batch_size, input_range=pixels, seed=seed)
    # Compare unit embeddings of real faces along the road from PyTorch to simplified ONNX.
    batches = sample_batches(dataset, spec, batch_size)
    given = run_network(network.module, batches)
    outputs = {
        "PyTorch": given,
        # Left to itself, ONNX Runtime would make the simplifier's folds in both graphs.
        "ONNX": run_onnx(raw, batches, as_written=True),
        "simplified ONNX": run_onnx(simple, batches),
    }
    record = {
        "network": {
            "architecture": network.architecture.name,
            "source": network.architecture.source,
            "embedding_size": network.architecture.embedding_size,
            "weights": network.weights,
            "weights_sha256": network.sha256,
            "trained": network.trained,
            "n_parameters": network.n_parameters,
            "ignored": list(network.ignored),
        },
        "input": spec,
        "seed": seed,
        "onnx": dataclasses.asdict(summarise(raw)),
        "simplified": dataclasses.asdict(summarise(simple)),
        "simplify": dataclasses.asdict(check),
    } | {"parity": agreement(outputs), "embeddings": sample_health(given, raw, batches)}
    return record | {"custody": of_export(run, batch_size, record)}


def sample_batches(dataset: str, spec: Mapping[str, Any], batch_size: int) -> np.ndarray:
    """Return the first faces of a set as network input.

    Parameters
    ----------
    dataset : str
        As ``dataset.source`` of :class:`lresnet_utils.params.Params`; the packaged faces serve a
        run that needs none of its own.
    spec : mapping
        ``channel_order``, ``normalisation`` and ``size`` that the network wants.
    batch_size : int
        Images per run.

    Returns
    -------
    float32 array, shape (n, batch_size, 3, size, size)
    """
    n = -(-PARITY_FACES // batch_size) * batch_size
    source = ORL if dataset in (ORL, NO_FACES) else str(resolve(dataset))
    return to_network_input(
        sample_faces(source, n),
        channel_order=spec["channel_order"],
        normalisation=spec["normalisation"],
    ).reshape(-1, batch_size, 3, spec["size"], spec["size"])


def input_spec(architecture: str, channel_order: str, normalisation: str) -> dict[str, Any]:
    """Return the pixel format the network wants, ``auto`` replaced by the network's own."""
    own = find_architecture(architecture)
    return {
        "channel_order": own.channel_order if channel_order == "auto" else channel_order,
        "normalisation": own.normalisation if normalisation == "auto" else normalisation,
        "size": 112,
    }


def of_export(run: RunFolder, batch_size: int, record: Mapping[str, Any]) -> list[Link]:
    """Return the links from a checkpoint to the simplified graph."""
    network = record["network"]
    checkpoint = message("{weights} (checkpoint)", weights=network["weights"])
    raw, simple = run.onnx(batch_size), run.onnx(batch_size, simplified=True)
    shape = {"batch_size": batch_size, "opset": record["onnx"]["opset"]}
    return [
        given(checkpoint, network["weights_sha256"], architecture=network["architecture"]),
        made(
            run,
            run.network,
            [checkpoint],
            tools=("torch", *DISTRIBUTIONS.get(network["weights"], ())),
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
    file = message("{weights} (graph)", weights=network["weights"])
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


# Stage 1 for an ONNX file of another maker: understood, repaired, fitted, and compared.
#
# Whatever reads or runs such a file does it in a process of its own: what libraries make of a graph
# is theirs, and a loop in it need not end.

AUTO = "auto"
PARAMS, GRAPH, MAKER = "params", "graph", "maker"

# To read a file takes five times its size beside the libraries' 0.35 GiB, and seconds rather than
# minutes; the fixed part keeps what swells out of a small file below 1 GB.
_READING_S = 300
_READING_GIB = 0.7
_READING_TIMES = 8


def look_at(path: Path, *, output: str) -> dict[str, Any]:
    """Say what an ONNX file is, as read in a process of its own.

    Parameters
    ----------
    path : Path
    output : str
        As ``model.output`` of :class:`lresnet_utils.params.Params`.

    Returns
    -------
    dict
        ``input``, ``output``, ``layout``, ``input_type`` and ``batch``; ``told``, ``repairs``,
        ``opset``, ``n_parameters`` and ``quantised``.

    Raises
    ------
    GraphError
        When it cannot be read, or to read it takes too long or too much memory.
    """
    size = sum(file.stat().st_size for file in (path, *external_files(path)) if file.exists())
    memory = _READING_GIB + _READING_TIMES * size / 2**30
    limits = LimitOptions(seconds=_READING_S, memory_gib=memory)
    with tempfile.TemporaryDirectory() as folder:
        how = {"limits": limits, "log": Path(folder) / "read.log", "doing": "reading the graph"}
        return _apart(path, DO_NOT_USE, _seen, path, output, **how)


def _apart(
    path: Path, fix: str, work: Callable[..., dict[str, Any]], *arguments: Any, **how: Any
) -> dict[str, Any]:
    """Do work on a file apart; what becomes of the process is told as the file's fault."""
    try:
        return apart(work, *arguments, **how)
    except TargetError as error:
        raise GraphError(error.what, where=str(path), fix=fix) from error


def _seen(path: Path, output: str) -> dict[str, Any]:
    foreign = open_foreign(path, output=output)
    about = {"opset": foreign.file.opset, "repairs": foreign.repairs}
    return _told(foreign) | about | _weights_of(foreign)


def foreign_input(
    told: Mapping[str, Any], name: str, channel_order: str, normalisation: str
) -> dict[str, Any]:
    """Return the pixel format of a file, from the params and from what the graph tells.

    Parameters
    ----------
    told : mapping
        What the graph tells of its pixels: ``normalisation`` and ``because``.
    name : str
        The file's.
    channel_order, normalisation : str
        As declared in :class:`lresnet_utils.params.ModelParams`.

    Raises
    ------
    ParamsError
        When the graph does not tell and the params do not say, or when they contradict each other.
    """
    known, because, where = told["normalisation"], told["because"], f"model.weights: {name}"
    if channel_order == AUTO:
        raise ParamsError(
            "A graph does not tell the channel order it was trained on.",
            where=where,
            fix="set model.channel_order to rgb (most networks) or bgr; 5_evaluate tests it",
        )
    if normalisation == AUTO and known is None:
        raise ParamsError(
            f"How pixels must be scaled cannot be read from the graph: {because}.",
            where=where,
            fix="set model.normalisation as its maker scaled them: minus1_1"
            f"{' (most)' if told['followed'] else ''}, centred_128, zero_1 or raw",
        )
    if normalisation not in (AUTO, known or normalisation):
        raise ParamsError(
            f"The graph takes pixels scaled {known}: {because}.",
            where=f"model.normalisation: {normalisation}",
            fix="leave model.normalisation out, or set it to auto",
        )
    return {
        "channel_order": channel_order,
        "normalisation": known if normalisation == AUTO else normalisation,
        "size": IMAGE_SIZE,
    }


def said_by(channel_order: str, normalisation: str, otherwise: str) -> dict[str, str]:
    """Return who said what the pixels must be: "params", or `otherwise` where those are silent.

    Examples
    --------
    >>> said_by("bgr", "auto", otherwise="graph")
    {'channel_order': 'params', 'normalisation': 'graph'}
    """
    given = {"channel_order": channel_order, "normalisation": normalisation}
    return {key: otherwise if value == AUTO else PARAMS for key, value in given.items()}


def export_foreign(
    run: RunFolder,
    path: Path,
    *,
    output: str,
    channel_order: str,
    normalisation: str,
    dataset: str,
    batch_size: int,
    seed: int,
    limits: LimitOptions,
) -> dict[str, Any]:
    """Adopt an ONNX file for one batch size, simplify it, and measure that all three agree.

    Parameters
    ----------
    run : RunFolder
        Gets ``model.onnx`` (the adopted graph) and ``model_sim.onnx``.
    path : path
        The file.
    output, channel_order, normalisation, dataset, batch_size, seed
        As declared in :class:`lresnet_utils.params.Params`.
    limits : LimitOptions
        What all of it may take.

    Returns
    -------
    dict
        The record of ``1_export``, with ``foreign``: what the file is, what was changed, and how
        the adopted graph was compared with it.
    """
    spec = {"output": output, "channel_order": channel_order, "normalisation": normalisation}
    log = run.batch(batch_size) / "models" / "adopt.log"
    fix = "raise limits.seconds or limits.memory_gib if you know the file's source"
    how = {"limits": limits, "log": log, "doing": "adopting the graph"}
    return _apart(path, fix, _adopted, run, path, spec, dataset, batch_size, seed, **how)


def _adopted(
    run: RunFolder, path: Path, spec: dict[str, str], dataset: str, batch_size: int, seed: int
) -> dict[str, Any]:
    foreign = open_foreign(path, output=spec["output"])
    told = dataclasses.asdict(foreign.told)
    said = said_by(spec["channel_order"], spec["normalisation"], GRAPH)
    spec = foreign_input(told, path.name, spec["channel_order"], spec["normalisation"])
    pixels = pixel_range(spec["normalisation"])
    raw, simple = run.onnx(batch_size), run.onnx(batch_size, simplified=True)
    adopted = adopt_onnx(foreign, raw, batch_size=batch_size, input_range=pixels, seed=seed)
    check = simplify_onnx(raw, simple, batch_size=batch_size, input_range=pixels, seed=seed)
    proto = foreign.file.model
    producer = f"{proto.producer_name} {proto.producer_version}".strip() or "an unknown exporter"
    # Compare unit embeddings of real faces: the file, the adopted graph, the simplified one.
    batches = sample_batches(dataset, spec, batch_size)
    given = baseline(foreign, np.concatenate(list(batches)))[0]
    outputs = {
        "the file": given,
        "ONNX": run_onnx(raw, batches, as_written=True),
        "simplified ONNX": run_onnx(simple, batches),
    }
    record = {
        "network": (
            {
                "architecture": ONNX,
                "source": message(
                    "a graph of {producer}, opset {opset}",
                    producer=producer,
                    opset=foreign.file.opset,
                ),
                "embedding_size": adopted.embedding_size,
                "weights": foreign.file.path.name,
                "weights_sha256": foreign.file.sha256,
                "trained": True,
                "ignored": [],
            }
            | _weights_of(foreign)
        ),
        "input": spec,
        "input_said_by": said,
        "seed": seed,
        "foreign": _told(foreign) | dataclasses.asdict(adopted),
        "onnx": dataclasses.asdict(summarise(raw)),
        "simplified": dataclasses.asdict(summarise(simple)),
        "simplify": dataclasses.asdict(check),
    } | {"parity": agreement(outputs), "embeddings": sample_health(given, raw, batches)}
    return record | {"custody": of_foreign(run, batch_size, record)}


def _weights_of(foreign: Foreign) -> dict[str, Any]:
    """Return how many numbers are stored as weights, and what of the graph is quantised."""
    found = foreign.quantised
    quantised = found and dataclasses.asdict(found) | {"precision": found.precision}
    return {"n_parameters": foreign.n_parameters, "quantised": quantised}


def _told(foreign: Foreign) -> dict[str, Any]:
    ports = foreign.ports
    return {
        "input": ports.input,
        "output": ports.output,
        "layout": ports.layout,
        "input_type": ports.input_type.name.lower(),
        "batch": ports.batch,
        "told": dataclasses.asdict(foreign.told),
    }
