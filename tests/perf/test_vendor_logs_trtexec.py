"""The trtexec reader, against logs written from known times in each release's layout."""

from __future__ import annotations

import numpy as np
import pytest

from lresnet_utils.errors import DataError
from lresnet_utils.perf.vendor_logs import read_log, read_trtexec

COMPUTE = np.array([23.5, 23.25, 24.0, 23.75, 25.0, 23.625])
H2D, D2H = 1.25, 0.5
WALL_S = 0.1525


def nearest_rank(times, percent):
    """TensorRT's percentile: index n - 1 - floor((1 - p) n) of the sorted times."""
    n = len(times)
    return np.sort(times)[n - 1 - int((1 - percent / 100) * n)]


def statistics(times, percents):
    times = np.broadcast_to(times, COMPUTE.shape)
    head = (
        f"min = {times.min():.6g} ms, max = {times.max():.6g} ms, "
        f"mean = {times.mean():.6g} ms, median = {np.median(times):.6g} ms"
    )
    return head + "".join(f", percentile({p}%) = {nearest_rank(times, p):.6g} ms" for p in percents)


def new_log(
    *,
    version,
    percents=(90, 95, 99),
    end_to_end=False,
    batch=16,
    scale=1,
    extra=(),
    command="--fp16",
    shown="Created input binding for image with dimensions {b}x3x112x112",
    prefix="[05/13/2025-10:36:46] ",
):
    lines = [
        "[I] === Model Options ===",
        "[I] Format: ONNX",
        f"[I] {shown.format(b=batch)}",
        "[I] Starting inference",
        "[I] Warmup completed 8 queries over 200 ms",
        "[I] ",
        "[I] === Performance summary ===",
        f"[I] Throughput: {scale * len(COMPUTE) / WALL_S:.6g} qps",
        f"[I] Latency: {statistics(COMPUTE + H2D + D2H, percents)}",
    ]
    if end_to_end:
        lines.append(f"[I] End-to-End Host Latency: {statistics(COMPUTE + 2, percents)}")
    lines += [
        f"[I] Enqueue Time: {statistics(0.75, percents)}",
        f"[I] H2D Latency: {statistics(H2D, percents)}",
        f"[I] GPU Compute Time: {statistics(COMPUTE, percents)}",
        f"[I] D2H Latency: {statistics(D2H, percents)}",
        f"[I] Total Host Walltime: {WALL_S} s",
        f"[I] Total GPU Compute Time: {COMPUTE.sum() / 1000:.6g} s",
        *extra,
        "[I] Explanations of the performance metrics are printed in the verbose logs.",
    ]
    banner = f"TensorRT.trtexec [TensorRT v{version}] # trtexec --onnx=a.onnx {command}"
    body = "\n".join(prefix + line for line in lines)
    return f"&&&& RUNNING {banner}\n{body}\n&&&& PASSED {banner}\n"


def old_log(*, qps, batch=16):
    host = COMPUTE + H2D + D2H
    lines = [
        "Host Latency",
        *(
            f"{name}: {value:.6g} ms (end to end {value + 0.02:.6g} ms)"
            for name, value in (
                ("min", host.min()),
                ("max", host.max()),
                ("mean", host.mean()),
                ("median", np.median(host)),
            )
        ),
        f"percentile: {nearest_rank(host, 99):.6g} ms at 99% (end to end 30 ms at 99%)",
        f"throughput: {qps:.6g} qps",
        f"walltime: {WALL_S} s",
        "Enqueue Time",
        "min: 0.5 ms",
        "max: 1.5 ms",
        "median: 0.75 ms",
        "GPU Compute",
        *(
            f"{name}: {value:.6g} ms"
            for name, value in (
                ("min", COMPUTE.min()),
                ("max", COMPUTE.max()),
                ("mean", COMPUTE.mean()),
                ("median", np.median(COMPUTE)),
            )
        ),
        f"percentile: {nearest_rank(COMPUTE, 99):.6g} ms at 99%",
        f"total compute time: {COMPUTE.sum() / 1000:.6g} s",
    ]
    body = "\n".join(f"[10/20/2020-19:56:29] [I] {line}" for line in lines)
    return (
        f"{body}\n&&&& PASSED TensorRT.trtexec # trtexec --onnx=a.onnx --fp16 "
        f"--shapes=image:{batch}x3x112x112\n"
    )


LOGS = {
    "8.0": new_log(version="8001", percents=(99,), end_to_end=True),
    "8.5": new_log(version="8502"),
    "8.6, other words": new_log(
        version="8601", shown="Input binding for image with dimensions {b}x3x112x112 is created."
    ),
    "10.3": new_log(version="100300", prefix=""),
    "shapes only": new_log(
        version="101400", shown="Starting", command="--shapes=image:16x3x112x112"
    ),
}


@pytest.fixture
def log(tmp_path):
    def write(text):
        path = tmp_path / "trtexec.log"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("text", LOGS.values(), ids=LOGS)
def test_a_query_of_an_explicit_batch_is_a_batch(log, text):
    record = read_trtexec(log(text))
    assert record.batch_size == 16
    assert record.throughput_ips == pytest.approx(16 * len(COMPUTE) / WALL_S, rel=1e-5)
    assert record.latency_ms["mean"] == pytest.approx(COMPUTE.mean() + H2D + D2H, rel=1e-5)
    assert record.latency_ms["gpu_compute_p50"] == pytest.approx(np.median(COMPUTE), rel=1e-5)
    assert record.latency_ms["p99"] == COMPUTE.max() + H2D + D2H
    assert record.latency_ms["h2d_max"] == H2D
    assert "included" in record.throughput_clock
    assert read_log(record.source) == record


def test_the_end_to_end_latency_of_old_releases_is_kept(log):
    assert read_trtexec(log(LOGS["8.0"])).latency_ms["end_to_end_min"] == 25.25
    assert "end_to_end_min" not in read_trtexec(log(LOGS["8.5"])).latency_ms


def test_an_implicit_batch_is_not_multiplied_again(log):
    text = new_log(version="8205", shown="Batch: {b}", batch=8, scale=8)
    record = read_trtexec(log(text))
    assert record.batch_size == 8
    assert record.throughput_ips == pytest.approx(8 * len(COMPUTE) / WALL_S, rel=1e-5)


@pytest.mark.parametrize("qps", [len(COMPUTE) / WALL_S, 0], ids=["printed", "zero"])
def test_tensorrt_7_even_where_it_prints_zero_queries_per_second(log, qps):
    record = read_log(log(old_log(qps=qps)))
    assert record.throughput_ips == pytest.approx(16 * len(COMPUTE) / WALL_S, rel=1e-5)
    assert record.latency_ms["gpu_compute_mean"] == pytest.approx(COMPUTE.mean(), rel=1e-5)
    assert record.latency_ms["enqueue_p50"] == 0.75
    assert any("0 qps; 6 queries" in note for note in record.notes) == (qps == 0)


def test_warnings_and_left_out_transfers_are_told(log):
    text = new_log(
        version="100700",
        command="--noDataTransfers",
        extra=(
            "[W] * GPU compute time is unstable, with coefficient of variance = 9%.",
            "[W]   If not already in use, locking GPU clock may help.",
        ),
    )
    record = read_trtexec(log(text))
    assert "left out (--noDataTransfers)" in record.throughput_clock
    assert record.notes == (
        "TensorRT v100700",
        "GPU compute time is unstable, with coefficient of variance = 9%.",
    )


def test_the_batch_size_is_needed_and_checked(log):
    silent = new_log(version="100300", shown="Starting")
    with pytest.raises(DataError, match="does not say its batch size"):
        read_trtexec(log(silent))
    assert read_trtexec(log(silent), batch_size=4).batch_size == 4
    with pytest.raises(DataError, match="batch size 16, not 4"):
        read_trtexec(log(LOGS["8.5"]), batch_size=4)


@pytest.mark.parametrize("name", ["8.0", "10.3"])
def test_a_cut_summary_is_refused_whatever_line_it_ends_with(log, name):
    lines = LOGS[name].splitlines()
    end = next(i for i, line in enumerate(lines) if "Total GPU Compute Time" in line)
    for keep in range(end):
        if "D2H Latency" in lines[keep] or "H2D Latency" in lines[keep]:
            continue
        with pytest.raises(DataError, match=r"trtexec\.log"):
            read_trtexec(log("\n".join(lines[: keep + 1])), batch_size=16)


def test_a_line_cut_in_the_middle_is_named(log):
    text = LOGS["8.5"]
    at = text.index("percentile(95%)", text.index("GPU Compute Time"))
    number = text[:at].count("\n") + 1
    end = text.index("\n", at)
    with pytest.raises(DataError, match=f"line {number}"):
        read_trtexec(log(text[: at + 10] + text[end:]))


def test_every_line_of_tensorrt_7_is_needed(log):
    lines = old_log(qps=5).splitlines()
    for gone in range(len(lines) - 1):
        with pytest.raises(DataError):
            read_trtexec(log("\n".join(lines[:gone] + lines[gone + 1 :])))


def test_failed_and_repeated_runs_are_refused(log):
    failed = (
        LOGS["10.3"]
        .replace("PASSED", "FAILED")
        .replace("[I] Starting inference", "[E] Engine set up failed")
    )
    with pytest.raises(DataError, match=r"line 5: \[E\] Engine set up failed"):
        read_trtexec(log(failed))
    with pytest.raises(DataError, match="several runs"):
        read_trtexec(log(LOGS["10.3"] * 2))


def test_zero_throughput_of_a_new_release_is_refused(log):
    rate = f"{len(COMPUTE) / WALL_S:.6g}"
    with pytest.raises(DataError, match="not a positive number"):
        read_trtexec(log(LOGS["8.5"].replace(f"Throughput: {rate}", "Throughput: 0")))
