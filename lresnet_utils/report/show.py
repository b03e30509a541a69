"""Put charts, tables, sentences and notes into a notebook, ready for the published page."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from numbers import Integral, Real
from pathlib import Path
from typing import Any
from urllib.parse import quote

from IPython.display import display as _display

from lresnet_utils.errors import visible
from lresnet_utils.machine.disk import write_text
from lresnet_utils.report.charts import style
from lresnet_utils.report.timed import LEFT, timed_metadata
from lresnet_utils.text.language import recorded, tr, translatable
from lresnet_utils.text.numbers import fmt_count, fmt_interval, fmt_number

_FONTS = "system-ui,sans-serif"
_STATUS = {
    translatable("ok"): "lr-ok",
    translatable("passed"): "lr-ok",
    translatable("unavailable"): "lr-unavailable",
    translatable("not judged"): "lr-unavailable",
    translatable("failed"): "lr-failed",
}


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
    _publish(html, tr(display.title) if _is_empty(display) else display.describe())


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], caption: str) -> None:
    """Show a table as the output of the running cell; see :func:`table_html`."""
    _publish(table_html(rows, columns, caption), caption)


def filtered_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    caption: str,
    filters: Sequence[str],
) -> None:
    """Show a table that can be sorted and filtered; see :func:`filtered_table_html`."""
    _publish(filtered_table_html(rows, columns, caption, filters), caption)


def say(text: str) -> None:
    """Show a paragraph as the output of the running cell.

    Parameters
    ----------
    text : str
        Plain text, such as a display's ``describe()``; it is escaped.
    """
    _publish(f'<p class="lr-say">{escape(text)}</p>', text)


def facts(items: Sequence[tuple[str, str, str]]) -> None:
    """Show headline numbers as the output of the running cell; see :func:`facts_html`."""
    _publish(facts_html(items), "; ".join(f"{name}: {value}" for name, value, _ in items))


def note(text: str, kind: str = "info") -> None:
    """Show a note that stands out; `kind` is ``"info"`` or ``"warning"``."""
    _publish(note_html(text, kind), text)


def show_html(html: str, text: str) -> None:
    """Show ready HTML as the output of the running cell, with `text` for where there is no HTML."""
    _publish(html, text)


def _publish(html: str, text: str) -> None:
    _display({"text/html": html, "text/plain": text}, raw=True, metadata=timed_metadata())


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
    if _is_empty(display):
        return note_html(tr("{title}: no target delivered these numbers.", title=tr(display.title)))
    if hasattr(display, "html"):
        body = f'<div role="group" aria-label="{escape(display.describe())}">{display.html()}</div>'
    else:
        figure = display.plot().figure_
        body = inline_svg(figure, display.describe())
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


def _is_empty(display: Any) -> bool:
    return getattr(display, "is_empty", False)


def inline_svg(figure: Any, alt: str) -> str:
    """Return a Matplotlib figure as an `<svg>` element for the middle of an HTML page.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    alt : str
        Its text alternative.
    """
    buffer = io.StringIO()
    with style.chart_style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    # XML prolog, metadata and namespaces have no meaning inside HTML.
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]+)"', text).group(1)
    body = text[text.index(">") + 1 : text.rindex("</svg>")]
    body = _own_identifiers(body.replace("xlink:href", "href"))
    body = body.replace(style.INK, "currentColor")
    body = body.replace(style.PAPER, "var(--lr-paper,var(--jp-layout-color0,Canvas))")
    # The layout was made with DejaVu Sans, which is wider than any of these.
    body = re.sub(rf"'{style.FONT}'(, '{style.NAME}')?", _FONTS, body)
    # Hundredths of a point are finer than any screen; text between the tags keeps its digits.
    body = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), body)
    body = re.sub(r' (d|style)="([^"]+)"', _shorter, body)
    body = re.sub(r">\s+<", "><", body).strip()
    return (
        f'<svg role="img" aria-label="{escape(alt)}" viewBox="{box}" '
        'style="display:block;width:100%;max-width:36rem;height:auto">'
        f"{body}</svg>"
    )


def _shorter(attribute: re.Match[str]) -> str:
    """Write a path or a style without the spaces that mean nothing."""
    name, value = attribute[1], attribute[2]
    around = r"\s*([A-Za-z])\s*" if name == "d" else r"\s*([:;])\s*"
    value = re.sub(around, r"\1", value).strip()
    return f' {name}="{value}"'


def _own_identifiers(body: str) -> str:
    """Drop identifiers nothing refers to; make the others unlike those of any other chart."""
    used = set(re.findall(r'(?:url\(#|href="#)([\w.-]+)', body))
    prefix = "c" + hashlib.sha256(body.encode()).hexdigest()[:8]
    body = re.sub(
        r' id="([\w.-]+)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", body
    )
    return re.sub(r'(url\(#|href="#)([\w.-]+)', rf"\g<1>{prefix}\2", body)


def table_html(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], caption: str) -> str:
    """Return a table as HTML that scrolls inside itself on a narrow screen.

    Numbers are right-aligned. A cell may also be an estimate, ``{"value", "low", "high"}``,
    written with its interval, ``{"refused": why}``, a verdict with its reasons,
    ``{"verdict", "why"}``, or a link, ``{"text", "href"}``. A missing value is a dash.

    Parameters
    ----------
    rows : sequence of dict
    columns : sequence of Column
    caption : str

    Examples
    --------
    >>> html = table_html([{"n": 3, "who": "<b>"}], [Column("who", "Who"), Column("n", "n")], "T")
    >>> ">&lt;b&gt;</td>" in html, '<td class="num">3</td>' in html
    (True, True)
    """
    numeric = [any(_is_number(row.get(column.key)) for row in rows) for column in columns]
    head = "".join(
        f'<th scope="col"{_num(right)}>{escape(tr(column.label))}'
        + (f' <span class="lr-unit">{escape(tr(column.unit))}</span>' if column.unit else "")
        + "</th>"
        for column, right in zip(columns, numeric, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{_num(right)}>{_cell(row.get(column.key), column.format)}</td>"
            for column, right in zip(columns, numeric, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="lr-table" role="region" tabindex="0" aria-label="{escape(caption)}" '
        'style="overflow-x:auto;max-width:100%">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def filtered_table_html(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    caption: str,
    filters: Sequence[str],
) -> str:
    """Return a table that a published page can sort and filter.

    Without a script, in a notebook and on paper it is the plain table.

    Parameters
    ----------
    rows, columns, caption
        As in :func:`table_html`.
    filters : sequence of str
        Keys of the columns to filter by.
    """
    keys = [column.key for column in columns]
    words = {
        "filters": [keys.index(key) for key in filters],
        "all": tr("all"),
        "shown": tr("{n} of {of} shown"),
    }
    return (
        f'<div class="lr-cells" data-words="{escape(json.dumps(words, ensure_ascii=False))}">'
        f"{table_html(rows, columns, caption)}</div>"
    )


def facts_html(items: Sequence[tuple[str, str, str]]) -> str:
    """Return headline numbers as HTML: each a name, a value, and what the value rests on.

    Examples
    --------
    >>> facts_html([("Accuracy", "99.97 %", "1 of 3600 pairs wrong")])
    '<dl class="lr-facts"><div><dt>Accuracy</dt><dd>99.97 %</dd><dd class="lr-basis">1 of ...'
    """
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
        f'<dd class="lr-basis">{escape(basis)}</dd></div>'
        for name, value, basis in items
    )
    return f'<dl class="lr-facts">{"".join(cells)}</dl>'


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


def _num(right: bool) -> str:
    return ' class="num"' if right else LEFT


def _is_number(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "value" in value
    return isinstance(value, Real) and not isinstance(value, bool)


def _cell(value: Any, form: str | Callable[[Any], str] | None) -> str:
    if form == "status" and value in _STATUS:
        return status_html(value)
    if form == "link" and value:
        return f'<a href="{escape(quote(value))}">{escape(value)}</a>'
    if isinstance(value, Mapping) and "href" in value:
        return f'<a href="{escape(quote(value["href"]))}">{escape(recorded(value["text"]))}</a>'
    if isinstance(value, Mapping) and "verdict" in value:
        why = f'<span class="lr-why">{escape(recorded(value["why"]))}</span>'
        return status_html(value["verdict"]) + why
    if isinstance(value, Mapping) and "refused" in value:
        text = tr("not given: {reason}", reason=recorded(str(value["refused"])))
        return f'<span class="lr-refused">{escape(text)}</span>'
    text = escape(_text(value, form))
    if isinstance(value, Mapping):
        return f'<span style="white-space:nowrap">{text}</span>'
    return text


def _text(value: Any, form: str | Callable[[Any], str] | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping) and "value" in value:
        write = lambda number: _text(number, form)  # noqa: E731
        return fmt_interval(value["value"], value.get("low"), value.get("high"), write)
    if callable(form):
        return form(value)
    if isinstance(value, bool):
        return tr("yes") if value else tr("no")
    if _is_number(value):
        if form:
            return format(value, form).replace("-", "\u2212")
        return fmt_count(value) if isinstance(value, Integral) else fmt_number(value)
    return recorded(str(value))


# Charts as SVG files of their own.

_NAMESPACE = 'xmlns="http://www.w3.org/2000/svg"'


def write_figures(folder: Path, displays: Mapping[str, Any]) -> list[Path]:
    """Write each chart as ``<name>.svg``, with its description inside.

    Parameters
    ----------
    folder : Path
        Made when needed.
    displays : dict
        File name to a display that has numbers.

    Returns
    -------
    list of Path
        In the order of `displays`. The same numbers give the same bytes.
    """
    return [
        write_text(folder / f"{name}.svg", standalone_svg(display))
        for name, display in displays.items()
        if not display.is_empty
    ]


def standalone_svg(display: Any) -> str:
    """Return a chart as a whole SVG document: black on white, readable by itself."""
    text = inline_svg(display.plot().figure_, display.describe())
    width, height = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', text).groups()
    # A page lends its colours to an inline chart; a file has to bring its own.
    text = re.sub(r"var\(--lr-paper[^;\"]*?Canvas\)\)", style.PAPER, text)
    about = f"<title>{escape(tr(display.title))}</title><desc>{escape(display.describe())}</desc>"
    paper = f'<rect width="100%" height="100%" fill="{style.PAPER}"/>'
    head, _, body = text.partition(">")
    head = head.replace("<svg", f'<svg {_NAMESPACE} width="{width}pt" height="{height}pt"', 1)
    head = re.sub(r' style="[^"]*"', f' style="color:{style.INK}"', head)
    return visible(f"{head}>{about}{paper}{body}\n")
