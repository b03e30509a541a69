"""Executed notebooks are signed, so that Jupyter on this machine shows what is in them.

Jupyter strips the outputs of a notebook that this user has not run or trusted: a chart is reduced
to the loose words in it. A run's notebooks were executed here, by this user.
"""

from __future__ import annotations

import threading
from pathlib import Path

import nbformat
from nbformat.sign import NotebookNotary

# Two first signatures at once would each make a secret key, and one of them would be lost.
_one_at_a_time = threading.Lock()


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
    try:
        with _one_at_a_time, NotebookNotary() as notary:
            notary.sign(nbformat.read(path, as_version=4))
    # The signature store may fail in many ways (SQLite, permissions), none of which spoils a run.
    except Exception:
        return False
    return True
