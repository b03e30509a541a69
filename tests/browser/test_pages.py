"""Published pages in a real browser: no request, no complaint, no sideways scrolling."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lresnet_utils.machine.disk import write_text
from lresnet_utils.report.publish.page import Link, render

pytestmark = pytest.mark.browser

WIDTHS = (390, 800, 1280)

SVG = (
    '<svg role="img" aria-label="A line" viewBox="0 0 400 200" style="display:block;width:100%">'
    '<path d="M0 200L400 0" stroke="currentColor"/></svg>'
)
TABLE = (
    '<div class="lr-table" role="region" tabindex="0" aria-label="Wide"><table>'
    "<caption>Wide</caption><thead><tr>"
    + "".join(f'<th scope="col" class="num">a long heading {i}</th>' for i in range(12))
    + "</tr></thead><tbody><tr>"
    + "".join(f'<td class="num">{i}.123456789</td>' for i in range(12))
    + "</tr></tbody></table></div>"
)
FACTS = '<dl class="lr-facts"><div><dt>Accuracy</dt><dd>99.97 %</dd><dd>3600 pairs</dd></div></dl>'
LONG = "/a/very/long/path" * 12


def shown(data, **metadata):
    return new_output("display_data", data=data, metadata=metadata)


def notebook(failed):
    """Return a notebook with everything a page can hold, and a failure when asked."""
    plain = '<svg xmlns="http://www.w3.org/2000/svg" width="900" height="90"/>'
    cells = [
        new_markdown_cell("# A page\n\nText with `code` and a [link](other.html)."),
        new_code_cell(
            f"folder: str = {LONG!r}  # where things are\nbatch_size: int = 1  # images per call",
            metadata={"tags": ["parameters"]},
        ),
        new_markdown_cell(f"## One\n\n| a | b |\n|---|--:|\n| x | {LONG} |"),
        new_code_cell(
            f"draw({LONG!r})",
            outputs=[
                shown({"text/html": f'<figure class="lr-figure">{SVG}</figure>{TABLE}{FACTS}'}),
                shown({"image/svg+xml": plain}, **{"image/svg+xml": {"alt": "Nothing"}}),
                new_output("stream", name="stderr", text=LONG),
                shown({"text/plain": LONG}),
            ],
        ),
        new_markdown_cell(f"## Two\n\n```python\nprint({LONG!r})\n```"),
    ]
    if failed:
        trouble = new_output("error", ename="DataError", evalue=LONG, traceback=[LONG, "end"])
        cells.append(new_code_cell("fail()", outputs=[trouble]))
    return new_notebook(cells=cells)


@pytest.fixture(scope="session")
def pages(tmp_path_factory) -> list[Path]:
    """Publish the pages that every test of this module looks at."""
    folder = tmp_path_factory.mktemp("pages")
    links = [
        Link(f"Stage {stage}", f"{size}/{stage}.html", stage == size == 6, f"batch size {size}")
        for size in (1, 6)
        for stage in range(1, 7)
    ]
    made = []
    for name, failed in (("good", False), ("failed", True)):
        nbformat.write(notebook(failed), folder / f"{name}.ipynb")
        meta = {"Weights": "0123456789abcdef" * 4, "Folder": LONG}
        made.append(
            write_text(
                folder / f"{name}.html",
                render(folder / f"{name}.ipynb", title=f"demo: {name}", links=links, meta=meta),
            )
        )
    return made


def test_no_request_and_no_complaint(pages, visit):
    for path in pages:
        for scheme in ("light", "dark"):
            visit(path, scheme=scheme).wait_for_load_state("networkidle")
    assert visit.heard == []


def test_the_policy_stops_a_script_and_a_foreign_picture(pages, visit, tmp_path):
    """The check above can fail: a page with a script and a foreign picture is caught."""
    text = pages[0].read_text(encoding="utf-8")
    bad = tmp_path / "bad.html"
    extra = "<script>document.title = 'ran'</script><img src='http://127.0.0.1:9/x.png' alt=''>"
    bad.write_text(text.replace("</body>", extra + "</body>"), encoding="utf-8")
    page = visit(bad)
    page.wait_for_load_state("networkidle")
    assert page.title() != "ran"
    assert any("script" in heard for heard in visit.heard)
    assert any("img-src" in heard for heard in visit.heard)


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_scrolls_sideways_folded_or_open(pages, visit, width):
    for path in pages:
        page = visit(path, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path.name


def test_headings_pictures_and_names_are_in_order(pages, visit):
    for path in pages:
        page = visit(path)
        assert page.locator("h1").count() == 1
        assert page.locator("main").count() == 1
        assert page.evaluate("[...document.images].filter(i => !i.alt.trim()).length") == 0
        assert page.evaluate("[...document.images].filter(i => !i.complete).length") == 0
        unnamed = "svg:not([aria-label]):not([aria-hidden]):not(img svg)"
        assert page.locator(unnamed).count() == 0
        assert (
            page.evaluate(
                "(ids => ids.length - new Set(ids).size)([...document.querySelectorAll('[id]')]"
                ".map(e => e.id))"
            )
            == 0
        )
        missing = page.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href'))"
            ".filter(h => !document.getElementById(decodeURIComponent(h.slice(1))))"
        )
        assert missing == []


def test_one_switch_opens_all_code_and_the_keyboard_reaches_it(pages, visit):
    page = visit(pages[0])
    seen = (
        "wanted => [...document.querySelectorAll('.lr-code .highlight')]"
        ".every(e => e.checkVisibility({contentVisibilityAuto: true}) === wanted)"
    )
    assert page.locator(".lr-code .highlight").count() > 1
    assert page.evaluate(seen, False)
    page.locator("#lr-show-code").focus()
    for wanted in (True, False):
        page.keyboard.press("Space")
        page.wait_for_function(seen, arg=wanted)


def test_paper_has_no_navigation_and_no_dark_ground(pages, visit):
    page = visit(pages[0], scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("nav.lr-pages").is_visible()
    assert not page.locator(".lr-code").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_text_has_contrast_in_light_and_dark(pages, visit):
    """Body, muted, link and status colours have 4.5 to 1 against the page (WCAG 2.2, 1.4.3)."""
    names = ("ink", "muted", "accent", "ok", "warning", "failed")
    for scheme in ("light", "dark"):
        page = visit(pages[0], scheme=scheme)
        read = "n => getComputedStyle(document.documentElement).getPropertyValue('--lr-' + n)"
        paper = _luminance(page.evaluate(read, "paper"))
        for name in names:
            pair = sorted((paper, _luminance(page.evaluate(read, name))))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (scheme, name)


def _luminance(colour):
    """Relative luminance of '#rrggbb' (WCAG 2.2)."""
    digits = colour.strip().removeprefix("#")
    shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
