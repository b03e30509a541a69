"""Stand-in for Huawei's ais_bench, after Ascend/tools ais-bench_workload."""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
from common import Build, crash, say, spoil, start


def arguments():
    parser = argparse.ArgumentParser("ais_bench", allow_abbrev=False)
    parser.add_argument("--model", required=True)
    for name in ("--input", "--output", "--output_dirname"):
        parser.add_argument(name)
    parser.add_argument("--outfmt", choices=["BIN", "NPY", "TXT"], default="BIN")
    parser.add_argument("--pure_data_type", choices=["zero", "random"], default="zero")
    for name, value in (("loop", 1), ("warmup_count", 1), ("batchsize", 1), ("device", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def natural(path):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def infer(build, source, folder):
    """Fill batches from the folder; padding is run, but not written."""
    files = sorted((p for p in Path(source).iterdir() if p.suffix in (".bin", ".npy")), key=natural)
    size = files[0].stat().st_size
    if build.input_bytes % size:
        say(f"[ERROR] arg0 tensorsize: {build.input_bytes} filesize: {size} not match")
        sys.exit(1)
    per_batch, told = build.input_bytes // size, {}
    say(
        f"[INFO] get filesperbatch files0 size:{size} tensor0size:{build.input_bytes} "
        f"filesperbatch:{per_batch} runcount:{-(-len(files) // per_batch)}"
    )
    for begin in range(0, len(files), per_batch):
        batch = files[begin : begin + per_batch]
        padded = batch + batch[:1] * (per_batch - len(batch))
        rows = build.run(b"".join(path.read_bytes() for path in padded))
        for path, row in zip(batch, rows, strict=False):
            result = folder / f"{path.name.split('.')[0]}_0.bin"
            row.astype("<f4").tofile(result)
            told[len(told)] = {"infiles": [str(path)], "outfiles": [str(result)]}
    return told


def table(times):
    return {
        "min": float(np.min(times)), "max": float(np.max(times)), "mean": float(np.mean(times)),
        "median": float(np.median(times)), "percentile(99%)": float(np.percentile(times, 99)),
        "count": len(times),
    }  # fmt: skip


def report(args, times, told):
    compute = table(times)
    rate = 1000 * args.batchsize / compute["mean"]
    summary = {
        "filesinfo": told, "args": sys.argv, "NPU_compute_time": compute,
        "H2D_latency": table([0.1] * len(times)), "D2H_latency": table([0.05] * len(times)),
        "npu_compute_time_list": list(times), "throughput": rate, "pid": 7,
    }  # fmt: skip
    path = Path(args.output) / f"{args.output_dirname}_summary.json"
    path.write_text(json.dumps(summary))
    say("[INFO] -----------------Performance Summary------------------")
    figures = ", ".join(f"{key} = {value}" for key, value in list(compute.items())[:-1])
    say(f"[INFO] NPU_compute_time (ms): {figures}")
    say(
        f"[INFO] throughput 1000*batchsize.mean({args.batchsize})/NPU_compute_time.mean("
        f"{compute['mean']}): {rate}"
    )
    say("[INFO] ------------------------------------------------------")


def main():
    mode = start("ais_bench")
    args = arguments()
    say("[INFO] acl init success")
    say(f"[INFO] open device {args.device} success")
    if mode == "fail":
        say("[ERROR] load model from file failed, model file is build for another soc")
        sys.exit(1)
    build = Build(args.model)
    say(f"[INFO] load model {args.model} success")
    if mode == "crash":
        crash()
    if mode == "silent":
        sys.exit(0)
    folder = Path(args.output) / args.output_dirname
    folder.mkdir(parents=True, exist_ok=True)
    build.run_zeros(args.warmup_count)
    build.times_ms.clear()
    told = infer(build, args.input, folder) if args.input else {}
    if not args.input:
        build.run_zeros(args.loop)
        (folder / "pure_infer_data_0.bin").write_bytes(bytes(8))
    if mode != "ok":
        spoil(folder, mode)
    report(args, build.times_ms, told)


main()
