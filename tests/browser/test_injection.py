"""Names and texts from strangers stand on a page as text, whatever they contain."""

import json

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lresnet_utils.errors import DataError
from lresnet_utils.machine.disk import write_text
from lresnet_utils.report.charts.builds import DifferenceDisplay
from lresnet_utils.report.publish.page import Link, render
from lresnet_utils.report.publish.scripts import page_scripts
from lresnet_utils.report.show import Column, facts, note, say, show, table

pytestmark = pytest.mark.browser

ATTACKS = (
    "<img src=x onerror=\"document.title='ran'\">",
    "<script>document.title='ran'</script>",
    "</title></script><script>document.title='ran'</script>",
    '"><svg onload="document.title=\'ran\'">',
    "' onmouseover='alert(1)' x='",
    "[click](javascript:alert(1)) **bold** `code`",
    "{{ 7*7 }} {% raw %} ${7*7} $x^2$",
)
TEXT = " | ".join(ATTACKS)


def outputs_of(shown) -> list:
    """Return what a call displays, as a notebook would store it."""
    InteractiveShell.instance()  # without one, nothing is displayed
    with capture_output() as captured:
        shown()
    return [new_output("display_data", dict(item.data)) for item in captured.outputs]


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    """Publish a page on which every text that can come from outside is an attack."""
    folder = tmp_path_factory.mktemp("hostile")
    trouble = new_output(
        "error", ename=TEXT, evalue=str(DataError(TEXT, where=TEXT, fix=TEXT)), traceback=[TEXT]
    )
    measured = {"cell": TEXT, "value": 0.0, "low": -0.01, "high": 0.01, "n": 5}
    chart = DifferenceDisplay([measured], 0.2)
    cells = [
        new_markdown_cell("# Page"),
        new_code_cell(f"name: str = {TEXT!r}  # a name", metadata={"tags": ["parameters"]}),
        new_code_cell("show()", outputs=outputs_of(lambda: say(TEXT))),
        new_code_cell("show()", outputs=outputs_of(lambda: note(TEXT))),
        new_code_cell("show()", outputs=outputs_of(lambda: facts([(TEXT, TEXT, TEXT)]))),
        new_code_cell(
            "show()",
            outputs=outputs_of(lambda: table([{"k": TEXT}], [Column("k", TEXT, TEXT)], TEXT)),
        ),
        new_code_cell(
            "show()",
            outputs=outputs_of(
                lambda: table([{"k": TEXT}], [Column("k", TEXT, TEXT)], TEXT, ["k"])
            ),
        ),
        new_code_cell("show()", outputs=outputs_of(lambda: show(chart))),
        new_code_cell(f"print({TEXT!r})", outputs=[new_output("stream", name="stdout", text=TEXT)]),
        new_code_cell("x", outputs=[new_output("display_data", {"text/plain": TEXT})]),
        new_code_cell("fail()", outputs=[trouble]),
    ]
    nbformat.write(new_notebook(cells=cells), folder / "n.ipynb")
    return write_text(
        folder / "page.html",
        render(
            folder / "n.ipynb",
            title=TEXT,
            links=[Link(TEXT, f"{TEXT}.html", group=TEXT)],
            meta={TEXT: [TEXT, {TEXT: TEXT}]},
            data={"lr-x": {TEXT: TEXT}},
        ),
    )


def test_attacks_are_text_and_nothing_runs(hostile_page, visit):
    page = visit(hostile_page)
    page.wait_for_load_state("networkidle")
    assert page.title() == TEXT
    body = page.locator("body")
    shown = body.evaluate("b => b.innerHTML.length") and body.text_content()
    for attack in ATTACKS:
        assert shown.count(attack) >= 15, attack
    inside = (
        "[...document.querySelectorAll('img[src=x],svg[onload],[onerror],[onmouseover],[onload]')]"
    )
    assert page.evaluate(f"{inside}.length") == 0
    scripts = page.evaluate("[...document.scripts].map(s => [s.type, s.textContent])")
    ours = {("", script.text) for script in page_scripts()}
    assert {(kind, text) for kind, text in scripts if kind != "application/json"} <= ours
    links = page.evaluate("[...document.links].map(a => a.protocol)")
    assert "javascript:" not in links
    assert page.locator("strong", has_text="bold").count() == 0
    assert visit.heard == []


def test_data_blocks_give_the_text_back(hostile_page, visit):
    page = visit(hostile_page)
    stored = page.evaluate("document.getElementById('lr-x').textContent")
    assert json.loads(stored) == {TEXT: TEXT}


def test_the_check_can_fail(hostile_page, visit, tmp_path):
    """One attack that is not made text is seen by the same look at the page."""
    bad = tmp_path / "bad.html"
    html = hostile_page.read_text(encoding="utf-8")
    bad.write_text(html.replace("</main>", ATTACKS[0] + "</main>"), encoding="utf-8")
    page = visit(bad)
    assert page.evaluate("document.querySelectorAll('[onerror]').length") == 1
