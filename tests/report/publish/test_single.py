"""The single file: every page and every link inside, no name twice, no foreign script."""

import json
import re
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lresnet_utils.errors import RunError
from lresnet_utils.machine.disk import write_text
from lresnet_utils.report.publish.page import Link, render
from lresnet_utils.report.publish.scripts import page_scripts
from lresnet_utils.report.publish.single import single_text
from lresnet_utils.run import RunFolder

DRAWING = '<path id="m1" d="M0 0h9"/><use href="#m1"/><g clip-path="url(#m1)"/>'
SHARED = f'<svg role="img" aria-label="One" viewBox="0 0 9 9">{DRAWING}</svg>'
EXPLORER = '<div class="lr-explorer"><script type="application/json">{"n":"</p>"}</script></div>'
PAGES = ("index.html", "3_preprocess.html", "bs1/5_evaluate.html", "bs4/5_evaluate.html")


def shown(html):
    return new_code_cell("1 + 1", outputs=[new_output("display_data", {"text/html": html})])


def links(current):
    """Return the navigation as a page at `current` has it."""
    up = "" if "/" not in current else "../"
    for page in PAGES:
        size = re.match(r"bs(\d)/", page)
        group = f"batch size {size[1]}" if size else ""
        yield Link(page.rpartition("/")[2][:-5].title(), up + page, page == current, group)


@pytest.fixture
def run(tmp_path):
    """Publish four pages that show the same drawing, link to each other and use equal names."""
    run = RunFolder(tmp_path / "r")
    for page in PAGES:
        up = "" if "/" not in page else "../"
        cells = [
            new_markdown_cell(f"# {page}\n\n## ROC\n\n[there]({up}bs4/5_evaluate.html#roc)"),
            shown(f"<figure>{SHARED}</figure>{EXPLORER if 'evaluate' in page else ''}"),
            new_markdown_cell(
                f"### Below\n\n## More\n\n[first]({up}index.html) [all]({up}report.html) [out](https://example.org)"
            ),
        ]
        path = run.folder / page
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=cells), path.with_suffix(".ipynb"))
        data = {"lr-results": {"schema": 1}} if page == "index.html" else None
        failure = "The kernel died." if page == "3_preprocess.html" else None
        write_text(
            path,
            render(
                path.with_suffix(".ipynb"),
                title=f"r: {page}",
                links=list(links(page)),
                data=data,
                failure=failure,
            ),
        )
    return run


@pytest.fixture
def soup(run):
    return BeautifulSoup(single_text(run, PAGES), "html.parser")


def test_every_page_is_a_section_under_its_title(soup):
    assert [h.get_text() for h in soup.find_all("h1")] == ["index.html"]
    assert [s.h2.get_text() for s in soup.select("section.lr-page")] == [
        f"r: {page}" for page in PAGES[1:]
    ]
    below = [h.name for h in soup.select("section.lr-page h3, section.lr-page h4")]
    assert below == ["h3", "h4", "h3"] * 3
    banner = soup.select_one("#lr-3_preprocess").find_parent("section").select_one(".lr-banner")
    assert "The kernel died." in banner.get_text()


def test_no_name_is_there_twice_and_every_inner_link_arrives(soup):
    names = [element["id"] for element in soup.find_all(id=True)]
    assert len(names) == len(set(names))
    hrefs = [element["href"] for element in soup.find_all(["a", "use"], href=True)]
    assert {href for href in hrefs if not href.startswith("#")} == {"https://example.org"}
    inner = {unquote(href[1:]) for href in hrefs if href.startswith("#")}
    assert inner <= set(names)
    assert {"lr-3_preprocess", "lr-bs1-5_evaluate", "lr-bs4-5_evaluate--roc"} <= inner
    named = {m for e in soup.find_all(attrs={"clip-path": True}) for m in [e["clip-path"][5:-1]]}
    assert named <= set(names)


def test_the_contents_and_the_navigation_lead_to_every_page(soup):
    wanted = ["#lr-3_preprocess", "#lr-bs1-5_evaluate", "#lr-bs4-5_evaluate"]
    navigation = [a["href"] for a in soup.select("nav.lr-pages a")]
    assert navigation == ["#lr-story", *wanted]
    assert [a["href"] for a in soup.select(".lr-contents a")][-3:] == wanted
    assert "batch size 4" in soup.select(".lr-contents a")[-1].get_text()


def test_a_drawing_that_pages_share_is_drawn_once(soup):
    drawings = soup.select('svg[role="img"]')
    assert len(drawings) == 4
    assert [svg.path is not None for svg in drawings] == [True, False, False, False]
    (name,) = {svg.use["href"] for svg in drawings[1:]}
    assert soup.find(id=name[1:]).path is not None


def test_only_the_scripts_that_are_needed_are_allowed_and_there(soup):
    explorer, cells = page_scripts()
    policy = soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    assert f"script-src '{explorer.hash}';" in policy
    assert cells.hash not in policy
    scripts = [s.string for s in soup.find_all("script") if not s.get("type")]
    assert scripts == [explorer.text]


def test_the_first_pages_data_are_kept_and_the_same_pages_give_the_same_text(run, soup):
    assert json.loads(soup.find(id="lr-results").string) == {"schema": 1}
    assert single_text(run, PAGES) == single_text(run, PAGES)


def test_a_page_that_is_missing_is_left_out_of_the_contents(run):
    (run.folder / PAGES[-1]).unlink()
    soup = BeautifulSoup(single_text(run, PAGES), "html.parser")
    assert [a["href"] for a in soup.select(".lr-contents a")][-1] == "#lr-bs1-5_evaluate"


def test_a_folder_without_a_report_says_what_to_do(tmp_path):
    with pytest.raises(RunError, match="no published report"):
        single_text(RunFolder(tmp_path), PAGES)
