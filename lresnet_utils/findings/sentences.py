"""Findings in words: the sentences of :mod:`lresnet_utils.findings.words` with their numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lresnet_utils.findings.model import Finding
from lresnet_utils.findings.words import WORDS, Words
from lresnet_utils.report.charts.style import (
    fmt_count,
    fmt_interval,
    fmt_number,
    fmt_percent,
    fmt_points,
    fmt_rate,
    join_words,
)
from lresnet_utils.text.language import mark, recorded, speaking, tr

# Numbers that are shares of one, and numbers that are probabilities, by their names.
_SHARES = ("published", "limit")
_PROBABILITIES = ("p", "p_loss")
# What the n of an estimate counts.
_COUNTED = {
    "images/s": mark("n = {n} repeats"),
    "images/s in the pipeline": mark("n = {n} images"),
    "share of the ceiling": mark("n = {n} repeats"),
    "squared L2 distance": mark("n = {n} folds"),
    "ratio": mark("n = {n} repeats each"),
    "area under the ROC": mark("n = {n} pairs"),
    "difference of shares": mark("n = {n} pairs"),
}
_PARTS = {"data_read": mark("reading"), "preprocess": mark("preprocessing")}


class Said(NamedTuple):
    """A finding as a reader sees it.

    Attributes
    ----------
    finding, evidence, to_do : str
        Plain text; `to_do` is empty where nothing is.
    """

    finding: str
    evidence: str
    to_do: str


def say(finding: Finding) -> Said:
    """Put a finding into words, every number with its unit, its n and its interval.

    Examples
    --------
    >>> found = {"finding": "Balance", "evidence": "9 of 10.", "consequence": "Odd."}
    >>> say(Finding("set-health", "cannot tell", found, ["4/torch-fp32"]))
    Said(finding='Balance: 9 of 10.', evidence='Odd.', to_do='')
    """
    words = WORDS[finding.rule, finding.case]
    values = _texts(finding.evidence)
    if words.item:
        values["items"] = _items(words, finding.evidence["items"])
    told = [words.finding, *_also(words, "finding", finding.evidence)]
    evidence = [words.evidence, *_also(words, "evidence", finding.evidence)]
    to_do = [words.to_do, *_also(words, "to_do", finding.evidence)]
    return Said(
        tr(" ").join(tr(part, **values) for part in told),
        tr(" ").join(tr(part, **values) for part in evidence),
        tr(" ").join(tr(part, **values) for part in to_do if part),
    )


def said_json(finding: Finding) -> dict[str, Any]:
    """Return a finding as ``results.json`` holds it: its numbers, and the sentences in English."""
    with speaking("en"):
        said = say(finding)
    return finding.to_json() | {
        "finding": said.finding,
        "evidence_text": said.evidence,
        "to_do": said.to_do,
    }


def _items(words: Words, items: Sequence[Mapping[str, Any]]) -> str:
    parts = (
        "".join(tr(part, **_texts(item)) for part in [words.item, *_also(words, "item", item)])
        for item in items
    )
    return tr("; ").join(parts)


def _also(words: Words, where: str, evidence: Mapping[str, Any]) -> list[str]:
    return [text for name, place, text in words.also if place == where and evidence.get(name)]


def _texts(evidence: Mapping[str, Any]) -> dict[str, str]:
    """Write every piece of evidence.

    Estimates are also written without n, as ``..._range``, and without interval, as
    ``..._short``; findings that another one rests on become its clauses.
    """
    texts = {}
    for name, value in evidence.items():
        if name in ("because", "conditions"):
            # Write findings as parts of another's sentences
            said = [say(Finding(**found)) for found in value]
            clauses = (text.finding[:1].lower() + text.finding[1:].rstrip(".。") for text in said)
            texts |= {
                name: tr("; ").join(clauses),
                f"{name}_evidence": tr(" ").join(text.evidence for text in said),
                f"{name}_to_do": tr(" ").join(text.to_do for text in said),
            }
        elif isinstance(value, Mapping):
            texts[name] = _estimate(value)
            texts[f"{name}_range"] = fmt_interval(
                *(value[key] for key in ("value", "low", "high")), _form(value)
            )
            texts[f"{name}_short"] = _form(value)(value["value"])
        else:
            texts[name] = _plain(name, value)
    return texts


def _plain(name: str, value: Any) -> str:
    if isinstance(value, str):
        return tr(_PARTS[value]) if name == "part" else recorded(value)
    if isinstance(value, (list, tuple)):
        return join_words([str(part) for part in value]) if value else ""
    if value is None:
        return ""
    if name in _SHARES:
        return fmt_percent(value)
    if name in _PROBABILITIES:
        return fmt_number(value, 2)
    if name == "limit_share":
        return fmt_percent(value, 0)
    if name.endswith("_points"):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return fmt_count(value) if isinstance(value, int) else fmt_number(value)


def _form(estimate: Mapping[str, Any]) -> Callable[[float], str]:
    return {
        "images/s": fmt_rate,
        "images/s in the pipeline": fmt_rate,
        "share of pairs": fmt_percent,
        "share of the ceiling": lambda value: fmt_percent(value, 0),
        "squared L2 distance": lambda value: f"{value:.3f}",
        "ratio": lambda value: f"{value:.2f}",
        "area under the ROC": lambda value: f"{value:.3f}",
        "difference of shares": fmt_points,
    }[estimate["unit"]]


def _estimate(estimate: Mapping[str, Any]) -> str:
    """Write an estimate with its interval and its n, or with the reason why it has none."""
    low, high, form = estimate["low"], estimate["high"], _form(estimate)
    if "errors" in estimate:
        text = fmt_interval(estimate["value"], low, high, form)
        return tr("{text}, {errors} of {n}", text=text, errors=estimate["errors"], n=estimate["n"])
    if estimate["unit"] == "squared L2 distance":
        text = tr(
            "{value}, spread {low} to {high}",
            value=form(estimate["value"]),
            low=form(low),
            high=form(high),
        )
    else:
        text = fmt_interval(estimate["value"], low, high, form)
    counted = tr(_COUNTED[estimate["unit"]], n=estimate["n"])
    if low is None or high is None:
        why = recorded(str(estimate.get("interval") or "not given")).removeprefix("none: ")
        return tr("{text} ({counted}; no interval: {why})", text=text, counted=counted, why=why)
    return tr("{text} ({counted})", text=text, counted=counted)
