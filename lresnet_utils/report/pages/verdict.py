"""The beginning of the index: the answer, the numbers a reader came for, and the findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

from lresnet_utils.findings.model import FAILS, HOLDS, UNKNOWN, Finding
from lresnet_utils.findings.sentences import ASKED, Said, say
from lresnet_utils.report.pages.common import WHAT, WHO
from lresnet_utils.report.show import facts, show_html
from lresnet_utils.report.show import say as show_text
from lresnet_utils.results import cell_name
from lresnet_utils.stages.summary import Results
from lresnet_utils.text.language import recorded, tr, translatable
from lresnet_utils.text.numbers import fmt_percent, fmt_rate, join_words

_ANSWER = "fastest-accurate"


def answer(results: Results, reference: str) -> None:
    """Show what to do in a sentence or two, and the numbers behind it."""
    found = [finding for finding in results.findings if finding.rule == _ANSWER]
    for finding in found:
        said = say(finding)
        show_html(answer_html(finding), f"{said.finding}{tr(' ')}{said.to_do}")
    # The cell that the answer names.
    wanted = next(iter(found[0].cells), None) if found else None
    named = next((cell for cell in results.ok() if cell_name(cell) == wanted), None)
    value = tr("{n} of {total}", n=len(results.ok()), total=len(results.cells))
    facts(
        [
            *_accuracy(results, named, reference),
            *_fastest(named, found),
            (tr("Cells with results"), value, tr("one per batch size and target")),
        ]
    )
    show_text(_about(results))


def findings(results: Results) -> None:
    """Show every finding but the answer, with what to do; the evidence unfolds."""
    found = [finding for finding in results.findings if finding.rule != _ANSWER]
    holding = [finding for finding in results.preconditions if finding.kind == HOLDS]
    plain = "\n".join(say(finding).finding for finding in (*found, *holding))
    show_html(findings_html(found) + checked_html(holding), plain)


def _accuracy(
    results: Results, named: dict[str, Any] | None, reference: str
) -> list[tuple[str, str, str]]:
    """Return the accuracy of the build that the answer names, or else the reference's."""
    base = [cell for cell in results.largest() if cell["target"] == reference and cell["accuracy"]]
    shown = named if named and named["accuracy"] else next(iter(base), None)
    if shown is None:
        return []
    accuracy = shown["accuracy"]
    basis = tr(
        "{errors} of {n} pairs wrong; 95 % interval {low} to {high}",
        errors=accuracy["errors"],
        n=accuracy["n"],
        low=fmt_percent(accuracy["low"]),
        high=fmt_percent(accuracy["high"]),
    )
    if base and base[0]["target"] != shown["target"]:
        value = fmt_percent(base[0]["accuracy"]["value"])
        basis += tr("; ") + tr("{name}: {value}", name=reference, value=value)
    return [
        (tr("Accuracy, {target}", target=shown["target"]), fmt_percent(accuracy["value"]), basis)
    ]


def _fastest(named: dict[str, Any] | None, found: list[Finding]) -> list[tuple[str, str, str]]:
    """Return the rate of the build that the answer names."""
    if named is None or not named["throughput_ips"] or found[0].case == "withheld":
        return []
    label = tr("Fastest accurate build") if found[0].kind == HOLDS else tr("Fastest build")
    if named["artefact"]["options"].get("recorded"):
        label += tr(", recorded elsewhere")
    rate = named["throughput_ips"]
    basis = tr(
        "{target}, batch size {batch_size}; {rate}",
        target=named["target"],
        batch_size=named["batch_size"],
        rate=_interval(rate),
    )
    return [(label, fmt_rate(rate["value"]), basis)]


def _interval(rate: dict[str, Any]) -> str:
    if rate["low"] is None:
        return tr("no interval ({why})", why=recorded(rate["interval"]).removeprefix("none: "))
    return tr(
        "95 % interval {low:.1f} to {high:.1f}, n = {n} repeats",
        low=rate["low"],
        high=rate["high"],
        n=rate["n"],
    )


def _assumed(network: dict[str, Any]) -> str:
    """Say what input was assumed and who said so, and whether the network came quantised."""
    spec, who = network["input"], network["input_said_by"] or {}
    text = tr(
        "Input: {order} (by {order_by}), {scale} (by {scale_by}). ",
        order=spec["channel_order"].upper(),
        order_by=tr(WHO[who.get("channel_order", "maker")]),
        scale=spec["normalisation"],
        scale_by=tr(WHO[who.get("normalisation", "maker")]),
    )
    if network["quantised"]:
        text += tr("Already quantised: {what}. ", what=tr(WHAT[network["quantised"]["what"]]))
    return text


def _about(results: Results) -> str:
    params, data = results.run["params"] or {}, results.dataset
    model = params.get("model", {})
    text = (
        tr(
            "Network: {architecture}, weights: {weights}. ",
            architecture=model["architecture"],
            weights=model["weights"],
        )
        if model
        else ""
    )
    if results.network:
        text += _assumed(results.network)
    if data:
        text += tr(
            "Faces: {name}, {n_images} distinct images in {n_pairs} pairs, {n_genuine} genuine "
            "and {n_impostor} impostor. {credit}",
            name=data["name"],
            n_images=data["n_images"],
            n_pairs=data["n_pairs"],
            n_genuine=data["n_genuine"],
            n_impostor=data["n_impostor"],
            credit=data["credit"],
        )
    return text


# A run's findings as a list: what holds, what does not, what cannot be told, and what to do.

_GROUPS = {
    HOLDS: ("lr-ok", translatable("What holds")),
    FAILS: ("lr-failed", translatable("What does not hold")),
    UNKNOWN: ("lr-unknown", translatable("What these data cannot tell")),
}


_LEADS = {
    "because": translatable("No build can be recommended: {n} things do not hold."),
    "conditions": translatable("On condition that these {n} things are meant:"),
}
_MORE = "docs/when_the_verdict_is_withheld.md"


def answer_html(finding: Finding) -> str:
    """Return the report's answer as HTML: one finding, what to do about it, and its evidence."""
    said, listed = say(finding), ""
    for key, lead in _LEADS.items():
        found = [Finding(**part) for part in finding.evidence.get(key) or ()]
        if len(found) > 1:
            # Several reasons in one sentence would be a paragraph that nobody reads.
            items = "".join(_reason(say(part)) for part in found)
            listed = f"<p>{escape(tr(lead, n=len(found)))}</p><ul>{items}</ul>"
            if key == "because":
                return f'<div class="lr-answer">{listed}</div>'
            finding = replace(finding, evidence=finding.evidence | {key: []})
            said = say(finding)
    to_do = f'<p class="lr-answer-to-do">{escape(said.to_do)}</p>' if said.to_do else ""
    body = f"<p>{escape(said.finding)}</p>{listed}{to_do}{_evidence(said, finding)}"
    return f'<div class="lr-answer">{body}</div>'


def _reason(said: Said) -> str:
    return f'<li>{escape(said.finding)} <span class="lr-to-do">{escape(said.to_do)}</span></li>'


def findings_html(findings: Sequence[Finding]) -> str:
    """Return findings as HTML: grouped by verdict, each with what to do; the evidence folded.

    Examples
    --------
    >>> found = {"finding": "Balance", "evidence": "9 of 10.", "consequence": "Odd."}
    >>> html = findings_html([Finding("set-health", UNKNOWN, found, ["4/torch-fp32"])])
    >>> "What these data cannot tell" in html, "What holds" in html
    (True, False)
    """
    groups = (
        (look, title, [finding for finding in findings if finding.kind == kind])
        for kind, (look, title) in _GROUPS.items()
    )
    body = "".join(_group(look, title, members) for look, title, members in groups if members)
    return f'<div class="lr-findings">{body}</div>'


def checked_html(holding: Sequence[Finding]) -> str:
    """Return the preconditions that hold as HTML: folded, as they need no attention."""
    if not holding:
        return ""
    title = tr("What was asked before a recommendation and holds: {n}", n=len(holding))
    said = (say(finding) for finding in holding)
    items = "".join(f"<li>{escape(s.finding)} <span>{escape(s.evidence)}</span></li>" for s in said)
    summary = f"<summary>{escape(title)}</summary>"
    return f'<details class="lr-evidence lr-checked">{summary}<ul>{items}</ul></details>'


def _group(look: str, title: str, findings: Sequence[Finding]) -> str:
    items = "".join(_item(finding) for finding in findings)
    head = f'<h3><span class="lr-status {look}">{escape(tr(title))}</span></h3>'
    return f"{head}<ul>{items}</ul>"


def _item(finding: Finding) -> str:
    said = say(finding)
    to_do = f'<p class="lr-to-do">{escape(said.to_do)}</p>' if said.to_do else ""
    evidence = _evidence(said, finding)
    return f'<li><p class="lr-finding">{escape(said.finding)}</p>{to_do}{evidence}</li>'


def _evidence(said: Said, finding: Finding) -> str:
    """Return the evidence, folded; that of a precondition ends with where more is written of it."""
    rests_on = [finding.evidence.get(key) or [] for key in ("because", "conditions")]
    rules = [finding.rule, *(found["rule"] for part in rests_on for found in part)]
    rules += ["timing-quiet"] if finding.case == "disturbed" else []
    more = [f"{_MORE}#{rule}" for rule in rules if rule in ASKED]
    text = said.evidence + (tr(" ") + tr("More: {where}.", where=join_words(more)) if more else "")
    return (
        f'<details class="lr-evidence"><summary>{escape(tr("Evidence"))}</summary>'
        f"<p>{escape(text)}</p></details>"
    )
