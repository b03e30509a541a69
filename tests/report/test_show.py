import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from lresnet_utils.report.charts.builds import OperatorDisplay
from lresnet_utils.report.charts.display import INK
from lresnet_utils.report.charts.recognition import ScoreHistogramDisplay
from lresnet_utils.report.charts.throughput import ThroughputDisplay
from lresnet_utils.report.show import (
    Column,
    figure_html,
    note,
    note_html,
    say,
    show,
    status_html,
    table,
    table_html,
)

HOSTILE = '<script>alert("x")</script> & $\\frac{1}{2}$'


def throughput(target="torch-fp32"):
    return ThroughputDisplay(
        [
            {"target": target, "batch_size": size, "value": 0.123456 * size, "low": 0.1, "high": 9}
            for size in (1, 16)
        ]
    )


class Reader(HTMLParser):
    """Collects tags and fails on unclosed ones."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(html)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "br", "meta"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_chart_is_one_accessible_svg_that_loads_nothing():
    display = throughput()
    html = figure_html(display)
    reader = Reader(html)
    (svg,) = [attrs for tag, attrs in reader.tags if tag == "svg"]
    assert svg["role"] == "img"
    assert svg["aria-label"] == display.describe()
    assert "http" not in html
    assert "<figcaption" in html
    assert "<strong>Throughput.</strong> Higher is better." in html


def test_a_chart_takes_the_colours_and_the_font_of_its_page():
    html = figure_html(throughput())
    assert "currentColor" in html
    assert INK not in html
    assert "DejaVu" not in html
    assert "system-ui" in html


def test_a_chart_is_well_formed_and_its_references_resolve():
    html = figure_html(ScoreHistogramDisplay(np.linspace(0, 3, 50), np.arange(50) < 25, 1.4))
    root = ElementTree.fromstring(re.search(r"<svg.*</svg>", html, re.DOTALL)[0])
    names = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(names) == len(set(names))
    used = re.findall(r'(?:url\(#|href="#)([\w.-]+)', html)
    assert set(used) == set(names) != set()


def test_two_charts_share_no_identifier():
    first = figure_html(OperatorDisplay({"Conv": 2}, {"Conv": 1}))
    second = figure_html(OperatorDisplay({"Conv": 3}, {"Conv": 1}))
    assert not set(re.findall(r' id="([^"]+)"', first)) & set(re.findall(r' id="([^"]+)"', second))


def test_the_same_numbers_give_the_same_bytes():
    assert figure_html(throughput()) == figure_html(throughput())


def test_digits_of_labels_are_not_rounded_with_the_coordinates():
    assert ">0.00123<" in figure_html(
        ThroughputDisplay(
            [{"target": "a", "batch_size": 1, "value": 0.00123, "low": None, "high": None}]
        )
    )


def test_hostile_names_stay_text_in_charts_and_tables():
    chart = figure_html(throughput(HOSTILE))
    cells = table_html([{"a": HOSTILE}], [Column("a", HOSTILE, HOSTILE)], HOSTILE)
    for html in (chart, cells, note_html(HOSTILE)):
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        Reader(html)
    # Dollar signs are no formula.
    assert "\\frac{1}{2}$" in chart


def test_a_display_without_numbers_becomes_a_note():
    assert figure_html(ThroughputDisplay([])) == note_html(
        "Throughput: no target delivered these numbers."
    )


def test_table_cells_by_kind_of_value():
    rows = [
        {"name": "a", "status": "failed", "n": np.int64(78000), "x": 0.99766, "none": None},
        {"name": "b", "status": "ok", "n": 3, "x": {"value": 0.5, "low": 0.4, "high": 0.6},
         "none": {"refused": "10 < 662"}},
    ]  # fmt: skip
    columns = [
        Column("name", "Name"),
        Column("status", "Status", format="status"),
        Column("n", "n"),
        Column("x", "Accuracy", "share", format=".3f"),
        Column("none", "p99", "ms"),
    ]
    html = table_html(rows, columns, "Results")
    assert html.startswith('<div class="lr-table" role="region" tabindex="0" aria-label="Results"')
    assert "<caption>Results</caption>" in html
    assert '<span class="lr-status lr-failed">failed</span>' in html
    assert '<td class="num">78\u00a0000</td>' in html
    assert '<td class="num">0.998</td>' in html
    assert "0.500 [0.400, 0.600]" in html
    assert '<span class="lr-refused">not given: 10 &lt; 662</span></td>' in html
    assert ">–</td>" in html
    assert '<th scope="col" class="num">Accuracy <span class="lr-unit">share</span></th>' in html
    Reader(html)


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="'info' or 'warning'"):
        note_html("x", "shout")
    with pytest.raises(KeyError):
        status_html("fine")


def test_everything_shown_in_a_cell_is_html_with_a_plain_text_twin():
    InteractiveShell.instance()
    display = throughput()
    with capture_output() as captured:
        show(display, caption="A & B")
        table([{"a": 1}], [Column("a", "A")], "Caption")
        say("1 < 2")
        note("Careful.", "warning")
    bundles = [output.data for output in captured.outputs]
    assert [set(bundle) for bundle in bundles] == [{"text/html", "text/plain"}] * 4
    assert [bundle["text/plain"] for bundle in bundles] == [
        display.describe(), "Caption", "1 < 2", "Careful."
    ]  # fmt: skip
    assert "A &amp; B</figcaption>" in bundles[0]["text/html"]
    assert bundles[2]["text/html"] == '<p class="lr-say">1 &lt; 2</p>'
