"""The recorded guide and what is derived from it, checked by plain arithmetic."""

from __future__ import annotations

import json
import shutil
from decimal import Decimal

import pytest
from scipy import stats

from lresnet_utils.errors import DataError
from lresnet_utils.perf.guide_figures import (
    RECORDED,
    accuracy_in_counts,
    derived_table,
    findings,
    load_guide,
    reference_throughput,
)


@pytest.fixture(scope="module")
def guide():
    return load_guide()


def test_the_seven_blocks_are_the_guides_five_lines(guide):
    assert len(guide.blocks) == 7
    assert [(b.section, b.record.batch_size) for b in guide.blocks] == [
        ("7.1", 1), ("7.1", 4), ("7.1", 8), ("7.1", 16), ("7.1", 32), ("7.2", 1), ("7.2", 16),
    ]  # fmt: skip
    text = (RECORDED / "after_tuning/bs16/perf_vision_batchsize_16_device_0.txt").read_text()
    assert text.splitlines()[3] == (
        "[infer] throughputRate: 129.767, Interface throughputRate: 186.532, moduleLatency: 5.76826"
    )
    # The guide's command line has -device_id=0, which the tool writes into the file's name.
    assert all(b.record.notes == ("device 0",) for b in guide.blocks)
    assert all(str(RECORDED) not in b.record.source for b in guide.blocks)


def test_every_block_processed_24000_inputs(guide):
    for block in guide.blocks:
        stage = block.record.stages["e2e"]
        # Six printed digits each leave less than one input of doubt.
        assert abs(stage.rate * stage.time_ms / 1000 - 24000) < 0.5
        assert block.samples == 24000


def test_captions_are_the_interface_rate_times_four_to_the_last_digit(guide):
    printed = ["331.7228", "533.904", "570.556", "596.664", "575.352", "332.8256", "746.128"]
    for block, product in zip(guide.blocks, printed, strict=True):
        assert block.caption_rate == block.rate
        assert block.card_rate == block.caption_product == Decimal(product)


def test_mislabelled_captions_are_kept_and_the_headings_are_right(guide):
    assert [b.caption_batch_size for b in guide.blocks] == [1, 4, 16, 16, 16, 1, 16]
    assert [b.implied_batch_size for b in guide.blocks] == [1, 4, 8, 16, 32, 1, 16]
    assert [b.record.batch_size for b in guide.blocks] == [1, 4, 8, 16, 32, 1, 16]


@pytest.mark.parametrize(
    ("number", "rows"),
    [
        ("7.3", [["331.7228", "332.8256"], ["596.664", "746.128"]]),
        ("7.4", [["241.5686", "332.8256"], ["678.984", "746.128"]]),
    ],
)
def test_tables_to_the_last_digit(guide, number, rows):
    cells = derived_table(guide, number)
    assert [str(c["printed"]) for c in cells] == [value for row in rows for value in row]
    assert [c["batch_size"] for c in cells] == [1, 1, 16, 16]
    for cell in cells:
        if cell["column"] == "GPU":
            assert cell["derived"] is None
        else:
            assert str(cell["derived"]) == str(cell["printed"])


def test_which_runs_are_bound_by_reading(guide):
    bound = [(b.record.batch_size, b.tuned) for b in guide.blocks if b.bound_by_reading]
    assert bound == [(8, False), (32, False), (16, True)]
    for block in guide.blocks:
        if block.bound_by_reading:
            ratio = block.record.stages["e2e"].rate / block.record.stages["data_read"].rate
            assert 0.98 < ratio <= 1


def test_accuracy_as_counts_with_intervals(guide):
    counts = accuracy_in_counts(guide)
    assert (counts["errors"], counts["n"]) == (14, 6000)
    for method, name in (("wilson", "wilson"), ("exact", "clopper_pearson")):
        interval = stats.binomtest(5986, 6000).proportion_ci(0.95, method=method)
        assert counts[name] == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert counts["published_errors"] == 12
    assert counts["allowed_errors"] == 12 + 60


def test_reference_rows_are_of_one_chip_and_never_times_four(guide):
    rows = reference_throughput(guide)
    assert len(rows) == 9
    keys = {"label", "source", "device", "precision_note", "clock", "batch_size", "throughput_ips"}
    assert all(set(row) == keys and row["label"] and row["source"] for row in rows)
    chip = {r["throughput_ips"] for r in rows if "Ascend" in r["device"]}
    assert chip == {82.9307, 133.476, 142.639, 149.166, 143.838, 83.2064, 186.532}
    assert [r["throughput_ips"] for r in rows if "T4" in r["device"]] == [241.5686, 678.984]
    assert json.loads(json.dumps(rows)) == rows


def test_findings_state_the_derived_numbers(guide):
    found = {f.finding: f for f in findings(guide)}
    text = " ".join(f"{f.finding} {f.evidence} {f.consequence}" for f in found.values())
    for number in (
        "24,000", "2 x 12,000", "7 of 7 captions", "4 of 4 cells", "3 of 7 runs", "25.05%",
        "-5.36%", "1.378", "0.344", "1.099", "0.275", "4.1396 ms", "23.5646 ms",
        "wrong batch size: 2.", "14 wrong pairs of 6,000", "99.609% to 99.861%",
        "99.609% to 99.872%", "12 wrong pairs", "72 in all", "off the grid", "14.14",
    ):  # fmt: skip
        assert number in text, number
    assert all(f.finding and f.evidence and f.consequence for f in found.values())
    assert len(found) == len(findings(guide))


def test_findings_follow_the_figures_and_are_not_typed_in(tmp_path):
    folder = tmp_path / "recorded"
    shutil.copytree(RECORDED, folder)
    document = json.loads((folder / "guide.json").read_text())
    for figure in document["figures"]:
        if figure["name"] == "accuracy":
            figure["printed"] = "0.99"
    document["blocks"][2]["caption"] = document["blocks"][2]["caption"].replace("=16 ", "=8 ")
    (folder / "guide.json").write_text(json.dumps(document))
    changed = load_guide(folder)
    text = " ".join(f"{f.finding} {f.evidence} {f.consequence}" for f in findings(changed))
    assert "60 wrong pairs of 6,000" in text
    assert "outside both" in text
    assert "wrong batch size: 1." in text


def test_a_damaged_record_is_refused(tmp_path):
    folder = tmp_path / "recorded"
    shutil.copytree(RECORDED, folder)
    block = folder / "before_tuning/bs4/perf_vision_batchsize_4_device_0.txt"
    block.write_text(block.read_text()[:-20])
    with pytest.raises(DataError, match="line 5"):
        load_guide(folder)
    with pytest.raises(DataError, match="no block of batch size 4"):
        load_guide().block(4, tuned=True)
