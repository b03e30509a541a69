"""The beginning of the index: the answer, the numbers a reader came for, and the findings."""

from __future__ import annotations

from typing import Any

from lresnet_utils.findings.model import HOLDS, Finding
from lresnet_utils.findings.say import say
from lresnet_utils.report.finding_list import answer_html, findings_html
from lresnet_utils.report.show import facts, show_html
from lresnet_utils.report.show import say as show_text
from lresnet_utils.report.style import fmt_percent, fmt_rate
from lresnet_utils.stages.status import cell_name
from lresnet_utils.stages.summary import Results

_ANSWER = "fastest-accurate"


def answer(results: Results, reference: str) -> None:
    """Show what to do in a sentence or two, and the numbers behind it."""
    found = [finding for finding in results.findings if finding.rule == _ANSWER]
    for said in map(say, found):
        show_html(answer_html(said), f"{said.finding} {said.to_do}")
    named = _named(results, found)
    facts([*_accuracy(results, named, reference), *_fastest(named, found), _cells(results)])
    show_text(_about(results))


def findings(results: Results) -> None:
    """Show every finding but the answer, with what to do; the evidence unfolds."""
    found = [finding for finding in results.findings if finding.rule != _ANSWER]
    show_html(findings_html(found), "\n".join(say(finding).finding for finding in found))


def _named(results: Results, found: list[Finding]) -> dict[str, Any] | None:
    """Return the cell that the answer names."""
    wanted = found[0].cells[0] if found else None
    return next((cell for cell in results.cells if cell_name(cell) == wanted), None)


def _accuracy(
    results: Results, named: dict[str, Any] | None, reference: str
) -> list[tuple[str, str, str]]:
    """Return the accuracy of the build that the answer names, or else the reference's."""
    base = [cell for cell in results.largest() if cell["target"] == reference and cell["accuracy"]]
    shown = named if named and named["accuracy"] else next(iter(base), None)
    if shown is None:
        return []
    accuracy = shown["accuracy"]
    basis = (
        f"{accuracy['errors']} of {accuracy['n']} pairs wrong; 95 % interval "
        f"{fmt_percent(accuracy['low'])} to {fmt_percent(accuracy['high'])}"
    )
    if base and base[0]["target"] != shown["target"]:
        basis += f"; {reference}: {fmt_percent(base[0]['accuracy']['value'])}"
    return [(f"Accuracy, {shown['target']}", fmt_percent(accuracy["value"]), basis)]


def _fastest(named: dict[str, Any] | None, found: list[Finding]) -> list[tuple[str, str, str]]:
    """Return the rate of the build that the answer names."""
    if named is None:
        return []
    label = "Fastest accurate build" if found[0].kind == HOLDS else "Fastest build"
    if named["artefact"]["options"].get("recorded"):
        label += ", recorded elsewhere"
    rate = named["throughput_ips"]
    basis = f"{named['target']}, batch size {named['batch_size']}; {_interval(rate)}"
    return [(label, fmt_rate(rate["value"]), basis)]


def _interval(rate: dict[str, Any]) -> str:
    if rate["low"] is None:
        return f"no interval ({rate['interval'].removeprefix('none: ')})"
    return f"95 % interval {rate['low']:.1f} to {rate['high']:.1f}, n = {rate['n']} repeats"


def _cells(results: Results) -> tuple[str, str, str]:
    value = f"{len(results.ok())} of {len(results.cells)}"
    return ("Cells with results", value, "one per batch size and target")


def _about(results: Results) -> str:
    params, data = results.run["params"] or {}, results.dataset
    model = params.get("model", {})
    text = f"Network: {model['architecture']}, weights: {model['weights']}. " if model else ""
    if data:
        text += (
            f"Faces: {data['name']}, {data['n_images']} distinct images in {data['n_pairs']} "
            f"pairs, {data['n_genuine']} genuine and {data['n_impostor']} impostor. "
            f"{data['credit']}"
        )
    return text
