"""The trtexec reader, against logs written from known times in each release's layout."""

from __future__ import annotations

import numpy as np
import pytest

from lresnet_utils.errors import DataError
from lresnet_utils.targets.replay import read_log
from lresnet_utils.targets.tensorrt.trtexec_log import read_trtexec

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


def loaded_log(*, batch=1, shape="10x3x640x1088", version="8205", scale=1, words="Created input"):
    """What 8.2 and 8.6 print for ``--loadEngine``: always 'Batch: 1', and how many times it ran."""
    lines = [
        "[I] === Build Options ===",
        f"[I] Max batch: {batch}",
        "[I] Load engine: /m/bs10.trt",
        "[I] === Inference Options ===",
        f"[I] Batch: {batch}",
        "[I] Input inference shapes: model",
        "[I] Using random values for input image",
        f"[I] {words} binding for image with dimensions {shape}",
    ]
    return new_log(
        version=version,
        percents=(99,),
        scale=scale,
        command="--loadEngine=/m/bs10.trt",
        shown="\n[09/01/2025-18:07:00] ".join(lines).removeprefix("[I] "),
    )


@pytest.mark.parametrize(
    "text",
    [loaded_log(), loaded_log(version="8601", words="Input", shape="10x3x640x1088 is created.")],
    ids=["8.2", "8.6"],
)
def test_the_binding_of_a_loaded_engine_wins_over_the_batch_that_is_printed(log, text):
    record = read_trtexec(log(text))
    assert record.batch_size == 10
    assert record.throughput_ips == pytest.approx(10 * len(COMPUTE) / WALL_S, rel=1e-5)
    assert any("'Batch: 1', but its input binding has a batch of 10" in n for n in record.notes)
    assert read_trtexec(log(text), batch_size=10) == record
    with pytest.raises(DataError, match="batch size 10, not 1"):
        read_trtexec(log(text), batch_size=1)


def test_the_bindings_of_an_implicit_batch_say_nothing_of_it(log):
    one = read_trtexec(log(loaded_log(shape="3x112x112")))
    assert (one.batch_size, one.throughput_ips) == (1, pytest.approx(len(COMPUTE) / WALL_S, 1e-5))
    eight = read_trtexec(log(loaded_log(batch=8, scale=8, shape="3x112x112")))
    assert eight.throughput_ips == pytest.approx(8 * len(COMPUTE) / WALL_S, rel=1e-5)


def test_batch_1_without_a_binding_is_no_proof(log):
    text = "\n".join(x for x in loaded_log().splitlines() if "binding" not in x)
    with pytest.raises(DataError, match="does not say its batch size"):
        read_trtexec(log(text))
    record = read_trtexec(log(text), batch_size=10)
    assert record.throughput_ips == pytest.approx(10 * len(COMPUTE) / WALL_S, rel=1e-5)
    assert "the log prints 'Batch: 1', as for any loaded engine" in record.notes


@pytest.mark.parametrize("text", [LOGS["8.0"], LOGS["10.3"], old_log(qps=len(COMPUTE) / WALL_S)])
def test_a_rate_with_a_digit_lost_or_changed_is_refused(log, text):
    rate = f"{len(COMPUTE) / WALL_S:.6g}"
    assert read_trtexec(log(text)).batch_size == 16
    for wrong in (rate.replace(".", ""), rate[1:], rate.replace("39", "59")):
        assert f": {rate} qps" in text
        with pytest.raises(DataError, match=r"not what the totals give"):
            read_trtexec(log(text.replace(f": {rate} qps", f": {wrong} qps")))


def test_several_streams_add_up(log):
    text = LOGS["8.5"].replace(f"Walltime: {WALL_S}", f"Walltime: {WALL_S / 4}")
    rate = len(COMPUTE) / WALL_S
    text = text.replace(f"{rate:.6g} qps", f"{4 * rate:.6g} qps")
    assert read_trtexec(log(text)).throughput_ips == pytest.approx(64 * rate, rel=1e-5)


@pytest.mark.parametrize("end", ["", " is created."])
def test_the_name_of_an_input_is_not_taken_for_its_shape(log, end):
    shown = "Input binding for a with dimensions 99x3x2x2 is created. with dimensions {b}x3x2x2"
    assert read_trtexec(log(new_log(version="8601", shown=shown + end))).batch_size == 16


def test_a_batch_given_besides_the_one_built_in_is_refused(log):
    with pytest.raises(DataError, match="--batch=2 was given besides"):
        read_trtexec(log(loaded_log(batch=2, scale=2)), batch_size=10)


def test_inputs_of_different_batches_leave_the_question_open(log):
    second = "\n[I] Created input binding for mask with dimensions 4x1x1x1"
    text = new_log(version="8502", shown="Created input binding for a with dimensions 8x3x2x2")
    text = text.replace("8x3x2x2", "8x3x2x2" + second)
    with pytest.raises(DataError, match="does not say its batch size"):
        read_trtexec(log(text))


# TensorRT 8 and 10 print these lines with --verbose, after the summary.
EXPLAINED = """\
[V]
[V] === Explanations of the performance metrics ===
[V] Total Host Walltime: the host walltime from when the first query (after warmups) is enqueued.
[V] GPU Compute Time: the GPU latency to execute the kernels for a query.
[V] Total GPU Compute Time: the summation of the GPU Compute Time of all the queries.
[V] Throughput: the observed throughput computed by dividing the number of queries by the wall.
[V] Enqueue Time: the host latency to enqueue a query.
[V] H2D Latency: the latency for host-to-device data transfers for input tensors of one query.
[V] D2H Latency: the latency for device-to-host data transfers for output tensors of one query.
[V] Latency: the summation of H2D Latency, GPU Compute Time, and D2H Latency."""


@pytest.mark.parametrize("version", ["8601", "101000"])
def test_explanations_of_a_verbose_log_are_no_results(log, version):
    quiet = read_trtexec(log(new_log(version=version)))
    loud = read_trtexec(log(new_log(version=version, extra=EXPLAINED.splitlines())))
    assert (loud.throughput_ips, loud.latency_ms) == (quiet.throughput_ips, quiet.latency_ms)
    [result] = [x for x in new_log(version=version).splitlines() if "Throughput:" in x]
    with pytest.raises(DataError, match="no line 'Throughput"):
        read_trtexec(log(new_log(version=version).replace(result, result.replace("[I]", "[V]"))))


def test_two_runs_are_refused_even_where_the_first_did_not_end(log):
    lost = new_log(version="8205", batch=1).splitlines()[:4]
    with pytest.raises(DataError, match="several runs"):
        read_trtexec(log("\n".join(lost) + "\n" + LOGS["8.5"]))


def test_another_tool_in_a_path_does_not_make_it_that_tools_log(log):
    text = LOGS["8.5"].replace("a.onnx", "/home/u/ais_bench/msame/a.onnx")
    assert read_log(log(text)).tool == "trtexec"


@pytest.mark.parametrize("rate", ["39,3443", "39.3443 fps", "39.3443 kqps"])
def test_a_rate_of_another_form_is_refused(log, rate):
    good = f"{len(COMPUTE) / WALL_S:.6g} qps"
    with pytest.raises(DataError):
        read_log(log(LOGS["8.5"].replace(good, rate if "qps" in rate else f"{rate} qps")))


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
    lines = old_log(qps=len(COMPUTE) / WALL_S).splitlines()
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
