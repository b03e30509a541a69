"""Readers of the performance logs of the vendors' tools."""

from __future__ import annotations

import codecs
import json
import math
import re

from fuzzkit.subject import Seed, Subject, write
from lresnet_utils.targets.replay import read_log

# A number as a person would mark it in a text, whatever stands around it.
ANY_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?")


LOG_TOKENS = (
    b"[e2e] throughputRate: 1, latency: 1", b"throughput: 1 qps", b"ms", b" = ", b": ", b"nan", b"-1",
    b"[ERROR] x", b"&&&& PASSED", b"&&&& FAILED", b"[E] x", b"[I] Batch: 0", b"[I] Batch: 99999999999",
    b"\xe2\x94\x82", b"-----Performance Summary------", b"Latency:", b"dimensions 0x", b'"count": 3',
    b"NPU_compute_time (ms)", b"-" * 2000, b"a" * 3999, b"1" * 3999, b" " * 3999, b"\x1b[0m", b"\r",
    b"ave_throughputRate = 1samples/s, ave_latency = 1ms", b"Inference time: 1 ms", b"{", b"}",
    b"[V] Latency: ", b"[I] ", b"[I] Batch: 1", b"&&&& RUNNING", b"dimensions 3x112x112", b"[inference]",
    b"[postprocess]", b"AVG:", b"us", b",", b"[stdout] ", b"web-1  | ", b"2025-11-28T10:11:12.345Z ",
    b"\x1b]0;", b"\x07", b"\x1b(B", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE,
)  # fmt: skip

VISION = b"""[e2e] throughputRate: 78.7504, latency: 304761
[data read] throughputRate: 80, moduleLatency: 12.5
[preprocess] throughputRate: 100, moduleLatency: 10
[infer] throughputRate: 79.5, Interface throughputRate: 122.739, moduleLatency: 7.46171
[post] throughputRate: 9.9375, moduleLatency: 100.629
"""
PURE = b"[INFO] PureInfer result save in ./result\nave_throughputRate = 135.97samples/s, ave_latency = 7.38ms\n"
SCREEN = b"""[INFO] load model x.om success
[INFO] -----------------Performance Summary------------------
[INFO] H2D_latency (ms): min = 0.5, max = 1.5, mean = 1.0, median = 1.0, percentile(99%) = 1.4
[INFO] NPU_compute_time (ms): min = 15, max = 17, mean = 16, median = 16, percentile(99%) = 16.9
[INFO] D2H_latency (ms): min = 0.1, max = 0.3, mean = 0.2, median = 0.2, percentile(99%) = 0.3
[INFO] throughput 1000*batchsize.mean(8)/NPU_compute_time.mean(16): 500
[INFO] ------------------------------------------------------
"""
TABLE = """[INFO] -----------------Performance Summary------------------
╒═══════════════════════╤═════╤══════╤══════╤════════╤══════╕
│ Metric                │ min │ max  │ mean │ median │ P99  │
╞═══════════════════════╪═════╪══════╪══════╪════════╪══════╡
│ NPU_compute_time (ms) │ 15  │ 17   │ 16   │ 16     │ 16.9 │
╘═══════════════════════╧═════╧══════╧══════╧════════╧══════╛
[INFO] Throughput 1000*batchsize.mean(8)/NPU_compute_time.mean(16): 500
""".encode()
SUMMARY = json.dumps(
    {
        "NPU_compute_time": {"min": 15.0, "max": 17.0, "mean": 16.0, "median": 16.0,
                             "percentile(99%)": 16.9, "count": 3},
        "H2D_latency": {"min": 0.5, "max": 1.5, "mean": 1.0},
        "throughput": 500.0,
        "npu_compute_time_list": [15.0, 16.0, 17.0],
    }
).encode()  # fmt: skip
MSAME = b"""[INFO] msame start
Inference time: 16.1 ms
Inference time: 15.9 ms
Inference average time : 16 ms
Inference average time without first time: 15.9 ms
[INFO] done
"""
TRTEXEC = b"""&&&& RUNNING TensorRT.trtexec [TensorRT v8503] # trtexec --onnx=a.onnx --fp16
[05/13/2025-10:36:46] [I] Created input binding for image with dimensions 16x3x112x112
[05/13/2025-10:36:46] [I] === Performance summary ===
[05/13/2025-10:36:46] [I] Throughput: 39.3443 qps
[05/13/2025-10:36:46] [I] Latency: min = 25 ms, max = 26.75 ms, mean = 25.6 ms, median = 25.4 ms, percentile(99%) = 26.75 ms
[05/13/2025-10:36:46] [I] Enqueue Time: min = 0.75 ms, max = 0.75 ms, mean = 0.75 ms, median = 0.75 ms, percentile(99%) = 0.75 ms
[05/13/2025-10:36:46] [I] GPU Compute Time: min = 23.25 ms, max = 25 ms, mean = 23.8542 ms, median = 23.6875 ms, percentile(99%) = 25 ms
[05/13/2025-10:36:46] [I] Total Host Walltime: 0.1525 s
[05/13/2025-10:36:46] [I] Total GPU Compute Time: 0.143125 s
&&&& PASSED TensorRT.trtexec [TensorRT v8503] # trtexec --onnx=a.onnx --fp16
"""
TRTEXEC_7 = b"""[10/20/2020-19:56:29] [I] Host Latency
[10/20/2020-19:56:29] [I] min: 25 ms (end to end 26 ms)
[10/20/2020-19:56:29] [I] max: 26.75 ms (end to end 27 ms)
[10/20/2020-19:56:29] [I] mean: 25.6 ms (end to end 26 ms)
[10/20/2020-19:56:29] [I] median: 25.4 ms (end to end 26 ms)
[10/20/2020-19:56:29] [I] percentile: 26.75 ms at 99% (end to end 30 ms at 99%)
[10/20/2020-19:56:29] [I] throughput: 0 qps
[10/20/2020-19:56:29] [I] walltime: 0.1525 s
[10/20/2020-19:56:29] [I] Enqueue Time
[10/20/2020-19:56:29] [I] min: 0.5 ms
[10/20/2020-19:56:29] [I] max: 1.5 ms
[10/20/2020-19:56:29] [I] median: 0.75 ms
[10/20/2020-19:56:29] [I] GPU Compute
[10/20/2020-19:56:29] [I] min: 23.25 ms
[10/20/2020-19:56:29] [I] max: 25 ms
[10/20/2020-19:56:29] [I] mean: 23.8542 ms
[10/20/2020-19:56:29] [I] median: 23.6875 ms
[10/20/2020-19:56:29] [I] percentile: 25 ms at 99%
[10/20/2020-19:56:29] [I] total compute time: 0.143125 s
&&&& PASSED TensorRT.trtexec # trtexec --onnx=a.onnx --fp16 --shapes=image:16x3x112x112
"""
APP = b"""[Step 11/11] Dumping statistics report
[ INFO ] Network batch size: 16
[ INFO ] Count:            60 iterations
[ INFO ] Duration:         12000.00 ms
[ INFO ] Latency:
[ INFO ]    Median:        199.50 ms
[ INFO ]    Average:       200.00 ms
[ INFO ]    Min:           190.00 ms
[ INFO ]    Max:           240.00 ms
[ INFO ] Throughput:   80.00 FPS
"""
# The same, as shells and loggers hand a log on.
TRTEXEC_LOADED = TRTEXEC.replace(
    b"[I] Created", b"[I] Batch: 1\n[05/13/2025-10:36:46] [I] Created"
).replace(
    b"&&&& PASSED", b"[05/13/2025-10:36:46] [V] Latency: the summation of all three.\n&&&& PASSED"
)
SHELL = codecs.BOM_UTF16_LE + TRTEXEC.decode().replace("\n", "\r\n").encode("utf-16-le")
VISION_LONG = VISION.replace(b"[infer]", b"[inference]").replace(b"[post]", b"[postprocess]")
APP_OLD = b"".join(b"\x1b[32mweb-1  | " + line + b"\x1b[0m\r\n" for line in APP.splitlines())
APP_OLD = (
    APP_OLD.replace(b"Average:", b"AVG:    ").replace(b"Min:", b"MIN:").replace(b"Max:", b"MAX:")
)
APP_JSON = json.dumps(
    {
        "configuration_setup": {"batch size": "16", "precision": "UNSPECIFIED"},
        "execution_results": {"total execution time (ms)": "12000.00", "throughput": "80.00",
                              "total number of iterations": "60", "latency_median": "199.5",
                              "avg latency": "200.0", "min latency": "190.0", "max latency": "240.0"},
    }
).encode()  # fmt: skip


def _logs(**named):
    return lambda folder: [Seed(data, name) for name, data in named.items()]


def _log_read(data, seed, folder):
    # One of the tools does not say its batch size: the caller does.
    size = 16 if seed.about in ("msame", "pure") else None
    return read_log(write(folder, "tool.log", data), batch_size=size)


def _log_check(data, seed, value):
    """What is told stands in the log as a number, or follows from numbers that do."""
    record = value.to_json()
    json.dumps(record, allow_nan=False).encode("utf-8")
    mark = next((m for m in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) if data.startswith(m)), None)
    text = data.decode("utf-16" if mark else "utf-8", "replace")
    # A colour or a title in the middle of a number is none of it, on a terminal either.
    text = re.sub(
        r"\x1b(\[[0-?]*[ -/]*[@-~]|[\]_P][^\x07\x1b\n]*(\x07|\x1b\\)|[ -/]*[0-OQ-Z^a-~\\])",
        "",
        text,
    )
    numbers = {float(n) for n in ANY_NUMBER.findall(text)}
    assert 1 <= (value.batch_size or 1) <= 65_536
    assert 0 < value.throughput_ips <= 1e17
    for name, figure in value.latency_ms.items():
        assert figure >= 0 and math.isfinite(figure)
        known = figure in numbers or 1000 * figure in numbers
        listed = value.tool == "msame" and name == "p50"
        assert known or listed, f"{name} {figure} is not in the log"
    for stage in value.stages.values():
        assert {stage.rate, stage.time_ms} <= numbers
    middle = [value.latency_ms[k] for k in ("mean", "p50", "p90", "p99") if k in value.latency_ms]
    ends = [value.latency_ms.get(k) for k in ("min", "max")]
    if None not in ends and value.tool != "msame":
        low, high = ends[0] * (1 - 1e-9), ends[1] * (1 + 1e-9)
        assert all(low <= figure <= high for figure in middle), "a figure outside its range"


SUBJECTS = {
    "log-benchmark": Subject(
        _logs(vision=VISION, pure=PURE, long=VISION_LONG), _log_read, _log_check, LOG_TOKENS
    ),
    "log-ais": Subject(
        _logs(screen=SCREEN, summary=SUMMARY, table=TABLE), _log_read, _log_check, LOG_TOKENS
    ),
    "log-msame": Subject(_logs(msame=MSAME), _log_read, _log_check, LOG_TOKENS),
    "log-trtexec": Subject(
        _logs(new=TRTEXEC, old=TRTEXEC_7, loaded=TRTEXEC_LOADED, powershell=SHELL),
        _log_read,
        _log_check,
        LOG_TOKENS,
    ),
    "log-openvino": Subject(
        _logs(app=APP, old=APP_OLD, json=APP_JSON), _log_read, _log_check, LOG_TOKENS
    ),
}
