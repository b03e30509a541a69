"""Put charts, tables, sentences and notes into a notebook, ready for the published page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape
from numbers import Integral, Real
from typing import Any
from urllib.parse import quote

from IPython.display import display as _display

from lresnet_utils.ledger import custody
from lresnet_utils.report.charts.display import inline_svg
from lresnet_utils.results import OK
from lresnet_utils.text.language import tr, translatable
from lresnet_utils.text.numbers import fmt_bytes, fmt_count, fmt_interval, fmt_number, join_words

Entries = Mapping[str, Mapping[str, Any]]

TIMED = "lresnet_timed"
"""The mark of measured times in an output's metadata; see :func:`timings`."""
LEFT = ' style="text-align:left"'
"""For text in tables: Jupyter sets every cell to the right; the page's style sheet does not."""

_STATUS = {
    translatable("ok"): "lr-ok",
    translatable("passed"): "lr-ok",
    translatable("unavailable"): "lr-unavailable",
    translatable("not judged"): "lr-unavailable",
    translatable("failed"): "lr-failed",
}
_timing: ContextVar[bool] = ContextVar("timing", default=False)
_collecting: ContextVar[list[str] | None] = ContextVar("collecting", default=None)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    key : str
        Which entry of a row it shows.
    label : str
        Its heading, in English; like the unit it is put into the language spoken.
    unit : str
        Written under the heading, once, instead of in every cell.
    format : str or callable, optional
        A format specification such as ``".2f"``, a function from the value to text, or
        ``"status"`` for the words ok, unavailable and failed, or ``"link"`` for the path of a
        page of this run. Numbers without one are written with three significant digits, whole
        numbers in full.
    """

    key: str
    label: str
    unit: str = ""
    format: str | Callable[[Any], str] | None = None


# What stands in a cell's output.


def show_html(html: str, text: str) -> None:
    """Show ready HTML as the output of the running cell, with `text` for where there is no HTML."""
    page = _collecting.get()
    if page is None:
        metadata = {TIMED: True} if _timing.get() else {}
        _display({"text/html": html, "text/plain": text}, raw=True, metadata=metadata)
    else:
        page.append(html)


@contextmanager
def timings() -> Iterator[None]:
    """Mark whatever the block shows as timed; also a decorator of functions that show things.

    Pages must be the same for the same inputs, and measured times never are: pages other than the
    performance page and the index leave out what is marked.
    """
    token = _timing.set(True)
    try:
        yield
    finally:
        _timing.reset(token)


@contextmanager
def collected() -> Iterator[list[str]]:
    """Gather what the block shows, as HTML, for a page that no notebook stands behind.

    Examples
    --------
    >>> with collected() as page:
    ...     say("1 < 2")
    >>> page
    ['<p class="lr-say">1 &lt; 2</p>']
    """
    token = _collecting.set([])
    try:
        yield _collecting.get()
    finally:
        _collecting.reset(token)


def show(display: Any, *, caption: str | None = None) -> None:
    """Show a display as the output of the running cell.

    Parameters
    ----------
    display : Display
        A chart or a sheet of faces.
    caption : str, optional
        Words under the figure instead of the display's title and reading.
    """
    html = figure_html(display, caption=caption)
    is_empty = getattr(display, "is_empty", False)
    show_html(html, tr(display.title) if is_empty else display.describe())


def table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    caption: str,
    filters: Sequence[str] = (),
    /,
    **values: Any,
) -> None:
    """Show a table as the output of the running cell; see :func:`table_html`.

    The caption is put into the language spoken, like the text of :func:`say`.
    """
    caption = tr(caption, **values)
    show_html(table_html(rows, columns, caption, filters), caption)


def properties(rows: Sequence[tuple[str, str]], caption: str) -> None:
    """Show names and values as a table of two columns."""
    columns = [Column("name", "Property"), Column("value", "Value")]
    table([{"name": name, "value": value} for name, value in rows], columns, caption)


def say(text: str, /, **values: Any) -> None:
    """Show a paragraph as the output of the running cell.

    Parameters
    ----------
    text : str
        In English: it is put into the language spoken, as :func:`~lresnet_utils.text.language.tr`
        does, and escaped. What is in that language already, or is no text of the package, such as
        a display's ``describe()``, stays as it is.
    **values
        For its placeholders.
    """
    text = tr(text, **values)
    show_html(f'<p class="lr-say">{escape(text)}</p>', text)


def note(text: str, kind: str = "info", /, **values: Any) -> None:
    """Show a note that stands out, like :func:`say`; `kind` is ``"info"`` or ``"warning"``."""
    text = tr(text, **values)
    show_html(note_html(text, kind), text)


def facts(items: Sequence[tuple[str, str, str]]) -> None:
    """Show headline numbers: each a name, a value, and what the value rests on."""
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        f'<dd class="lr-basis">{escape(basis)}</dd></div>'
        for name, value, basis in items
    )
    text = "; ".join(f"{name}: {value}" for name, value, _ in items)
    show_html(f'<dl class="lr-facts">{"".join(cells)}</dl>', text)


def ok_targets(entries: Entries) -> dict[str, Mapping[str, Any]]:
    """Return the entries of the targets that have results, in order."""
    return {name: entry for name, entry in entries.items() if entry["status"] == OK}


def note_problems(entries: Entries) -> None:
    """Show a note for every target that has no result: why, and what to do about it."""
    for name, entry in entries.items():
        if entry["status"] != OK:
            reason = _sentence(entry["reason"])
            text = tr(
                "{name} is {status}: {reason}", name=name, status=entry["status"], reason=reason
            )
            if entry.get("remedy"):
                text += tr(" ") + _sentence(entry["remedy"])
            note(text, "warning" if entry["status"] == "failed" else "info")


def _sentence(text: str) -> str:
    text = tr(text)
    return text if text.endswith((".", "!", "?", "。")) else text + tr(".")


# The chain of custody: which file was made from which, by what.


def files(record: Mapping[str, Any]) -> None:
    """Show the files that a stage made, each with its SHA-256 and what it was made from."""
    links = custody.recorded(record)
    if links:
        chain(tr("Files of this stage"), links)
    else:
        say(tr("This stage made no file whose hash was recorded."))


def chain(
    label: str, links: Sequence[custody.Link], *, opened: bool = False, every: bool = False
) -> None:
    """Show files with their hashes and what they were made from, folded.

    Parameters
    ----------
    label : str
        What the fold is called.
    links : sequence of Link
    opened : bool
        Whether it stands open.
    every : bool
        Tell hashes that no two builds give alike, too; most pages leave them to the one of times.
    """
    items = []
    for link in links:
        size = tr("given") if link["bytes"] is None else fmt_bytes(link["bytes"])
        digest = link["sha256"]
        if not (every or link["repeatable"]):
            size, digest = "", tr("other bytes at every build: the hash is on the Performance page")
        how = [
            tr("from {files}", files=join_words(link["made_from"])) if link["made_from"] else "",
            tr("by {tools}", tools=option_text(link["tools"])) if link["tools"] else "",
            option_text(link["options"]),
        ]
        text = tr("; ").join(part for part in how if part)
        items.append(
            f"<li><strong>{escape(tr(link['file']))}</strong> <span>{escape(size)}</span>"
            f'<code class="lr-hash">{escape(digest)}</code><small>{escape(text)}</small></li>'
        )
    count = tr("{n} files", n=len(links))
    head = f'{escape(label)}<span class="lr-count">{escape(count)}</span>'
    show_html(
        f'<details class="lr-custody"{" open" if opened else ""}><summary>{head}</summary>'
        f'<ol class="lr-chain">{"".join(items)}</ol></details>',
        f"{label}: " + "; ".join(link["file"] for link in links),
    )


def option_text(value: Any) -> str:
    """Write an option, or several by their names, the way a reader wants it.

    Examples
    --------
    >>> [option_text(value) for value in (["a", "b"], [], False, {"n": 3}, list("abcdef"))]
    ['a + b', 'none', 'no', 'n 3', 'a + b + c + … (6)']
    """
    if isinstance(value, bool):
        return tr("yes") if value else tr("no")
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {option_text(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        # results.json has every name; a list of layers would bury what stands beside it.
        some = [*value[:3], f"… ({len(value)})"] if len(value) > 5 else value
        return " + ".join(map(option_text, some)) or tr("none")
    return tr(str(value))


# The same as HTML.


def figure_html(display: Any, *, caption: str | None = None) -> str:
    """Return a display as a `<figure>` that needs no other file.

    Charts become inline SVG in the page's own text colour and font; sheets of faces become
    pictures in data URIs. The same numbers give the same bytes. A display without numbers becomes
    a note that says so.

    Parameters
    ----------
    display : Display
        A display with ``plot`` (charts) or ``html`` (sheets).
    caption : str, optional
        Words under the figure instead of the display's title and reading.
    """
    if getattr(display, "is_empty", False):
        return note_html(tr("{title}: no target delivered these numbers.", title=tr(display.title)))
    if hasattr(display, "html"):
        body = f'<div role="group" aria-label="{escape(display.describe())}">{display.html()}</div>'
    else:
        body = inline_svg(display.plot().figure_, display.describe())
    words = (
        escape(caption)
        if caption is not None
        else f"<strong>{escape(tr(display.title) + tr('.'))}</strong> {escape(tr(display.reading))}"
    )
    return (
        '<figure class="lr-figure" style="margin:1rem 0;max-width:40rem">'
        f'{body}<figcaption style="font-size:.875rem;line-height:1.45;margin-top:.5rem">'
        f"{words}</figcaption></figure>"
    )


def note_html(text: str, kind: str = "info") -> str:
    """Return a note as HTML.

    Examples
    --------
    >>> note_html("One repeat only.", "warning")
    '<p class="lr-note lr-note-warning">One repeat only.</p>'
    """
    if kind not in ("info", "warning"):
        raise ValueError(f"a note is 'info' or 'warning', not {kind!r}")
    return f'<p class="lr-note lr-note-{kind}">{escape(text)}</p>'


def status_html(status: str) -> str:
    """Return a status or a verdict as HTML that does not rely on colour.

    Examples
    --------
    >>> status_html("ok")
    '<span class="lr-status lr-ok">ok</span>'
    """
    return f'<span class="lr-status {_STATUS[status]}">{escape(tr(status))}</span>'


def table_html(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    caption: str,
    filters: Sequence[str] = (),
) -> str:
    """Return a table as HTML that scrolls inside itself on a narrow screen.

    Numbers are right-aligned. A cell may also be an estimate, ``{"value", "low", "high"}``,
    written with its interval, ``{"refused": why}``, a verdict with its reasons,
    ``{"verdict", "why"}``, or a link, ``{"text", "href"}``. A missing value is a dash.

    Parameters
    ----------
    rows : sequence of dict
    columns : sequence of Column
    caption : str
    filters : sequence of str
        Keys of columns by which a published page can filter the rows; it can sort them then, too.
        Without a script, in a notebook and on paper it is the plain table.

    Examples
    --------
    >>> html = table_html([{"n": 3, "who": "<b>"}], [Column("who", "Who"), Column("n", "n")], "T")
    >>> ">&lt;b&gt;</td>" in html, '<td class="num">3</td>' in html
    (True, True)
    """
    sides = [
        ' class="num"' if any(_is_number(row.get(column.key)) for row in rows) else LEFT
        for column in columns
    ]
    head = "".join(
        f'<th scope="col"{side}>{escape(tr(column.label))}'
        + (f' <span class="lr-unit">{escape(tr(column.unit))}</span>' if column.unit else "")
        + "</th>"
        for column, side in zip(columns, sides, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{side}>{_cell(row.get(column.key), column.format)}</td>"
            for column, side in zip(columns, sides, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    html = (
        f'<div class="lr-table" role="region" tabindex="0" aria-label="{escape(caption)}" '
        'style="overflow-x:auto;max-width:100%">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )
    if not filters:
        return html
    keys = [column.key for column in columns]
    words = {
        "filters": [keys.index(key) for key in filters],
        "all": tr("all"),
        "shown": tr("{n} of {of} shown"),
    }
    told = escape(json.dumps(words, ensure_ascii=False))
    return f'<div class="lr-cells" data-words="{told}">{html}</div>'


def _is_number(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "value" in value
    return isinstance(value, Real) and not isinstance(value, bool)


def _cell(value: Any, form: str | Callable[[Any], str] | None) -> str:
    """Return what stands in a cell of a table, as HTML."""
    if form == "status" and value in _STATUS:
        return status_html(value)
    if form == "link" and value:
        value = {"text": value, "href": value}
    if not isinstance(value, Mapping):
        return escape(_text(value, form))
    if "href" in value:
        return f'<a href="{escape(quote(value["href"]))}">{escape(tr(value["text"]))}</a>'
    if "verdict" in value:
        why = f'<span class="lr-why">{escape(tr(value["why"]))}</span>'
        return status_html(value["verdict"]) + why
    if "refused" in value:
        text = tr("not given: {reason}", reason=tr(str(value["refused"])))
        return f'<span class="lr-refused">{escape(text)}</span>'
    ends = (value["value"], value.get("low"), value.get("high"))
    text = fmt_interval(*ends, lambda number: _text(number, form))
    return f'<span style="white-space:nowrap">{escape(text)}</span>'


def _text(value: Any, form: str | Callable[[Any], str] | None) -> str:
    if value is None:
        return "–"
    if callable(form):
        return form(value)
    if isinstance(value, bool):
        return tr("yes") if value else tr("no")
    if _is_number(value):
        if form:
            return format(value, form).replace("-", "\u2212")
        return fmt_count(value) if isinstance(value, Integral) else fmt_number(value)
    return tr(str(value))
