"""What a comparison shows: the page, and the terminal."""

import contextlib
import io
import json

import pytest
from bs4 import BeautifulSoup

from lresnet_utils.comparison.reports import CompareSettings, compare_reports
from lresnet_utils.comparison.sources import open_report
from lresnet_utils.errors import ParamsError
from lresnet_utils.report.pages.compare import COMPARISON, write_page
from lresnet_utils.running.console import print_comparison
from lresnet_utils.text.language import with_codes


def compared(a, b, cells=None):
    return compare_reports(
        open_report(a), open_report(b), cells=cells, settings=CompareSettings(replicates=200)
    )


def printed(comparison):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        print_comparison(comparison)
    return out.getvalue()


@pytest.fixture(scope="module")
def damage(good, bad):
    return compared(good.folder, bad.folder)


def test_the_page_says_what_the_record_says_and_carries_it(damage, tmp_path):
    path = write_page(damage, tmp_path / "compare.html")
    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    (block,) = soup.find_all("script")
    assert block["type"] == "application/json" and block["id"] == COMPARISON
    assert with_codes(json.loads(block.string)) == json.loads(json.dumps(damage.record))
    cell = damage.cells[0].record
    assert cell["verdict"]["sentence"] in soup.get_text()
    assert damage.record["rule"] in soup.get_text()
    cards = soup.select(".lr-card")
    assert len(cards) == min(36, len(cell["lost"])) + min(36, len(cell["gained"]))
    first = cell["lost"][0]
    assert f"Pair {first['pair']}" in cards[0].get_text()
    assert len(soup.select(".lr-card img")) == 2 * len(cards)
    assert "script-src" not in soup.find("meta", {"http-equiv": True})["content"]
    assert not soup.select(".lr-switch")


def test_the_page_in_chinese_holds_no_english(damage, tmp_path, english_in):
    path = write_page(damage, tmp_path / "compare.html", "zh")
    assert english_in(path) == []
    with pytest.raises(ParamsError, match="did you mean 'zh'"):
        write_page(damage, tmp_path / "other.html", "zhh")


def test_the_same_comparison_gives_the_same_bytes(damage, tmp_path):
    one, two = (write_page(damage, tmp_path / name) for name in ("1.html", "2.html"))
    assert one.read_bytes() == two.read_bytes()


def test_from_pages_alone_pictures_come_from_either_page(good, bad, page_of, tmp_path):
    from_pages = compared(page_of(good), page_of(bad))
    soup = BeautifulSoup(
        write_page(from_pages, tmp_path / "c.html").read_text("utf-8"), "html.parser"
    )
    shown, absent = soup.select(".lr-card img"), soup.select(".lr-card-none")
    assert shown and len(shown) + len(absent) == 2 * len(soup.select(".lr-card"))
    assert "give these on both sides" in soup.get_text()


def test_the_terminal_names_the_pairs_and_ends_with_the_verdict(damage):
    text = printed(damage)
    cell = damage.cells[0].record
    first = cell["lost"][0]
    left, right = first["images"]
    assert f"pair {first['pair']} (images {left} and {right})" in text
    assert "is worse than A" in text
    assert f"{len(cell['lost'])} lost, {len(cell['gained'])} gained of 600" in text
    assert "Rule: Equivalent when" in text
    assert len(text.splitlines()) < 50


def test_several_cells_are_a_table_and_no_flips_are_said(good, tmp_path):
    itself = compared(good.folder, good.folder)
    text = printed(itself)
    assert sum("1.00 [" in line for line in text.splitlines()) == 3
    assert "Of 3 cells, B against A: 3 not enough data." in text
    html = write_page(itself, tmp_path / "c.html").read_text(encoding="utf-8")
    assert "every distance is the same to the last bit" in html


def test_what_withholds_a_report_and_what_stays_open_are_read_first(make_run, tmp_path, english_in):
    blind = make_run("bad", {"torch-fp32": 90.0}, people=6, checkpoint="a" * 64)
    few = make_run("good", {"torch-fp32": 0.0}, people=6, checkpoint="b" * 64)
    found = compared(few.folder, blind.folder)
    text = printed(found)
    assert "No build of B can be recommended" in text
    assert "cosine" in text and "not compared: the networks differ" in text
    path = write_page(found, tmp_path / "c.html")
    notes = BeautifulSoup(path.read_text("utf-8"), "html.parser").select(".lr-note")
    assert notes[0].get_text().startswith("No build of B can be recommended")
    assert found.cells[0].record["verdict"]["sentence"] in notes[1].get_text()
    assert english_in(write_page(found, tmp_path / "zh.html", "zh")) == []


def test_the_page_of_few_people_in_chinese_holds_no_english(make_run, tmp_path, english_in):
    old = make_run("good", {"torch-fp32": 0.0}, people=6)
    new = make_run("bad", {"torch-fp32": 0.9}, people=6)
    found = compared(old.folder, new.folder)
    assert found.cells[0].record["verdict"]["word"] == "worse on these pairs"
    assert english_in(write_page(found, tmp_path / "zh.html", "zh")) == []


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_in_a_browser(damage, tmp_path, visit, width):
    path = write_page(damage, tmp_path / "compare.html")
    for scheme in ("light", "dark"):
        page = visit(path, width=width, scheme=scheme)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("h1").count() == 1
        assert page.locator("img:not([alt]), svg[role=img]:not([aria-label])").count() == 0
    assert visit.heard == []
