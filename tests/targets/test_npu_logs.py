"""Readers of Huawei's tools, against logs written from known times."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lresnet_utils.errors import DataError
from lresnet_utils.targets.ascend.npu_logs import (
    read_ais_bench,
    read_benchmark_pure,
    read_benchmark_vision,
    read_msame,
)
from lresnet_utils.targets.replay import read_log

VISION = (
    "[e2e] throughputRate: 127.206, latency: 188671\n"
    "[data read] throughputRate: 140.878, moduleLatency: 7.09834\n"
    "[preprocess] throughputRate: 140.464, moduleLatency: 7.11927\n"
    "[infer] throughputRate: 127.885, Interface throughputRate: 133.476, moduleLatency: 7.72563\n"
    "[post] throughputRate: 31.971, moduleLatency: 31.2783\n"
)


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_vision_log_gives_every_figure_with_its_unit(tmp_path):
    path = write(tmp_path, "perf_vision_batchsize_4_device_2.txt", VISION)
    record = read_benchmark_vision(path)
    assert (record.tool, record.batch_size) == ("benchmark.x86_64", 4)
    assert record.throughput_ips == 133.476
    assert record.sha256 == hashlib.sha256(VISION.encode()).hexdigest()
    assert record.source == path.as_posix()
    assert record.notes == ("device 2",)
    stages = record.stages
    assert list(stages) == ["e2e", "data_read", "preprocess", "infer", "post"]
    assert (stages["e2e"].time_ms, stages["e2e"].time_covers) == (188671, "whole run")
    assert (stages["infer"].rate, stages["infer"].rate_unit) == (127.885, "images/s")
    assert (stages["post"].rate_unit, stages["post"].time_covers) == ("batches/s", "batch")
    assert record.implied_batch_size == pytest.approx(4, abs=1e-3)
    assert record.samples == pytest.approx(127.206 * 188.671)
    assert json.loads(json.dumps(record.to_json()))["stages"]["post"]["time_ms"] == 31.2783


def test_vision_batch_size_comes_from_argument_name_or_figures(tmp_path):
    named = write(tmp_path, "perf_vision_batchsize_8_device_0.txt", VISION)
    assert read_benchmark_vision(named).batch_size == 8
    assert any("named batch size 8" in note for note in read_benchmark_vision(named).notes)
    assert read_benchmark_vision(named, batch_size=4).batch_size == 4
    plain = read_benchmark_vision(write(tmp_path, "perf.txt", VISION))
    assert plain.batch_size == 4
    assert "infer rate / post rate" in plain.notes[0]


# For some models the tool names two of its stages in full; its screen's log has frames around.
LONG_NAMES = VISION.replace("[infer]", "[inference]").replace("[post]", "[postprocess]")


def test_vision_log_with_stages_named_in_full_and_on_a_screen(tmp_path):
    usual = read_log(write(tmp_path, "perf.txt", VISION))
    screen = (
        "[INFO] Dataset number: 3000 finished cost 31.2ms\n"
        f"-----------------Performance Summary------------------\n{LONG_NAMES}\n"
        "-----------------------------------------------------------\n"
    )
    for text in (LONG_NAMES, screen):
        record = read_log(write(tmp_path, "perf.txt", text))
        assert (record.stages, record.throughput_ips) == (usual.stages, 133.476)
        with pytest.raises(DataError, match=r"whole|more than the five"):
            read_log(write(tmp_path, "perf.txt", text + VISION))


@pytest.mark.parametrize(
    ("infer", "post", "post_ms", "quotient"),
    [
        # An engine of batch 1, whose post stage waited; then two of batch 1 and 16.
        ("142.003", "25.0005", "39.9992", "5.68"),
        ("1.02697", "0.999452", "1000.55", "1.02753"),
        ("98.0668", "6.131", "163.106", "15.9952"),
    ],
)
def test_rates_that_give_no_whole_batch_size_leave_the_question_open(
    tmp_path, infer, post, post_ms, quotient
):
    text = VISION.replace("127.885", infer).replace("31.971,", post + ",")
    text = text.replace("31.2783", post_ms)
    with pytest.raises(DataError, match=rf"= {quotient}\d* is not one whole") as error:
        read_log(write(tmp_path, "perf.txt", text))
    assert len(str(error.value).splitlines()) <= 3
    assert "batch_size=" in error.value.fix
    assert read_log(write(tmp_path, "perf.txt", text), batch_size=1).batch_size == 1
    advised = "perf_vision_batchsize_16_device_0.txt"
    assert read_log(write(tmp_path, advised, text)).batch_size == 16


def whole_batches(infer, post):
    """The batch sizes that two rates allow which were rounded to the digits they are printed in."""
    half = {t: Decimal(5).scaleb(Decimal(t).as_tuple().exponent - 1) for t in (infer, post)}
    (i, i_half), (p, p_half) = ((Decimal(t), half[t]) for t in (infer, post))
    return [
        n for n in range(300) if n * (p - p_half) <= i + i_half and n * (p + p_half) >= i - i_half
    ]


@given(st.integers(1, 64), st.floats(0.5, 5000), st.sampled_from([0, 0, 1e-6, 1e-3, -0.3, 0.49]))
def test_rates_tell_a_batch_size_where_they_allow_one_alone(tmp_path_factory, batch, post, off):
    infer, printed = f"{(batch + off) * post:.6g}", f"{post:.6g}"
    text = VISION.replace("127.885", infer).replace("31.971,", f"{printed},")
    text = text.replace("31.2783", f"{1000 / post:.6g}")
    path = write(tmp_path_factory.mktemp("rates"), "perf.txt", text)
    allowed = whole_batches(infer, printed)
    if len(allowed) == 1:
        assert read_log(path).batch_size == allowed[0]
    else:
        with pytest.raises(DataError, match="does not say its batch size"):
            read_log(path)


@pytest.mark.parametrize("gone", range(5))
def test_vision_log_without_a_line_is_refused_at_that_line(tmp_path, gone):
    lines = VISION.splitlines(keepends=True)
    path = write(tmp_path, "log.txt", "".join(lines[:gone] + lines[gone + 1 :]))
    with pytest.raises(DataError) as error:
        read_benchmark_vision(path)
    assert f"line {gone + 1}" in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


@given(st.integers(1, len(VISION) - 2))
def test_vision_log_cut_anywhere_is_refused_or_loses_no_more_than_rounding(tmp_path_factory, cut):
    path = write(tmp_path_factory.mktemp("cut"), "log.txt", VISION[:cut])
    try:
        record = read_benchmark_vision(path)
    except DataError as error:
        assert "line" in str(error)
    else:
        assert record.stages["post"].time_ms == pytest.approx(31.2783, rel=1e-3)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("7.09834", "70.9834"),
        ("140.464", "-140.464"),
        ("133.476", "nan"),
        ("188671", "0"),
        ("31.971", "1e999"),
        ("127.885", "0x7f"),
    ],
)
def test_vision_log_with_a_wrong_figure_is_refused(tmp_path, old, new):
    line = next(i for i, text in enumerate(VISION.splitlines(), 1) if old in text)
    with pytest.raises(DataError, match=f"line {line}"):
        read_benchmark_vision(write(tmp_path, "log.txt", VISION.replace(old, new)))


def test_two_runs_in_one_file_are_refused(tmp_path):
    with pytest.raises(DataError, match="line 6"):
        read_benchmark_vision(write(tmp_path, "log.txt", VISION + VISION))


@pytest.mark.parametrize(
    "text",
    [
        "ave_throughputRate = 244.5samples/s, ave_latency = 4.1ms\n",
        "[INFO] ave_throughputRate: 244.5samples/s, ave_latency: 4.1ms\n-----\n",
        "[INFO] Dataset number: 19 finished cost 2.6ms\n---PureInfer Performance Summary---\n"
        "[INFO] ave_throughputRate = 244.5samples/s, ave_latency = 4.1ms\n",
    ],
)
def test_pure_inference_log(tmp_path, text):
    path = write(tmp_path, "PureInfer_perf_of_ir_se100_bs4_in_device_1.txt", text)
    record = read_benchmark_pure(path, batch_size=4)
    assert (record.throughput_ips, record.latency_ms) == (244.5, {"mean_per_image": 4.1})
    assert (record.batch_size, record.notes) == (4, ("model ir_se100_bs4, device 1",))
    assert read_log(path).batch_size is None


@pytest.mark.parametrize(
    "text",
    [
        "ave_throughputRate = 244.5samples/s, ave_latency = 4.",
        "ave_throughputRate = samples/s, ave_latency = 4ms",
        "hello",
    ],
)
def test_pure_inference_log_that_is_cut_is_refused(tmp_path, text):
    with pytest.raises(DataError, match="line"):
        read_benchmark_pure(write(tmp_path, "log.txt", text))


def ais_figures(times):
    return {
        "min": min(times),
        "max": max(times),
        "mean": float(np.mean(times)),
        "median": float(np.median(times)),
        "percentile": float(np.percentile(times, 99)),
    }


def ais_summary(times, batch_size, percentile="percentile(99%)"):
    figures = ais_figures(times)
    table = {**figures, percentile: figures["percentile"], "count": len(times)}
    del table["percentile"]
    return {
        "filesinfo": {},
        "args": ["ais_bench"],
        "NPU_compute_time": table,
        "H2D_latency": {"min": 0.0, "max": 0.2, "mean": 0.1, "median": 0.1, percentile: 0.2},
        "npu_compute_time_list": list(times),
        "throughput": 1000 * batch_size / figures["mean"],
        "pid": 7,
    }


def ais_screen(times, batch_size, head="throughput 1000*batchsize.mean({b})/NPU_compute_time"):
    f = ais_figures(times)
    head = head.format(b=batch_size)
    tail = f".mean({f['mean']})" if "(1000" not in head else ")"
    return (
        "[INFO] acl init success\n"
        "Inference Processing: 100%|####| 1/1\r[INFO] output path:./result\n"
        "[INFO] -----------------Performance Summary------------------\n"
        f"[INFO] NPU_compute_time (ms): min = {f['min']}, max = {f['max']}, mean = {f['mean']}, "
        f"median = {f['median']}, percentile(99%) = {f['percentile']}\n"
        f"[INFO] {head}{tail}: {1000 * batch_size / f['mean']}\n"
        "[INFO] ------------------------------------------------------\n"
    )


def ais_table(times, batch_size):
    f = ais_figures(times)
    cells = " │ ".join(f"{value:.4f}" for value in f.values())
    return (
        "[INFO] -----------------Performance Summary------------------\n"
        "╒═════╤═════╤═════╤═════╤═════╤═════╕\n"
        "│ Metric │ min │ max │ mean │ median │ P99 │\n"
        "╞═════╪═════╪═════╪═════╪═════╪═════╡\n"
        f"│ NPU_compute_time (ms) │ {cells} │\n"
        "╘═════╧═════╧═════╧═════╧═════╧═════╛\n"
        f"[INFO] Throughput 1000*batchsize.mean({batch_size})/NPU_compute_time.mean("
        f"{f['mean']}): {1000 * batch_size / f['mean']}\n"
    )


TIMES = [10.5, 10.25, 11.0, 10.75, 12.5]


@pytest.mark.parametrize("percentile", ["percentile(99%)", "P99"])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_ais_bench_summary(tmp_path, percentile, batch_size):
    summary = ais_summary(TIMES, batch_size, percentile)
    path = write(tmp_path, "run_summary.json", json.dumps(summary))
    record = read_ais_bench(path)
    assert record.batch_size == batch_size
    assert record.throughput_ips == pytest.approx(1000 * batch_size / np.mean(TIMES))
    assert record.latency_ms["p50"] == np.median(TIMES)
    assert record.latency_ms["p99"] == pytest.approx(np.percentile(TIMES, 99))
    assert record.latency_ms["h2d_mean"] == 0.1
    assert record.notes == ("5 executions",)
    assert read_log(path) == record


@pytest.mark.parametrize(
    "text",
    [
        ais_screen(TIMES, 16),
        ais_screen(TIMES, 16, "throughput 1000*batchsize({b})/NPU_compute_time"),
        ais_screen(TIMES, 16, "throughput (1000*batchsize/NPU_compute_time"),
        ais_table(TIMES, 16),
    ],
    ids=["msit", "ascend-tools", "oldest", "table"],
)
def test_ais_bench_screen_logs(tmp_path, text):
    path = write(tmp_path, "screen.log", text)
    record = read_ais_bench(path, batch_size=16)
    assert record.throughput_ips == pytest.approx(16000 / np.mean(TIMES))
    assert record.latency_ms["mean"] == pytest.approx(np.mean(TIMES), abs=1e-4)
    assert record.latency_ms["p99"] == pytest.approx(np.percentile(TIMES, 99), abs=1e-4)
    assert read_log(path).batch_size == 16


def test_ais_bench_refuses_the_wrong_batch_size(tmp_path):
    path = write(tmp_path, "run_summary.json", json.dumps(ais_summary(TIMES, 1)))
    with pytest.raises(DataError, match="of batch size 1, not 16"):
        read_ais_bench(path, batch_size=16)


def test_ais_bench_summary_that_is_damaged_is_refused(tmp_path):
    good = ais_summary(TIMES, 4)
    cases = {
        "cut": json.dumps(good)[:200],
        "no throughput": json.dumps({k: v for k, v in good.items() if k != "throughput"}),
        "lost times": json.dumps({**good, "npu_compute_time_list": TIMES[:2]}),
        "not a table": json.dumps({**good, "NPU_compute_time": 3}),
        "negative": json.dumps({**good, "throughput": -1}),
    }
    for text in cases.values():
        with pytest.raises(DataError):
            read_ais_bench(write(tmp_path, "x_summary.json", text))


@pytest.mark.parametrize("keep", range(5))
def test_ais_bench_screen_log_without_its_end_is_refused(tmp_path, keep):
    lines = ais_screen(TIMES, 4).splitlines(keepends=True)
    with pytest.raises(DataError):
        read_ais_bench(write(tmp_path, "log", "".join(lines[:keep])))


@pytest.mark.parametrize("figure", ["mean = ", "throughput"])
def test_decimal_commas_are_refused(tmp_path, figure):
    at = ais_screen(TIMES, 4).index(figure)
    text = ais_screen(TIMES, 4)
    comma = text[:at] + text[at:].replace("11.0", "11,0", 1).replace(": 363.6", ": 363,6", 1)
    assert comma != text
    with pytest.raises(DataError):
        read_ais_bench(write(tmp_path, "log", comma))


def test_ais_bench_errors_and_several_devices_are_refused(tmp_path):
    good = ais_screen(TIMES, 4)
    with pytest.raises(DataError, match="2 lines"):
        read_ais_bench(write(tmp_path, "two", good + good))
    with pytest.raises(DataError, match=r"line 1: \[ERROR\] load model failed"):
        read_ais_bench(write(tmp_path, "error", "[ERROR] load model failed\n" + good))
    with pytest.raises(DataError, match="cut"):
        read_ais_bench(write(tmp_path, "cut", good.replace(", percentile(99%)", ", percent")))


def msame_log(times):
    lines = "".join(f"[INFO] model execute success\nInference time: {t}ms\n" for t in times)
    return (
        f"[INFO] load model a.om success\n{lines}[INFO] output data success\n"
        f"Inference average time: {np.mean(times):.6f} ms\n"
        f"Inference average time without first time: {np.mean(times[1:]):.6f} ms\n"
        "[INFO] unload model success, model Id is 1\n[INFO] Execute sample success\n"
    )


def test_msame_log(tmp_path):
    path = write(tmp_path, "msame.log", msame_log(TIMES))
    record = read_msame(path, batch_size=16)
    assert record.throughput_ips == pytest.approx(16000 / np.mean(TIMES[1:]), rel=1e-6)
    assert record.latency_ms["mean"] == pytest.approx(np.mean(TIMES))
    assert (record.latency_ms["max"], record.latency_ms["p50"]) == (12.5, 10.75)
    assert read_log(path, batch_size=16) == record
    with pytest.raises(DataError, match="does not say its batch size"):
        read_log(path)


@settings(max_examples=30)
@given(st.integers(1, 100))
def test_msame_log_that_is_cut_is_refused(tmp_path_factory, percent):
    text = msame_log(TIMES)
    end = text.index("ms\n[INFO] unload")
    path = write(tmp_path_factory.mktemp("cut"), "log", text[: end * percent // 100])
    with pytest.raises(DataError):
        read_msame(path, batch_size=1)


def test_msame_error_is_refused(tmp_path):
    with pytest.raises(DataError, match="reports an error"):
        read_msame(write(tmp_path, "log", "[ERROR] load\n" + msame_log(TIMES)), batch_size=1)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True])
def test_impossible_batch_sizes_are_refused(tmp_path, batch_size):
    with pytest.raises(DataError, match="positive whole number"):
        read_msame(write(tmp_path, "log", msame_log(TIMES)), batch_size=batch_size)


def test_files_that_are_no_log_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\0\1\2")
    write(tmp_path, "empty", " \n")
    write(tmp_path, "other", "A poem.\n")
    for name in ("binary", "empty", "other", "absent", "."):
        with pytest.raises(DataError):
            read_log(tmp_path / name)
