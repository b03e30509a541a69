"""A run's findings as a list: what holds, what does not, what cannot be told, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from lresnet_utils.findings.model import FAILS, HOLDS, UNKNOWN, Finding
from lresnet_utils.findings.sentences import Said, say
from lresnet_utils.findings.words import ASKED
from lresnet_utils.report.charts.style import join_words
from lresnet_utils.text.language import mark, tr

_GROUPS = {
    HOLDS: ("lr-ok", mark("What holds")),
    FAILS: ("lr-failed", mark("What does not hold")),
    UNKNOWN: ("lr-unknown", mark("What these data cannot tell")),
}


_LEADS = {
    "because": mark("No build can be recommended: {n} things do not hold."),
    "conditions": mark("On condition that these {n} things are meant:"),
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
