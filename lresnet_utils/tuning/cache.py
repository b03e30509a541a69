"""What was measured once on this machine for this network need not be measured again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import lresnet_utils
from lresnet_utils.errors import LResNetError
from lresnet_utils.files import read_json, to_json, write_json
from lresnet_utils.perf.machine import machine

_DECISIVE = ("cpu", "cores", "flags", "isa_limit")
# A change of these folders' code may change what a search finds.
_CODE = ("graph/rewrite", "targets", "tuning")


def machine_key() -> dict[str, Any]:
    """Return what of a machine decides which build is fastest on it."""
    return {name: value for name, value in machine().items() if name in _DECISIVE}


@cache
def code_key() -> str:
    """Return the SHA-256 of the code that searches."""
    root = Path(lresnet_utils.__file__).parent
    digest = hashlib.sha256()
    for folder in _CODE:
        for path in sorted((root / folder).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


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
    A file that cannot be read, or whose key differs, is measured anew and replaced.
    """
    key = key | {"machine": machine_key(), "code": code_key()}
    text = to_json(key)
    path = Path(folder) / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
    known = _read(path)
    if known is not None and to_json(known.get("key")) == text:
        return known["result"] | {"reused": True}
    result = measure() | {"measured_at": datetime.now(UTC).isoformat(timespec="seconds")}
    write_json(path, {"key": key, "result": result})
    return read_json(path)["result"] | {"reused": False}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        known = read_json(path)
    except (LResNetError, OSError):
        return None
    return known if isinstance(known, dict) and isinstance(known.get("result"), dict) else None
