"""The guide's page shows the guide's own digits, says where they are from, and follows them."""

from __future__ import annotations

import dataclasses
import json
import re
from decimal import Decimal

import pytest
from bs4 import BeautifulSoup
from scipy import stats

from lresnet_utils.perf import guide_figures
from lresnet_utils.perf.guide_figures import RECORDED, load_guide
from lresnet_utils.report.pages import summary as page
from lresnet_utils.report.show import collected

PARTS = (
    page.guide_accuracy,
    page.guide_throughput,
    page.guide_tuning,
    page.guide_devices,
    page.guide_findings,
)
BEFORE, AFTER = "before tuning", "after tuning"


def shown(part, *arguments):
    """Return the tables (caption, heads, rows of text) and the whole text of a part of the page."""
    with collected() as html:
        part(*arguments)
    soup = BeautifulSoup("".join(html), "html.parser")
    text = soup.get_text(" ").replace("\N{NO-BREAK SPACE}", " ")
    return [_read(found) for found in soup.find_all("table")], text


def _read(found):
    def words(cell):
        return cell.get_text().replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")

    rows = [[words(cell) for cell in row.find_all("td")] for row in found.tbody.find_all("tr")]
    return found.caption.get_text(), [words(head) for head in found.find_all("th")], rows


@pytest.mark.parametrize("part", PARTS)
def test_everything_is_labelled_as_recorded_with_its_source(part):
    tables, text = shown(part, load_guide())
    for caption, _, _ in tables:
        assert re.search(r"Recorded by the guide, sections? [67]\.\d( and [67]\.\d)?; ", caption)
        assert caption.endswith("not measured here.")
    assert "measured here" in text
    assert f"Source, the guide: {load_guide().source}." in text


def test_the_accuracy_stands_in_counts_with_both_intervals_beside_the_published():
    (table,), text = shown(page.guide_accuracy, load_guide())
    network, published = table[2]
    right = stats.binomtest(6000 - 14, 6000)
    ends = [right.proportion_ci(0.95, method=method) for method in ("wilson", "exact")]
    intervals = [f"99.77 % [{100 * end.low:.2f}, {100 * end.high:.2f}]" for end in ends]
    assert network == ["Offline model, Ascend 310", "0.99767", "14", "6000", *intervals, "1.414"]
    assert published == ["Published", "0.998", "12", "6000", "–", "–", "–"]
    assert "publishes no network of 100 layers" in text


def test_the_five_figures_are_every_number_of_the_logs_digit_by_digit():
    rates, times, interface = shown(page.guide_throughput, load_guide())[0]
    assert rates[1][2:] == [
        "[e2e] images/s", "[data read] images/s", "[preprocess] images/s", "[infer] images/s",
        "[post] batches/s",
    ]  # fmt: skip
    assert times[1][2] == "[e2e] ms per whole run" and times[1][6] == "[post] ms per batch"
    recorded = json.loads((RECORDED / "guide.json").read_text(encoding="utf-8"))["blocks"]
    for at, entry in enumerate(recorded):
        lines = (RECORDED / entry["file"]).read_text(encoding="utf-8").splitlines()
        numbers = [re.findall(r": ([\d.]+)", line) for line in lines]
        head = [AFTER if entry["tuned"] else BEFORE, str(entry["heading_batch_size"])]
        assert rates[2][at] == head + [found[0] for found in numbers]
        assert times[2][at] == head + [found[-1] for found in numbers]
        assert interface[2][at][:3] == [*head, numbers[3][1]]
    assert len(rates[2]) == len(times[2]) == len(interface[2]) == len(recorded) == 7


def test_captions_stand_beside_the_batch_size_that_the_run_had():
    interface = shown(page.guide_throughput, load_guide())[0][2]
    assert [row[3:] for row in interface[2]] == [
        ["4", "331.7228", "1", "1", "yes"],
        ["4", "533.904", "4", "4", "yes"],
        ["4", "570.556", "16", "8", "no"],
        ["4", "596.664", "16", "16", "yes"],
        ["4", "575.352", "16", "32", "no"],
        ["4", "332.8256", "1", "1", "yes"],
        ["4", "746.128", "16", "16", "yes"],
    ]
    text = shown(page.guide_throughput, load_guide())[1]
    assert "Captions with a wrong batch size: 2 (" in text and "multiplied by 4." in text
    assert "processed 24,000 network inputs" in text


def test_table_7_3_is_the_guides_with_the_change_beside_it():
    (table,), text = shown(page.guide_tuning, load_guide())
    change = [100 * (Decimal(b) / Decimal(a) - 1) for a, b in
              (("331.7228", "332.8256"), ("596.664", "746.128"))]  # fmt: skip
    ends = [100 * (78.7239 / 78.7504 - 1), 100 * (129.278 / 136.597 - 1)]
    assert table[2] == [
        ["1", "331.7228", "332.8256", f"{change[0]:+.2f}", f"{ends[0]:+.2f}"],
        ["16", "596.664", "746.128", f"{change[1]:+.2f}", f"{ends[1]:+.2f}"],
    ]
    assert "4 of the 4 NPU figures follow to the last digit" in text


def test_table_7_4_is_the_guides_with_ratios_and_both_clocks():
    (table,), text = shown(page.guide_devices, load_guide())
    assert table[2] == [
        ["1", "241.5686", "332.8256", f"{332.8256 / 241.5686:.3f}", "83.2064",
         f"{83.2064 / 241.5686:.3f}"],
        ["16", "678.984", "746.128", f"{746.128 / 678.984:.3f}", "186.532",
         f"{186.532 / 678.984:.3f}"],
    ]  # fmt: skip
    assert "GPU compute time alone" in text and "Interface throughputRate" in text
    assert "NVIDIA T4" in table[1][1]


def test_every_finding_is_listed_with_evidence_and_consequence():
    _, text = shown(page.guide_findings, load_guide())
    for number, found in enumerate(guide_figures.findings(), 1):
        assert f"{number}. {found.finding}" in text
        # Behind a colon a sentence begins small.
        for words in (found.evidence, found.consequence):
            assert words[1:] in text


def test_the_page_follows_other_figures():
    """A caption that names the right batch size, and a table that the logs do not give."""
    guide = load_guide()
    right = [
        dataclasses.replace(block, caption_batch_size=block.record.batch_size)
        for block in guide.blocks
    ]
    rows = [["1", "331.7228", "400.5"], *guide.tables["7.3"]["rows"][1:]]
    table = guide.tables["7.3"] | {"rows": rows}
    other = dataclasses.replace(guide, blocks=tuple(right), tables=guide.tables | {"7.3": table})
    assert "wrong batch size" not in shown(page.guide_throughput, other)[1]
    (tuned,), text = shown(page.guide_tuning, other)
    assert tuned[2][0][2:4] == ["400.5", "+20.73"]
    assert "3 of the 4 NPU figures" in text
