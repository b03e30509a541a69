"""PyTorch as its users run it: eager mode, fp32, on the CPU."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lresnet_utils.errors import TargetError
from lresnet_utils.machine.disk import read_json, sha256_file, to_json
from lresnet_utils.targets.base import Artefact, Availability, ModelFiles, Target, importable
from lresnet_utils.targets.session import Session

if TYPE_CHECKING:
    import torch
    from torch import nn

# Numbers of the two options in glibc's malloc.h, and one GiB in bytes.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP_UP_TO = 2**30


class TorchTarget(Target):
    """The network as the ``nn.Module`` it is; the reference the other targets are compared with.

    There is nothing to compile, so the artefact is a small file that names the weights, relative
    to itself, and their hash.
    """

    runtime = "torch"
    distribution = "torch"
    suffix = ".json"
    repeatable = True
    needs_module = True

    def available(self) -> Availability:
        """Say whether PyTorch can be imported."""
        return importable("torch", "torch")

    def sources(self, files: ModelFiles) -> tuple[Path, ...]:
        """Return the weights: no graph is needed."""
        return (files.weights,)

    def _options(self) -> dict[str, Any]:
        return {
            "mode": "eager",
            "memory_format": "channels_last",
            "allocator": "keeps freed memory",
        }

    def _build(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        content = {
            "architecture": files.architecture,
            "weights": Path(os.path.relpath(files.weights, path.parent)).as_posix(),
            "weights_sha256": sha256_file(files.weights),
        }
        path.write_text(to_json(content) + "\n", encoding="utf-8")

    def _load(self, artefact: Artefact) -> Session:
        return TorchSession(restored(artefact.path), artefact.options)


def restored(path: Path) -> nn.Module:
    """Return the network that a build's file names.

    Raises
    ------
    TargetError
        When its weights are gone or were changed.
    """
    from lresnet_utils.models.network import restore_network

    content = read_json(path)
    weights = path.parent / content["weights"]
    if not weights.is_file() or sha256_file(weights) != content["weights_sha256"]:
        raise TargetError(
            "The network's weights are gone or were changed since the build.",
            where=str(weights),
            fix="run 1_export and 2_compile again",
        )
    return restore_network(content["architecture"], weights)


class TorchSession(Session):
    """A module in evaluation mode, run without autograd.

    Parameters
    ----------
    module : nn.Module
        Takes (batch, 3, 112, 112) and gives (batch, embedding_size).
    options : dict
        The artefact's options.
    """

    def __init__(self, module: nn.Module, options: dict[str, Any]) -> None:
        import torch

        super().__init__(options["batch_size"], options["embedding_size"])
        self._torch = torch
        self._threads = options["threads"]
        self._module = module.eval().to(memory_format=torch.channels_last)
        _keep_freed_memory()

    def _run(self, batch: np.ndarray) -> np.ndarray:
        torch = self._torch
        # The number is one for the whole process, so another session may have changed it.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            images = torch.from_numpy(batch).to(memory_format=torch.channels_last)
            features = self._forward(images).contiguous().numpy()
        return features

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._module(images)

    def _free(self) -> None:
        """Let go of the module."""
        self._module = None


def _keep_freed_memory() -> None:
    """Ask the C library to keep what is freed, as PyTorch's tuning guide does with jemalloc.

    Eager mode allocates every layer's output anew. By default glibc returns such large blocks to
    the system, which hands them out again page by page, zeroed: tens of thousands of page faults
    per batch of 16, and about a third of the time.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return
    set_option(_M_MMAP_THRESHOLD, _KEEP_UP_TO)
    set_option(_M_TRIM_THRESHOLD, _KEEP_UP_TO)
