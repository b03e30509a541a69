"""The files that this field's guides and papers point to: where they are and what may be done.

Facts only, from ``known/sources.json``: an address and, where somebody publishes it, a SHA-256.
Most of these files are behind a page that asks for a browser; then there is a page and no address.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lresnet_utils.errors import ParamsError, nearest
from lresnet_utils.machine.disk import read_json
from lresnet_utils.text.language import message


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
    known = known_sources()
    found = next(
        (
            source
            for source in known.values()
            if any(name == file.file for file in source.files)
            or (not Path(path).suffix and stem == source.name)
        ),
        known["sets"] if Path(path).suffix == ".bin" and known_set(name) else None,
    )
    if found is None:
        return None
    return {
        "file": name,
        "title": found.title,
        "licence": found.licence,
        "source": found.origin,
    }


# Published accuracies: what others report for a network on a set, to hold a measurement against.
#
# The figures are in ``known/zoo.json``, each with the document that it was read from. They belong
# to particular weights; a run may use others of the same architecture, so every comparison names
# the training set that the figure is for.

KNOWN = Path(__file__).parent / "known"


def published(
    architecture: str, names: tuple[str, ...], n_pairs: int, accuracy: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Compare a measured accuracy with every published one of its network and set.

    Parameters
    ----------
    architecture : str
        As in a params file.
    names : tuple of str
        What the set is called: its name in the report, its file.
    n_pairs : int
        Pairs of the set.
    accuracy : dict or None
        ``value``, ``low``, ``high``, ``n`` as `results.json` holds them; None when not measured.

    Returns
    -------
    list of dict
        ``set``, ``network``, ``trained_on``, ``source``, ``published`` and ``sentence``; with
        ``measured``, ``low``, ``high``, ``n`` and ``inside``, whether the published value lies
        inside the measured interval, or ``refused`` with the reason. Empty when nothing is known
        of this set, or of this network on it.

    Examples
    --------
    >>> measured = {"value": 0.9977, "low": 0.9961, "high": 0.9987, "n": 6000}
    >>> print(published("ir_se100", ("LFW",), 6000, measured)[0]["sentence"])
    LResNet100E-IR on LFW: published 99.80 %, measured 99.77 % [99.61, 99.87], n = 6,000 pairs; the
    published value lies inside the 95 % interval.
    """
    found = known_set(*names)
    if found is None:
        return []
    zoo = _zoo()
    about, rows = zoo["sets"][found], []
    refused = None
    if n_pairs != about["n_pairs"]:
        there = about["n_pairs"]
        refused = message(
            "this set has {n:,} pairs and {title} has {published_n:,}",
            n=n_pairs,
            title=about["title"],
            published_n=there,
        )
    elif accuracy is None:
        refused = "no accuracy was measured"
    elif accuracy.get("low") is None:
        refused = "the measured accuracy has no interval"
    for network in zoo["networks"]:
        if architecture not in network["architectures"] or found not in network["accuracy"]:
            continue
        value = network["accuracy"][found]
        row = {
            "set": about["title"],
            "network": network["title"],
            "trained_on": network["trained_on"],
            "source": zoo["sources"][network["source"]],
            "published": value,
        }
        head = f"{network['title']} on {about['title']}: published {value:.2%}".replace("%", " %")
        if refused:
            row |= {"refused": refused, "sentence": f"{head}; not compared, as {refused}."}
        else:
            inside = accuracy["low"] <= value <= accuracy["high"]
            ends = f"[{100 * accuracy['low']:.2f}, {100 * accuracy['high']:.2f}]"
            row |= {
                "measured": accuracy["value"],
                "low": accuracy["low"],
                "high": accuracy["high"],
                "n": accuracy["n"],
                "inside": inside,
                "sentence": f"{head}, measured {100 * accuracy['value']:.2f} % {ends}, "
                f"n = {accuracy['n']:,} pairs; the published value lies "
                f"{'inside' if inside else 'outside'} the 95 % interval.",
            }
        rows.append(row)
    return rows


def known_set(*names: str) -> str | None:
    """Return the common set that one of these names means, such as ``cfp_fp``, or None.

    Examples
    --------
    >>> known_set("CFP-FP"), known_set("ORL", "data/agedb_30.bin"), known_set("mine")
    ('cfp_fp', 'agedb_30', None)
    """
    plain = {re.sub(r"[^a-z0-9]", "", name): name for name in _zoo()["sets"]}
    for name in names:
        stem = re.sub(r"[^a-z0-9]", "", Path(name).stem.lower())
        if stem in plain:
            return plain[stem]
    return None


@functools.cache
def _zoo() -> dict[str, Any]:
    return read_json(KNOWN / "zoo.json")
