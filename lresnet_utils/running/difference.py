"""The first difference between what something was made from and what it would be made from."""

from __future__ import annotations

from typing import Any

_WHAT = {
    "parameters": "parameter {} is now {}",
    "versions": "{} is now {}",
    "code": "{} was edited",
    "sources": "{} has other contents",
    "inputs": "{} has other contents",
    "machine": "another machine: {} is {}",
    "offers": "{} is offered otherwise here",
    "run": "parameter {} is now {}",
}
_OTHER = {"notebook": "the notebook was edited"}


def difference(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Say in words what changed first, or return None when nothing did.

    Examples
    --------
    >>> before = {"notebook": "a", "parameters": {"flip": True, "seed": 0}}
    >>> difference(before, before) is None
    True
    >>> difference(before, {"notebook": "a", "parameters": {"flip": False, "seed": 0}})
    'parameter flip is now false'
    >>> difference(before, {"notebook": "b", "parameters": before["parameters"]})
    'the notebook was edited'
    """
    for group in sorted(set(before) | set(now), key=_order):
        old, new = before.get(group), now.get(group)
        if old == new:
            continue
        if not (isinstance(old, dict) and isinstance(new, dict) and group in _WHAT):
            return _OTHER.get(group, f"what is recorded of its {group} is of another kind")
        name = next(n for n in sorted(set(old) | set(new)) if old.get(n) != new.get(n))
        return _WHAT[group].format(name, _short(new.get(name)))
    return None


def _order(group: str) -> int:
    known = [*_OTHER, *_WHAT]
    return known.index(group) if group in known else len(known)


def _short(value: Any) -> str:
    if value is None:
        return "absent"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
