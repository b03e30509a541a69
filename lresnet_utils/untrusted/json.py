"""JSON as RFC 8259 means it, of bounded size: no NaN, no infinity, no name twice.

Python's parser takes ``NaN`` and ``1e999``, keeps the last of two equal names, and leaves its
recursion and memory to the file. Here such a file is damaged.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from lresnet_utils.errors import DataError, LResNetError

MAX_BYTES = 64 * 2**20
MAX_VALUES = 2_000_000
MAX_DEPTH = 64
MAX_DIGITS = 40

_OPENING, _CLOSING = b"[{", b"]}"
# Half of a pair, as the escape of a character beyond the first 65,536 has two.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(
    data: bytes,
    *,
    where: str,
    what: str = "The file",
    error: type[LResNetError] = DataError,
    fix: str | None = None,
) -> Any:
    """Parse JSON from anywhere.

    Parameters
    ----------
    data : bytes
        UTF-8.
    where, fix : str
        For the message.
    what : str
        What it is, as the subject of a sentence.
    error : type of LResNetError
        What to raise.

    Returns
    -------
    object
        Dicts, lists, text, finite numbers, booleans and None.

    Raises
    ------
    LResNetError
        Of type `error`, when it is not JSON, has a number without a value, a name twice in one
        object or half a character, or more bytes, values or levels than the limits above.

    Examples
    --------
    >>> parse_json(b'{"n": [1, 2.5]}', where="x.json")
    {'n': [1, 2.5]}
    >>> parse_json(b'{"n": NaN}', where="x.json")
    Traceback (most recent call last):
    lresnet_utils.errors.DataError: The file is not JSON: NaN is no number.
      where: x.json
    """
    # Which limit is passed is known before anything is built.
    reason = None
    if len(data) > MAX_BYTES:
        reason = f"more than {MAX_BYTES:,} bytes"
    elif sum(data.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        reason = f"more than {MAX_VALUES:,} values"
    elif sum(data.count(bytes([mark])) for mark in _OPENING) > MAX_DEPTH:
        # The nesting is bounded from above: brackets inside text count too.
        codes = np.frombuffer(data, np.uint8)
        brackets = codes[np.isin(codes, list(_OPENING + _CLOSING))]
        steps = np.where(np.isin(brackets, list(_OPENING)), 1, -1)
        if np.cumsum(steps).max(initial=0) > MAX_DEPTH:
            reason = f"more than {MAX_DEPTH} levels"
    if reason:
        raise error(f"{what} holds too much: {reason}.", where=where, fix=fix)
    try:
        value = json.loads(
            data.decode("utf-8"),
            parse_constant=_no_number,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_unique,
        )
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError as problem:
        raise error(f"{what} is not JSON: not UTF-8.", where=where, fix=fix) from problem
    except UnicodeEncodeError as problem:
        raise error(f"{what} is not JSON: half a character.", where=where, fix=fix) from problem
    except json.JSONDecodeError as problem:
        place = f"{where}, line {problem.lineno}"
        raise error(f"{what} is not JSON: {problem.msg}.", where=place, fix=fix) from problem
    except (ValueError, RecursionError) as problem:
        raise error(f"{what} is not JSON: {problem}.", where=where, fix=fix) from problem
    return value


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(text)


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the name {twice[:40]!r} stands twice")
    return value
