"""PyTorch compiled by inductor, fp32 and bf16, on the CPU."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lresnet_utils.errors import TargetError
from lresnet_utils.ledger.signing import seal
from lresnet_utils.machine.disk import read_json, sha256_file, write_json
from lresnet_utils.machine.facts import bf16_instructions, no_bf16
from lresnet_utils.targets.base import REBUILD, Artefact, Availability, ModelFiles
from lresnet_utils.targets.pytorch import TorchSession, TorchTarget, restored
from lresnet_utils.targets.session import IMAGE_SHAPE, Session

if TYPE_CHECKING:
    import torch
    from torch import nn

_CACHE = "inductor"
_CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


class TorchCompileTarget(TorchTarget):
    """``torch.compile`` with frozen weights, as PyTorch's users would run it for speed.

    The artefact names the weights, as for ``torch-fp32``, and every file that inductor compiled
    with its SHA-256; these lie in a folder beside it. Building compiles, which the artefact's
    `seconds` record. Loading compiles again, but finds most of its code there: libraries and
    pickles, which run with all rights of the user. So only files that are what was recorded are
    taken, and none where the record is not sealed by this user on this machine
    (:mod:`lresnet_utils.ledger.signing`): then loading compiles everything, from the weights alone.

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

    def available(self) -> Availability:
        """Say whether there is PyTorch, a C++ compiler, and bf16 arithmetic where it is needed."""
        able = super().available()
        if not able.ok:
            return able
        compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
        if shutil.which(compiler) is None:
            return Availability(
                False,
                f"torch.compile needs a C++ compiler, and {compiler} is not on the PATH",
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
                f"bf16 would be slower than fp32: {no_bf16()}",
                "run it on a processor with AVX512-BF16, AMX or Arm BF16",
            )
        return able

    def _options(self) -> dict[str, Any]:
        return {
            "mode": "torch.compile",
            "freezing": True,
            "memory_format": "channels_last",
            "autocast": self.precision == "bf16",
            "allocator": "keeps freed memory",
        }

    def _build(self, files: ModelFiles, path: Path, options: dict[str, Any]) -> None:
        super()._build(files, path, options)
        with _private_folder() as scratch:
            with self._session(path, options, scratch):
                pass
            kept = path.parent / _CACHE
            shutil.rmtree(kept, ignore_errors=True)
            # Locks are empty, and made again where they are missed.
            shutil.copytree(scratch, kept, ignore=shutil.ignore_patterns("locks"))
        found = sorted(file for file in kept.rglob("*") if file.is_file())
        compiled = {file.relative_to(kept).as_posix(): sha256_file(file) for file in found}
        write_json(path, read_json(path) | {"compiled": compiled, "seal": seal(compiled)})

    def _load(self, artefact: Artefact) -> Session:
        content = read_json(artefact.path)
        compiled, sealed = content.get("compiled"), content.get("seal")
        with _private_folder() as scratch:
            # Nobody can exchange a file between the check and its use: it is used from a copy.
            if sealed is not None and sealed == seal(compiled):
                for name, sha256 in compiled.items():
                    source = artefact.path.parent / _CACHE / name
                    copy = scratch / name
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
            return self._session(artefact.path, artefact.options, scratch)

    def _session(self, path: Path, options: dict[str, Any], scratch: Path) -> Session:
        session = CompiledSession(restored(path), options)
        with _compiled_into(scratch):
            session.compile()
        return session


class CompiledSession(TorchSession):
    """A compiled module, run without autograd.

    Parameters
    ----------
    module : nn.Module
        Takes (batch, 3, 112, 112) and gives (batch, embedding_size).
    options : dict
        The artefact's options; ``autocast`` says whether to compute in bf16 where it is safe.
    """

    def __init__(self, module: nn.Module, options: dict[str, Any]) -> None:
        super().__init__(module, options)
        self._autocast = options["autocast"]
        # Weights become constants of the code, which lets it convert and reorder them once.
        self._module = self._torch.compile(self._module, options={"freezing": True})

    def compile(self) -> None:
        """Compile now rather than at the first batch, by running one of zeros."""
        self.infer(np.zeros((self.batch_size, *IMAGE_SHAPE), np.float32))

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        torch = self._torch
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._autocast):
            return self._module(images).float()


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Yield a folder of this process alone; what is loaded from it stays loaded without it."""
    how = {"prefix": "lresnet-inductor-", "ignore_cleanup_errors": True}
    with tempfile.TemporaryDirectory(**how) as folder:
        yield Path(folder)


@contextmanager
def _compiled_into(folder: Path) -> Iterator[None]:
    """Let inductor keep what it compiles in `folder`."""
    before = os.environ.get(_CACHE_VARIABLE)
    os.environ[_CACHE_VARIABLE] = str(folder.resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CACHE_VARIABLE]
        else:
            os.environ[_CACHE_VARIABLE] = before
