"""The benchmark_app reader, against logs of OpenVINO 2026.4 and the forms of other releases."""

from __future__ import annotations

import json

import pytest

from lresnet_utils.errors import DataError
from lresnet_utils.targets.openvino.benchmark_app import read_benchmark_app
from lresnet_utils.targets.replay import read_log

# Printed by OpenVINO 2026.4.1 for a one-layer network, batch 16, synchronous.
CONSOLE = """\
[Step 1/11] Parsing and validating input arguments
[ INFO ] Parsing input parameters
[ INFO ] Build ................................. 2026.4.1-22982-e213a147257-releases/2026/4
[Step 5/11] Resizing model to match image sizes and given batch
[ INFO ] Model batch size: 16
[ INFO ]   INFERENCE_PRECISION_HINT: <Type: 'bfloat16'>
[Step 10/11] Measuring performance (Start inference synchronously, limits: 200 iterations)
[ INFO ] First inference took 12.38 ms
[Step 11/11] Dumping statistics report
[ INFO ] Execution Devices:['CPU']
[ INFO ] Count:            200 iterations
[ INFO ] Duration:         336.13 ms
[ INFO ] Latency:
[ INFO ]    Median:        1.09 ms
[ INFO ]    Average:       1.27 ms
[ INFO ]    Min:           0.89 ms
[ INFO ]    Max:           2.06 ms
[ INFO ] Throughput:   9520.24 FPS
"""
REPORT = {
    "cmd_options": {"-m": "c16.onnx"},
    "configuration_setup": {"topology": "Model1", "batch size": "16", "precision": "UNSPECIFIED"},
    "execution_results": {
        "first inference time (ms)": "12.38",
        "total execution time (ms)": "336.13",
        "total number of iterations": "200",
        "latency (ms)": "1.09",
        "avg latency": "1.27",
        "min latency": "0.89",
        "max latency": "2.06",
        "throughput": "9520.24",
    },
}


@pytest.fixture
def log(tmp_path):
    def write(content):
        path = tmp_path / "report"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def changed(**results):
    names = {"percentile": "latency (90 percentile) (ms)"}
    kept = dict(REPORT["execution_results"])
    for name, value in results.items():
        kept[names.get(name, name)] = value
    return {**REPORT, "execution_results": kept}


def test_console_and_json_of_one_run_agree(log):
    console = read_benchmark_app(log(CONSOLE))
    report = read_benchmark_app(log(REPORT))
    for record in (console, report):
        assert (record.tool, record.batch_size) == ("benchmark_app", 16)
        assert record.throughput_ips == 9520.24
        assert record.latency_ms == {"p50": 1.09, "mean": 1.27, "min": 0.89, "max": 2.06}
        assert "wall time" in record.throughput_clock
        assert record.notes[0] == "200 iterations"
    assert "INFERENCE_PRECISION_HINT: <Type: 'bfloat16'>" in console.notes
    assert read_log(log(REPORT)) == report
    assert read_log(log(CONSOLE)) == console


@pytest.mark.parametrize("names", ["Avg Min Max", "AVG MIN MAX", "Average Min Max"])
def test_every_release_s_names_of_the_latencies(log, names):
    mean, least, most = names.split()
    text = CONSOLE.replace("Average:", f"{mean}:    ").replace("Min:", f"{least}:")
    record = read_benchmark_app(log(text.replace("Max:", f"{most}:")))
    assert record.latency_ms == {"p50": 1.09, "mean": 1.27, "min": 0.89, "max": 2.06}


def test_a_decimal_comma_is_refused(log):
    for figure in ("336.13 ms", "1.27 ms", "9520.24 FPS"):
        with pytest.raises(DataError):
            read_benchmark_app(log(CONSOLE.replace(figure, figure.replace(".", ","))))


def test_microseconds_and_a_chosen_percentile(log):
    text = CONSOLE.replace("Model batch size: 16", "Model batch size: 1")
    text = text.replace("336.13", "94.35").replace(
        "200 iterations\n[ INFO ] D", "2000 iterations\n[ INFO ] D"
    )
    text = text.replace("Median:        1.09 ms", "90 percentile:     40.50 us")
    text = text.replace("Average:       1.27 ms", "Average:       29.74 us")
    text = text.replace("9520.24", "21198.74")
    text = text.replace("0.89 ms", "0.89 us").replace("2.06 ms", "52.06 us")
    record = read_benchmark_app(log(text))
    assert record.latency_ms["p90"] == pytest.approx(0.0405)
    assert record.latency_ms["mean"] == pytest.approx(0.02974)
    report = changed(percentile="1.9")
    del report["execution_results"]["latency (ms)"]
    assert read_benchmark_app(log(report)).latency_ms["p90"] == 1.9


def test_synchronous_runs_of_older_releases_count_from_the_median(log):
    text = (
        "[ INFO ] Network batch size: 1\n[ INFO ] Count:            3076 iterations\n"
        "[ INFO ] Duration:         60012.39 ms\n[ INFO ] Latency:\n"
        "[ INFO ]    Median:        19.42 ms\n[ INFO ]    Average:       19.42 ms\n"
        "[ INFO ]    Min:           18.70 ms\n[ INFO ]    Max:           22.31 ms\n"
        "[ INFO ] Throughput:   51.49 FPS\n"
    )
    assert "median latency" in read_benchmark_app(log(text)).throughput_clock


def test_the_oldest_console_form(log):
    text = (
        "Count:      992 iterations\nDuration:   15009.8 ms\n"
        "Latency:    14.00 ms\nThroughput: 66.09 FPS\n"
    )
    record = read_benchmark_app(log(text), batch_size=1)
    assert (record.throughput_ips, record.latency_ms) == (66.09, {"p50": 14.0})


def test_numbers_and_names_of_the_cpp_tool(log):
    report = {
        "configuration_setup": {"batch_size": 16},
        "execution_results": {
            "execution_time": 336.13,
            "iterations_num": 200,
            "latency_median": 1.09,
            "percentile_boundary": 50,
            "latency_avg": 1.27,
            "latency_min": 0.89,
            "latency_max": 2.06,
            "throughput": 9520.24,
        },
    }
    assert read_benchmark_app(log(report)).latency_ms["p50"] == 1.09


def test_every_figure_of_the_console_is_needed(log):
    lines = CONSOLE.splitlines()
    start = next(i for i, line in enumerate(lines) if "Count:" in line)
    for gone in range(start, len(lines)):
        with pytest.raises(DataError):
            read_benchmark_app(log("\n".join(lines[:gone] + lines[gone + 1 :])))
        with pytest.raises(DataError):
            read_benchmark_app(log("\n".join(lines[:gone])))


@pytest.mark.parametrize(
    "key", ["total execution time (ms)", "total number of iterations", "avg latency", "throughput"]
)
def test_every_figure_of_the_report_is_needed(log, key):
    report = changed()
    del report["execution_results"][key]
    with pytest.raises(DataError):
        read_benchmark_app(log(report))
    with pytest.raises(DataError):
        read_benchmark_app(log(changed(**{key: "nan"})))


def test_a_wrong_batch_size_or_figure_is_refused(log):
    with pytest.raises(DataError, match="batch size 16, not 8"):
        read_benchmark_app(log(REPORT), batch_size=8)
    with pytest.raises(DataError, match="is not 16 x 200 iterations"):
        read_benchmark_app(log(changed(throughput="952.024")))
    with pytest.raises(DataError, match="does not say its batch size"):
        read_benchmark_app(log(CONSOLE.replace("Model batch size", "Model size")))
    silent = CONSOLE.replace("Model batch size", "Model size")
    with pytest.raises(DataError, match="is not 8 x 200 iterations"):
        read_benchmark_app(log(silent), batch_size=8)


def test_failed_runs_and_damaged_reports_are_refused(log):
    with pytest.raises(DataError, match=r"line 1: \[ ERROR \]"):
        read_benchmark_app(log("[ ERROR ] Model file not found\n" + CONSOLE))
    with pytest.raises(DataError, match="cut or not JSON"):
        read_benchmark_app(log(json.dumps(REPORT)[:-5]))
    with pytest.raises(DataError, match="execution_results"):
        read_benchmark_app(log({"configuration_setup": {}}))
