"""Every kind of number as text, and words in a row."""

from __future__ import annotations

import math

from lresnet_utils.text.language import tr

_SPACE = "\u00a0"


_MINUS = "\u2212"


def fmt_percent(share: float | None, digits: int = 2) -> str:
    """Write a share of one as a percentage.

    Examples
    --------
    >>> fmt_percent(0.99766666).replace(chr(160), " ")
    '99.77 %'
    >>> fmt_percent(None)
    '–'
    """
    return "–" if _missing(share) else f"{100 * share:.{digits}f}{_SPACE}%"


def fmt_points(share: float | None, digits: int = 2) -> str:
    """Write a difference of two shares in percentage points, always with its sign.

    Examples
    --------
    >>> fmt_points(0.0012), fmt_points(-0.05), fmt_points(-0.0)
    ('+0.12', '−5.00', '0.00')
    """
    if _missing(share):
        return "–"
    text = f"{100 * share + 0.0:+.{digits}f}".replace("-", _MINUS)
    return text[1:] if float(text[1:]) == 0 else text


def fmt_number(value: float | None, significant: int = 3) -> str:
    """Write a number with so many significant digits; very small and large ones as powers of ten.

    Examples
    --------
    >>> fmt_number(746.128), fmt_number(8.6015), fmt_number(0.0123), fmt_number(0)
    ('746', '8.60', '0.0123', '0')
    >>> fmt_number(18422.7).replace(chr(160), " ")
    '18 423'
    >>> fmt_number(3.14e-7).replace(chr(160), " ")
    '3.14 × 10⁻⁷'
    """
    if _missing(value):
        return "–"
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return str(value).replace("-", _MINUS)
    # The exponent after rounding: 9.996 is "10.0", not "10.00".
    exponent = int(f"{value:.{significant - 1}e}".split("e")[1])
    if not -4 <= exponent < 9:
        mantissa = f"{value / 10.0**exponent:.{significant - 1}f}".replace("-", _MINUS)
        return f"{mantissa}{_SPACE}×{_SPACE}{power_of_ten(exponent)}"
    text = f"{value:.{max(0, significant - 1 - exponent)}f}"
    whole, point, rest = text.partition(".")
    if len(whole.lstrip("-")) > 4:
        whole = f"{int(whole):,}".replace(",", _SPACE)
    return (whole + point + rest).replace("-", _MINUS)


def fmt_count(value: int | None) -> str:
    """Write a whole number, thousands apart from 10 000 on.

    Examples
    --------
    >>> fmt_count(6000), fmt_count(78000).replace(chr(160), " ")
    ('6000', '78 000')
    """
    if _missing(value):
        return "–"
    text = f"{int(value):,}".replace(",", _SPACE) if abs(value) >= 10_000 else str(int(value))
    return text.replace("-", _MINUS)


def fmt_rate(images_per_second: float | None) -> str:
    """Write a rate with its unit.

    Examples
    --------
    >>> fmt_rate(78.7504).replace(chr(160), " ")
    '78.8 images/s'
    """
    if _missing(images_per_second):
        return "–"
    return f"{fmt_number(images_per_second)}{_SPACE}{tr('images/s')}"


def fmt_interval(value, low, high, fmt=fmt_number) -> str:
    """Write a value with its interval, both in the form that `fmt` gives.

    Parameters
    ----------
    value, low, high : float or None
        Without both ends only the value is written.
    fmt : callable
        One number to text.

    Examples
    --------
    >>> fmt_interval(0.9977, 0.9961, 0.9986, fmt_percent).replace(chr(160), " ")
    '99.77 % [99.61, 99.86]'
    >>> fmt_interval(31.24, None, None)
    '31.2'
    """
    if _missing(value) or _missing(low) or _missing(high):
        return fmt(value)
    ends = [fmt(low), fmt(high)]
    unit = fmt(value).rpartition(_SPACE)[2]
    # The unit is said once; the last group of "18 423" and a power of ten are no units.
    if not any(c.isdigit() for c in unit) and all(end.endswith(_SPACE + unit) for end in ends):
        ends = [end.removesuffix(_SPACE + unit) for end in ends]
    return f"{fmt(value)} [{ends[0]}, {ends[1]}]"


def fmt_bytes(count: int | None) -> str:
    """Write a size in decimal units, as disks and downloads do.

    Examples
    --------
    >>> fmt_bytes(10_667_852).replace(chr(160), " "), fmt_bytes(512).replace(chr(160), " ")
    ('10.7 MB', '512 B')
    """
    if _missing(count):
        return "–"
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{fmt_number(count / size)}{_SPACE}{unit}"
    return f"{int(count)}{_SPACE}B"


def join_words(words: list[str]) -> str:
    """Join words as a sentence does.

    Examples
    --------
    >>> join_words(["a", "b", "c"])
    'a, b and c'
    """
    return words[0] if len(words) == 1 else tr(", ").join(words[:-1]) + tr(" and ") + words[-1]


def power_of_ten(exponent: int) -> str:
    """Write a power of ten.

    Examples
    --------
    >>> power_of_ten(-6)
    '10⁻⁶'
    """
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _missing(value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
