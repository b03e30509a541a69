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
from dataclasses import dataclass
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

from lresnet_utils.errors import DataError
from lresnet_utils.files import write_text
from lresnet_utils.report import executed
from lresnet_utils.report.page_words import words
from lresnet_utils.report.scripts import page_scripts
from lresnet_utils.report.words import prose, speaking, tr

_TEMPLATE = Path(__file__).with_name("template")
_SHOWN_TYPES = (
    "text/html",
    "text/markdown",
    "image/svg+xml",
    "image/png",
    "image/jpeg",
    "text/latex",
    "text/plain",
)
_MARKDOWN_HEADING = re.compile(r"<h([1-6])>(.*?)</h\1>", re.DOTALL)


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
    """

    label: str
    href: str
    current: bool = False
    group: str = ""


def publish(
    notebook_path: Path | str,
    html_path: Path | str,
    *,
    title: str,
    links: Sequence[Link] = (),
    language: str = "en",
    meta: Mapping[str, Any] | None = None,
    failure: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> Path:
    """Write an executed notebook as one self-contained HTML page.

    The notebook's first level-one heading is the page's only ``<h1>``; `title` stands above it
    and names the browser's tab. A notebook without such a heading gets `title` as its heading.
    A notebook that stopped is published too, with the reason at the top. The same notebook and
    arguments give the same bytes.

    Parameters
    ----------
    notebook_path : path
        An executed ``.ipynb``.
    html_path : path
        The page to write.
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

    Returns
    -------
    pathlib.Path
        `html_path`.

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
        page = {
            "title": title,
            "language": language,
            "groups": _groups(links),
            "provenance": _provenance(notebook, notebook_path.name, meta or {}),
            "data": _blocks(data or {}),
            "folder": notebook_path.parent,
        }
        return _write(_translated(notebook), html_path, page, failure)


def publish_story(
    parts: Sequence[Prose | Output],
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
    parts : sequence of Prose and Output
        In order; the first heading of level one is the page's.
    html_path, title, language, meta, data
        As in :func:`publish`.

    Returns
    -------
    pathlib.Path
        `html_path`.
    """
    cells = [
        new_markdown_cell(part.markdown)
        if isinstance(part, Prose)
        else new_code_cell("", outputs=[new_output("display_data", {"text/html": part.html})])
        for part in parts
    ]
    page = {
        "title": title,
        "language": language,
        "groups": [],
        "provenance": [(str(label), _texts(value)) for label, value in (meta or {}).items()],
        "data": _blocks(data or {}),
        "folder": Path(html_path).parent,
    }
    return _write(new_notebook(cells=cells), html_path, page, None)


@dataclass(frozen=True)
class Prose:
    """Markdown of a page without a notebook."""

    markdown: str


@dataclass(frozen=True)
class Output:
    """A chart, a table or a sentence of a page without a notebook, as HTML."""

    html: str


def _write(
    notebook: NotebookNode, html_path: Path | str, page: dict[str, Any], failure: str | None
) -> Path:
    """Render a notebook with what its page says around it, and write it."""
    notebook = executed.tidy(notebook)
    stopped = executed.failure(notebook)
    page |= {
        "heading": None,
        "headings": [],
        "words": words(page["language"]),
        "parameters": executed.parameters(notebook),
        "has_code": any(cell.cell_type == "code" and cell.source for cell in notebook.cells),
        "failure": stopped if failure is None else _told(stopped, failure),
        "scripts": page_scripts(),
    }
    resources = {"page": page, "metadata": {"path": str(page["folder"])}}
    html, _ = _PageExporter().from_notebook_node(notebook, resources)
    return write_text(html_path, html)


def _blocks(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Write values as compact JSON in which no text can end the block that holds it."""
    return [
        (name, json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))
        for name, value in data.items()
    ]


def _translated(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook whose prose is in the language spoken; the file keeps its English."""
    cells = [
        NotebookNode(cell | {"source": prose(cell.source)})
        if cell.cell_type == "markdown"
        else cell
        for cell in notebook.cells
    ]
    return NotebookNode(notebook | {"cells": cells})


class _PageExporter(HTMLExporter):
    """nbconvert's HTML exporter with this package's template and headings."""

    def __init__(self) -> None:
        super().__init__(
            template_name=_TEMPLATE.name,
            extra_template_basedirs=[str(_TEMPLATE.parent)],
            embed_images=True,
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
        self.register_filter("quoted", _quoted)
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
    level = max(level, 2)
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


def _quoted(href: str) -> str:
    """Percent-encode a relative path; a colon too, so that no link can be more than a path."""
    return quote(href, safe="/#.~")


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise DataError(
            "The notebook does not exist.", where=str(path), fix="run its stage first"
        ) from error
    except (OSError, ValueError, AttributeError, nbformat.ValidationError) as error:
        raise DataError(
            "The file is not a notebook.", where=str(path), fix="run its stage again"
        ) from error


def _told(found: executed.Failure | None, reason: str) -> executed.Failure:
    """Join what the caller knows about a failure to what the notebook shows."""
    if found is None:
        return executed.Failure(None, None, "", "", reason, "")
    message = found.message or reason
    return executed.Failure(
        found.anchor, found.number, found.section, found.kind, message, found.traceback
    )


def _groups(links: Sequence[Link]) -> list[tuple[str, list[Link]]]:
    """Gather links by group, in the order in which the groups first appear."""
    groups: dict[str, list[Link]] = {}
    for link in links:
        groups.setdefault(link.group, []).append(link)
    return list(groups.items())


def _provenance(
    notebook: NotebookNode, name: str, meta: Mapping[str, Any]
) -> list[tuple[str, list[str]]]:
    """Return (label, texts) rows: what the caller gave, then what the notebook itself records."""
    rows = {str(label): _texts(value) for label, value in meta.items()}
    rows.setdefault(tr("Notebook"), [name])
    version = notebook.metadata.get("language_info", {}).get("version")
    if version:
        rows.setdefault("Python", [str(version)])
    papermill = notebook.metadata.get("papermill", {}).get("version")
    if papermill:
        rows.setdefault("papermill", [str(papermill)])
    return list(rows.items())


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
