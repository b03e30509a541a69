"""Stand-in for NVIDIA's trtexec, after TensorRT's samples/common and its logs."""

import os
import sys
import time
from pathlib import Path

import numpy as np
from common import Build, crash, say, start, write_build

VERSION = os.environ.get("STANDIN_TRT_VERSION", "8503")
FLAGS = {"fp16", "help"} if int(VERSION) < 110000 else {"help"}
VALUES = {
    "onnx", "shapes", "device", "saveEngine", "loadEngine", "timingCacheFile", "warmUp", "duration",
}  # fmt: skip
COMMAND = f"TensorRT.trtexec [TensorRT v{VERSION}] # {' '.join(sys.argv)}"


def log(text, level="I"):
    say(f"[{time.strftime('%m/%d/%Y-%H:%M:%S')}] [{level}] {text}")


def end(passed):
    say(f"&&&& {'PASSED' if passed else 'FAILED'} {COMMAND}")
    sys.exit(0 if passed else 1)


def arguments():
    values = {}
    for word in sys.argv[1:]:
        name, equals, value = word.removeprefix("--").partition("=")
        if name not in (VALUES if equals else FLAGS):
            log(f"Unknown option: {word}", "E")
            end(False)
        values[name] = value
    return values


def statistics(times):
    ordered = np.sort(times)
    rank = {p: ordered[len(ordered) - 1 - int((1 - p / 100) * len(ordered))] for p in (90, 95, 99)}
    return (
        f"min = {ordered[0]:.6g} ms, max = {ordered[-1]:.6g} ms, mean = {ordered.mean():.6g} ms, "
        f"median = {np.median(ordered):.6g} ms"
    ) + "".join(f", percentile({p}%) = {value:.6g} ms" for p, value in rank.items())


def build(values):
    import onnx

    dims = onnx.load(values["onnx"]).graph.input[0].type.tensor_type.shape.dim
    dynamic = not dims[0].HasField("dim_value")
    if "shapes" in values and not dynamic:
        log(
            "Static model does not take explicit shapes since the shape of inference tensors will "
            "be determined by the model itself",
            "E",
        )
        end(False)
    batch = int(values["shapes"].partition(":")[2].split("x")[0]) if dynamic else dims[0].dim_value
    write_build(values["saveEngine"], values["onnx"], shape=[batch, 3, 112, 112], dynamic=dynamic)
    if "timingCacheFile" in values:
        Path(values["timingCacheFile"]).write_bytes(b"cache")
    return values["saveEngine"]


def measure(engine, seconds, values):
    run = Build(engine)
    # Before 10, a loaded engine's batch counts as implicit unless --shapes is given, whatever it
    # was built with: "Batch: 1" for an engine of 16.
    implicit = int(VERSION) < 100000 and "onnx" not in values and "shapes" not in values
    log("=== Inference Options ===")
    log(f"Batch: {1 if implicit else 'Explicit'}")
    log("Using random values for input image")
    shape = "x".join(str(n) for n in run.shape)
    log(f"Created input binding for image with dimensions {shape}")
    log("Starting inference")
    started, times = time.perf_counter(), []
    while len(times) < 10 or time.perf_counter() - started < seconds:
        times += run.run_zeros(10)
    wall = time.perf_counter() - started
    times = np.array(times)
    log("=== Performance summary ===")
    log(f"Throughput: {len(times) / wall:.6g} qps")
    log(f"Latency: {statistics(times + 0.25)}")
    log(f"Enqueue Time: {statistics(times / 10)}")
    log(f"H2D Latency: {statistics(np.full(len(times), 0.125))}")
    log(f"GPU Compute Time: {statistics(times)}")
    log(f"D2H Latency: {statistics(np.full(len(times), 0.125))}")
    log(f"Total Host Walltime: {wall:.6g} s")
    log(f"Total GPU Compute Time: {times.sum() / 1000:.6g} s")


def main():
    mode = start("trtexec") if "--help" not in sys.argv else "ok"
    say(f"&&&& RUNNING {COMMAND}")
    values = arguments()
    if "help" in values:
        for name in sorted(FLAGS | VALUES):
            say(f"  --{name}{'=N' if name in VALUES else ''}    what it does")
        end(True)
    if mode == "fail":
        log("Error[1]: [runtime] Cuda failure: no CUDA-capable device is detected", "E")
        end(False)
    if mode == "crash":
        crash()
    engine = values.get("loadEngine") or build(values)
    if mode == "silent":
        sys.exit(0)
    # A stand-in has no reason to take the whole seconds that it is asked for.
    measure(engine, min(float(values.get("duration", 0)), 0.02), values)
    end(True)


main()
