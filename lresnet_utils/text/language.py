"""What the reader sees, in the reader's language.

English stands in the code and is the key: ``tr("{n} pairs were wrong", n=3)``. The catalogue
beside this module holds the Chinese of every such text. Records stay English whatever the language
of the report: their sentences are made with :func:`message`, keep what they were made from, and
:func:`tr` says them again when they are shown.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial, reduce
from math import isfinite
from pathlib import Path
from typing import Any

from lresnet_utils.errors import ParamsError, nearest

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
# The key of a file's JSON under which its sentences' templates and values stand.
_GLOSSARY = "said"


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


class Message(str):
    """A sentence of a record: English text that knows what it was made from.

    Records and messages hold it as they hold any text. JSON has no such thing, so
    :func:`with_glossary` writes beside a record what its sentences were made from, and
    :func:`with_codes` gives it back to them.

    Attributes
    ----------
    template : str
        The text with named placeholders, and so the key of its translations.
    values : dict
        What fills them: text, which may be :class:`Message` again, and numbers.
    """

    template: str
    values: dict[str, Any]

    def __str__(self) -> Message:
        return self


def message(template: str, /, **values: object) -> Message:
    """Return a sentence for a record, in English; :func:`tr` says it in the reader's language.

    Parameters
    ----------
    template : str
        A literal with the placeholders of :meth:`str.format`.
    **values
        For the placeholders. What is neither text nor a plain number becomes the one or the other.

    Examples
    --------
    >>> sentence = message("There are no {kind} pairs.", kind="genuine")
    >>> sentence
    'There are no genuine pairs.'
    >>> with speaking("zh"):
    ...     tr(sentence)
    '没有同人对。'
    """
    for name, value in values.items():
        if hasattr(value, "item"):  # NumPy's
            values[name] = value.item()
        elif value is not None and not isinstance(value, (str, int, float)):
            values[name] = str(value)
    sentence = Message(template.format(**values))
    sentence.template, sentence.values = template, values
    return sentence


def clauses(*parts: str) -> str:
    """Return clauses in a row, for a record.

    Examples
    --------
    >>> clauses("3 lost", "none gained")
    '3 lost; none gained'
    """
    two = partial(message, "{first}; {rest}")
    return reduce(lambda first, rest: two(first=first, rest=rest), parts) if parts else ""


NONE = "none: {why}"
"""What stands in place of an interval's method."""


def part(text: str, name: str) -> Any:
    """Return what fills a placeholder of a message; of a text that has none such, the text.

    Examples
    --------
    >>> part(message(NONE, why="a single repeat has no spread"), "why")
    'a single repeat has no spread'
    """
    return text.values.get(name, text) if isinstance(text, Message) else text


def clause(text: str) -> str:
    """Return a sentence as a clause, without its full stop; a message stays one.

    Examples
    --------
    >>> clause("No accuracy was evaluated.")
    'No accuracy was evaluated'
    """
    bare = text.rstrip(".")
    if bare == text or not isinstance(text, Message):
        return text if bare == text else bare
    if text.template.endswith("."):
        return message(text.template.rstrip("."), **text.values)
    # The full stop is that of the sentence which stands last in it.
    own = {n: clause(v) for n, v in text.values.items() if isinstance(v, str) and text.endswith(v)}
    return message(text.template, **text.values | own)


def tr(text: str, /, **values: object) -> str:
    """Return a text in the language spoken, with its placeholders filled.

    Parameters
    ----------
    text : str
        The English text, and so the key of its translations: a literal where the package says it;
        or what a record says, which brings its values along when it is :class:`Message`.
    **values
        For the placeholders, which are those of :meth:`str.format`. Without any, braces in the
        text are braces. Texts among them are put into the language too.

    Returns
    -------
    str
        English where there is no translation, as of the name of a target.

    Examples
    --------
    >>> tr("{n} of {total} faces", n=2, total=3)
    '2 of 3 faces'
    """
    if isinstance(text, Message):
        text, values = text.template, text.values
    texts = _catalogue(spoken())["texts"]
    if text not in texts and f"{text}." in texts:  # a clause
        told = texts[f"{text}."].removesuffix("。")
    else:
        told = texts.get(text, str(text))
    if values:
        told = told.format(**{n: tr(v) if isinstance(v, str) else v for n, v in values.items()})
    # A sentence that stands behind a colon is written small, as what an error says often does.
    return _BEHIND_COLON.sub(lambda found: found[0].lower(), told)


def translatable(text: str) -> str:
    """Return a text as it is: one that will be shown through :func:`tr`, and has to be in there.

    For words that are chosen where they are not yet said, such as a constant of a module.
    """
    return text


def with_glossary(record: Any) -> Any:
    """Return a record for JSON: under ``said`` what each of its sentences was made from.

    Only a dict has a place for it; anything else stays as it is.

    Examples
    --------
    >>> with_glossary({"refused": message("There are no {kind} pairs.", kind="genuine")})["said"]
    {'There are no genuine pairs.': ['There are no {kind} pairs.', {'kind': 'genuine'}]}
    """
    found: dict[str, list[Any]] = {}
    waiting: list[Any] = [record]
    while waiting:
        piece = waiting.pop()
        if isinstance(piece, dict):
            waiting += piece.values()
        elif isinstance(piece, (list, tuple)):
            waiting += piece
        elif isinstance(piece, Message):
            waiting += piece.values.values()
            # JSON has no NaN: what says one stays English.
            if all(isfinite(v) for v in piece.values.values() if isinstance(v, float)):
                found[str(piece)] = [piece.template, piece.values]
    if not found or not isinstance(record, dict):
        return record
    return record | {_GLOSSARY: dict(sorted(found.items()))}


def with_codes(record: Any) -> Any:
    """Return what JSON held, its glossary given back to its sentences.

    Whoever wrote the file may have written anything into it: a sentence is known only where one of
    this package's own templates, filled with the values told, gives exactly its text.
    """
    if not isinstance(record, dict) or not isinstance(record.get(_GLOSSARY), dict):
        return record
    texts, told = _catalogue("zh")["texts"], record.pop(_GLOSSARY)
    made: dict[str, Message] = {}
    # A sentence is longer than those it holds.
    for text in sorted(told, key=len):
        match told[text]:
            case [str(template), dict(values)] if template in texts or f"{template}." in texts:
                with suppress(ArithmeticError, LookupError, TypeError, ValueError):
                    values = {
                        n: made.get(v, v) if isinstance(v, str) else v for n, v in values.items()
                    }
                    found = message(template, **values)
                    if found == text:
                        made[text] = found
    waiting = [record]
    while waiting:
        piece = waiting.pop()
        places = piece.items() if isinstance(piece, dict) else enumerate(piece)
        for place, value in places:
            if isinstance(value, (dict, list)):
                waiting.append(value)
            elif isinstance(value, str) and value in made:
                piece[place] = made[value]
    return record


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
def _catalogue(language: str) -> dict[str, dict[str, str]]:
    """Return a language's texts by section; English needs none."""
    if language == "en":
        return {"texts": {}, "notebooks": {}}
    return json.loads((_LOCALE / f"{language}.json").read_text(encoding="utf-8"))


def _known(language: str) -> str:
    if language not in LANGUAGES:
        raise ParamsError(
            f"The report does not speak {language!r}.",
            where="language",
            fix=nearest(language, LANGUAGES),
        )
    return language
