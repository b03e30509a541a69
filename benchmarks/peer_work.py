"""A network at a batch size, and one side of the benchmark: a target, its graph, how it runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lresnet_utils.data.face_set import FaceSet, open_store
from lresnet_utils.data.network_input import pixel_range, to_network_input
from lresnet_utils.data.source import ORL, build_source
from lresnet_utils.errors import LResNetError, TargetError
from lresnet_utils.graph.to_onnx import export_onnx, simplify_onnx
from lresnet_utils.ledger.entries import remembered
from lresnet_utils.models.architectures import Architecture, architecture
from lresnet_utils.models.network import PACKAGED, SEEDED, load_network, save_network
from lresnet_utils.targets.base import Artefact, ModelFiles, Target
from lresnet_utils.tuning.int8 import Calibration, choose_calibration
from lresnet_utils.tuning.search import Bench, Graphs, choose_running
from lresnet_utils.untrusted.settings import BuildOptions

OURS, PEER = "ours", "peer"
# The demo's degraded copies: int8 builds of trained networks are judged on them as well.
_VARIANTS = ("plain", "res28", "noise40")


@dataclass(frozen=True)
class Side:
    """One participant: `name` and `words` say what it is, the rest how it is made.

    `files` makes the graph when it is called, `fixed` are options of every way of running it, and
    `choice` is the record of what was chosen.
    """

    side: str
    name: str
    words: str
    target: Target
    files: Callable[[], ModelFiles]
    fixed: dict[str, Any]
    choice: dict[str, Any]

    @property
    def precision(self) -> str:
        """Precision of the layers that do nearly all of the arithmetic."""
        return self.target.precision


@dataclass(frozen=True)
class Work:
    """One network at one batch size, and how builds of it are searched for."""

    network: str
    batch_size: int
    folder: Path
    options: BuildOptions

    @property
    def known(self) -> Architecture:
        """The network's definition."""
        return architecture(self.network)

    @property
    def trained(self) -> bool:
        """Whether the weights are real ones."""
        return self.network == "sface"

    @cached_property
    def at_one(self) -> Work:
        """The same network one image at a time."""
        return self if self.batch_size == 1 else replace(self, batch_size=1)

    @property
    def place(self) -> Path:
        """Where this network's files of this batch size are."""
        return self.folder / f"{self.network}_bs{self.batch_size}"

    @cached_property
    def files(self) -> ModelFiles:
        """The exported and simplified network, made at the first use."""
        raw, simple, weights = (
            self.place / name for name in ("raw.onnx", "sim.onnx", "network.pt")
        )
        if not simple.is_file():
            network = load_network(self.network, PACKAGED if self.trained else SEEDED)
            save_network(network, weights)
            export_onnx(network.module, raw, batch_size=self.batch_size)
            simplify_onnx(raw, simple, batch_size=self.batch_size, input_range=self._pixels)
        size = self.known.embedding_size
        return ModelFiles(self.network, weights, simple, self.batch_size, size)

    @cached_property
    def graphs(self) -> Graphs:
        """The simplified graph and its rewritten forms."""
        return Graphs(self.files.onnx, self.place / "prepared", self._pixels)

    @property
    def _pixels(self) -> tuple[float, float]:
        return pixel_range(self.known.normalisation)

    @cached_property
    def faces(self) -> FaceSet:
        """The packaged ORL faces, clean and degraded."""
        folder = self.folder / "faces"
        if not (folder / "set.json").is_file():
            build_source(ORL, folder, variants=_VARIANTS)
        return open_store(folder)

    @property
    def spec(self) -> dict[str, str]:
        """How the network wants its input."""
        known = self.known
        return {"channel_order": known.channel_order, "normalisation": known.normalisation}

    @cached_property
    def calibration(self) -> Calibration:
        """The faces that every side's quantiser gets."""
        return choose_calibration(self.faces, self.options.calibration_images, **self.spec)

    @cached_property
    def bench(self) -> Bench:
        """How candidates are timed in the searches."""
        rows = np.arange(self.batch_size) % self.faces.n_images
        batch = to_network_input(np.asarray(self.faces.images()[rows]), **self.spec)
        seconds, repeats = self.options.search_seconds, self.options.search_repeats
        return Bench(batch, seconds, repeats, 0, self.place / "search")

    def remembered(
        self, what: str, target: Target, measure: Callable[[], dict[str, Any]], **more: Any
    ) -> dict[str, Any]:
        """Measure, or find what an earlier call measured on this machine."""
        key = {
            "what": what,
            "target": target.name,
            "versions": target.versions(),
            "network": self.network,
            "batch_size": self.batch_size,
            "options": self.options.model_dump(),
        }
        return remembered(self.folder / ".tuning", key | more, measure)

    def quantised(self, who: str) -> Path:
        """Return where a quantiser's files of these calibration faces go."""
        return self.place / "quantised" / f"{who}_{self.options.calibration_images}"

    def build(self, side: Side) -> tuple[Artefact, list[dict[str, Any]]]:
        """Build a side in its fastest way of running; return the ways that were tried as well."""
        try:
            files = side.files()
        except LResNetError:
            raise
        except Exception as error:  # quantisers raise anything; the other sides must go on
            raise TargetError(f"{side.name} cannot prepare its graph: {error}.") from error
        tried = []
        if len(side.target.running_options(self.bench.cores)) > 1:
            tried = self.remembered(
                "running",
                side.target,
                lambda: choose_running(side.target, files, side.fixed, self.bench),
                side=side.name,
                choice=side.choice,
            )["candidates"]
        # A run keeps the default unless another way is surely faster. Here every side gets its best
        # mean, since a peer may not be held back by the doubt of a short search, nor may we.
        able = [way for way in tried if way["throughput_ips"]]
        best = max(able, key=lambda way: way["throughput_ips"]["value"], default={"options": {}})
        for way in tried:
            way["chosen"] = way is best
        place = self._builds / f"{side.side}_{side.name.replace(' ', '-').lower()}"
        return side.target.build(files, place, running=side.fixed | best["options"]), tried

    @property
    def _builds(self) -> Path:
        return self.place / "builds"

    def forget_builds(self) -> None:
        """Remove all builds of this network and batch size; those of IR-SE100 take gigabytes."""
        for folder in (self._builds, self.bench.folder):
            shutil.rmtree(folder, ignore_errors=True)
