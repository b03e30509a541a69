"""The whole report in one file that can be mailed: the first page with all others behind it.

The published pages are cut at their tags and joined; nothing else in them is changed. Names are
made unlike those of the other pages, links between pages become links inside the file, and the
headings of a page stand one level lower, under its title.
"""

from __future__ import annotations

import os
import posixpath
import re
import tempfile
from bisect import bisect
from collections import Counter
from collections.abc import Collection, Mapping
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from lresnet_utils.errors import RunError, TargetError
from lresnet_utils.machine.disk import atomic_path
from lresnet_utils.report.publish.scripts import page_scripts
from lresnet_utils.run import RunFolder
from lresnet_utils.targets.tools import find_tool, run_tool
from lresnet_utils.untrusted.bytes import read_bytes
from lresnet_utils.untrusted.json import MAX_BYTES

# Attributes that name another element of the page, or several.
_NAMING = re.compile(r'(\s(?:id|for|aria-labelledby|aria-describedby|aria-controls)=")([^"]+)"')
_LINK = re.compile(r'(\shref=")([^"#]*)(#[^"]*)?"')
_DRAWING = re.compile(r'(<svg role="img"[^>]*>)(.*?)</svg>', re.DOTALL)
_HEADINGS = ("h2", "h3", "h4", "h5")


class _Tag(NamedTuple):
    name: str
    start: int
    end: int
    attributes: Mapping[str, str | None]
    closes: bool


class _Page(HTMLParser):
    """A published page, to be cut: its text, and every tag with its place in it."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=False)
        self.text = read_bytes(path, most=MAX_BYTES, what="The page").decode()
        self.tags: list[_Tag] = []
        self._lines = [0, *(match.end() for match in re.finditer("\n", self.text))]
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag, attrs):
        end = self._place() + len(self.get_starttag_text())
        self.tags.append(_Tag(tag, self._place(), end, dict(attrs), False))

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        start = self._place()
        self.tags.append(_Tag(tag, start, self.text.index(">", start) + 1, {}, True))

    def _place(self) -> int:
        line, column = self.getpos()
        return self._lines[line - 1] + column

    def inside(self, name: str, attribute: str, value: str) -> tuple[int, int] | None:
        """Return where the content of the first such element begins and ends."""
        start, depth = None, 0
        for tag in self.tags:
            if start is None:
                found = tag.name == name and not tag.closes
                if found and value in (tag.attributes.get(attribute) or "").split():
                    start, depth = tag.end, 1
            elif tag.name == name:
                depth += -1 if tag.closes else 1
                if depth == 0:
                    return start, tag.start
        return None

    def piece(self, place: tuple[int, int] | None, change=lambda tag, text: text) -> str:
        """Return a part of the text with every tag in it as `change` writes it."""
        if place is None:
            return ""
        at, end = place
        first = bisect([tag.start for tag in self.tags], at - 1)
        parts = []
        for tag in self.tags[first:]:
            if tag.start >= end:
                break
            parts += [self.text[at : tag.start], change(tag, self.text[tag.start : tag.end])]
            at = tag.end
        return "".join([*parts, self.text[at:end]])


class _Entry(NamedTuple):
    """Another page, as the navigation has it: `group` and `label` are HTML."""

    path: str
    group: str
    label: str

    @property
    def name(self) -> str:
        return " · ".join(filter(None, (self.group, self.label)))

    @property
    def anchor(self) -> str:
        """The name of the page's section; a heading's name never begins with ``lr-``."""
        return "lr-" + self.path.removesuffix(".html").replace("/", "-")


def single_text(run: RunFolder, pages: Collection[str]) -> str:
    """Return all pages of a run as one page.

    Parameters
    ----------
    run : RunFolder
        Its pages have been published.
    pages : collection of str
        Their names in its folder; whatever else lies there is left out.

    Returns
    -------
    str
        The same pages give the same text.

    Raises
    ------
    RunError
        When the run has no first page.
    """
    if not run.index.is_file():
        raise RunError(
            "This folder holds no published report.",
            where=str(run.folder),
            fix="run it first: lresnet run PARAMS",
        )
    first = _Page(run.index)
    # The other pages of the run from the first one's navigation, in its order.
    nav = first.inside("nav", "class", "lr-pages")
    navigation, group = [], ""
    for tag in first.tags if nav else ():
        if tag.closes or not nav[0] <= tag.start < nav[1]:
            continue
        said = re.sub(r"\s*<.*", "", first.text[tag.end : first.text.index("</", tag.end)])
        if tag.name == "div":
            group = ""
        elif tag.attributes.get("class") == "lr-group":
            group = said
        elif tag.name == "a" and "aria-current" not in tag.attributes:
            navigation.append(_Entry(unquote(tag.attributes["href"] or ""), group, said))
    entries = [e for e in navigation if e.path in pages and (run.folder / e.path).is_file()]
    anchors = {entry.path: entry.anchor for entry in entries}
    anchors |= dict.fromkeys((run.index.name, run.single.name), "lr-story")
    navs = (tag for tag in first.tags if tag.attributes.get("class") == "lr-pages")
    up = next((nav.attributes["aria-label"] or "" for nav in navs), "")
    sections = [_section(run, entry, anchors, up) for entry in entries]
    text = _drawn_once(_joined(first, entries, anchors, sections))

    # The scripts that the joined pages need, allowed by their hashes alone.
    needed = [script for script in page_scripts() if script.marker in text]
    allowed = " script-src " + " ".join(f"'{script.hash}'" for script in needed) + ";"
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    bare = re.sub(r" script-src [^;]*;", "", policy[1])
    wanted = bare.replace(" base-uri", f"{allowed} base-uri") if needed else bare
    text = text[: policy.start(1)] + wanted + text[policy.end(1) :]
    missing = [s.text for s in needed if f"<script>{s.text}</script>" not in text]
    blocks = "".join(f"<script>{script}</script>\n" for script in missing)
    return text.replace("</body>", f"{blocks}</body>")


def _section(run: RunFolder, entry: _Entry, anchors: Mapping[str, str], up: str) -> str:
    page = _Page(run.folder / entry.path)
    prefix = f"{entry.anchor}--"

    def named(match: re.Match[str]) -> str:
        return f'{match[1]}{" ".join(prefix + name for name in match[2].split())}"'

    def change(tag: _Tag, text: str) -> str:
        if tag.name in _HEADINGS:
            text = re.sub(r"(?<=h)[2-5]", lambda level: str(int(level[0]) + 1), text, count=1)
        if tag.closes:
            return text
        text = _NAMING.sub(named, text)
        text = text.replace("url(#", f"url(#{prefix}")
        if tag.attributes.get("role") == "region" and "aria-label" in tag.attributes:
            text = re.sub(r'(aria-label="[^"]*)', lambda m: f"{m[1]} ({entry.name})", text)
        return _LINK.sub(lambda m: _link(m, entry, anchors), text)

    start = next(tag.end for tag in page.tags if tag.name == "title" and not tag.closes)
    title = page.piece((start, page.text.index("</title>", start)))
    # Between the heading and the story stands why the notebook stopped.
    header = page.inside("header", "class", "lr-title")
    ends = [tag.end for tag in page.tags if tag.name == "h1" and tag.closes]
    banner = page.piece((ends[0], header[1]) if header and ends else None, change)
    story = page.piece(page.inside("div", "id", "lr-story"), change)
    back = f'<p class="lr-up"><a href="#lr-pages">{escape(up)}</a></p>'
    return (
        f'<section class="lr-story lr-page" aria-labelledby="{entry.anchor}">\n'
        f'<h2 id="{entry.anchor}">{title}</h2>\n{back}\n{banner}{story}</section>\n'
    )


def _link(match: re.Match[str], entry: _Entry, anchors: Mapping[str, str]) -> str:
    """Lead a link to where its page stands in this file; others stay as they are."""
    path, fragment = match[2], (match[3] or "").removeprefix("#")
    if not path:
        return f'{match[1]}#{entry.anchor}--{fragment}"' if fragment else match[0]
    full = posixpath.normpath(posixpath.join(posixpath.dirname(entry.path), unquote(path)))
    if full not in anchors:
        return match[0]
    anchor = anchors[full]
    if not fragment:
        return f'{match[1]}#{anchor}"'
    # The first page's names are as they were; those of the others begin with their anchor.
    inside = fragment if anchor == "lr-story" else f"{anchor}--{fragment}"
    return f'{match[1]}#{inside}"'


def _joined(
    first: _Page, entries: list[_Entry], anchors: Mapping[str, str], sections: list[str]
) -> str:
    """Return the first page with its links led inside, and the others behind its story."""
    own = _Entry("", "", "")
    added = "".join(f'<li><a href="#{entry.anchor}">{entry.name}</a></li>\n' for entry in entries)
    contents = first.inside("nav", "class", "lr-contents")
    ends = [tag.start for tag in first.tags if tag.name == "ol" and tag.closes]
    list_end = next((at for at in ends if contents and contents[0] < at < contents[1]), None)
    story = first.inside("div", "id", "lr-story")

    def change(tag: _Tag, text: str) -> str:
        if tag.start == list_end:
            return added + text
        if story and tag.start == story[1]:
            return "".join(sections) + text
        if tag.attributes.get("class") == "lr-pages":
            return text.replace("<nav", '<nav id="lr-pages"', 1)
        linked = tag.name == "a" and not (tag.attributes.get("href") or "#").startswith("#")
        return _LINK.sub(lambda m: _link(m, own, anchors), text) if linked else text

    return first.piece((0, len(first.text)), change)


def _drawn_once(text: str) -> str:
    """Draw a chart that several pages share once, and let the others show the same drawing."""

    def bare(drawing: str) -> str:
        """Leave out the names of the page that a drawing is on."""
        return re.sub(r"(?<=[#\"])lr-[\w-]+?--", "", drawing)

    keys = [bare(match[2]) for match in _DRAWING.finditer(text)]
    shared = {key: f"lr-drawing-{keys.index(key)}" for key, n in Counter(keys).items() if n > 1}
    drawn: set[str] = set()

    def once(match: re.Match[str]) -> str:
        key = bare(match[2])
        name = shared.get(key)
        if name is None:
            return match[0]
        if key in drawn:
            return f'{match[1]}<use href="#{name}"/></svg>'
        drawn.add(key)
        return f'{match[1]}<g id="{name}">{match[2]}</g></svg>'

    return _DRAWING.sub(once, text)


# The whole report as a PDF, printed by the system's Chromium.

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_TIMEOUT_S = 300
_OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    # Nothing has an address: neither what the page might name nor Chromium's own services.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--no-pdf-header-footer",
)


def write_pdf(run: RunFolder) -> Path:
    """Print the single-file report.

    Parameters
    ----------
    run : RunFolder
        Holds ``report.html``.

    Returns
    -------
    pathlib.Path
        ``report.pdf`` in the run's folder.

    Raises
    ------
    RunError
        When there is no Chromium on this machine, or it prints nothing.
    """
    browser = next(filter(None, map(find_tool, _BROWSERS)), None)
    if browser is None:
        raise RunError(
            "There is no Chromium on this machine to print a PDF with.",
            where="PATH: " + ", ".join(_BROWSERS),
            fix=f"install chromium, or print {run.single.name} from any browser",
        )
    with tempfile.TemporaryDirectory() as folder, atomic_path(run.pdf) as path:
        try:
            options = [
                *_OPTIONS,
                f"--user-data-dir={Path(folder) / 'profile'}",
                f"--print-to-pdf={path.absolute()}",
            ]
            # As root, in a container, Chromium's sandbox cannot start; the page may load nothing
            # anyway.
            options += ["--no-sandbox"] if os.geteuid() == 0 else []
            run_tool(
                [browser, *options, run.single.absolute().as_uri()],
                log=Path(folder) / "chromium.log",
                timeout_s=_TIMEOUT_S,
                cwd=Path(folder),
            )
        except TargetError as error:
            raise RunError(
                f"The PDF could not be printed: {error.what}",
                where=str(run.single),
                fix="print the page from a browser",
            ) from error
        if not path.is_file() or not path.stat().st_size:
            raise RunError("Chromium ended without printing a PDF.", where=str(run.single))
    return run.pdf
