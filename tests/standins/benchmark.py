"""Stand-in for Huawei's benchmark.x86_64, after the guide and the logs of its model zoo."""

import sys
import time
from pathlib import Path

import numpy as np
from common import Build, crash, say, spoil, start

VISION = [
    "model_type", "device_id", "batch_size", "om_path", "input_text_path", "input_width",
    "input_height", "output_binary", "useDvpp",
]  # fmt: skip
PURE = ["round", "batch_size", "om_path", "device_id"]


def arguments():
    values = {}
    for word in sys.argv[1:]:
        name, equals, value = word.removeprefix("-").partition("=")
        if not word.startswith("-") or word.startswith("--") or not equals:
            say(f"[ERROR] invalid argument {word}")
            sys.exit(1)
        values[name] = value
    if list(values) not in (VISION, PURE):
        say(f"[ERROR] wrong arguments {list(values)}")
        sys.exit(1)
    return values


def vision(values, build, mode):
    batch, device = int(values["batch_size"]), values["device_id"]
    dump = Path(f"result/dumpOutput_device{device}")
    dump.mkdir(parents=True)
    started, paths = time.perf_counter(), []
    for number, line in enumerate(Path(values["input_text_path"]).read_text().splitlines()):
        index, path, width, height = line.split(" ")
        assert (int(index), width, height) == (number, "112", "112")
        paths.append(Path(path))
    assert len(paths) % batch == 0, "what a cut last batch would give is not documented"
    for begin in range(0, len(paths), batch):
        rows = build.run(b"".join(path.read_bytes() for path in paths[begin : begin + batch]))
        for path, row in zip(paths[begin : begin + batch], rows, strict=True):
            text = " ".join(f"{value:.7g}" for value in row)
            (dump / f"{path.stem}_1.txt").write_text(text)
    if mode != "ok":
        spoil(dump, mode)
    wall = time.perf_counter() - started
    n, mean = len(paths), float(np.mean(build.times_ms))
    e2e, infer = n / wall, 0.99 * 1000 * batch / mean
    lines = [
        f"[e2e] throughputRate: {e2e:.6g}, latency: {1000 * wall:.6g}",
        f"[data read] throughputRate: {2 * e2e:.6g}, moduleLatency: {500 / e2e:.6g}",
        f"[preprocess] throughputRate: {2 * e2e:.6g}, moduleLatency: {500 / e2e:.6g}",
        f"[infer] throughputRate: {infer:.6g}, Interface throughputRate: "
        f"{1000 * batch / mean:.6g}, moduleLatency: {mean / batch:.6g}",
        f"[post] throughputRate: {infer / batch:.6g}, moduleLatency: {1000 * batch / infer:.6g}",
    ]
    name = f"perf_vision_batchsize_{batch}_device_{device}.txt"
    Path("result", name).write_text("\n".join(lines[: 4 if mode == "cut" else 5]) + "\n")
    say("\n".join(lines))


def pure(values, build):
    rounds, batch = int(values["round"]), int(values["batch_size"])
    mean = float(np.mean(build.run_zeros(rounds))) / batch
    say(f"[INFO] Dataset number: {rounds - 1} finished cost {build.times_ms[-1]:.6g}ms")
    text = f"ave_throughputRate = {1000 / mean:.6g}samples/s, ave_latency = {mean:.6g}ms\n"
    Path("result").mkdir()
    name = f"PureInfer_perf_of_{Path(values['om_path']).stem}_in_device_{values['device_id']}.txt"
    Path("result", name).write_text(text)
    say(f"[INFO] {text}")


def main():
    mode = start("benchmark")
    values = arguments()
    if mode == "fail":
        say("[ERROR] LoadModelFromFile failed, ret = 500002")
        sys.exit(1)
    build = Build(values["om_path"])
    if mode == "crash":
        crash()
    if mode == "silent":
        sys.exit(0)
    if "model_type" in values:
        vision(values, build, mode)
    else:
        pure(values, build)


main()
