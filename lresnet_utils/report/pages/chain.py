"""The chain of custody on the pages: which file was made from which, by what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lresnet_utils.ledger.custody import Link, chain, gather, name_of, recorded
from lresnet_utils.report.pages.common import judged_targets, properties
from lresnet_utils.report.show import note, say, show_html
from lresnet_utils.results import CLEAN
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.summary import Results
from lresnet_utils.text.language import recorded as say_recorded
from lresnet_utils.text.language import tr
from lresnet_utils.text.numbers import fmt_bytes, join_words


def files(record: Mapping[str, Any]) -> None:
    """Show the files that a stage made, each with its SHA-256 and what it was made from."""
    links = recorded(record)
    if links:
        _fold(tr("Files of this stage"), links)
    else:
        say(tr("This stage made no file whose hash was recorded."))


def builds(record: Mapping[str, Any]) -> None:
    """Show the hashes of files that no two builds give alike; other pages leave them to this."""
    links = [link for link in recorded(record) if not link["repeatable"]]
    if links:
        _fold(tr("Builds, by their hashes"), links, every=True)


def chains(run: RunFolder, record: Mapping[str, Any]) -> None:
    """Show, for every target, each file on the way from checkpoint and faces to its scores."""
    batch_size = record["batch_size"]
    links = gather(run, [batch_size])
    for target in judged_targets(record["targets"]):
        scores = name_of(run, run.scores(batch_size, target, CLEAN))
        label = tr("{target}, from the checkpoint to the scores", target=target)
        _fold(label, chain(links, scores))
    say(
        tr(
            "Each hash was taken when the file was written. lresnet report RUN --check takes them "
            "again and names every file that is no longer the one recorded."
        )
    )


def whole(results: Results) -> None:
    """Show what the run started from, and how many files it has hashes of."""
    given = [link for link in results.custody if link["bytes"] is None]
    if not given:
        say(tr("No file of this run has a recorded hash."))
        return
    _fold(tr("What the run started from"), given, shown=True)
    say(
        tr(
            "results.json has the SHA-256, the tools and the options of {n} files; the Evaluate "
            "pages show them as chains, from the checkpoint and the faces to the scores.",
            n=len(results.custody),
        )
    )


def machine(results: Results) -> None:
    """Show what the run ran on, and warn where others had a share of it while it was timed."""
    about = results.run.get("provenance")
    if about:
        found = about["machine"]
        limits = [f"{name}={value}" for name, value in about.get("thread_limits", {}).items()]
        threads = (results.run["params"] or {}).get("threads") or tr(
            "every core: {n}", n=found["cores"]
        )
        load = found["load_average"]
        properties(
            [
                (
                    tr("Processor"),
                    tr("{cpu}, {n} cores usable", cpu=found["cpu"], n=found["cores"]),
                ),
                (tr("Features"), ", ".join(found["flags"] or [tr("not told by the system")])),
                (
                    tr("Held back by"),
                    ", ".join([*limits, found["isa_limit"] or ""]).strip(", ") or "–",
                ),
                (tr("Memory"), f"{found['memory_gib']} GiB"),
                (tr("Threads per inference"), f"{threads}"),
                (tr("System"), found["os"]),
                (tr("Load average at the start"), "–" if load is None else f"{load}"),
            ],
            tr("The machine"),
        )
    for row in results.timing:
        if row["load"] is not None:
            disturbance(row["load"], row["batch_size"])


def disturbance(load: Mapping[str, Any], batch_size: int) -> None:
    """Say what share of the machine others had while a batch size was timed; warn if much."""
    if "refused" in load:
        text = tr(
            "What else ran while batch size {batch_size} was timed is not known: {reason}.",
            batch_size=batch_size,
            reason=load["refused"],
        )
        say(text)
        return
    text = tr(
        "While batch size {batch_size} was timed ({seconds} s), of {cores} cores this process kept "
        "{own} busy, other processes {other}, and a host withheld {stolen}. One reading, without "
        "interval.",
        batch_size=batch_size,
        seconds=load["seconds"],
        cores=load["cores"],
        own=f"{load['own_cores']:.2f}",
        other=f"{load['other_cores']:.2f}",
        stolen=f"{load['stolen_cores']:.2f}",
    )
    if load["busy"]:
        busy = tr(
            "The machine was busy, so rates may be too low and latencies too high: measure again "
            "with nothing else running. "
        )
        note(busy + text, "warning")
    else:
        say(text)


def _fold(label: str, links: Sequence[Link], *, shown: bool = False, every: bool = False) -> None:
    count = tr("{n} files", n=len(links))
    head = f'{escape(label)}<span class="lr-count">{escape(count)}</span>'
    items = "".join(_item(link, every or link["repeatable"]) for link in links)
    show_html(
        f'<details class="lr-custody"{" open" if shown else ""}><summary>{head}</summary>'
        f'<ol class="lr-chain">{items}</ol></details>',
        f"{label}: " + "; ".join(link["file"] for link in links),
    )


def _item(link: Link, told: bool) -> str:
    """Return one link; with its bytes' size and hash only where the page may tell them."""
    size = tr("given") if link["bytes"] is None else fmt_bytes(link["bytes"])
    digest = link["sha256"]
    if not told:
        size, digest = "", tr("other bytes at every build: the hash is on the Performance page")
    how = [
        tr("from {files}", files=join_words(link["made_from"])) if link["made_from"] else "",
        tr("by {tools}", tools=_pairs(link["tools"])) if link["tools"] else "",
        _pairs(link["options"]),
    ]
    text = tr("; ").join(part for part in how if part)
    return (
        f"<li><strong>{escape(say_recorded(link['file']))}</strong> <span>{escape(size)}</span>"
        f'<code class="lr-hash">{escape(digest)}</code><small>{escape(text)}</small></li>'
    )


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_text(value)}" for name, value in values.items())


def _text(value: Any) -> str:
    """Write an option the way a reader wants it.

    >>> _text(["a", "b"]), _text([]), _text(False), _text({"n": 3}), _text(list("abcdef"))
    ('a + b', 'none', 'no', 'n 3', 'a + b + c + … (6)')
    """
    if isinstance(value, bool):
        return tr("yes") if value else tr("no")
    if isinstance(value, Mapping):
        return _pairs(value)
    if isinstance(value, (list, tuple)):
        # results.json has every name; a list of layers would bury what stands beside it.
        some = [*value[:3], f"… ({len(value)})"] if len(value) > 5 else value
        return " + ".join(map(_text, some)) or tr("none")
    return say_recorded(str(value))
