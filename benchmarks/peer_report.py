"""The benchmark of peers in words, a table and a chart; nothing here measures or computes rates.

    python benchmarks/peer_report.py outputs/bench/peers.json docs

writes ``docs/benchmarks.md``, ``docs/benchmarks.json`` and ``docs/images/bench.svg`` and prints
the table of the README.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peer_chart import PeersDisplay

from lresnet_utils.machine.disk import read_json, write_json, write_text
from lresnet_utils.report.charts.display import standalone_svg
from lresnet_utils.text.numbers import fmt_interval, fmt_number, fmt_percent, join_words

TITLES = {"ir_se100": "IR-SE100", "ir_se50": "IR-SE50", "sface": "SFace"}


def main() -> None:
    source, folder = map(Path, sys.argv[1:])
    results = read_json(source)
    write_json(folder / "benchmarks.json", results)
    write_text(folder / "images" / "bench.svg", standalone_svg(chart(results)))
    write_text(folder / "benchmarks.md", page(results, "images/bench.svg"))
    print(readme_table(results))


def write_report(results: dict[str, Any], path: Path) -> str:
    """Write page and chart beside a results file; return the README's table."""
    write_text(path.with_suffix(".svg"), standalone_svg(chart(results)))
    write_text(path.with_suffix(".md"), page(results, path.with_suffix(".svg").name))
    return readme_table(results)


def chart(results: Mapping[str, Any]) -> PeersDisplay:
    """Return the chart of all blocks."""
    rows = [
        {
            "network": TITLES[block["network"]],
            "batch_size": block["batch_size"],
            "side": row["side"],
            "name": _short(row),
            "precision": row["precision"],
        }
        | {end: row["throughput_ips"][end] for end in ("value", "low", "high")}
        for block in results["blocks"]
        for row in block["rows"]
        if not row["failure"]
    ]
    return PeersDisplay(rows)


def _short(row: Mapping[str, Any]) -> str:
    return f"this project {row['precision']}" if row["side"] == "ours" else row["name"]


def page(results: Mapping[str, Any], image: str) -> str:
    """Return the whole page as Markdown."""
    display = chart(results)
    parts = [
        "# Benchmarks",
        f"{_measured(results)}{_missing(results)}",
        f"![{_alt(display)}]({image})",
        display.reading,
        "## What it says",
        "\n".join(f"- {finding}" for finding in findings(results)),
        "## Figures",
        *(text for network in _networks(results) for text in _section(results, network)),
        "## Floors",
        "Ratios of images per second, this project's best build over the peer, paired turn by "
        "turn, with 95 % intervals.",
        comparison_table(results),
        *_layers(results),
        "## How it was measured",
        _method(results),
        "## What these figures do not say",
        _LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


_LIMITS = """\
- Nothing about other processors: which build is fastest, and by how much, changes with the
  instruction sets. `make bench` measures yours.
- Nothing about accuracy: IR-SE50 and IR-SE100 have random weights here. Our int8 build
  of a trained network is one that stayed within the accuracy budget of the report; the peers' int8
  builds are not judged.
- Nothing about reading and decoding pictures; `benchmarks/pipeline.py` measures that.
- An interval covers the repeats of one run, not another day or another load of the machine.
- A share of the ceiling can exceed 100 %: convolutions of a runtime may be better than every plain
  matrix product at hand, and Winograd-like algorithms need fewer operations than are counted."""


def _measured(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    dates = sorted({block["date"][:10] for block in results["blocks"]})
    flags = [f for f in machine["flags"] or () if re.match("avx512|avx_|amx|bf16|i8mm|sve", f)]
    versions = ", ".join(f"{n} {v}" for n, v in results["versions"].items() if v)
    return (
        f"Measured on {join_words(dates)} by `make bench` on one machine: {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['os']}; instruction sets "
        f"{', '.join(flags) or 'unknown'}. Versions: {versions}."
    )


def _missing(results: Mapping[str, Any]) -> str:
    """Say which networks and batch sizes of the full benchmark the record does not have."""
    known = {(block["network"], block["batch_size"]) for block in results["blocks"]}
    missing = [
        f"{title} at batch {size}"
        for network, title in TITLES.items()
        for size in (1, 16)
        if (network, size) not in known
    ]
    return f" Not measured in this record: {', '.join(missing)}." if missing else ""


def findings(results: Mapping[str, Any]) -> list[str]:
    """Return what the figures amount to, one sentence each, all numbers from the results."""
    sentences = _inapplicable(results)
    for block in results["blocks"]:
        where = f"{TITLES[block['network']]}, batch {block['batch_size']}"
        ratios = [
            f"{c['ours']} {_ratio(c['ratio'])} times {c['peer']}" for c in block["comparisons"]
        ]
        if ratios:
            sentences.append(f"{where}: our {'; our '.join(ratios)}.")
    sentences += [
        f"{TITLES[block['network']]}, batch {block['batch_size']}: {text}"
        for block in results["blocks"]
        if block["batch_size"] == max(b["batch_size"] for b in results["blocks"])
        for text in _room(block)
    ]
    return sentences


def _inapplicable(results: Mapping[str, Any]) -> list[str]:
    """Say that no floor applies on this processor, and what the ratios are instead."""
    compared = [c for block in results["blocks"] for c in block["comparisons"]]
    floors = [c for c in compared if c["floor"] is not None]
    if not floors or any(c["applies"] for c in floors):
        return []
    near = [c["ratio"]["value"] for c in compared if c["ours"] in c["peer"]]
    between = f"{fmt_number(min(near))} and {fmt_number(max(near))}"
    return [
        f"None of the floors below applies on this machine: {floors[0]['reason']}. Over OpenVINO "
        f"and NNCF at the same precision our builds measure between {between} times as fast here."
    ]


def _room(block: Mapping[str, Any]) -> list[str]:
    """Say how near the fastest peer of a precision already is to the ceiling."""
    texts = []
    for precision in ("fp32", "bf16", "int8"):
        peers = [r for r in _of(block, "peer", precision) if "fraction" in r["ceiling_fraction"]]
        ours = [r for r in _of(block, "ours", precision) if "fraction" in r["ceiling_fraction"]]
        if peers and ours:
            best = max(peers, key=lambda row: row["throughput_ips"]["value"])
            theirs, own = (row["ceiling_fraction"]["fraction"] for row in (best, ours[0]))
            texts.append(
                f"in {precision} the fastest peer, {best['name']}, reaches "
                f"{fmt_percent(theirs, 0)} of the matrix-product ceiling and our build "
                f"{fmt_percent(own, 0)}."
            )
    return texts


def _of(block: Mapping[str, Any], side: str, precision: str) -> list[Mapping[str, Any]]:
    return [
        row
        for row in block["rows"]
        if row["side"] == side and row["precision"] == precision and not row["failure"]
    ]


def _networks(results: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(block["network"] for block in results["blocks"]))


def _section(results: Mapping[str, Any], network: str) -> list[str]:
    blocks = [block for block in results["blocks"] if block["network"] == network]
    gflop = blocks[0]["flops"] / 1e9
    ceilings = "; ".join(f"batch {block['batch_size']}: {_ceilings(block)}" for block in blocks)
    return [
        f"### {TITLES[network]}, {blocks[0]['weights']} weights, {gflop:.2f} GFLOP per image",
        table(blocks),
        f"Matrix-product ceilings of the same minutes in TOP/s: {ceilings}.",
    ]


def _ceilings(block: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{precision} {fmt_number(found['tops'])} ({found['by']})"
        if "tops" in found
        else f"{precision} none"
        for precision, found in block["ceilings"].items()
    )


def table(blocks: Sequence[Mapping[str, Any]]) -> str:
    """Return one network's rows, a group of columns per batch size.

    Parameters
    ----------
    blocks : sequence of dict
        One network's, by batch size.
    """
    head = ["what runs", "how"]
    for block in blocks:
        size = block["batch_size"]
        head += [f"images/s, batch {size}", f"ours / this, batch {size}", "of ceiling"]
    lines = []
    for side, name in _names(blocks):
        found = [_find(block, side, name) for block in blocks]
        known = next(row for row in found if row is not None)
        cells = [cell for row in found for cell in _with_way(row, _cells(row))]
        lines.append([_bold(_short(known), side), known["what"], *cells])
    return _markdown(head, lines)


def readme_table(results: Mapping[str, Any]) -> str:
    """Return the README's short table: images per second of every side, by network and batch."""
    blocks = results["blocks"]
    head = ["images/s", *(f"{TITLES[b['network']]}, batch {b['batch_size']}" for b in blocks)]
    names = {
        (row["side"], _short(row)): None for block in blocks for row in _in_order(block["rows"])
    }
    lines = []
    for side, name in names:
        found = [
            next((row for row in block["rows"] if _short(row) == name), None) for block in blocks
        ]
        lines.append([_bold(name, side), *(_cells(row)[0] for row in found)])
    return _markdown(head, lines)


def comparison_table(results: Mapping[str, Any]) -> str:
    """Return the ratios that have floors, and whether those apply and are met."""
    lines = [
        [
            f"{TITLES[block['network']]}, batch {block['batch_size']}",
            f"our {c['ours']} / {c['peer']}",
            _ratio(c["ratio"]),
            "–" if c["floor"] is None else f"{c['floor']:g}",
            _verdict(c),
        ]
        for block in results["blocks"]
        for c in block["comparisons"]
    ]
    return _markdown(["network", "ratio of", "measured", "floor", "met"], lines)


def _verdict(comparison: Mapping[str, Any]) -> str:
    if not comparison["applies"]:
        return f"does not apply: {comparison['reason']}"
    return {True: "yes", False: "no", None: "undecided: inside the interval"}[comparison["met"]]


def _layers(results: Mapping[str, Any]) -> list[str]:
    parts = []
    for block in results["blocks"]:
        known = {p: found for p, found in block["layers"].items() if "shares" in found}
        if not known:
            continue
        kinds = dict.fromkeys(kind for found in known.values() for kind in found["shares"])
        lines = [
            [kind, *(fmt_percent(found["shares"].get(kind, 0.0), 1) for found in known.values())]
            for kind in kinds
        ]
        took = ", ".join(
            f"{p} {fmt_number(found['ms_per_batch'])} ms (mean of {found['batches']})"
            for p, found in known.items()
        )
        parts += [
            f"## Where the time goes: {TITLES[block['network']]}, batch {block['batch_size']}",
            "OpenVINO's own clock per layer, our builds on one stream; activations that are fused "
            f"into a convolution are in its time. One batch: {took}.",
            _markdown(["layers", *known], lines),
        ]
    return parts


def _method(results: Mapping[str, Any]) -> str:
    turns = "; ".join(
        f"{TITLES[b['network']]}, batch {b['batch_size']}: {b['date']}, {b['repeats']} turns of at "
        f"least {b['seconds']:g} s, {b['minutes']:g} minutes in all, others took "
        f"{fmt_percent(b['others_cpu_share'], 1)} of the cores' time during the turns"
        for b in results["blocks"]
    )
    faces = results["blocks"][0]["calibration"]
    return (
        "All sides of a network and batch size are loaded in one process and take turns, one "
        "network input of real faces again and again, one untimed inference before every turn. "
        "Rates are means over the turns with Student's t intervals (95 %); ratios are paired turn "
        "by turn. Before that every side, ours and peers alike, was tried in its ways of running "
        "(one batch on all cores, or several at a time side by side; PyTorch has one way), and the "
        "fastest was kept. Ours are searched as `2_compile` does: graph rewrites that are not "
        "slower, quantisation recipes, runtime; these at batch 1, the way of running at every "
        "batch size. "
        f"Every quantiser got the same {faces['n_images']} faces ({faces['set']}). "
        f"Turns: {turns}. The whole record, with the options of every side, is in "
        "[benchmarks.json](benchmarks.json)."
    )


def _names(blocks: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return side and short name of every row, precision by precision, ours first."""
    rows = [row for block in blocks for row in _in_order(block["rows"])]
    names = dict.fromkeys((row["precision"], row["side"], _short(row)) for row in rows)
    order = ("fp32", "bf16", "int8")
    return [name[1:] for name in sorted(names, key=lambda name: order.index(name[0]))]


def _in_order(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    order = ("fp32", "bf16", "int8")
    return sorted(rows, key=lambda row: (order.index(row["precision"]), row["side"] != "ours"))


def _find(block: Mapping[str, Any], side: str, name: str) -> Mapping[str, Any] | None:
    rows = (row for row in block["rows"] if row["side"] == side and _short(row) == name)
    return next(rows, None)


def _cells(row: Mapping[str, Any] | None) -> list[str]:
    if row is None:
        return ["–"] * 3
    if row["failure"]:
        return [f"failed: {row['failure']}", "–", "–"]
    rate, ratio = row["throughput_ips"], row["ours_over_this"]
    share = row["ceiling_fraction"].get("fraction")
    return [
        fmt_interval(rate["value"], rate["low"], rate["high"]),
        "–" if ratio is None else _ratio(ratio),
        fmt_percent(share, 0),
    ]


def _with_way(row: Mapping[str, Any] | None, cells: list[str]) -> list[str]:
    """Say beside a rate how many batches were worked on at the same time, if several."""
    options = (row or {}).get("options") or {}
    lanes = options.get("requests") or options.get("lanes") or 1
    return [f"{cells[0]}, {lanes} at a time", *cells[1:]] if lanes > 1 else cells


def _ratio(ratio: Mapping[str, Any]) -> str:
    return fmt_interval(ratio["value"], ratio["low"], ratio["high"])


def _bold(name: str, side: str) -> str:
    return f"**{name}**" if side == "ours" else name


def _alt(display: PeersDisplay) -> str:
    return display.describe().replace("[", "(").replace("]", ")")


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


if __name__ == "__main__":
    main()
