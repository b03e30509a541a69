"""The benchmark's words, table and chart, from results that are made up."""

import pytest
from peer_floors import compare
from peer_quiet import share
from peer_report import chart, comparison_table, findings, page, readme_table, table

AMX = frozenset({"avx512f", "amx_bf16", "amx_int8"})
NO_AMX = frozenset({"avx512f", "avx512_bf16"})


def ratio(value, half=0.1):
    return {"value": value, "low": value - half, "high": value + half, "n": 3}


def row(side, name, precision, ips, share, over=None):
    return {
        "side": side,
        "name": name,
        "precision": precision,
        "what": f"{name} in words",
        "failure": None,
        "throughput_ips": {"value": ips, "low": ips - 1, "high": ips + 1, "n": 3},
        "ceiling_fraction": {"fraction": share},
        "ours_over_this": over,
    }


def block(batch_size, comparisons=()):
    return {
        "network": "ir_se100",
        "batch_size": batch_size,
        "weights": "seeded (random)",
        "date": "2026-01-02 03:04 UTC",
        "minutes": 7.5,
        "load_average": 0.1,
        "others_cpu_share": 0.0125,
        "seconds": 2,
        "repeats": 3,
        "flops": 24_150_000_000,
        "ceilings": {
            "bf16": {"tops": 2.06, "by": "a library"},
            "int8": {"refused": "no library"},
        },
        "calibration": {"n_images": 64, "set": "some faces"},
        "rows": [
            row("peer", "OpenVINO bf16", "bf16", 60.0 + batch_size, 0.7, ratio(1.6)),
            row("ours", "openvino-bf16", "bf16", 97.0 + batch_size, 0.95)
            | {"options": {"requests": 2, "streams": 2}},
            row("ours", "openvino-fp32", "fp32", 10.0 + batch_size, 0.9),
            {
                "side": "peer",
                "name": "NNCF int8",
                "precision": "int8",
                "what": "NNCF in words",
                "failure": "no room",
            },
        ],
        "comparisons": list(comparisons),
        "layers": {
            "bf16": {"batches": 4, "ms_per_batch": 165.0, "shares": {"convolution": 0.875}},
            "int8": {"refused": "not profiled"},
        },
    }


@pytest.fixture
def results():
    met = compare("bf16", "OpenVINO bf16", ratio(1.6), "ir_se100", 16, AMX)
    return {
        "machine": {
            "cpu": "a processor",
            "cores": 2,
            "flags": ["avx2", "amx_bf16"],
            "memory_gib": 8.0,
            "os": "Linux",
        },
        "versions": {"openvino": "1.2", "nncf": None},
        "blocks": [block(1), block(16, [met])],
    }


def test_without_amx_the_page_says_first_that_no_floor_applies(results):
    missed = compare("bf16", "OpenVINO bf16", ratio(1.02), "ir_se100", 16, NO_AMX)
    results["blocks"][1]["comparisons"] = [missed]
    first = findings(results)[0]
    assert first.startswith("None of the floors below applies on this machine: the floor is for")
    assert "between 1.02 and 1.02 times" in first


@pytest.mark.parametrize(
    ("value", "met"), [(1.61, True), (1.55, None), (1.45, None), (1.39, False)]
)
def test_a_floor_is_met_or_missed_only_by_the_whole_interval(value, met):
    found = compare("bf16", "OpenVINO bf16", ratio(value), "ir_se100", 16, AMX)
    assert (found["applies"], found["floor"], found["met"]) == (True, 1.5, met)


@pytest.mark.parametrize(
    ("network", "batch_size", "flags", "floor", "reason"),
    [
        ("ir_se100", 16, NO_AMX, 12.0, "has no amx_bf16 and amx_int8"),
        ("ir_se100", 16, AMX - {"amx_int8"}, 12.0, "has no amx_int8"),
        ("ir_se100", 16, None, 12.0, "does not tell"),
        ("ir_se100", 1, AMX, None, "no floor"),
        ("sface", 16, AMX, None, "no floor"),
    ],
)
def test_a_floor_that_does_not_apply_says_why_and_judges_nothing(
    network, batch_size, flags, floor, reason
):
    found = compare("int8", "ONNX Runtime fp32", ratio(20), network, batch_size, flags)
    assert (found["applies"], found["floor"], found["met"]) == (False, floor, None)
    assert reason in found["reason"]


def cells(markdown):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines()]


def test_the_table_has_every_side_once_by_precision_ours_first(results):
    rows = cells(table(results["blocks"]))
    assert [line[0] for line in rows[2:]] == [
        "**this project fp32**",
        "**this project bf16**",
        "OpenVINO bf16",
        "NNCF int8",
    ]
    assert {len(line) for line in rows} == {8}
    assert rows[4][5:] == ["76.0 [75.0, 77.0]", "1.60 [1.50, 1.70]", "70\u00a0%"]
    assert rows[3][5] == "113 [112, 114], 2 at a time"
    assert rows[5][2] == "failed: no room"


def test_the_readme_table_has_a_column_per_network_and_batch_size(results):
    rows = cells(readme_table(results))
    assert rows[0][1:] == ["IR-SE100, batch 1", "IR-SE100, batch 16"]
    assert rows[3] == ["**this project bf16**", "98.0 [97.0, 99.0]", "113 [112, 114]"]


def test_the_page_says_date_machine_floors_room_and_layers(results):
    text = page(results, "bench.svg")
    for words in ("2026-01-02", "a processor, 2 cores", "amx_bf16", "openvino 1.2", "| yes |"):
        assert words in text
    assert "nncf" not in text.split("##")[0]
    assert "Not measured in this record: IR-SE50 at batch 1, IR-SE50 at batch 16, SFace" in text
    assert "| convolution | 87.5\u00a0% |" in text
    (said,) = [finding for finding in findings(results) if "ceiling" in finding]
    assert "OpenVINO bf16, reaches 70\u00a0%" in said
    assert "our build 95\u00a0%" in said
    assert "1.60 [1.50, 1.70]" in comparison_table(results)


def test_the_chart_draws_every_rate_once(results):
    display = chart(results).plot()
    assert display.names == ["this project fp32", "this project bf16", "OpenVINO bf16"]
    lines = display.ax_.get_lines()
    drawn = [line.get_xdata()[0] for line in lines if len(line.get_xdata()) == 1]
    assert sorted(drawn) == [11.0, 26.0, 61.0, 76.0, 98.0, 113.0]
    assert "this project bf16 113" in display.describe()


def test_others_get_the_busy_time_that_is_not_our_own():
    assert share((0.0, 50.0, 7.0), (10.0, 66.0, 22.0), cores=2) == pytest.approx(1 / 20)
    assert share((0.0, 50.0, 7.0), (10.0, 64.9, 22.0), cores=2) == 0.0
