"""The table of cells in a real browser: sorted and filtered by keyboard, plain without a script."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from lresnet_utils.machine.disk import write_text
from lresnet_utils.report.publish.page import render
from lresnet_utils.report.show import Column, table_html

pytestmark = pytest.mark.browser

ROWS = [
    {"target": {"text": "b", "href": "x.html"}, "batch": 4, "rate": {"value": 9.5}},
    {"target": "c", "batch": 16, "rate": {"refused": "no device"}},
    {"target": "a", "batch": 4, "rate": {"value": 80.25, "low": 79.0, "high": 81.5}},
    {"target": "b", "batch": 16, "rate": {"value": 12345.0}},
]
COLUMNS = [Column("target", "Target"), Column("batch", "Batch"), Column("rate", "Rate", "images/s")]
SHOWN = "[...document.querySelectorAll('.lr-cells tbody tr')].filter(r => !r.hidden).map(r => {})"


@pytest.fixture(scope="session")
def table_page(tmp_path_factory):
    html = table_html(ROWS, COLUMNS, "Cells", ["target", "batch"])
    output = new_output("display_data", {"text/html": html})
    path = tmp_path_factory.mktemp("cells") / "index.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("x", outputs=[output])]), path)
    return write_text(path.with_suffix(".html"), render(path, title="Cells"))


def column(page, i):
    return page.evaluate(SHOWN.format(f"r.cells[{i}].textContent"))


def test_headings_sort_by_key_and_say_how(table_page, visit):
    page = visit(table_page)
    page.get_by_role("button", name="Target").focus()
    page.keyboard.press("Enter")
    assert column(page, 0) == ["a", "b", "b", "c"]
    page.keyboard.press("Space")
    assert column(page, 0) == ["c", "b", "b", "a"]
    page.get_by_role("button", name="Rate").press("Enter")
    # The largest first; what was not measured last, either way.
    assert [text[:5] for text in column(page, 2)] == ["12\u00a034", "80.2 ", "9.50", "not g"]
    assert page.locator("th[aria-sort]").all_text_contents() == ["Rate images/s"]
    page.get_by_role("button", name="Rate").press("Enter")
    assert column(page, 2)[0] == "9.50"
    assert column(page, 2)[-1].startswith("not given")
    assert page.locator("th[aria-sort=ascending]").count() == 1
    assert visit.heard == []


def test_choices_filter_together_and_count(table_page, visit):
    page = visit(table_page)
    assert page.locator(".lr-filter output").text_content() == "4 of 4 shown"
    page.get_by_label("Target").select_option("b")
    assert column(page, 1) == ["4", "16"]
    page.get_by_label("Batch").select_option("16")
    assert column(page, 0) == ["b"]
    assert page.locator(".lr-filter output").text_content() == "1 of 4 shown"
    page.emulate_media(media="print")
    assert not page.locator(".lr-filter").is_visible()


def test_without_a_script_the_plain_table_stays(table_page, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(table_page.as_uri())
    assert page.locator(".lr-cells tbody tr:visible").count() == len(ROWS)
    assert page.locator("button, select").count() == 0
    context.close()
