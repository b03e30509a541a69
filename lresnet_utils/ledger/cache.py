"""What was measured once on this machine for this network need not be measured again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from lresnet_utils.ledger import FRESH
from lresnet_utils.ledger.code import code_of
from lresnet_utils.ledger.signing import read_sealed, write_sealed
from lresnet_utils.machine.disk import to_json
from lresnet_utils.machine.facts import machine

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
