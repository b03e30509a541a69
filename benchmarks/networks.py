"""Every known network along its whole road, at batch sizes 1 and 16, against PyTorch.

For each network a checkpoint with its true names and shapes and seeded values is written, read
back, exported, simplified, prepared by every rewrite that fits, built for ONNX Runtime and OpenVINO
in fp32, and run on faces of the demo set. ``python benchmarks/networks.py`` prints a table of the
largest difference of a component of the unit embeddings from PyTorch, and with ``--json FILE``
writes it. About 15 minutes on two cores; ``--networks mobilefacenet`` for a part.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lresnet_utils.data.network_input import pixel_range, to_network_input
from lresnet_utils.data.source import ORL, sample_faces
from lresnet_utils.graph.parity import run_network
from lresnet_utils.graph.rewrite import prepare_onnx
from lresnet_utils.graph.to_onnx import export_onnx, simplify_onnx
from lresnet_utils.models.architectures import ARCHITECTURES, architecture
from lresnet_utils.models.network import load_network, save_network, seeded_state_dict
from lresnet_utils.targets import get_target
from lresnet_utils.targets.base import ModelFiles
from lresnet_utils.verify.scores import unit_rows

TARGETS = ("onnxruntime-fp32", "openvino-fp32")
BATCH_SIZES = (1, 16)
LIMIT = 1e-5


def write_checkpoint(name: str, path: Path, seed: int = 0) -> Path:
    """Write seeded weights as data-parallel training would, under the published names."""
    with torch.device("meta"):
        module = architecture(name).build()
    state = seeded_state_dict(module, seed=seed)
    torch.save({f"module.{key}": tensor for key, tensor in state.items()}, path)
    return path


def road(name: str, batch_size: int, folder: Path) -> dict[str, Any]:
    """Take one network along its road; return how far each build is from PyTorch."""
    known = architecture(name)
    checkpoint = write_checkpoint(name, folder / "checkpoint.pth")
    network = load_network(name, checkpoint)
    checkpoint.unlink()
    weights = save_network(network, folder / "network.pt")
    pixels = pixel_range(known.normalisation)
    raw = export_onnx(network.module, folder / "raw.onnx", batch_size=batch_size)
    simple, prepared = folder / "simple.onnx", folder / "prepared.onnx"
    simplified = simplify_onnx(raw, simple, batch_size=batch_size, input_range=pixels, checks=1)
    raw.unlink()
    rewritten = prepare_onnx(simple, prepared, input_range=pixels)
    faces = to_network_input(
        sample_faces(ORL, batch_size),
        channel_order=known.channel_order,
        normalisation=known.normalisation,
    )
    expected = unit_rows(run_network(network.module, faces))
    files = ModelFiles(name, weights, simple, batch_size, known.embedding_size, prepared)
    found = {}
    for target in map(get_target, TARGETS):
        artefact = target.build(files, folder / target.name)
        with target.load(artefact) as session:
            found[target.name] = float(np.abs(unit_rows(session.infer(faces)) - expected).max())
    return {
        "network": name,
        "batch_size": batch_size,
        "parameters": network.n_parameters,
        "simplified": simplified.max_abs_difference,
        "prepared": rewritten.max_abs_difference,
        **found,
    }


def main() -> None:
    """Run the matrix, print it, and end with status 1 when something is beyond the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=list(ARCHITECTURES))
    parser.add_argument("--batch-sizes", nargs="*", type=int, default=list(BATCH_SIZES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    print("| network | batch | parameters | " + " | ".join(TARGETS) + " | seconds |")
    print("|---|---|---|" + "---|" * len(TARGETS) + "---|")
    for name in options.networks:
        for batch_size in options.batch_sizes:
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                row = road(name, batch_size, Path(folder))
            row["seconds"] = round(time.perf_counter() - started, 1)
            rows.append(row)
            cells = " | ".join(f"{row[target]:.1e}" for target in TARGETS)
            print(
                f"| {name} | {batch_size} | {row['parameters']:,} | {cells} | {row['seconds']} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    raise SystemExit(any(row[target] > LIMIT for row in rows for target in TARGETS))


if __name__ == "__main__":
    main()
