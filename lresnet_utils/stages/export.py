"""Stage 1: a checkpoint becomes an ONNX graph, a simplified one, and proof that they agree."""

from __future__ import annotations

import dataclasses
from typing import Any

from lresnet_utils.data.network_input import pixel_range
from lresnet_utils.data.source import ORL
from lresnet_utils.graph.face_parity import agreement, sample_batches, sample_health
from lresnet_utils.graph.inspect import summarise
from lresnet_utils.graph.parity import run_network, run_onnx
from lresnet_utils.graph.simplify import simplify_onnx
from lresnet_utils.graph.to_onnx import export_onnx
from lresnet_utils.ledger.keep import WHOLE, Parts
from lresnet_utils.machine.isolation import LimitOptions
from lresnet_utils.models.architectures import architecture as find_architecture
from lresnet_utils.models.network import Network, load_network, save_network
from lresnet_utils.run import NO_FACES, ONNX, RunFolder, resolve
from lresnet_utils.stages.foreign import MAKER, export_foreign, said_by
from lresnet_utils.stages.links import of_export

# The network ran on another machine and only its results are here, for the target `replay`.
RECORDED = "recorded"


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
    :func:`lresnet_utils.stages.foreign.export_foreign`.

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
        return run.write_record("1_export", batch_size, _recorded(architecture))
    parts = Parts(run, "1_export", batch_size, timed=False)
    spec = {"channel_order": channel_order, "normalisation": normalisation}
    how = {"dataset": dataset, "batch_size": batch_size, "seed": seed}
    packaged = weights in ("packaged", "seeded")
    made_from = {
        "network": [architecture, weights if packaged else parts.sha256(resolve(weights)), output],
        "input": spec,
        "faces": dataset if dataset in (ORL, NO_FACES) else parts.sha256(resolve(dataset)),
    }
    files = [run.network, run.onnx(batch_size), run.onnx(batch_size, simplified=True)]

    def make() -> dict[str, Any]:
        if architecture == ONNX:
            bounds = LimitOptions.from_values(limits or {})
            path = resolve(weights)
            return export_foreign(run, path, output=output, limits=bounds, **spec, **how)
        network = load_network(architecture, _weights(weights), seed=seed)
        record = _exported(run, network, input_spec(architecture, **spec), **how)
        return record | {"input_said_by": said_by(**spec, otherwise=MAKER)}

    # An adopted graph has no weights of ours beside it.
    record = parts.kept(WHOLE, made_from | how, make, lambda: [p for p in files if p.is_file()])
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
    # Compare unit embeddings of real faces along the road from PyTorch to simplified ONNX
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


def input_spec(architecture: str, channel_order: str, normalisation: str) -> dict[str, Any]:
    """Return the pixel format the network wants, ``auto`` replaced by the network's own."""
    own = find_architecture(architecture)
    return {
        "channel_order": own.channel_order if channel_order == "auto" else channel_order,
        "normalisation": own.normalisation if normalisation == "auto" else normalisation,
        "size": 112,
    }


def _recorded(architecture: str) -> dict[str, Any]:
    """Describe a network whose results were recorded elsewhere."""
    known = find_architecture(architecture)
    network = {
        "architecture": known.name,
        "source": known.source,
        "embedding_size": known.embedding_size,
        "weights": RECORDED,
        "trained": True,
    }
    spec = {"channel_order": "auto", "normalisation": "auto"}
    said = {"input_said_by": said_by(**spec, otherwise=MAKER)}
    return {"network": network, "input": input_spec(architecture, **spec), "onnx": None} | said


def _weights(weights: str) -> str:
    return weights if weights in ("packaged", "seeded") else str(resolve(weights))
