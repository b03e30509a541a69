"""The published page's threshold explorer, moved by the keyboard in a real browser."""

import re

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from lresnet_utils.machine.disk import write_text
from lresnet_utils.report.charts.recognition import rates_at, slider_thresholds, threshold_explorer
from lresnet_utils.report.publish.page import render
from lresnet_utils.text.numbers import fmt_interval, fmt_percent

pytestmark = pytest.mark.browser

START = {"torch-fp32": 1.242, "openvino-bf16": 1.25, "onnxruntime-int8": 1.31}


def example():
    """Return three targets' scores of 800 pairs: overlapping, some on the grid, some missing.

    800 is a number whose shares end in exact ties when rounded, where languages differ.
    """
    rng = np.random.default_rng(3)
    same = np.arange(800) % 80 < 40
    first = np.clip(rng.normal(np.where(same, 0.9, 1.6), 0.35), 0, 4)
    first[::50] = slider_thresholds()[rng.integers(100, 150, 16)]
    second = np.clip(first + rng.normal(0, 0.05, 800), 0, 4)
    second[::97] = np.nan
    return {
        "torch-fp32": (first, same),
        "openvino-bf16": (second, same),
        "onnxruntime-int8": (np.clip(first * 1.1, 0, 4), same),
    }


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    html = threshold_explorer(example(), START)._repr_mimebundle_()["text/html"]
    cell = new_code_cell("explore()", outputs=[new_output("display_data", {"text/html": html})])
    nbformat.write(new_notebook(cells=[cell]), folder / "page.ipynb")
    return write_text(folder / "page.html", render(folder / "page.ipynb", title="Explorer"))


def shown(page):
    """Return the threshold, the three values, the counts and the wrong pairs that are shown."""
    cells = page.locator(".lr-x-live tbody td").all_inner_texts()
    pairs = page.evaluate("[...document.querySelectorAll('[data-pair]')].map(e => +e.dataset.pair)")
    threshold = page.locator(".lr-x-controls output").inner_text()
    return threshold, cells[::2], [int(re.match(r"\d+", text)[0]) for text in cells[1::2]], pairs


def expected(distances, same, threshold):
    """Return what the package says at a threshold, in the same order."""
    rates = rates_at(distances, same, threshold)
    values = [
        fmt_interval(rate["value"], rate["low"], rate["high"], fmt_percent)
        for rate in rates.values()
    ]
    wrong = ~np.isnan(distances) & ((distances < threshold) != same)
    counts = [int(wrong.sum()), int((wrong & ~same).sum()), int((wrong & same).sum())]
    return f"{threshold:.2f}", values, counts, np.flatnonzero(wrong).tolist()


def test_arrow_keys_show_what_the_package_computes_for_every_target(path, visit):
    page, scores, at = visit(path), example(), 124
    page.locator(".lr-explorer select").focus()
    for name, keys in zip(scores, ([], ["ArrowDown"], ["ArrowDown"]), strict=True):
        page.locator(".lr-explorer select").focus()
        for key in keys:
            page.keyboard.press(key)
        assert page.locator(".lr-explorer select").input_value() == name
        page.locator(".lr-explorer input").focus()
        for key, step, times in (("ArrowRight", 1, 9), ("ArrowLeft", -1, 14), ("ArrowUp", 1, 1)):
            for _ in range(times):
                page.keyboard.press(key)
                at += step
                *head, pairs = shown(page)
                *wanted, wrong = expected(*scores[name], slider_thresholds()[at])
                assert head == wanted, name
                assert sorted(pairs) == wrong
    assert visit.heard == []


def test_every_threshold_of_the_slider_is_the_packages(path, visit):
    page, scores = visit(path), example()
    read = """() => { const input = document.querySelector('.lr-explorer input'), rows = [];
      for (let i = 0; i <= 400; i++) {
        input.value = i; input.dispatchEvent(new Event('input'));
        rows.push([...document.querySelectorAll('.lr-x-live tbody td:nth-child(2)')]
          .map(e => e.textContent));
      } return rows; }"""
    for name in scores:
        page.locator(".lr-explorer select").select_option(name)
        rows = page.evaluate(read)
        for row, threshold in zip(rows, slider_thresholds(), strict=True):
            assert row == expected(*scores[name], threshold)[1], (name, threshold)


def test_marks_move_together_and_the_words_follow(path, visit):
    page = visit(path)
    places = (
        "[...document.querySelectorAll('[data-mark]')].map(e => e.getBoundingClientRect().x"
        " + ' ' + e.getBoundingClientRect().y)"
    )
    before = page.evaluate(places)
    assert len(before) == 3
    page.locator(".lr-explorer input").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert all(a != b for a, b in zip(before, page.evaluate(places), strict=True))
    said = page.locator(".lr-explorer [aria-live=polite]")
    said.filter(has_text="at 1.44").wait_for()
    assert "false non-match rate" in said.inner_text()
    assert page.locator(".lr-explorer input").get_attribute("aria-valuetext") == "1.44"
    page.get_by_role("button", name="Back to 1.24").click()
    assert shown(page)[0] == "1.24"


def test_controls_are_named_and_the_focus_is_seen(path, visit):
    page = visit(path)
    assert page.get_by_role("slider", name="Threshold").count() == 1
    assert page.get_by_role("combobox", name="Target").count() == 1
    page.get_by_role("combobox").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "range"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_scrolls_sideways_and_nothing_is_requested(path, visit, width):
    for scheme in ("light", "dark"):
        page = visit(path, width=width, scheme=scheme)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".lr-x-static").is_hidden()
    assert visit.heard == []


def test_without_its_script_the_page_keeps_the_static_figure(path, visit, tmp_path):
    """A changed script no longer has the hash that the page's policy names."""
    text = path.read_text(encoding="utf-8")
    changed = tmp_path / "changed.html"
    changed.write_text(text.replace('"use strict";', '"use strict"; '), encoding="utf-8")
    page = visit(changed, scripts=False)
    page.wait_for_load_state("networkidle")
    assert page.locator(".lr-explorer input").count() == 0
    assert page.locator(".lr-x-static figure svg").is_visible()
    assert len(visit.heard) == 1 and "script-src" in visit.heard[0]
