"""What a run depends on outside its folder: files that its params name, tools that are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lresnet_utils.data.readers.csv import files_of
from lresnet_utils.data.source import PAIR_WORDS
from lresnet_utils.params import Params
from lresnet_utils.run import resolve
from lresnet_utils.targets import get_target
from lresnet_utils.targets.tools import ToolTarget

# Values in the place of a file's name.
_WORDS = ("packaged", "seeded", "recorded", "orl", "none", None)


def sources(values: dict[str, Any]) -> list[Path]:
    """Return the files outside the run's folder that a notebook's parameters name.

    Parameters
    ----------
    values : dict
        For the notebook's parameter cell.

    Returns
    -------
    list of Path
        Sorted; they need not exist.
    """
    return sorted(set(_named(values)))


def _named(values: dict[str, Any]) -> Iterator[Path]:
    tools = values.get("tools", {})
    sets = [values.get("dataset"), *(given["source"] for given in values.get("more", []))]
    pairs = [values.get("pairs"), *(given["pairs"] for given in values.get("more", []))]
    for word in (values.get("weights"), tools.get("aipp_config"), *sets):
        if word not in _WORDS:
            yield resolve(word)
    if str(values.get("weights", "")).endswith(".onnx"):
        from lresnet_utils.graph.adopt.read import external_files  # most runs need no onnx here

        yield from external_files(resolve(values["weights"]))
    for word in sets:
        if word not in _WORDS and resolve(word).suffix == ".csv":
            yield from files_of(resolve(word))
    for word in pairs:
        if word is not None and word not in PAIR_WORDS:
            yield resolve(word)
    for given in values.get("fixed_thresholds", []):
        if isinstance(given, str):
            yield resolve(given)
    if tools.get("replay_folder"):
        yield from (path for path in resolve(tools["replay_folder"]).rglob("*") if path.is_file())


def offers(params: Params) -> dict[str, Any]:
    """Return for each target what this machine offers: versions and, behind tools, which are there.

    What is unavailable today may be installed tomorrow, and then its cells run.
    """
    found = {}
    for name in params.targets:
        target = get_target(name, params.tools)
        able = target.available() if isinstance(target, ToolTarget) else None
        found[name] = {"versions": target.versions()} | (
            {} if able is None else {"ok": able.ok, "reason": able.reason, "note": able.note}
        )
    return found
