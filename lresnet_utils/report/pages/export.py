"""The export page: which network, which graph, and that they agree."""

from __future__ import annotations

from typing import Any

from lresnet_utils.report.displays import OperatorDisplay, ParityDisplay
from lresnet_utils.report.pages.common import properties, short_hash
from lresnet_utils.report.show import Column, note, say, show, table
from lresnet_utils.report.style import fmt_bytes, fmt_count

# The guide asks for no number here; 1e-5 on unit embeddings is what fp32 round-off leaves.
PARITY_LIMIT = 1e-5
_SHOWN = 6


def network(record: dict[str, Any]) -> None:
    """Show what was exported: architecture, weights and their hash, pixel format."""
    net, pixels = record["network"], record["input"]
    if record["onnx"] is None:
        note(
            f"The network, {net['architecture']}, is not on this machine: its results were "
            "recorded elsewhere, so there is no graph to export or to compare."
        )
        return
    size, order = pixels["size"], pixels["channel_order"].upper()
    properties(
        [
            ("Architecture", f"{net['architecture']} ({net['source']})"),
            ("Parameters", fmt_count(net["n_parameters"])),
            ("Embedding", f"{net['embedding_size']} numbers"),
            ("Weights", f"{net['weights']}, SHA-256 {short_hash(net['weights_sha256'])}"),
            ("Input", f"{size} x {size} pixels, {order}, {_SCALES[pixels['normalisation']]}"),
        ],
        "The exported network",
    )
    if "foreign" in record:
        _foreign(record["foreign"])
    if net.get("ignored"):
        say(
            f"The file holds more than the network. Left out: {', '.join(net['ignored'][:_SHOWN])}"
            f"{' and others' if len(net['ignored']) > _SHOWN else ''}."
        )
    if not net["trained"]:
        note(
            "These weights are random (seeded). Speed and the agreement of runtimes can be "
            "measured with them; accuracy cannot, so it is neither evaluated nor shown.",
            "warning",
        )


_SCALES = {
    "minus1_1": "scaled to [-1, 1] as (x/255 - 0.5)/0.5",
    "centred_128": "scaled as (x - 127.5)/128",
    "zero_1": "scaled to [0, 1] as x/255",
    "raw": "as they are, 0 to 255",
}


def _foreign(foreign: dict[str, Any]) -> None:
    """Say what the given file is, what was changed in it, and how that was checked."""
    batch = "any batch size" if foreign["batch"] is None else f"batches of {foreign['batch']}"
    told = foreign["told"]
    changes = [f"{name} ({count})" for name, count in foreign["changes"].items()]
    properties(
        [
            ("Input", f"{foreign['input']}, {foreign['layout'].upper()}, {foreign['input_type']}"),
            ("Takes", batch),
            ("Output", f"{foreign['output']}, mean length {foreign['length']:.3g}"),
            ("Pixels", "set in the params" if told["normalisation"] is None else told["because"]),
            ("Changed", ", ".join(changes) or "nothing"),
        ],
        "The given graph",
    )
    say(
        "The graph that everything here is built from was compared with "
        f"{foreign['compared_with']}: on random pixels unit embeddings differ by at most "
        f"{foreign['max_abs_difference']:.1e}."
    )


def graphs(record: dict[str, Any]) -> None:
    """Show both graphs' size and cost, and what the simplifier's own check found."""
    if record["onnx"] is None:
        return
    rows = [
        {"graph": label} | record[key] | {"nodes": sum(record[key]["operators"].values())}
        for label, key in (("exported", "onnx"), ("simplified", "simplified"))
    ]
    columns = [
        Column("graph", "Graph"),
        Column("nodes", "Nodes"),
        Column("flops", "Work", "GFLOP per image", lambda flops: f"{flops / 1e9:.3f}"),
        Column("n_parameters", "Parameters"),
        Column("file_bytes", "File", "", fmt_bytes),
        Column("opset", "Opset"),
        Column("sha256", "SHA-256", "", short_hash),
    ]
    table(rows, columns, "The graphs: 1 multiply-add counts as 2 FLOP")
    check = record["simplify"]
    say(
        f"onnxsim took {check['nodes_before']} nodes to {check['nodes_after']} in "
        f"{check['seconds']:.1f} s. On {check['checks']} batches of random pixels the unit "
        f"embeddings of the two graphs differ by at most {check['max_abs_difference']:.1e}."
    )


def operators(record: dict[str, Any]) -> None:
    """Chart the operators before and after simplification."""
    if record["onnx"] is not None:
        show(OperatorDisplay(record["onnx"]["operators"], record["simplified"]["operators"]))


def parity(record: dict[str, Any]) -> None:
    """Show how far the network, its graph and its simplified graph are apart on real faces."""
    if record["onnx"] is None:
        return
    rows = [row | {"pair": f"{row['a']} and {row['b']}"} for row in record["parity"]]
    columns = [
        Column("pair", "Compared"),
        Column("max_abs_difference", "Largest difference", "unit embeddings", ".1e"),
        Column("min_cosine", "Least cosine", "", ".8f"),
        Column("n", "Faces"),
    ]
    origin = record["parity"][0]["a"]
    table(rows, columns, f"Agreement of the graphs with {origin}, on real faces")
    show(ParityDisplay(rows))
    worst = max(row["max_abs_difference"] for row in rows)
    verdict = "within" if worst <= PARITY_LIMIT else "beyond"
    text = f"The largest difference of any number in a unit embedding is {worst:.1e}, {verdict} "
    text += f"the limit of {PARITY_LIMIT:.0e}."
    note(text, "info" if worst <= PARITY_LIMIT else "warning")
