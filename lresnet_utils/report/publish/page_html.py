"""A notebook and what surrounds it become the text of a page: nbconvert with our template."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import pass_context
from nbconvert import HTMLExporter
from nbconvert.exporters import TemplateExporter
from nbconvert.filters import Highlight2HTML
from nbformat import NotebookNode
from traitlets.config import Config

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


def page_html(notebook: NotebookNode, page: dict[str, Any]) -> str:
    """Return the whole page.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        As :func:`lresnet_utils.report.publish.executed.tidy` returns it.
    page : dict
        What the template calls ``page``. Headings found on the way are added to it.
    """
    html, _ = _PageExporter().from_notebook_node(notebook, {"page": page})
    head, body, story = html.partition("<body>")
    return head + body + _REACHING.sub("&lt;", story)


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


def _quoted(href: str) -> str:
    """Percent-encode a relative path; a colon too, so that no link can be more than a path."""
    return quote(href, safe="/#.~")
