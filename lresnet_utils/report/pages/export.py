"""The export page: which network, which graph, and that they agree."""

from __future__ import annotations

from typing import Any

from lresnet_utils.report.charts.builds import OperatorDisplay, ParityDisplay
from lresnet_utils.report.show import Column, note, properties, say, show, table
from lresnet_utils.text.language import tr, translatable
from lresnet_utils.text.numbers import fmt_bytes, fmt_count

# The guide asks for no number here; 1e-5 on unit embeddings is what fp32 round-off leaves.
PARITY_LIMIT = 1e-5
_SHOWN = 6
_SCALES = {
    "minus1_1": translatable("scaled to [-1, 1] as (x/255 - 0.5)/0.5"),
    "centred_128": translatable("scaled as (x - 127.5)/128"),
    "zero_1": translatable("scaled to [0, 1] as x/255"),
    "raw": translatable("as they are, 0 to 255"),
}
QUANTISED = {
    "weights and activations": translatable("weights and activations"),
    "weights": translatable("weights alone"),
}
SAID_BY = {
    "params": translatable("the params"),
    "graph": translatable("the graph"),
    "maker": translatable("the network's maker"),
}


def short_hash(digest: str) -> str:
    """Return the start of a SHA-256, enough to tell files apart by eye.

    Examples
    --------
    >>> short_hash("fb143eea07838aa532d1c95df5f69899")
    'fb143eea0783'
    """
    return digest[:12]


def network(record: dict[str, Any]) -> None:
    """Show what was exported: architecture, weights and their hash, pixel format."""
    net, pixels = record["network"], record["input"]
    if record["onnx"] is None:
        note(
            "The network, {architecture}, is not on this machine: its results were recorded "
            "elsewhere, so there is no graph to export or to compare.",
            architecture=net["architecture"],
        )
        return
    embedding = tr("{embedding_size} numbers", embedding_size=net["embedding_size"])
    weights = tr(
        "{weights}, SHA-256 {weights_sha256}",
        weights=net["weights"],
        weights_sha256=short_hash(net["weights_sha256"]),
    )
    told = tr(
        "{size} x {size} pixels, {order}, {scale}",
        size=pixels["size"],
        order=pixels["channel_order"].upper(),
        scale=_SCALES[pixels["normalisation"]],
    )
    rows = [
        (tr("Architecture"), tr("{what} ({where})", what=net["architecture"], where=net["source"])),
        (tr("Parameters"), fmt_count(net["n_parameters"])),
        (tr("Embedding"), embedding),
        (tr("Weights"), weights),
        (tr("Input"), told),
    ]
    found, who = net.get("quantised"), record.get("input_said_by")
    if found:
        what, types = tr(QUANTISED[found["what"]]), ", ".join(found["types"])
        text = tr("{what}, in {types}", what=what, types=types)
        rows.insert(2, (tr("Already quantised"), text))
    if who:
        order, scale = (tr(SAID_BY[who[key]]) for key in ("channel_order", "normalisation"))
        text = tr("order by {order}, scale by {scale}", order=order, scale=scale)
        rows.append((tr("Input told by"), text))
    properties(rows, "The exported network")
    if "foreign" in record:
        # What the given file is, what was changed in it, and how that was checked.
        foreign = record["foreign"]
        told, batch, output = foreign["told"], foreign["batch"], foreign["output"]
        if foreign["length"] is not None:
            output = tr(
                "{output}, mean length {length:.3g}", output=output, length=foreign["length"]
            )
        written = tr("any") if batch is None else tr("{batch}, written into the file", batch=batch)
        changes = [f"{name} ({count})" for name, count in foreign["changes"].items()]
        scaled = tr(told["because"]) if told["normalisation"] else tr("as set in the params")
        kind = f"{foreign['input']}, {foreign['layout'].upper()}, {foreign['input_type']}"
        properties(
            [
                (tr("Input"), kind),
                (tr("Batch size"), written),
                (tr("Output"), output),
                (tr("Pixels"), scaled),
                (tr("Changed"), ", ".join(changes) or tr("nothing")),
            ],
            "The given graph",
        )
        say(
            "The graph that everything here is built from was compared with {compared_with}: on "
            "random pixels unit embeddings differ by at most {difference:.1e}.",
            compared_with=foreign["compared_with"],
            difference=foreign["max_abs_difference"],
        )
    # Name what else the weights file holds.
    names = net.get("ignored", [])
    shown, more = ", ".join(names[:_SHOWN]), len(names) - _SHOWN
    if more > 0:
        say(
            "The file holds more than the network. Left out: {shown} and {more} others.",
            shown=shown,
            more=more,
        )
    elif names:
        say("The file holds more than the network. Left out: {shown}.", shown=shown)
    if not net["trained"]:
        note(
            "These weights are random (seeded). Speed and the agreement of runtimes can be "
            "measured with them; accuracy cannot, so it is neither evaluated nor shown.",
            "warning",
        )


def graphs(record: dict[str, Any]) -> None:
    """Show both graphs' size, cost and operators, and what the simplifier's own check found."""
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
    say(
        "onnxsim took {nodes_before} nodes to {nodes_after}. On {checks} batches of random "
        "pixels the unit embeddings of the two graphs differ by at most "
        "{max_abs_difference:.1e}.",
        **record["simplify"],
    )
    show(OperatorDisplay(record["onnx"]["operators"], record["simplified"]["operators"]))


def parity(record: dict[str, Any]) -> None:
    """Show how far the network, its graph and its simplified graph are apart on real faces."""
    if record["onnx"] is None:
        return
    found = record.get("embeddings")
    if found:
        alike = found["n_distinct"] <= 1 < found["n_images"]
        if alike or found["n_not_finite"] or found["n_zero"]:
            text = tr(
                "Of {n_images} real faces {n_not_finite} give embeddings that are not finite, "
                "{n_zero} give zeros only, and {n_distinct} embeddings differ.",
                **found,
            )
            if found["layer"]:
                text += " " + tr("It begins at {layer}.", layer=found["layer"])
            note(text, "warning")
    if not record["parity"]:
        return
    rows = [row | {"pair": tr("{a} and {b}", a=row["a"], b=row["b"])} for row in record["parity"]]
    columns = [
        Column("pair", "Compared"),
        Column("max_abs_difference", "Largest difference", "unit embeddings", ".1e"),
        Column("min_cosine", "Least cosine", "", ".8f"),
        Column("n", "Faces"),
    ]
    origin = record["parity"][0]["a"]
    table(rows, columns, "Agreement of the graphs with {origin}, on real faces", origin=origin)
    show(ParityDisplay(rows))
    worst = max(row["max_abs_difference"] for row in rows)
    within = worst <= PARITY_LIMIT
    text = tr(
        "The largest difference of any number in a unit embedding is {worst:.1e}, {verdict} the "
        "limit of {limit:.0e}.",
        worst=worst,
        verdict=tr("within") if within else tr("beyond"),
        limit=PARITY_LIMIT,
    )
    if not within and (record["network"].get("quantised") or {}).get("precision"):
        text += " " + tr("The kernels for integers round otherwise than its nodes one by one.")
    note(text, "info" if within else "warning")
