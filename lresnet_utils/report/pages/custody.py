"""The chain of custody on the pages: which file was made from which, by what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lresnet_utils.custody import Link, chain, gather, name_of, recorded
from lresnet_utils.report.pages.common import judged_targets, properties
from lresnet_utils.report.show import note, put, say
from lresnet_utils.report.style import fmt_bytes, join_words
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.infer import CLEAN
from lresnet_utils.stages.summary import Results


def files(record: Mapping[str, Any]) -> None:
    """Show the files that a stage made, each with its SHA-256 and what it was made from."""
    links = recorded(record)
    if links:
        _fold("Files of this stage", links)
    else:
        say("This stage made no file whose hash was recorded.")


def chains(run: RunFolder, record: Mapping[str, Any]) -> None:
    """Show, for every target, each file on the way from checkpoint and faces to its scores."""
    batch_size = record["batch_size"]
    links = gather(run, [batch_size])
    for target in judged_targets(record["targets"]):
        scores = name_of(run, run.scores(batch_size, target, CLEAN))
        _fold(f"{target}, from the checkpoint to the scores", chain(links, scores))
    say(
        "Each hash was taken when the file was written. lresnet report RUN --check takes them "
        "again and names every file that is no longer the one recorded."
    )


def whole(results: Results) -> None:
    """Show what the run started from, and how many files it has hashes of."""
    if not results.custody:
        return
    given = [link for link in results.custody if not link["made_from"] and link["bytes"] is None]
    _fold("What the run started from", given, shown=True)
    say(
        f"results.json has the SHA-256, the tools and the options of {len(results.custody)} files; "
        "the Evaluate pages show them as chains, from the checkpoint and the faces to the scores."
    )


def machine(results: Results) -> None:
    """Show what the run ran on, and warn where others had a share of it while it was timed."""
    about = results.run.get("provenance")
    if about:
        properties(_machine_rows(about, results.run["params"] or {}), "The machine")
    for row in results.timing:
        if row["load"] is not None:
            disturbance(row["load"], f"batch size {row['batch_size']}")


def _machine_rows(about: Mapping[str, Any], params: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = about["machine"]
    threads = params.get("threads") or f"every core, {found['cores']}"
    limits = ", ".join(f"{k}={v}" for k, v in about.get("thread_limits", {}).items())
    load = found["load_average"]
    return [
        ("Processor", f"{found['cpu']}, {found['cores']} cores usable"),
        ("Features", ", ".join(found["flags"] or ["not told by the system"])),
        ("Held back by", found["isa_limit"] or "nothing"),
        ("Memory", f"{found['memory_gib']} GiB"),
        ("Threads per inference", f"{threads}" + (f"; set: {limits}" if limits else "")),
        ("System", found["os"]),
        ("Load average at the start", "not told by the system" if load is None else f"{load}"),
    ]


def disturbance(load: Mapping[str, Any], what: str) -> None:
    """Say what share of the machine others had while something was timed; warn if it was much."""
    if "refused" in load:
        say(f"What else ran while {what} was timed is not known: {load['refused']}.")
        return
    others = load["other_cores"] + load["stolen_cores"]
    stolen = f", {load['stolen_cores']} of them taken by the host" if load["stolen_cores"] else ""
    told = (
        f"While {what} was timed ({load['seconds']} s), this process kept {load['own_cores']} of "
        f"{load['cores']} cores busy and others {others:.2f}{stolen}"
    )
    if load["busy"]:
        note(
            f"The machine was busy. {told}. Its rates may be too low and its latencies too high: "
            "measure again with nothing else running.",
            "warning",
        )
    else:
        say(f"{told}: too little to matter.")


def _fold(label: str, links: Sequence[Link], *, shown: bool = False) -> None:
    count = f"{len(links)} file{'' if len(links) == 1 else 's'}"
    head = f'{escape(label)}<span class="lr-count">{count}</span>'
    items = "".join(map(_item, links))
    put(
        f'<details class="lr-custody"{" open" if shown else ""}><summary>{head}</summary>'
        f'<ol class="lr-chain">{items}</ol></details>',
        f"{label}: " + "; ".join(f"{link['file']} {link['sha256']}" for link in links),
    )


def _item(link: Link) -> str:
    size = "given" if link["bytes"] is None else fmt_bytes(link["bytes"])
    how = [
        f"from {join_words(link['made_from'])}" if link["made_from"] else "",
        f"by {_pairs(link['tools'])}" if link["tools"] else "",
        _pairs(link["options"]),
    ]
    return (
        f"<li><strong>{escape(link['file'])}</strong> <span>{escape(size)}</span>"
        f'<code class="lr-hash">{link["sha256"]}</code>'
        f"<small>{escape('; '.join(part for part in how if part))}</small></li>"
    )


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    """Write an option the way a reader wants it.

    >>> _text(["a", "b"]), _text([]), _text(False), _text({"n": 3})
    ('a + b', 'none', 'no', 'n 3')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return _pairs(value)
    if isinstance(value, (list, tuple)):
        return " + ".join(map(_text, value)) or "none"
    return str(value)
