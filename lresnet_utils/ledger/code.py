"""Which of this package's files something depends on, by following its imports."""

from __future__ import annotations

import ast
import threading
from functools import cache
from pathlib import Path

import lresnet_utils
from lresnet_utils.machine.disk import sha256_file

_PACKAGE = lresnet_utils.__name__
_ROOT = Path(lresnet_utils.__file__).parent
# What only guards and moves: no number changes with these.
_INERT = frozenset(
    {
        *("errors", "ledger", "ledger.code", "ledger.hashes", "ledger.entries"),
        *("machine.isolation", "machine.locks", "machine.processes", "cluster.engine"),
    }
)
# Enough digits to tell versions of one file apart; records stay readable.
_DIGITS = 16
# CPython counts how deep it is in a tree once for all threads: two at a time confuse it.
_parsing = threading.Lock()


def code_of(*modules: str) -> dict[str, str]:
    """Return the hash of every file of this package that modules import, directly or not.

    Imports inside functions count, and so does the ``__init__`` of every folder on the way. What
    only guards work and keeps its results does not.

    Parameters
    ----------
    modules : str
        Dotted names, such as ``lresnet_utils.stages.infer``.

    Returns
    -------
    dict of str to str
        File below the package to the first 16 digits of its SHA-256, sorted.

    Examples
    --------
    >>> found = code_of("lresnet_utils.stages.infer")
    >>> "targets/embed.py" in found, "targets/pytorch.py" in found, "report/show.py" in found
    (True, True, False)
    """
    seen: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        parts = name.split(".")
        for module in (".".join(parts[:length]) for length in range(1, len(parts) + 1)):
            if module in seen:
                continue
            place = _ROOT.joinpath(*module.split(".")[1:])
            files = (place / "__init__.py", place.with_suffix(".py"))
            path = next((file for file in files if file.is_file()), None)
            if path is not None and module.partition(".")[2] not in _INERT:
                seen[module] = path
                waiting += imports(path.read_text(encoding="utf-8"))
    return {_below(path): _hash(path) for path in sorted(seen.values())}


def below(folder: str, *, python: bool) -> dict[str, str]:
    """Return the hashes of a folder's Python files, or of all others, as templates and words."""
    files = (path for path in (_ROOT / folder).rglob("*") if path.is_file())
    kinds = (path for path in files if path.suffix != ".pyc")
    found = sorted(path for path in kinds if (path.suffix == ".py") == python)
    return {_below(path): _hash(path) for path in found}


@cache
def imports(source: str) -> list[str]:
    """Return the dotted names that Python source takes from this package.

    Of ``from a import b`` both ``a`` and ``a.b`` are named, as ``b`` may be a module.

    Examples
    --------
    >>> imports("from lresnet_utils.report.pages import infer as page; import numpy")
    ['lresnet_utils.report.pages', 'lresnet_utils.report.pages.infer']
    """
    names: list[str] = []
    with _parsing:
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if f"{name}.".startswith(f"{_PACKAGE}.")]


def _below(path: Path) -> str:
    return path.relative_to(_ROOT).as_posix()


@cache
def _hash(path: Path) -> str:
    return sha256_file(path)[:_DIGITS]
