"""The scripts that a published page may run: each pinned by its hash, each only where it works."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).with_name("template")
# The class of the element that a script works on, and its file.
_FILES = {"lr-explorer": "explorer.js", "lr-cells": "cells.js"}


@dataclass(frozen=True)
class Script:
    """One script of the package.

    Attributes
    ----------
    marker : str
        A page that contains this text carries the script.
    text : str
        The script.
    hash : str
        Its SHA-256 as a content security policy writes it.
    """

    marker: str
    text: str
    hash: str


@cache
def page_scripts() -> tuple[Script, ...]:
    """Return every script that a page may carry.

    Examples
    --------
    >>> [script.marker for script in page_scripts()]
    ['class="lr-explorer"', 'class="lr-cells"']
    """
    scripts = []
    for name, file in _FILES.items():
        text = (_FOLDER / file).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
        scripts.append(Script(f'class="{name}"', text, f"sha256-{digest}"))
    return tuple(scripts)
