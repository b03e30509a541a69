"""This project's best build of every precision against what others would run on this machine.

    python benchmarks/peers.py
    python benchmarks/peers.py --networks ir_se100 --batch-sizes 16 --seconds 2 --repeats 3

All sides of a network and batch size take turns in one run, each in its fastest way of running.
Every such block is written as soon as it is done, beside those of other networks and batch sizes
that the file has from this machine. A table and a chart are written beside the file.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer_floors import COMPARED, compare
from peer_others import peer_sides
from peer_ours import our_sides
from peer_quiet import others_share
from peer_report import write_report
from peer_work import OURS, PEER, Side, Work

from lresnet_utils.errors import LResNetError, TargetError
from lresnet_utils.graph.inspect import summarise
from lresnet_utils.ledger.entries import machine_key
from lresnet_utils.machine.disk import read_json, write_json
from lresnet_utils.machine.facts import cpu_flags, machine, version_of
from lresnet_utils.perf.ceilings import ceiling_fraction, ceilings
from lresnet_utils.perf.statistics import paired_ratio, throughput_interval
from lresnet_utils.perf.timing import Timing, time_sessions
from lresnet_utils.run import resolve
from lresnet_utils.targets.base import Artefact
from lresnet_utils.untrusted.settings import BuildOptions

NETWORKS = ("ir_se100", "ir_se50", "sface")
BATCH_SIZES = (1, 16)
PACKAGES = ("lresnet-utils", "torch", "onnx", "onnxsim", "onnxruntime", "openvino", "nncf")
# Where the rest of the time goes is shown for the guide's network and batch size.
_LAYERS_OF = ("ir_se100", 16)


def main() -> None:
    options = _options()
    for network in options.networks:
        for batch_size in options.batch_sizes:
            print(f"{network}, batch {batch_size} ...", flush=True)
            block = measure(_work(options, network, batch_size), options)
            results = _with_block(_known(options.output), block)
            write_json(options.output, results)
            print(write_report(results, options.output), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=BATCH_SIZES)
    parser.add_argument("--seconds", type=float, default=2, help="least length of a turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns of every side")
    parser.add_argument("--search-repeats", type=int, default=3, help="turns in the searches")
    parser.add_argument("--calibration-images", type=int, default=128, help="faces, both sides")
    parser.add_argument("--output", type=Path, default=resolve("outputs/bench/peers.json"))
    options = parser.parse_args()
    if min(options.repeats, options.search_repeats) < 2:
        parser.error("an interval needs at least two turns (--repeats, --search-repeats)")
    if min(options.batch_sizes) < 1 or options.seconds <= 0:
        parser.error("--batch-sizes and --seconds must be positive")
    return options


def _work(options: argparse.Namespace, network: str, batch_size: int) -> Work:
    build = BuildOptions.from_values(
        {
            "search_repeats": options.search_repeats,
            "calibration_images": options.calibration_images,
        }
    )
    return Work(network, batch_size, resolve("outputs/bench/peers"), build)


@dataclass
class Entry:
    """A side with its build and its timing, or why it has none."""

    side: Side
    artefact: Artefact | None = None
    searched: Sequence[dict[str, Any]] = ()
    timing: Timing | None = None
    failure: str | None = None


def measure(work: Work, options: argparse.Namespace) -> dict[str, Any]:
    """Return one block: all sides of a network at a batch size, timed in turns."""
    started, before = datetime.datetime.now(datetime.UTC), machine()
    entries = [_built(work, side) for side in [*our_sides(work), *peer_sides(work)]]
    limits = ceilings()
    with others_share() as quiet:
        _time(work, entries, options)
    flops = summarise(work.files.onnx).flops
    ours = {e.side.precision: e.timing for e in entries if e.side.side == OURS and e.timing}
    block = {
        "network": work.network,
        "batch_size": work.batch_size,
        "weights": "packaged" if work.trained else "seeded (random)",
        "date": f"{started:%Y-%m-%d %H:%M} UTC",
        "load_average": before["load_average"],
        "others_cpu_share": quiet["others_cpu_share"],
        "seconds": options.seconds,
        "repeats": options.repeats,
        "flops": flops,
        "ceilings": limits,
        "calibration": {"n_images": len(work.calibration.inputs), "set": "ORL, clean and degraded"},
        "rows": [_row(entry, ours, limits, flops) for entry in entries],
        "comparisons": _comparisons(work, entries, ours),
        "layers": _layers(work, entries),
    }
    work.forget_builds()
    took = datetime.datetime.now(datetime.UTC) - started
    return block | {"minutes": round(took.total_seconds() / 60, 1)}


def _built(work: Work, side: Side) -> Entry:
    try:
        entry = Entry(side, *work.build(side))
    except TargetError as error:
        entry = Entry(side, failure=error.what)
    print(f"  {side.side} {side.name}: {entry.failure or 'built'}", flush=True)
    return entry


def _time(work: Work, entries: Sequence[Entry], options: argparse.Namespace) -> None:
    """Time all builds in turns; one that cannot be loaded or breaks says so in its entry."""
    with ExitStack() as stack:
        sessions = {}
        for number, entry in enumerate(entries):
            if entry.artefact is None:
                continue
            try:
                sessions[number] = stack.enter_context(entry.side.target.load(entry.artefact))
            except TargetError as error:
                entry.failure = error.what
        timed = time_sessions(
            sessions, work.bench.batch, warmup=1, seconds=options.seconds, repeats=options.repeats
        )
    for number, timing in timed.items():
        entries[number].failure = timing.failure
        entries[number].timing = None if timing.failure else timing


def _row(
    entry: Entry, ours: Mapping[str, Timing], limits: dict[str, Any], flops: int
) -> dict[str, Any]:
    side, timing = entry.side, entry.timing
    row = {
        "side": side.side,
        "name": side.name,
        "precision": side.precision,
        "what": side.words,
        "target": side.target.name,
        "failure": entry.failure,
        "options": entry.artefact.options if entry.artefact else None,
        "searched": entry.searched,
    } | side.choice
    if timing is None:
        return row
    rate = throughput_interval(timing)
    best = ours.get(side.precision) if side.side == PEER else None
    return row | {
        "throughput_ips": rate,
        "samples": timing.throughput_ips.tolist(),
        "ceiling_fraction": ceiling_fraction(flops, rate, side.precision, limits),
        "ours_over_this": paired_ratio(best, timing) if best else None,
    }


def _comparisons(
    work: Work, entries: Sequence[Entry], ours: Mapping[str, Timing]
) -> list[dict[str, Any]]:
    """Return the ratios that this project set itself floors for, and whether they are met."""
    peers = {e.side.name: e.timing for e in entries if e.side.side == PEER and e.timing}
    about = (work.network, work.batch_size, cpu_flags())
    return [
        compare(precision, peer, paired_ratio(ours[precision], peers[peer]), *about)
        for precision, peer in COMPARED
        if precision in ours and peer in peers
    ]


def _layers(work: Work, entries: Sequence[Entry]) -> dict[str, Any]:
    """Return which kinds of layers take the time of our builds, where the runtime tells."""
    if (work.network, work.batch_size) != _LAYERS_OF:
        return {}
    found = {}
    for entry in entries:
        side = entry.side
        if side.side == PEER or entry.timing is None:
            continue
        if side.target.runtime == "openvino":
            profile = side.target.profile(entry.artefact, work.bench.batch, seconds=2)
            found[side.precision] = {"batches": profile["batches"]} | _shares(profile["layers"])
        else:
            found[side.precision] = {"refused": f"{side.target.runtime} tells no layers' times"}
    return found


def _shares(layers: list[dict[str, Any]]) -> dict[str, Any]:
    total = sum(layer["ms"] for layer in layers)
    kinds: dict[str, float] = {}
    for layer in layers:
        kinds[layer["kind"]] = kinds.get(layer["kind"], 0.0) + layer["ms"]
    ordered = sorted(kinds.items(), key=lambda item: -item[1])
    return {"ms_per_batch": total, "shares": {kind: ms / total for kind, ms in ordered}}


def _known(path: Path) -> dict[str, Any]:
    """Return the blocks that a file has from this machine and these versions, or none."""
    now = {
        "machine": {key: value for key, value in machine().items() if key != "load_average"},
        "versions": {name: version_of(name) for name in PACKAGES},
    }
    try:
        known = read_json(path)
    except LResNetError:
        known = {}
    if known.get("versions") == now["versions"] and _same_machine(known.get("machine")):
        return now | {"blocks": known["blocks"]}
    return now | {"blocks": []}


def _same_machine(known: dict[str, Any] | None) -> bool:
    return known is not None and all(known.get(k) == v for k, v in machine_key().items())


def _with_block(results: dict[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    """Add a block in the place of an earlier one of the same network and batch size."""
    others = [
        known
        for known in results["blocks"]
        if (known["network"], known["batch_size"]) != (block["network"], block["batch_size"])
    ]
    order = sorted(
        [*others, block],
        key=lambda known: (NETWORKS.index(known["network"]), known["batch_size"]),
    )
    return results | {"blocks": order}


if __name__ == "__main__":
    main()
