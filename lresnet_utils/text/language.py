"""What the reader sees, in the reader's language.

English stands in the code and is the key: ``tr("{n} pairs were wrong", n=3)``. The catalogue
beside this module holds the Chinese of every such text. Records stay English whatever the language
of the report; what they say is put into it when it is shown, with :func:`recorded`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path

from lresnet_utils.errors import ParamsError, nearest
from lresnet_utils.machine.disk import read_json

LANGUAGES = ("en", "zh")

# What a sentence may begin with that is no name: behind a colon it is written small.
_FIRST_WORDS = (
    "A|All|An|Another|At|Cannot|Distances|Each|Embeddings|Every|Files|Further|"
    "How|It|Its|No|Not|Nothing|Of|Only|Pairs|Paths|People|Records|Results|Sides|"
    "Something|Stage|That|The|There|These|This|Thresholds|Unknown|Views|Weights|"
    "Without|Workers"
)
_BEHIND_COLON = re.compile(rf"(?<=: )(?:{_FIRST_WORDS})(?= )")

_LOCALE = Path(__file__).with_name("locale")


class _Language:
    """The language of this process, and of a thread where it has one of its own."""

    def __init__(self) -> None:
        self.everywhere = "en"
        self.here = threading.local()

    def now(self) -> str:
        return getattr(self.here, "language", None) or self.everywhere


_SPOKEN = _Language()


def use_language(language: str) -> None:
    """Speak a language from now on; a notebook does so in its first cell.

    Raises
    ------
    ParamsError
        When there is no catalogue for it.

    Examples
    --------
    >>> use_language("en")
    >>> use_language("zhh")
    Traceback (most recent call last):
    lresnet_utils.errors.ParamsError: The report does not speak 'zhh'.
      where: language
      to do: did you mean 'zh'?
    """
    _SPOKEN.everywhere = _known(language)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Speak a language inside a block, in this thread only: pages are published side by side.

    Examples
    --------
    >>> with speaking("zh"):
    ...     tr("Accuracy")
    '准确率'
    """
    before = getattr(_SPOKEN.here, "language", None)
    _SPOKEN.here.language = _known(language)
    try:
        yield
    finally:
        _SPOKEN.here.language = before


def spoken() -> str:
    """Return the language that is spoken now, in this thread."""
    return _SPOKEN.now()


def tr(text: str, /, **values: object) -> str:
    """Return a text in the language spoken, with its placeholders filled.

    Parameters
    ----------
    text : str
        The English text, and so the key of its translations; a literal where the package says it.
    **values
        For the placeholders, which are those of :meth:`str.format`. Without any, braces in the
        text are braces. Texts among them go through :func:`recorded`.

    Returns
    -------
    str
        English where there is no translation, as of the name of a target.

    Examples
    --------
    >>> tr("{n} of {total} faces", n=2, total=3)
    '2 of 3 faces'
    """
    said = _catalogue(spoken())["texts"].get(text, text)
    if not values:
        return said
    told = {name: recorded(v) if isinstance(v, str) else v for name, v in values.items()}
    return _as_clauses(said.format(**told))


def translatable(text: str) -> str:
    """Return a text as it is: one that will be shown through :func:`tr`, and has to be in there.

    For words that are chosen where they are not yet said, such as a constant of a module.
    """
    return text


def recorded(text: str) -> str:
    """Return what a record says in the language spoken.

    Records hold whole English sentences with numbers and names in them. The catalogue knows the
    sentences with ``{}`` where the code that wrote them filled something in; what it does not know,
    such as the words of a tool, stays as it is.

    Parameters
    ----------
    text : str
        One text of a record, or several of them one after the other.

    Examples
    --------
    >>> with speaking("zh"):
    ...     recorded("no impostor pairs")
    '没有异人对'
    """
    return _as_clauses(text) if spoken() == "en" else _recorded(text, spoken())


def _as_clauses(text: str) -> str:
    """Write a sentence that stands behind a colon small, as what an error says often does."""
    return _BEHIND_COLON.sub(lambda found: found[0].lower(), text)


@lru_cache(4096)
def _recorded(text: str, language: str) -> str:
    """Look a text up: as a whole, or else the way that leaves the fewest English words."""
    catalogue = _catalogue(language)
    for section in ("recorded", "texts"):
        if text in catalogue[section]:
            return catalogue[section][text]
        # A sentence may stand in a record as a clause, without its full stop.
        if f"{text}." in catalogue[section]:
            return catalogue[section][f"{text}."].removesuffix("。")
    ways = [*_by_parts(text, language), *_by_template(text, language), text]
    return min(ways, key=lambda said: len(re.findall("[A-Za-z]{2,}", said)))


def _by_parts(text: str, language: str) -> Iterator[str]:
    """Cut a text between its clauses, once at each place, and before what stands in brackets."""
    signs = _catalogue(language)["recorded"]
    if text.endswith("."):
        yield _recorded(text[:-1], language) + signs["."]
    for found in re.finditer(r"(?<=\.) |; |: ", text):
        head, rest = text[: found.start()], text[found.end() :]
        yield _recorded(head, language) + signs.get(found[0], "") + _recorded(rest, language)
    aside = re.fullmatch(r"(.+) \((.+)\)", text, re.DOTALL)
    if aside:
        head, inside = (_recorded(part, language) for part in aside.groups())
        yield head + signs[" ({})"].format(inside)


def _by_template(text: str, language: str) -> Iterator[str]:
    """Take the values out of a text and fill them into the translation of its template."""
    for pattern, said in _templates(language):
        found = pattern.fullmatch(text)
        if found:
            yield said.format(*(_recorded(value, language) for value in found.groups()))


def prose(markdown: str) -> str:
    """Return a notebook's markdown in the language spoken, paragraph by paragraph.

    Examples
    --------
    >>> with speaking("zh"):
    ...     prose("## The builds")
    '## 各个构建'
    """
    known = _catalogue(spoken())["notebooks"]
    if not known:
        return markdown
    return "\n\n".join(known.get(" ".join(p.split()), p) for p in paragraphs(markdown))


def paragraphs(markdown: str) -> list[str]:
    r"""Return the paragraphs of a markdown text.

    Examples
    --------
    >>> paragraphs("# A\n\nb\nc\n")
    ['# A', 'b\nc']
    """
    return [part for part in re.split(r"\n\s*\n", markdown.strip()) if part]


@cache
def _templates(language: str) -> list[tuple[re.Pattern[str], str]]:
    """Return the recorded texts that hold something, as patterns, with what is said."""
    # Without their full stops, which are cut off before.
    texts = [
        (text.removesuffix("."), said.removesuffix("。"))
        for text, said in _catalogue(language)["recorded"].items()
        if "{}" in text
    ]
    return [
        (re.compile("(.*?)".join(map(re.escape, text.split("{}"))), re.DOTALL), said)
        for text, said in texts
        if text != " ({})"
    ]


@cache
def _catalogue(language: str) -> dict[str, dict[str, str]]:
    """Return a language's texts by section; English needs none."""
    if language == "en":
        return {"texts": {}, "recorded": {}, "notebooks": {}}
    return read_json(_LOCALE / f"{language}.json")


def _known(language: str) -> str:
    if language not in LANGUAGES:
        raise ParamsError(
            f"The report does not speak {language!r}.",
            where="language",
            fix=nearest(language, LANGUAGES),
        )
    return language
