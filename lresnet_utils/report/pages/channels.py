"""The part of the evaluate page that says which channel order and scale the network wants."""

from __future__ import annotations

from typing import Any

from lresnet_utils.report.charts.style import fmt_interval, fmt_percent, fmt_points
from lresnet_utils.report.show import Column, note, say, table
from lresnet_utils.stages.channels import input_name
from lresnet_utils.stages.evaluate import Evaluation
from lresnet_utils.text.language import tr


def channel_order(evaluation: Evaluation) -> None:
    """Show what other orders and scales of the pixels do to accuracy, or why it cannot be told."""
    _inputs(evaluation.record.get("input_test"))
    test = evaluation.record["channel_test"]
    if test is None:
        say(tr("The channel order is tested at the largest batch size of a run, if at all."))
        return
    if "refused" in test:
        say(tr("The channel order cannot be told: {refused}.", refused=test["refused"]))
        return
    used, other = test["used_order"].upper(), test["other_order"].upper()
    rows = [
        {"order": tr("{order}, as in this run", order=used)} | test["used"],
        {"order": tr("{order}, red and blue exchanged", order=other)} | test["other"],
    ]
    columns = [
        Column("order", "Channel order"),
        Column("value", "Accuracy", "mean of folds", fmt_percent),
        Column("errors", "Wrong pairs"),
        Column("n", "Pairs"),
    ]
    table(rows, columns, tr("Both channel orders through {target}", target=test["target"]))
    note(sentence(test), "warning" if test["right"] == "other" else "info")
    say(
        tr(
            "Interval of the difference: {interval}. Both accuracies rest on the same pairs, so "
            "the difference carries the interval and not each of them.",
            interval=test["difference"]["interval"],
        )
    )


def _inputs(test: dict[str, Any] | None) -> None:
    """Show a sample's accuracy with every channel order and scale."""
    if test is None or "refused" in test or not test.get("ways"):
        return
    first = test["ways"][0]
    rows = [{"way": tr("{way}, as in this run", way=test["used"])} | first["used"]]
    rows += [{"way": input_name(found["way"])} | found["other"] for found in test["ways"]]
    columns = [
        Column("way", "Pixels"),
        Column("value", "Accuracy", "mean of folds", fmt_percent),
        Column("errors", "Wrong pairs"),
        Column("n", "Pairs"),
    ]
    title = tr(
        "Channel order and scale, on a sample of {n} images through {target}",
        n=test["n_images"],
        target=test["target"],
    )
    table(rows, columns, title)
    d = test["difference"]
    points = fmt_interval(d["value"], d["low"], d["high"], fmt_points)
    if test["right"] == "other":
        text = tr(
            "{best} instead of {used} changes accuracy by {points} points: set {set_to}.",
            points=points,
            **{key: test[key] for key in ("best", "used", "set_to")},
        )
        note(text, "warning")
    else:
        say(
            tr(
                "No other way is better than {used}, as far as the sample can tell.",
                used=test["used"],
            )
        )


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
    words = {
        "used": test["used_order"].upper(),
        "other": test["other_order"].upper(),
        "points": f"{points[0]}",
        "span": f"[{points[1]}, {points[2]}]",
    }
    if test["right"] is None:
        return tr(
            "These faces cannot tell the channel order: {other} instead of {used} changes accuracy "
            "by {points} points {span}, an interval that covers 0.",
            **words,
        )
    if test["right"] == "used":
        return tr(
            "The network was trained on {used}, as set: {other} changes accuracy by {points} "
            "points {span}.",
            **words,
        )
    return tr(
        "The network was trained on {other}, not on {used}: {other} changes accuracy by {points} "
        "points {span}. Set model.channel_order to {order}.",
        order=test["other_order"],
        **words,
    )
