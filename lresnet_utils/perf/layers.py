"""From the times of single layers to what they say: rates, intensities, shares by kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Layers = Sequence[Mapping[str, Any]]


def roofline_points(layers: Layers) -> list[dict[str, Any]]:
    """Return rate and arithmetic intensity of the layers whose arithmetic is counted.

    Parameters
    ----------
    layers : sequence of dict
        ``name``, ``kind``, ``ms``, ``flops`` and ``bytes`` per batch, as
        :func:`lresnet_utils.targets.openvino_profile.profile_layers` gives them.

    Returns
    -------
    list of dict
        ``name``, ``kind``, ``ms``, ``intensity`` (operations per byte of input, weights and
        output) and ``tops`` (10^12 operations per second). A layer that took no time that the
        clock could see, or whose bytes are not known, is left out.

    Examples
    --------
    >>> layer = {"name": "a", "kind": "convolution", "ms": 2.0, "flops": 10**9, "bytes": 10**7}
    >>> roofline_points([layer])
    [{'name': 'a', 'kind': 'convolution', 'ms': 2.0, 'intensity': 100.0, 'tops': 0.5}]
    """
    return [
        {
            **{key: layer[key] for key in ("name", "kind", "ms")},
            "intensity": layer["flops"] / layer["bytes"],
            "tops": layer["flops"] / layer["ms"] / 1e9,
        }
        for layer in layers
        if layer["flops"] and layer["bytes"] and layer["ms"]
    ]


def by_kind(layers: Layers) -> list[dict[str, Any]]:
    """Add up the layers of each kind, those that take longest first.

    Returns
    -------
    list of dict
        ``kind``, ``n`` layers, ``ms`` per batch, ``share`` of the time of all layers,
        ``flops_share`` of the counted arithmetic, and ``tops`` (None where none is counted).

    Examples
    --------
    >>> a = {"kind": "convolution", "ms": 3.0, "flops": 6 * 10**9}
    >>> b = {"kind": "reorder", "ms": 1.0, "flops": 0}
    >>> [(row["kind"], row["share"], row["tops"]) for row in by_kind([b, a])]
    [('convolution', 0.75, 2.0), ('reorder', 0.25, None)]
    """
    whole_ms = sum(layer["ms"] for layer in layers)
    whole_flops = sum(layer["flops"] for layer in layers)
    rows = []
    for kind in {layer["kind"] for layer in layers}:
        some = [layer for layer in layers if layer["kind"] == kind]
        ms, flops = sum(layer["ms"] for layer in some), sum(layer["flops"] for layer in some)
        rows.append(
            {
                "kind": kind,
                "n": len(some),
                "ms": ms,
                "share": ms / whole_ms if whole_ms else 0.0,
                "flops_share": flops / whole_flops if whole_flops else 0.0,
                "tops": flops / ms / 1e9 if flops and ms else None,
            }
        )
    return sorted(rows, key=lambda row: (-row["ms"], row["kind"]))
