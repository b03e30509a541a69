"""What a run's numbers say: each rule reads ``results.json`` and speaks only where it must.

A rule is a small pure function from the results to findings, which hold numbers and no sentence;
:mod:`lresnet_utils.findings.sentences` turns them into words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lresnet_utils.findings import accuracy, preconditions, speed
from lresnet_utils.findings.model import Finding

Rule = Callable[[Mapping[str, Any]], list[Finding]]

RULES: tuple[Rule, ...] = (
    speed.fastest_accurate,
    preconditions.unmet,
    accuracy.gates,
    accuracy.published_values,
    preconditions.stopped_cells,
    preconditions.unjudged_cells,
    accuracy.weak_variants,
    accuracy.flips_on_degraded,
    accuracy.moved_thresholds,
    accuracy.moved_by_quality,
    speed.falling_throughput,
    speed.bound_by_reading,
    speed.far_below_ceiling,
    accuracy.passed_for_few_pairs,
    accuracy.saturated,
    speed.wide_intervals,
    preconditions.several_faces,
    preconditions.set_health,
)
"""In the order in which a reader meets what they say."""


def find(results: Mapping[str, Any]) -> list[Finding]:
    """Return what holds, what does not and what cannot be told, most consequential first.

    Parameters
    ----------
    results : mapping
        What ``results.json`` holds.

    Returns
    -------
    list of Finding
        Every number in them is one of the results or computed from them.
    """
    return [finding for rule in RULES for finding in rule(results)]
