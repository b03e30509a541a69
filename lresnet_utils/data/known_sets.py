"""The files that this field's guides and papers point to: where they are and what may be done.

Facts only, from ``known/sources.json``: an address and, where somebody publishes it, a SHA-256.
Most of these files are behind a page that asks for a browser; then there is a page and no address.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lresnet_utils.data.zoo import KNOWN, known_set
from lresnet_utils.errors import ParamsError, nearest
from lresnet_utils.machine.disk import read_json


@dataclass(frozen=True)
class KnownFile:
    """One file of a source.

    Attributes
    ----------
    file : str
        Its name.
    url : str or None
        Where it can be downloaded; None when a browser is needed.
    page : str or None
        The page to open in a browser.
    sha256 : str or None
        None where nobody publishes it; it is then recorded when the file is first seen.
    unpack : bool
        Whether it is an archive that is unpacked beside itself.
    """

    file: str
    url: str | None = None
    page: str | None = None
    sha256: str | None = None
    unpack: bool = False


@dataclass(frozen=True)
class KnownSource:
    """Files that belong together.

    Attributes
    ----------
    name, title : str
        For the command line and for people.
    licence : str
        What may be done with them, in words.
    origin : str
        Who says where they are.
    folder : str
        Where they go, below the project's folder.
    files : tuple of KnownFile
    """

    name: str
    title: str
    licence: str
    origin: str
    folder: str
    files: tuple[KnownFile, ...]


@functools.cache
def known_sources() -> dict[str, KnownSource]:
    """Return every known source by name.

    Examples
    --------
    >>> known_sources()["lfw"].files[1].file
    'pairs.txt'
    """
    content = read_json(KNOWN / "sources.json")
    return {
        item["name"]: KnownSource(
            item["name"],
            item["title"],
            content["licences"][item["licence"]],
            item["from"],
            item["folder"],
            tuple(KnownFile(**file) for file in item["files"]),
        )
        for item in content["sources"]
    }


def find_source(name: str) -> KnownSource:
    """Return a source by name.

    Raises
    ------
    ParamsError
        When there is none; names the nearest.
    """
    known = known_sources()
    if name not in known:
        raise ParamsError(f"No source is called {name!r}.", fix=nearest(name, known))
    return known[name]


def licence_of(path: str) -> dict[str, Any] | None:
    """Return what is known of the terms of a file or folder, by its name.

    Parameters
    ----------
    path : str
        As in a params file.

    Returns
    -------
    dict or None
        ``file``, ``title``, ``licence`` and ``source``; None when the name says nothing.

    Examples
    --------
    >>> licence_of("data/agedb_30.bin")["licence"]
    'InsightFace packs these sets for research; ...'
    >>> licence_of("mine.pth") is None
    True
    """
    name, stem = Path(path).name, Path(path).name.split(".")[0]
    for source in known_sources().values():
        inside = {file.file for file in source.files}
        if name in inside or (not Path(path).suffix and stem == source.name):
            return _terms(name, source)
    if Path(path).suffix == ".bin" and known_set(name):
        return _terms(name, known_sources()["sets"])
    return None


def _terms(name: str, source: KnownSource) -> dict[str, Any]:
    return {
        "file": name,
        "title": source.title,
        "licence": source.licence,
        "source": source.origin,
    }
