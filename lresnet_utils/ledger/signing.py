"""What this user has made, told from what came from elsewhere, with the key of their Jupyter.

Jupyter strips the outputs of a notebook that this user has not run or trusted: a chart is reduced
to the loose words in it. A run's notebooks were executed here, by this user, and are signed.

Whatever later work believes without making it again (what resume keeps, what a search remembered,
compiled code) is sealed with the same key. A seal says that the text was written by a process of
the key's owner, no more: whoever can read the key can seal anything, and a record that another user
or machine wrote is as if it were not there. The key lies in Jupyter's data folder, which
``JUPYTER_DATA_DIR`` names; where no key can be kept, nothing is believed.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from jupyter_core.paths import jupyter_data_dir

from lresnet_utils.errors import LResNetError
from lresnet_utils.machine.disk import read_json, to_json, write_json

# Two first signatures at once would each make a secret key, and one of them would be lost.
_one_at_a_time = threading.Lock()
# No signature of a notebook can stand for one of these.
_PURPOSE = b"lresnet-utils seal 1\0"
_SEAL = "seal"


def sign(path: Path) -> bool:
    """Note in the user's Jupyter folder that a notebook's outputs are trusted.

    Parameters
    ----------
    path : Path
        An executed notebook.

    Returns
    -------
    bool
        False where no note could be made, as with a home that cannot be written: the notebook is
        as good as before, and ``jupyter trust`` can follow.
    """
    import nbformat  # takes a second to import, which kernels need not wait for
    from nbformat.sign import NotebookNotary

    try:
        with _one_at_a_time, NotebookNotary() as notary:
            notary.sign(nbformat.read(path, as_version=4))
    # The signature store may fail in many ways (SQLite, permissions), none of which spoils a run.
    except Exception:
        return False
    return True


def seal(value: Any) -> str | None:
    """Return what only this user can put beside plain values; None where no key can be kept."""
    key = _key(jupyter_data_dir())
    return key and hmac.new(key, _PURPOSE + to_json(value).encode(), hashlib.sha256).hexdigest()


def write_sealed(path: Path, value: dict[str, Any]) -> Path:
    """Write plain values as JSON, with their seal."""
    return write_json(path, value | {_SEAL: seal(value)})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Return what :func:`write_sealed` wrote, exactly, or None: of what is no such file either."""
    # Asked for first: processes that start together then find a key that their parent made.
    if _key(jupyter_data_dir()) is None:
        return None
    try:
        found = read_json(path)
    except (LResNetError, OSError):
        return None
    told = found.pop(_SEAL, None) if isinstance(found, dict) else None
    return found if isinstance(told, str) and told == seal(found) else None


@cache
def _key(folder: str) -> bytes | None:
    """Return the secret key below Jupyter's data folder, made when there is none."""
    try:
        with suppress(FileNotFoundError):
            return (Path(folder) / "notebook_secret").read_bytes() or None
        # Slow to import, and needed by the first run of all only.
        from nbformat.sign import MemorySignatureStore, NotebookNotary

        Path(folder).mkdir(parents=True, exist_ok=True)
        with (
            _one_at_a_time,
            NotebookNotary(data_dir=folder, store_factory=MemorySignatureStore) as notary,
        ):
            return notary.secret or None
    except OSError:
        return None
