"""The part of the evaluate page that says which channel order the network was trained on."""

from __future__ import annotations

from typing import Any

from lresnet_utils.report.show import Column, note, say, table
from lresnet_utils.report.style import fmt_percent
from lresnet_utils.stages.evaluate import Evaluation


def channel_order(evaluation: Evaluation) -> None:
    """Show both channel orders' accuracy and what the difference says, or why it cannot."""
    test = evaluation.record["channel_test"]
    if test is None:
        say("The channel order is tested at the largest batch size of a run, if at all.")
        return
    if "refused" in test:
        say(f"The channel order cannot be told: {test['refused']}.")
        return
    rows = [
        {"order": f"{test[f'{which}_order'].upper()}{suffix}"} | test[which]
        for which, suffix in (("used", ", as in this run"), ("other", ", red and blue exchanged"))
    ]
    columns = [
        Column("order", "Channel order"),
        Column("value", "Accuracy", "mean of folds", fmt_percent),
        Column("errors", "Wrong pairs"),
        Column("n", "Pairs"),
    ]
    table(rows, columns, f"Both channel orders through {test['target']}")
    wrong = test["right"] == "other"
    note(sentence(test), "warning" if wrong else "info")
    say(f"Interval of the difference: {test['difference']['interval']}.")


def sentence(test: dict[str, Any]) -> str:
    """Return the verdict in words, with the difference and its interval.

    Examples
    --------
    >>> difference = {"value": -0.021, "low": -0.03, "high": -0.012, "n": 600}
    >>> test = {"difference": difference, "used_order": "rgb", "other_order": "bgr"}
    >>> sentence(test | {"right": "used"})
    'The network was trained on RGB, as set: BGR changes accuracy by −2.10 points [−3.00, −1.20].'
    """
    d = test["difference"]
    points = [f"{100 * d[key]:+.2f}".replace("-", "−") for key in ("value", "low", "high")]
    used, other = test["used_order"], test["other_order"]
    effect = f"{other.upper()} changes accuracy by {points[0]} points [{points[1]}, {points[2]}]"
    if test["right"] is None:
        return f"These faces cannot tell the channel order: {effect}, an interval that covers 0."
    if test["right"] == "used":
        return f"The network was trained on {used.upper()}, as set: {effect}."
    return (
        f"The network was trained on {other.upper()}, not on {used.upper()}: {effect}. "
        f"Set model.channel_order to {other}."
    )
