"""Stand-in for Huawei's msame: one input file per execution, results in a folder of the time."""

import argparse
import sys
from pathlib import Path

import numpy as np
from common import Build, crash, say, spoil, start


def arguments():
    parser = argparse.ArgumentParser("msame", allow_abbrev=False)
    for name in ("--model", "--output"):
        parser.add_argument(name, required=True)
    parser.add_argument("--input")
    parser.add_argument("--outfmt", choices=["TXT", "BIN"], required=True)
    parser.add_argument("--loop", type=int, default=1, choices=range(1, 101))
    parser.add_argument("--device", type=int, default=0)
    return parser.parse_args()


def main():
    mode = start("msame")
    args = arguments()
    say("[INFO] acl init success")
    if mode == "fail":
        say("[ERROR] load model from file failed, model file is dump")
        sys.exit(1)
    build = Build(args.model)
    say(f"[INFO] load model {args.model} success")
    folder = Path(args.output) / "20211111_224034"
    folder.mkdir()
    say(f"{args.output}/{folder.name}")
    if mode == "crash":
        crash()
    if args.input:
        for path in sorted(Path(args.input).iterdir()):
            say(f"[INFO] start to process file:{path}")
            if path.stat().st_size != build.input_bytes:
                say(f"[ERROR] input data size:{path.stat().st_size} is not {build.input_bytes}")
                sys.exit(1)
            build.run(path.read_bytes()).astype("<f4").tofile(
                folder / f"{path.name.split('.')[0]}_output_0.bin"
            )
            say(f"[INFO] model execute success\nInference time: {build.times_ms[-1]:.6g}ms")
    else:
        for took in build.run_zeros(args.loop):
            say(f"[INFO] model execute success\nInference time: {took:.6g}ms")
    say("[INFO] output data success")
    if mode not in ("ok", "silent"):
        spoil(folder, mode)
    times = build.times_ms
    say(f"Inference average time: {np.mean(times):.6f} ms")
    say(f"Inference average time without first time: {np.mean(times[1:] or times):.6f} ms")
    say("[INFO] unload model success, model Id is 1")
    if mode != "silent":
        say("[INFO] Execute sample success")
    say("[INFO] end to finalize acl")


main()
