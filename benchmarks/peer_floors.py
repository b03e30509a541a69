"""The ratios of speeds that this project set itself, and where they apply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lresnet_utils.text.numbers import join_words

# (our precision, the peer): the least ratio by batch size, for IR-SE100 on a processor with AMX.
FLOORS = {
    ("bf16", "OpenVINO bf16"): {16: 1.5, 1: 1.3},
    ("int8", "NNCF int8"): {16: 2.2, 1: 1.7},
    ("int8", "ONNX Runtime fp32"): {16: 12.0},
}
COMPARED = tuple(FLOORS)
_FLOORS_OF = "ir_se100"
_AMX = ("amx_bf16", "amx_int8")


def compare(
    precision: str,
    peer: str,
    ratio: Mapping[str, Any],
    network: str,
    batch_size: int,
    flags: frozenset[str] | None,
) -> dict[str, Any]:
    """Hold a ratio of speeds against its floor, where the floor applies.

    Returns
    -------
    dict
        ``ours``, ``peer``, ``ratio``, ``floor`` (None where none was set), ``applies`` with the
        ``reason`` where it does not, and ``met``: True or False when the ratio's whole interval
        says so, None when it does not or the floor does not apply.
    """
    floor = FLOORS[precision, peer].get(batch_size) if network == _FLOORS_OF else None
    reason = _why_not(floor, flags)
    met = None
    if reason is None and ratio["low"] >= floor:
        met = True
    elif reason is None and ratio["high"] < floor:
        met = False
    return {
        "ours": precision,
        "peer": peer,
        "ratio": dict(ratio),
        "floor": floor,
        "applies": reason is None,
        "reason": reason,
        "met": met,
    }


def _why_not(floor: float | None, flags: frozenset[str] | None) -> str | None:
    if floor is None:
        return "no floor was set for this network and batch size"
    if flags is None:
        return "the system does not tell whether its processor has AMX"
    missing = [flag for flag in _AMX if flag not in flags]
    if missing:
        return f"the floor is for processors with AMX; this one has no {join_words(missing)}"
    return None
