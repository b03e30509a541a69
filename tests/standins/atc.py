"""Stand-in for Huawei's atc, after CANN's api/atc/main_impl.cc and its error list."""

import sys
from pathlib import Path

from common import crash, say, start, write_build

KNOWN = {
    "framework", "model", "output", "input_format", "input_shape", "log", "soc_version",
    "insert_op_conf", "precision_mode", "help",
}  # fmt: skip


class RefusedError(Exception):
    pass


def arguments():
    values = {}
    for word in sys.argv[1:]:
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not equals or name not in KNOWN:
            say(f"ERROR: unknown command line flag '{name}'")
            sys.exit(1)
        values[name] = value
    return values


def check(values):
    import onnx

    if "framework" not in values:
        raise RefusedError(
            "E10007: [PID: 7] 2025-03-18-09:02:18.501.341 [--framework] is required. The value "
            "must be [0(Caffe) or 1(MindSpore) or 3(TensorFlow) or 5(Onnx)]."
        )
    if not values.get("model"):
        raise RefusedError("E10054: The requied parameter [--model] for ATC is empty.")
    if values["framework"] != "5" or values.get("input_format") not in ("NCHW", "ND", "NCDHW"):
        raise RefusedError("E10001: Value [..] for parameter [--input_format] is invalid.")
    if values.get("log", "null") not in ("debug", "info", "warning", "error", "null"):
        raise RefusedError(f"E10010: Value {values['log']} for parameter --log is invalid.")
    if not values.get("soc_version", "").startswith("Ascend"):
        raise RefusedError("E10014: Value [..] for parameter --soc_version is invalid.")
    graph = onnx.load(values["model"]).graph.input[0]
    name, _, shape = values["input_shape"].partition(":")
    if name != graph.name:
        raise RefusedError(
            f"E10016: Opname {name} specified in --input_shape is not found in the model"
        )
    shape = [int(n) for n in shape.split(",")]
    if [d.dim_value for d in graph.type.tensor_type.shape.dim][1:] != shape[1:] or min(shape) < 1:
        raise RefusedError(f"E10011: Value {shape} for parameter --input_shape is invalid.")
    if "insert_op_conf" in values and not Path(values["insert_op_conf"]).is_file():
        raise RefusedError("E10052: AIPP configuration is invalid. Reason: no such file.")
    return shape


def main():
    mode = start("atc")
    values = arguments()
    say("ATC start working now, please wait for a moment.")
    try:
        shape = check(values)
        if mode == "fail":
            raise RefusedError(
                "E19010: No parser is registered for Op [/l2/LpNormalization, optype "
                "[ai.onnx::18::LpNormalization]]."
            )
    except RefusedError as error:
        say("ATC run failed, Please check the detail log, Try 'atc --help' for more information")
        say(error)
        say("        Solution: N/A\n        TraceBack (most recent call last):")
        sys.exit(1)
    if mode == "crash":
        crash()
    say("...")
    if mode == "silent":
        sys.exit(0)
    Path("fusion_result.json").write_text("[]")
    if mode != "empty":
        aipp = values.get("insert_op_conf")
        write_build(values["output"] + ".om", values["model"], shape=shape, aipp=aipp)
    say("ATC run success, welcome to the next use.")
    say("W11001: Op [Sigmoid_1] does not hit the high-priority operator information library.")


main()
