"""PyTorch as its users run it: eager mode, fp32, on the CPU."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lresnet_utils.errors import TargetError
from lresnet_utils.ledger.hashes import seal
from lresnet_utils.machine.disk import read_json, sha256_file, to_json, write_json
from lresnet_utils.machine.facts import bf16_instructions, no_bf16
from lresnet_utils.targets.base import (
    IMAGE_SHAPE,
    REBUILD,
    Artefact,
    Availability,
    Look,
    ModelFiles,
    Session,
    Target,
    importable,
    require_unchanged,
)
from lresnet_utils.text.language import message

if TYPE_CHECKING:
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
    look = Look("#0770d3", "o", "-")
    repeatable = True
    needs_module = True

    def available(self) -> Availability:
        """Say whether PyTorch can be imported."""
        return importable("torch", "torch")

    def sources(self, files: ModelFiles) -> tuple[Path, ...]:
        """Return the weights: no graph is needed."""
        return (files.weights,)

    def options(self) -> dict[str, Any]:
        return {
            "mode": "eager",
            "memory_format": "channels_last",
            "allocator": "keeps freed memory",
        }

    def write(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        content = {
            "architecture": files.architecture,
            "weights": Path(os.path.relpath(files.weights, path.parent)).as_posix(),
            "weights_sha256": sha256_file(files.weights),
        }
        path.write_text(to_json(content) + "\n", encoding="utf-8")

    def open(self, artefact: Artefact) -> Session:
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
    what = "The network's weights are gone or were"
    require_unchanged(weights, content["weights_sha256"], what)
    return restore_network(content["architecture"], weights)


class TorchSession(Session):
    """A module in evaluation mode, run without autograd.

    Parameters
    ----------
    module : nn.Module
        Takes (batch, 3, 112, 112) and gives (batch, embedding_size).
    options : dict
        The artefact's options; ``autocast``, where there is one, says whether to compute in bf16
        where it is safe.
    """

    def __init__(self, module: nn.Module, options: dict[str, Any]) -> None:
        import torch

        super().__init__(options["batch_size"], options["embedding_size"])
        self._torch = torch
        self._threads = options["threads"]
        self._autocast = options.get("autocast", False)
        self._module = module.eval().to(memory_format=torch.channels_last)
        # Ask the C library to keep what is freed, as PyTorch's tuning guide does with jemalloc.
        # Eager mode allocates every layer's output anew. By default glibc returns such large
        # blocks to the system, which hands them out again page by page, zeroed: tens of thousands
        # of page faults per batch of 16, and about a third of the time.
        # It may be another C library, or Windows.
        with contextlib.suppress(AttributeError, OSError, TypeError):
            set_option = ctypes.CDLL(None).mallopt
            set_option(_M_MMAP_THRESHOLD, _KEEP_UP_TO)
            set_option(_M_TRIM_THRESHOLD, _KEEP_UP_TO)

    def compile(self, folder: Path) -> None:
        """Compile now rather than at the first batch, by running one of zeros.

        Inductor takes what it finds of its code in `folder`, and keeps the rest there.
        """
        # Weights become constants of the code, which lets it convert and reorder them once.
        self._module = self._torch.compile(self._module, options={"freezing": True})
        before = os.environ.get(_CACHE_VARIABLE)
        os.environ[_CACHE_VARIABLE] = str(folder.resolve())
        try:
            self.infer(np.zeros((self.batch_size, *IMAGE_SHAPE), np.float32))
        finally:
            if before is None:
                del os.environ[_CACHE_VARIABLE]
            else:
                os.environ[_CACHE_VARIABLE] = before

    def run(self, batch: np.ndarray) -> np.ndarray:
        torch = self._torch
        # The number is one for the whole process, so another session may have changed it.
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._autocast)
        with torch.inference_mode(), autocast:
            images = torch.from_numpy(batch).to(memory_format=torch.channels_last)
            return self._module(images).float().contiguous().numpy()

    def free(self) -> None:
        self._module = None


# PyTorch compiled by inductor, fp32 and bf16, on the CPU.

_LOOKS = {
    "fp32": Look("#098abf", "<", (0, (7, 1.5, 1.3, 1.5))),
    "bf16": Look("#874abb", ">", (0, (2, 1))),
}
_CACHE = "inductor"
_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
# A folder of this process alone; what is loaded from it stays loaded without it.
_SCRATCH = {"prefix": "lresnet-inductor-", "ignore_cleanup_errors": True}


class TorchCompileTarget(TorchTarget):
    """``torch.compile`` with frozen weights, as PyTorch's users would run it for speed.

    The artefact names the weights, as for ``torch-fp32``, and every file that inductor compiled
    with its SHA-256; these lie in a folder beside it. Building compiles, which the artefact's
    `seconds` record. Loading compiles again, but finds most of its code there: libraries and
    pickles, which run with all rights of the user. So only files that are what was recorded are
    taken, and none where the record is not sealed by this user on this machine
    (:mod:`lresnet_utils.ledger.hashes`): then loading compiles everything, from the weights alone.

    Parameters
    ----------
    precision : {'fp32', 'bf16'}
        ``bf16`` is PyTorch's autocast: it decides which operators compute in bf16. Input and
        output are fp32 in both.
    """

    runtime = "torch-compile"
    repeatable = False

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.look = _LOOKS[precision]

    def available(self) -> Availability:
        """Say whether there is PyTorch, a C++ compiler, and bf16 arithmetic where it is needed."""
        able = super().available()
        if not able.ok:
            return able
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if shutil.which(compiler) is None:
            return Availability(
                False,
                message(
                    "torch.compile needs a C++ compiler, and {compiler} is not on the PATH",
                    compiler=compiler,
                ),
                "apt-get install g++, or name one in the environment variable CXX",
            )
        if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
            return Availability(
                False,
                "torch.compile needs Python's C headers, and Python.h is not there",
                "apt-get install python3-dev",
            )
        if self.precision == "bf16" and bf16_instructions() is None:
            return Availability(
                False,
                message("bf16 would be slower than fp32: {why}", why=no_bf16()),
                "run it on a processor with AVX512-BF16, AMX or Arm BF16",
            )
        return able

    def options(self) -> dict[str, Any]:
        return {
            "mode": "torch.compile",
            "freezing": True,
            "memory_format": "channels_last",
            "autocast": self.precision == "bf16",
            "allocator": "keeps freed memory",
        }

    def write(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        super().write(files, path, options)
        with tempfile.TemporaryDirectory(**_SCRATCH) as scratch:
            with TorchSession(restored(path), options) as session:
                session.compile(Path(scratch))
            kept = path.parent / _CACHE
            shutil.rmtree(kept, ignore_errors=True)
            # Locks are empty, and made again where they are missed.
            shutil.copytree(scratch, kept, ignore=shutil.ignore_patterns("locks"))
        found = sorted(file for file in kept.rglob("*") if file.is_file())
        compiled = {file.relative_to(kept).as_posix(): sha256_file(file) for file in found}
        write_json(path, read_json(path) | {"compiled": compiled, "seal": seal(compiled)})

    def open(self, artefact: Artefact) -> Session:
        content = read_json(artefact.path)
        compiled, sealed = content.get("compiled"), content.get("seal")
        with tempfile.TemporaryDirectory(**_SCRATCH) as scratch:
            # Nobody can exchange a file between the check and its use: it is used from a copy.
            if sealed is not None and sealed == seal(compiled):
                for name, sha256 in compiled.items():
                    source = artefact.path.parent / _CACHE / name
                    copy = Path(scratch, name)
                    try:
                        data = source.read_bytes()
                    except OSError:
                        data = b""
                    if hashlib.sha256(data).hexdigest() != sha256:
                        raise TargetError(
                            "A compiled file of the build is gone or was changed "
                            "(SHA-256 differs).",
                            where=str(source),
                            fix=REBUILD,
                        )
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_bytes(data)
            session = TorchSession(restored(artefact.path), artefact.options)
            session.compile(Path(scratch))
        return session
