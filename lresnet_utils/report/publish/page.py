"""Executed notebooks become self-contained pages: no request, the same bytes again.

The page is nbconvert's work with the template beside this module. Everything it needs is in the
file: one style sheet, pictures as data, and the scripts of what it shows, pinned by hash. A
content security policy forbids the rest, so a page opened from a mail, an archive or a machine
without network looks as it was meant to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.exporters import TemplateExporter
from nbconvert.filters import Highlight2HTML
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from traitlets.config import Config

from lresnet_utils.errors import DataError, visible
from lresnet_utils.machine.disk import write_text
from lresnet_utils.report.publish import executed
from lresnet_utils.report.publish.scripts import page_scripts
from lresnet_utils.text.language import prose, speaking, tr, translatable, with_glossary
from lresnet_utils.untrusted.bytes import read_bytes
from lresnet_utils.untrusted.json import MAX_BYTES, parse_json


@dataclass(frozen=True)
class Link:
    """One entry of the navigation between a run's pages.

    Attributes
    ----------
    label : str
        What the reader sees.
    href : str
        Path of the page, relative to the page that carries the link, not percent-encoded.
    current : bool
        Whether it is the page itself.
    group : str
        Entries with the same group stand on one line, which begins with its name.
    status : {"", "failed", "skipped"}
        Marks the entry where that page's notebook did not end well.
    """

    label: str
    href: str
    current: bool = False
    group: str = ""
    status: str = ""


@dataclass(frozen=True)
class Trouble:
    """A notebook that failed or was not run, for the run's first page.

    Attributes
    ----------
    label, href : str
        Its page, as in :class:`Link`.
    status : {"failed", "skipped"}
    reason : str
        In one sentence.
    """

    label: str
    href: str
    status: str
    reason: str


def render(
    notebook_path: Path | str,
    *,
    title: str,
    links: Sequence[Link] = (),
    language: str = "en",
    meta: Mapping[str, Any] | None = None,
    failure: str | None = None,
    data: Mapping[str, Any] | None = None,
    timings: str | None = None,
    troubles: Sequence[Trouble] = (),
) -> str:
    """Return an executed notebook as one self-contained HTML page.

    The notebook's first level-one heading is the page's only ``<h1>``; `title` stands above it
    and names the browser's tab. A notebook without such a heading gets `title` as its heading.
    A notebook that stopped is published too, with the reason at the top. The same notebook and
    arguments give the same bytes, wherever the run's folder lies.

    Parameters
    ----------
    notebook_path : path
        An executed ``.ipynb``.
    title : str
        Names the page among others, such as "demo, batch size 16".
    links : sequence of Link, optional
        The run's pages, this one among them.
    language : str
        'en' or 'zh': of the page's own words and of the notebook's prose. What its cells show is in
        the language they were run with.
    meta : mapping, optional
        Provenance, shown at the foot in the given order: {label: text, number, list or mapping}.
    failure : str, optional
        Why the notebook stopped when it cannot say so itself, as when its kernel died.
    data : mapping, optional
        Identifier to plain values, which the page carries as inert blocks of JSON.
    timings : str, optional
        The page that shows what this notebook timed, as a link. Timed outputs (see
        :func:`lresnet_utils.report.show.timings`) are then left out here, since no two runs
        give the same; without it they are shown.
    troubles : sequence of Trouble, optional
        Notebooks of the run that did not end well, named at the top.

    Raises
    ------
    DataError
        When the notebook is missing or is not a notebook.
    ParamsError
        When the language is unknown.
    """
    notebook_path = Path(notebook_path)
    notebook = _read(notebook_path)
    with speaking(language):
        # What the caller gave, then what the notebook itself records.
        rows = dict(meta or {})
        rows.setdefault(tr("Notebook"), notebook_path.name)
        version = notebook.metadata.get("language_info", {}).get("version")
        if version:
            rows.setdefault("Python", str(version))
        papermill = notebook.metadata.get("papermill", {}).get("version")
        if papermill:
            rows.setdefault("papermill", str(papermill))
        # The prose in the language spoken; the file keeps its English.
        cells = [
            NotebookNode(cell | {"source": prose(cell.source)})
            if cell.cell_type == "markdown"
            else cell
            for cell in notebook.cells
        ]
        notebook = executed.tidy(NotebookNode(notebook | {"cells": cells}), timed=timings is None)
        stopped = executed.failure(notebook)
        if failure is not None:
            # What the caller knows about it is said where the notebook cannot say it itself.
            stopped = stopped or executed.Failure()
            stopped = replace(stopped, message=stopped.message or failure)
    return _page(
        notebook,
        title,
        language,
        links=links,
        meta=rows,
        failure=stopped,
        data=data,
        timings=timings,
        troubles=troubles,
    )


def render_not_run(
    heading: str,
    *,
    title: str,
    reason: str,
    links: Sequence[Link] = (),
    language: str = "en",
    meta: Mapping[str, Any] | None = None,
) -> str:
    """Return the page of a notebook that was not run, so that no link to it leads nowhere.

    Parameters
    ----------
    heading : str
        What the notebook would have been.
    reason : str
        Why it was not run, in one sentence.
    title, links, language, meta
        As for :func:`render`.
    """
    notebook = new_notebook(cells=[new_markdown_cell(f"# {heading}")])
    failure = executed.Failure(message=reason, was_run=False)
    return _page(notebook, title, language, links=links, meta=meta, failure=failure)


def publish_story(
    story: Sequence[tuple[str, Sequence[str]]],
    html_path: Path | str,
    *,
    title: str,
    language: str = "en",
    meta: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
) -> Path:
    """Write a page that no notebook stands behind, in the same form.

    Parameters
    ----------
    story : sequence of (str, sequence of str)
        Markdown, and what is shown below it as HTML; the first heading of level one is the page's.
    html_path, title, language, meta, data
        As in :func:`render`.

    Returns
    -------
    pathlib.Path
        `html_path`.
    """
    cells = []
    for markdown, outputs in story:
        cells.append(new_markdown_cell(markdown))
        for html in outputs:
            shown = new_output("display_data", {"text/html": html})
            cells.append(new_code_cell("", outputs=[shown]))
    with speaking(language):
        notebook = executed.tidy(new_notebook(cells=cells))
    return write_text(html_path, _page(notebook, title, language, meta=meta, data=data))


def _page(
    notebook: NotebookNode,
    title: str,
    language: str,
    *,
    links: Sequence[Link] = (),
    meta: Mapping[str, Any] | None = None,
    failure: executed.Failure | None = None,
    data: Mapping[str, Any] | None = None,
    timings: str | None = None,
    troubles: Sequence[Trouble] = (),
) -> str:
    """Render a tidied notebook with what its page says around it."""
    known = words(language)
    groups: dict[str, list[Link]] = {}
    for link in links:
        groups.setdefault(link.group, []).append(link)
    with speaking(language):
        parameters = executed.parameters(notebook)
        blocks = []
        for name, value in (data or {}).items():
            # Compact JSON in which no text can end the block that holds it.
            text = json.dumps(with_glossary(value), separators=(",", ":"), allow_nan=False)
            blocks.append((name, text.replace("<", "\\u003c")))
        page = {
            "title": title,
            "language": language,
            "groups": list(groups.items()),
            "provenance": [(str(label), _texts(value)) for label, value in (meta or {}).items()],
            "data": blocks,
            "timings": timings,
            "troubles": troubles,
            "heading": None,
            "headings": [],
            "words": known,
            # The run's folder by its content: where it lay when it ran changes no result.
            "parameters": [
                replace(row, value=known["here"], default=row.default or row.value)
                if row.name == "run_dir"
                else row
                for row in parameters
            ],
            "has_code": any(cell.cell_type == "code" and cell.source for cell in notebook.cells),
            "failure": failure,
            "scripts": page_scripts(),
        }
        html, _ = _PageExporter().from_notebook_node(notebook, {"page": page})
    head, body, story = html.partition("<body>")
    # Names of sets, pictures and nodes are of files; a browser would obey what is in them.
    return visible(head + body + _REACHING.sub("&lt;", story))


def _read(path: Path) -> NotebookNode:
    if not path.exists():
        raise DataError("The notebook does not exist.", where=str(path), fix="run its stage first")
    fix = "run its stage again"
    data = read_bytes(path, most=MAX_BYTES, what="The notebook", fix=fix)
    parse_json(data, where=str(path), what="The notebook", fix=fix)
    try:
        notebook = nbformat.reads(data.decode(), as_version=4)
        nbformat.validate(notebook)
    except (ValueError, TypeError, KeyError, AttributeError, nbformat.ValidationError) as error:
        raise DataError("The file is not a notebook.", where=str(path), fix=fix) from error
    return notebook


def _texts(value: Any) -> list[str]:
    """Write a provenance value as short texts: one, or one for each member.

    >>> _texts({"torch": "2.9.0", "onnx": "1.20.0"}), _texts(None), _texts(3)
    (['torch 2.9.0', 'onnx 1.20.0'], ['–'], ['3'])
    """
    if isinstance(value, Mapping):
        return [f"{key} {' '.join(_texts(member))}" for key, member in value.items()] or ["–"]
    if isinstance(value, (list, tuple)):
        return [" ".join(_texts(member)) for member in value] or ["–"]
    if value is None or value == "":
        return ["–"]
    return [value if isinstance(value, str) else json.dumps(value, default=str)]


# A notebook and what surrounds it become the text of a page: nbconvert with our template.

TEMPLATE = Path(__file__).with_name("template")
_SHOWN_TYPES = (
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "text/latex",
    "text/plain",
)
# What a notebook may show leads nowhere by itself. The content policy forbids the rest, but not a
# page that turns to another address, a name that is looked up, or a frame with such a page in it.
_REACHING = re.compile(r"<(?=(?:meta|link|base|i?frame|frameset)\b)", re.IGNORECASE)
_MARKDOWN_HEADING = re.compile(r"<h([1-6])>(.*?)</h\1>", re.DOTALL)


class _PageExporter(HTMLExporter):
    """nbconvert's HTML exporter with this package's template and headings."""

    def __init__(self) -> None:
        super().__init__(
            template_name=TEMPLATE.name,
            extra_template_basedirs=[str(TEMPLATE.parent)],
            exclude_anchor_links=True,
            config=Config(
                CoalesceStreamsPreprocessor={"enabled": True},
                NbConvertBase={"display_data_priority": list(_SHOWN_TYPES)},
            ),
        )

    def from_notebook_node(self, nb, resources=None, **kw):
        # HTMLExporter's own method ends by rewriting the page with BeautifulSoup, which turns
        # SVG names to lower case and gives pictures alternative texts that say nothing.
        self.register_filter("highlight_code", Highlight2HTML(parent=self))
        # A colon is encoded too, so that no link can be more than a path.
        self.register_filter("quoted", lambda href: quote(href, safe="/#.~"))
        resources = self._init_resources(resources)
        return TemplateExporter.from_notebook_node(self, nb, resources, **kw)

    @pass_context
    def markdown2html(self, context, source):
        html = super().markdown2html(context, source)
        page = context["resources"]["page"]
        html = _MARKDOWN_HEADING.sub(lambda match: _heading(match, page), html)
        label = page["words"]["table"]
        opening = f'<div class="lr-table" role="region" tabindex="0" aria-label="{label}"><table>'
        return html.replace("<table>", opening).replace("</table>", "</table></div>")


def _heading(match: re.Match[str], page: dict[str, Any]) -> str:
    """Note a heading for the contents and give it an address; the first h1 leaves the text."""
    level, html = int(match[1]), match[2].strip()
    if level == 1 and page["heading"] is None:
        page["heading"] = html
        return ""
    # No level is left out on the way down, however the notebook counts.
    above = page["headings"][-1]["level"] if page["headings"] else 1
    level = min(max(level, 2), above + 1)
    name = _unused_name(html, {heading["name"] for heading in page["headings"]})
    has_link = "<a " in html
    page["headings"].append(
        {"level": level, "name": name, "html": re.sub(r"</?a\b[^>]*>", "", html)}
    )
    inside = html if has_link else f'<a class="lr-anchor" href="#{quote(name)}">{html}</a>'
    return f'<h{level} id="{name}">{inside}</h{level}>'


def _unused_name(html: str, used: set[str]) -> str:
    """Make an element's id of a heading's words, different from those used.

    >>> _unused_name("What the <em>curve</em> says", {"what-the-curve-says"})
    'what-the-curve-says-2'
    """
    text = unescape(re.sub(r"<[^>]+>", "", html)).lower()
    slug = re.sub(r"[^\w]+", "-", text).strip("-") or "section"
    # Names that begin with "lr-" are the page's own.
    slug = f"section-{slug}" if slug.startswith("lr-") else slug
    name, copies = slug, 1
    while name in used:
        copies += 1
        name = f"{slug}-{copies}"
    return name


# The words of every page's frame: navigation, fold-outs, the parameter table, failures.

_PAGE_WORDS = {
    "skip": translatable("Skip to the content"),
    "pages": translatable("Pages of this run"),
    "contents": translatable("On this page"),
    "show_code": translatable("Show all code"),
    "code": translatable("Code"),
    "line": translatable("line"),
    "lines": translatable("lines"),
    "printed": translatable("Printed text"),
    "log": translatable("Log"),
    "table": translatable("Table"),
    "picture": translatable("Picture without a description"),
    "parameters": translatable("Parameters"),
    "parameter": translatable("Parameter"),
    "value": translatable("Value"),
    "default": translatable("Default"),
    "meaning": translatable("Meaning"),
    "same": translatable("same"),
    "timed": translatable("What no two runs give alike, such as times, is on the"),
    "timed_page": translatable("Performance page"),
    "here": translatable("this report's folder"),
    "troubles": translatable("Not every notebook of this run finished"),
    "failed": translatable("failed"),
    "skipped": translatable("not run"),
    "unfinished": translatable("This notebook did not finish"),
    "not_run": translatable("This notebook was not run"),
    "failed_where": translatable("Where:"),
    "failed_next": translatable("What to do:"),
    "failed_remedy": translatable(
        "mend the cause and run the report again. To look closer, open the executed notebook "
        "beside this page in JupyterLab (make lab) and run it from the top."
    ),
    "not_run_remedy": translatable(
        "see to the notebook named here first, then run the report again."
    ),
    "failed_in": translatable("It stopped in"),
    "failed_cell": translatable("code cell"),
    "failed_silently": translatable(
        "The cell ended without an error message; its kernel may have been stopped."
    ),
    "failed_go": translatable("Go to the cell"),
    "failed_after": translatable("What follows it was not run."),
    "failed_here": translatable("The notebook stopped here"),
    "traceback": translatable("Traceback"),
    "provenance": translatable("Where these numbers come from"),
}


def words(language: str) -> dict[str, str]:
    """Return the page's own words in a language.

    Raises
    ------
    ParamsError
        When the language is unknown.

    Examples
    --------
    >>> words("en")["code"], words("zh")["code"]
    ('Code', '代码')
    """
    with speaking(language):
        return {name: tr(text) for name, text in _PAGE_WORDS.items()}
