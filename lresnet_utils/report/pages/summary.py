"""The index: the answer, the findings, and every batch size and target beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from lresnet_utils.findings.model import FAILS, HOLDS, UNKNOWN, Finding
from lresnet_utils.findings.sentences import ASKED, Said
from lresnet_utils.findings.sentences import say as said_of
from lresnet_utils.perf import guide_figures
from lresnet_utils.perf.guide_figures import (
    Guide,
    GuideBlock,
    accuracy_in_counts,
    derived_table,
    load_guide,
    reference_throughput,
)
from lresnet_utils.report.charts.recognition import RobustnessDisplay, RocDisplay
from lresnet_utils.report.charts.throughput import (
    AccuracySpeedDisplay,
    LatencyDisplay,
    ThroughputDisplay,
)
from lresnet_utils.report.pages.compile import CHOSEN_BY
from lresnet_utils.report.pages.evaluate import (
    SET_COLUMNS,
    hardest_roc,
    say_published,
    set_rows,
    verdict,
)
from lresnet_utils.report.pages.export import QUANTISED, SAID_BY
from lresnet_utils.report.pages.infer import FIVE_FIGURES
from lresnet_utils.report.pages.perf import disturbance
from lresnet_utils.report.pages.preprocess import terms
from lresnet_utils.report.show import (
    Column,
    chain,
    facts,
    note,
    note_problems,
    properties,
    say,
    show,
    show_html,
    table,
)
from lresnet_utils.results import CLEAN, cell_name
from lresnet_utils.run import SINGLE, RunFolder
from lresnet_utils.stages.evaluate import SEEDED, stored_curve
from lresnet_utils.stages.summary import NO_SEARCH, Results
from lresnet_utils.text.language import part, tr, translatable
from lresnet_utils.text.numbers import fmt_number, fmt_percent, fmt_rate, join_words

Cell = Mapping[str, Any]

# The beginning: what to do, and the numbers behind it.

_ANSWER = "fastest-accurate"


def answer(results: Results, reference: str) -> None:
    """Show what to do in a sentence or two, and the numbers behind it."""
    found = [finding for finding in results.findings if finding.rule == _ANSWER]
    for finding in found:
        said = said_of(finding)
        show_html(answer_html(finding), f"{said.finding}{tr(' ')}{said.to_do}")
    # The cell that the answer names.
    wanted = next(iter(found[0].cells), None) if found else None
    named = next((cell for cell in results.ok() if cell_name(cell) == wanted), None)
    items = []

    # The accuracy of the build that the answer names, or else the reference's.
    base = [cell for cell in results.largest() if cell["target"] == reference and cell["accuracy"]]
    shown = named if named and named["accuracy"] else next(iter(base), None)
    if shown is not None:
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
        name = tr("Accuracy, {target}", target=shown["target"])
        items.append((name, fmt_percent(accuracy["value"]), basis))

    # The rate of the build that the answer names.
    if named is not None and named["throughput_ips"] and found[0].case != "withheld":
        label = tr("Fastest accurate build") if found[0].kind == HOLDS else tr("Fastest build")
        if named["artefact"]["options"].get("recorded"):
            label += tr(", recorded elsewhere")
        rate = named["throughput_ips"]
        if rate["low"] is None:
            span = tr("no interval ({why})", why=part(rate["interval"], "why"))
        else:
            span = tr("95 % interval {low:.1f} to {high:.1f}, n = {n} repeats", **rate)
        basis = tr(
            "{target}, batch size {batch_size}; {rate}",
            target=named["target"],
            batch_size=named["batch_size"],
            rate=span,
        )
        items.append((label, fmt_rate(rate["value"]), basis))

    value = tr("{n} of {total}", n=len(results.ok()), total=len(results.cells))
    items.append((tr("Cells with results"), value, tr("one per batch size and target")))
    facts(items)

    # Which network and which faces it is about, and what input was assumed.
    model, network = (results.run["params"] or {}).get("model", {}), results.network
    text = tr("Network: {architecture}, weights: {weights}. ", **model) if model else ""
    if network:
        spec, who = network["input"], network["input_said_by"] or {}
        text += tr(
            "Input: {order} (by {order_by}), {scale} (by {scale_by}). ",
            order=spec["channel_order"].upper(),
            order_by=tr(SAID_BY[who.get("channel_order", "maker")]),
            scale=spec["normalisation"],
            scale_by=tr(SAID_BY[who.get("normalisation", "maker")]),
        )
        if network["quantised"]:
            what = tr(QUANTISED[network["quantised"]["what"]])
            text += tr("Already quantised: {what}. ", what=what)
    if results.dataset:
        text += tr(
            "Faces: {name}, {n_images} distinct images in {n_pairs} pairs, {n_genuine} genuine "
            "and {n_impostor} impostor. {credit}",
            **results.dataset,
        )
    say(text)


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


def findings(results: Results) -> None:
    """Show every finding but the answer, with what to do; the evidence unfolds."""
    found = [finding for finding in results.findings if finding.rule != _ANSWER]
    holding = [finding for finding in results.preconditions if finding.kind == HOLDS]
    plain = "\n".join(said_of(finding).finding for finding in (*found, *holding))
    html = findings_html(found)
    if holding:
        # Folded, as they need no attention.
        title = tr("What was asked before a recommendation and holds: {n}", n=len(holding))
        items = "".join(
            f"<li>{escape(said.finding)} <span>{escape(said.evidence)}</span></li>"
            for said in map(said_of, holding)
        )
        html += (
            '<details class="lr-evidence lr-checked">'
            f"<summary>{escape(title)}</summary><ul>{items}</ul></details>"
        )
    show_html(html, plain)


def answer_html(finding: Finding) -> str:
    """Return the report's answer as HTML: one finding, what to do about it, and its evidence."""
    said, listed = said_of(finding), ""
    for key, lead in _LEADS.items():
        found = [Finding(**part) for part in finding.evidence.get(key) or ()]
        if len(found) > 1:
            # Several reasons in one sentence would be a paragraph that nobody reads.
            items = "".join(
                f'<li>{escape(part.finding)} <span class="lr-to-do">{escape(part.to_do)}</span>'
                "</li>"
                for part in map(said_of, found)
            )
            listed = f"<p>{escape(tr(lead, n=len(found)))}</p><ul>{items}</ul>"
            if key == "because":
                return f'<div class="lr-answer">{listed}</div>'
            finding = replace(finding, evidence=finding.evidence | {key: []})
            said = said_of(finding)
    to_do = f'<p class="lr-answer-to-do">{escape(said.to_do)}</p>' if said.to_do else ""
    body = f"<p>{escape(said.finding)}</p>{listed}{to_do}{_evidence(said, finding)}"
    return f'<div class="lr-answer">{body}</div>'


def findings_html(findings: Sequence[Finding]) -> str:
    """Return findings as HTML: grouped by verdict, each with what to do; the evidence folded.

    Examples
    --------
    >>> found = {"finding": "Balance", "evidence": "9 of 10.", "consequence": "Odd."}
    >>> html = findings_html([Finding("set-health", UNKNOWN, found, ["4/torch-fp32"])])
    >>> "What these data cannot tell" in html, "What holds" in html
    (True, False)
    """
    body = ""
    for kind, (look, title) in _GROUPS.items():
        items = ""
        for finding in findings:
            if finding.kind == kind:
                said = said_of(finding)
                to_do = f'<p class="lr-to-do">{escape(said.to_do)}</p>' if said.to_do else ""
                evidence = _evidence(said, finding)
                items += (
                    f'<li><p class="lr-finding">{escape(said.finding)}</p>{to_do}{evidence}</li>'
                )
        if items:
            head = f'<h3><span class="lr-status {look}">{escape(tr(title))}</span></h3>'
            body += f"{head}<ul>{items}</ul>"
    return f'<div class="lr-findings">{body}</div>'


def _evidence(said: Said, finding: Finding) -> str:
    """Return the evidence, folded; that of a precondition ends with where more is written of it."""
    rests_on = [finding.evidence.get(key) or [] for key in _LEADS]
    rules = [finding.rule, *(found["rule"] for part in rests_on for found in part)]
    rules += ["timing-quiet"] if finding.case == "disturbed" else []
    more = [f"{_MORE}#{rule}" for rule in rules if rule in ASKED]
    text = said.evidence + (tr(" ") + tr("More: {where}.", where=join_words(more)) if more else "")
    return (
        f'<details class="lr-evidence"><summary>{escape(tr("Evidence"))}</summary>'
        f"<p>{escape(text)}</p></details>"
    )


# Accuracy and speed of all cells.


def accuracy_and_speed(results: Results) -> None:
    """Chart accuracy against throughput for every cell that has both."""
    rows = [cell for cell in results.ok() if cell["accuracy"] and cell["throughput_ips"]]
    if rows:
        show(AccuracySpeedDisplay(rows))
    else:
        say("No cell has both an accuracy and a speed.")


def speed(results: Results, baselines: list[str]) -> None:
    """Chart throughput over batch sizes with published references, and latency."""
    working = [cell for cell in results.ok() if cell["throughput_ips"]]
    if not working:
        return
    # The guide's published rates, one line per device and state of tuning.
    lines: dict[str, dict[str, Any]] = {}
    published = reference_throughput() if "guide" in baselines else []
    for row in sorted(published, key=lambda row: row["batch_size"]):
        empty = {"label": row["label"], "batch_size": [], "values": []}
        line = lines.setdefault(row["label"], empty)
        line["batch_size"].append(row["batch_size"])
        line["values"].append(row["throughput_ips"])
        line["source"] = row["source"]
    show(ThroughputDisplay([cell | cell["throughput_ips"] for cell in working], [*lines.values()]))
    if lines:
        say(
            "The dashed lines are published figures of the guide, for IR-SE100 on the devices "
            "they name; they were not measured in this run, and this run may use another "
            "network."
        )
    told = [cell for cell in working if cell["latency_ms"].get("p50") is not None]
    if told:
        show(LatencyDisplay([cell | cell["latency_ms"] for cell in told]))


def cells(run: RunFolder, results: Results) -> None:
    """Show the table of all cells, and why the ones without results have none."""
    rows = []
    for cell in results.cells:
        name = cell["target"]
        if cell.get("quantised"):
            name = tr("{target} (quantised graph)", target=name)
        row = {"batch_size": cell["batch_size"], "status": cell["status"], "target": name}
        # The page that explains the gates is there when its notebook has run; by hand it leaves
        # none.
        page = run.stage("5_evaluate", cell["batch_size"], ".html")
        if page.is_file():
            row["target"] = {"text": name, "href": page.relative_to(run.folder).as_posix()}
        if cell["status"] != "ok":
            rows.append(row)
            continue
        for key, measured in (("accuracy", "accuracy"), ("throughput", "throughput_ips")):
            refused = cell[f"{key}_refused"]
            row[key] = cell[measured] or ({"refused": refused} if refused else None)
        row |= {
            "threshold": cell["threshold"] and cell["threshold"]["value"],
            "gates": _gates(cell),
            "p50": cell["latency_ms"] and cell["latency_ms"].get("p50"),
            "e2e": cell["stages"] and cell["stages"]["e2e"]["images_per_second"],
        }
        rows.append(row)
    columns = [
        Column("target", "Target"),
        Column("batch_size", "Batch"),
        Column("status", "Status", "", "status"),
        Column("accuracy", "Accuracy", "95 % interval", fmt_percent),
        Column("threshold", "Threshold", "squared L2", ".3f"),
        Column("gates", "Gates", "pairs lost and gained"),
        Column("throughput", "Throughput", "images/s, 95 %", ".1f"),
        Column("p50", "Latency", "p50, ms", ".1f"),
        Column("e2e", "End to end", "images/s", ".1f"),
    ]
    filters = ["target", "batch_size", "status", "gates"]
    table(rows, columns, "Every batch size and target", filters)
    if any(cell.get("accuracy_refused") == SEEDED for cell in results.cells):
        note("The weights are random (seeded): accuracy is neither evaluated nor shown.", "warning")
    remarks = {(c["target"], c["note"]) for c in results.ok() if c["note"]}
    for target, remark in sorted(remarks):
        note("{name}: {value}", name=target, value=remark)
    problem = tr("{target}, batch size {batch_size},")
    note_problems({problem.format_map(c): c for c in results.cells})


def _gates(cell: Cell) -> dict[str, str] | None:
    """Return one verdict for all gates, and what each rests on in a few words."""
    if not cell["gates"]:
        return None
    judged = [gate for gate in cell["gates"] if gate["passed"] is not None]
    if not judged:
        return {"verdict": "not judged", "why": cell["gates"][-1]["reason"]}
    failed = [gate for gate in judged if not gate["passed"]]
    why = []
    for gate in failed or judged:
        if gate["name"] == "guide":
            why.append(tr(part(gate["evidence"], "compared")))
        else:
            parity = cell["parity"]
            told = tr(
                "{lost} lost, {gained} gained, p = {p}",
                lost=len(parity["lost"]),
                gained=len(parity["gained"]),
                p=fmt_number(parity["mcnemar_p"], 2),
            )
            why.append(told)
    return {"verdict": verdict((failed or judged)[0]), "why": tr("; ").join(why)}


# Recognition, at the largest batch size.


def recognition(run: RunFolder, results: Results) -> None:
    """Overlay every target's ROC; show degraded images, further sets and published figures."""
    largest = results.largest()
    display = _rocs(run, largest, CLEAN)
    if display:
        show(display)
    else:
        say("No pair was scored in this run, so there is no curve.")
    labels = {v["name"]: v["label"] for v in results.dataset.get("variants", [])}
    shown = RobustnessDisplay.from_entries({cell["target"]: cell for cell in largest}, labels)
    if len(shown.variants) > 1:
        show(shown)
        # The degraded images that cost most accuracy are where targets may part.
        worst: dict[str, float] = {}
        for row in shown.rows:
            worst[row["variant"]] = min(row["accuracy"], worst.get(row["variant"], 1.0))
        hardest = min(worst, key=lambda variant: worst[variant])
        hardest_roc(_rocs(run, largest, hardest), labels.get(hardest, hardest))
    with_sets = {cell["target"]: cell for cell in largest if cell["sets"]}
    if with_sets:
        rows = list(set_rows(with_sets, results.dataset.get("sets", {})))
        table(rows, SET_COLUMNS, "Further sets")
    say_published({cell["target"]: cell for cell in largest if cell["accuracy"]})


def _rocs(run: RunFolder, cells: Iterable[Cell], variant: str) -> RocDisplay | None:
    curves = {
        cell["target"]: stored_curve(run, cell["batch_size"], cell["target"], variant)
        for cell in cells
    }
    curves = {target: curve for target, curve in curves.items() if curve is not None}
    return RocDisplay.from_rocs(curves) if curves else None


# Tuning: before and after on this machine, and the guide's own.


def tuning(results: Results, baselines: list[str]) -> None:
    """Show every build before and after tuning, and the guide's figures as published ones."""
    compared = [cell for cell in results.ok() if cell["tuning"]]
    if compared:
        rows = [cell | cell["tuning"] | {"n": cell["tuning"]["ratio"]["n"]} for cell in compared]
        columns = [
            Column("target", "Target"),
            Column("batch_size", "Batch"),
            Column("before_ips", "Before", "images/s, 95 % interval", ".1f"),
            Column("after_ips", "After", "images/s, 95 % interval", ".1f"),
            Column("ratio", "Ratio", "95 % interval", ".2f"),
            Column("n", "Repeats"),
        ]
        caption = tr("Before and after tuning, on this machine, measured by the Compile pages")
        table(rows, columns, caption)
        say(
            "Before: the graph as simplified, run the default way; for int8 the fp32 build of "
            "the same runtime. After: the graph and the way of running that were chosen. Both "
            "were timed in turns; the ratio is the repeats' geometric mean, its interval "
            "Student's t on their logarithms."
        )
        times = sorted(row["measured_at"][:16].replace("T", " ") for row in rows)
        first, last = times[0], times[-1]
        text = (
            tr("Measured {first} UTC", first=first)
            if first == last
            else tr("Measured from {first} to {last} UTC", first=first, last=last)
        )
        earlier = sum(row["reused"] for row in rows)
        if earlier:
            text += tr(
                ", for {earlier} of the {n} rows by an earlier search on this machine",
                earlier=earlier,
                n=len(rows),
            )
        text += tr(".") + tr(" ") + tr(CHOSEN_BY)
        say(text)
    else:
        say("No build of this run was chosen by measurement, so there is no before and after.")
    for cell in results.ok():
        if cell["tuning_refused"] not in (None, NO_SEARCH):
            name = tr("{name} at batch size {batch_size}", name=cell["target"], **cell)
            why = cell["tuning_refused"]
            note("{cell}: no before and after, {why}.", cell=name, why=why)
    if "guide" in baselines:
        guide_chip(load_guide())


# The run itself: its pages, what made it, where, and from what.


def pages(results: Results) -> None:
    """Link every notebook's page, with how it ended and how long it took."""
    rows = [
        outcome
        | {"status": "ok" if outcome["status"] == "ok" else "failed", "notebook": outcome["stage"]}
        for outcome in results.run["notebooks"]
        if outcome["status"] != "running"
    ]
    columns = [
        Column("notebook", "Notebook"),
        Column("batch_size", "Batch"),
        Column("status", "Status", "", "status"),
        Column("seconds", "Took", "s", ".1f"),
        Column("page", "Page", "", "link"),
    ]
    if any(row["reason"] for row in rows):
        columns.append(Column("reason", "Reason"))
    if rows:
        rows.append({"notebook": tr("All pages in one file"), "page": SINGLE})
        table(rows, columns, "The notebooks of this run")


def provenance(results: Results) -> None:
    """Show code and packages, and the terms of weights and sets; the machine has its section."""
    about = results.run.get("provenance")
    if about:
        commit, remark = about["commit"], about["commit_note"]
        told = [tr("commit {commit}", commit=commit[:12])] if commit else []
        told += [tr(remark)] if remark else []
        code = tr(", ").join([f"lresnet_utils {about['lresnet_utils']}", *told])
        rows = [(tr("Started"), about["started"]), (tr("Code"), code)]
        # A run of an older version does not tell.
        if "notebooks" in about:
            rows.append((tr("Notebooks"), about["notebooks"]["from"]))
        rows += [("Python", about["python"]), *about["packages"].items()]
        properties(rows, "What made this report")
    else:
        note("The notebooks were run one by one, so no provenance was recorded.")
    terms(results.licences)


def machine(results: Results) -> None:
    """Show what the run ran on, and warn where others had a share of it while it was timed."""
    about = results.run.get("provenance")
    if about:
        found = about["machine"]
        limits = [f"{name}={value}" for name, value in about.get("thread_limits", {}).items()]
        held = ", ".join([*limits, found["isa_limit"] or ""]).strip(", ")
        threads = (results.run["params"] or {}).get("threads")
        every = tr("every core: {n}", n=found["cores"])
        cores = tr("{cpu}, {n} cores usable", cpu=found["cpu"], n=found["cores"])
        load = found["load_average"]
        properties(
            [
                (tr("Processor"), cores),
                (tr("Features"), ", ".join(found["flags"] or [tr("not told by the system")])),
                (tr("Held back by"), held or "–"),
                (tr("Memory"), f"{found['memory_gib']} GiB"),
                (tr("Threads per inference"), f"{threads or every}"),
                (tr("System"), found["os"]),
                (tr("Load average at the start"), "–" if load is None else f"{load}"),
            ],
            "The machine",
        )
    for row in results.timing:
        if row["load"] is not None:
            disturbance(row["load"], row["batch_size"])


def custody(results: Results) -> None:
    """Show what the run started from, and how many files it has hashes of."""
    given = [link for link in results.custody if link["bytes"] is None]
    if not given:
        say("No file of this run has a recorded hash.")
        return
    chain(tr("What the run started from"), given, opened=True)
    say(
        "results.json has the SHA-256, the tools and the options of {n} files; the Evaluate "
        "pages show them as chains, from the checkpoint and the faces to the scores.",
        n=len(results.custody),
    )


# The guide's own tables as it recorded them, and what a careful reader finds.

# Every figure of the guide has fewer digits than this, so all of them are written.
_DIGITS = ".10g"
_CHANGE = "+.2f"


def guide(results: Results, baselines: list[str]) -> None:
    """Show the guide's own tables where this run is about the guide's network."""
    params = results.run["params"] or {"model": {"architecture": None}}
    if "guide" not in baselines or params["model"]["architecture"] != "ir_se100":
        say("Left out here: the guide's tables are about IR-SE100, and this run is not.")
        return
    found = load_guide()
    guide_accuracy(found)
    guide_throughput(found)
    guide_tuning(found)
    guide_devices(found)
    guide_findings(found)


def guide_accuracy(guide: Guide) -> None:
    """Show the guide's accuracy in counts, with two intervals, beside the published one."""
    counts = accuracy_in_counts(guide)
    measured = {
        "network": tr("Offline model, {device}", device=guide.npu["device"]),
        "accuracy": counts["accuracy"],
        "errors": counts["errors"],
        "n": counts["n"],
        "threshold": float(guide.number("best_thresholds")),
    }
    for name in ("wilson", "clopper_pearson"):
        low, high = counts[name]
        measured[name] = {"value": counts["accuracy"], "low": low, "high": high}
    published = {
        "network": tr("Published"),
        "accuracy": counts["published"],
        "errors": counts["published_errors"],
        "n": counts["n"],
    }
    columns = [
        Column("network", "Network"),
        Column("accuracy", "Accuracy", "", lambda value: f"{value:.5f}".rstrip("0")),
        Column("errors", "Wrong pairs"),
        Column("n", "Pairs"),
        Column("wilson", "Wilson", "95 %", fmt_percent),
        Column("clopper_pearson", "Clopper-Pearson", "95 %", fmt_percent),
        Column("threshold", "Mean best threshold", "squared L2", _DIGITS),
    ]
    _recorded([measured, published], columns, tr("Accuracy on LFW"), ("6.1", "6.2"))
    say(
        "Wrong pairs and intervals are derived from the accuracy and the {n:,} pairs "
        "({source}). Both intervals take the pairs as independent.",
        n=counts["n"],
        source=guide.figures["lfw_pairs"]["source"],
    )
    source = guide.figures["published_accuracy"]["source"]
    say("Source of the published accuracy: {source}.", source=source)
    _source(guide)


def guide_throughput(guide: Guide) -> None:
    """Show the five figures of every log block, and what its caption makes of them."""
    sections = tuple(sorted({block.section for block in guide.blocks}))
    named = [Column("state", "Model"), Column("batch_size", "Batch")]
    stages = guide.blocks[0].record.stages
    rates = [Column(s, label, stages[s].rate_unit, _DIGITS) for s, label in FIVE_FIGURES.items()]
    times = [
        Column(s, label, tr("ms per {what}", what=stages[s].time_covers), _DIGITS)
        for s, label in FIVE_FIGURES.items()
    ]
    for title, figure, columns in (
        (tr("The five rates of each run, one chip"), "rate", rates),
        (tr("The five times of each run, one chip"), "time_ms", times),
    ):
        rows = [
            _named(block) | {s: getattr(block.record.stages[s], figure) for s in FIVE_FIGURES}
            for block in guide.blocks
        ]
        _recorded(rows, named + columns, title, sections)
    columns = [
        Column("rate", "One chip", "Interface, images/s", _DIGITS),
        Column("chips", "Factor"),
        Column("product", "Product", "images/s, as printed", _DIGITS),
        Column("caption", "Batch in the caption"),
        Column("implied", "Batch implied", "infer / post rate"),
        Column("agrees", "Caption right"),
    ]
    rows = [
        _named(block)
        | {
            "rate": float(block.rate),
            "chips": block.chips,
            "product": float(block.caption_product),
            "caption": block.caption_batch_size,
            "implied": block.implied_batch_size,
            "agrees": block.caption_batch_size == block.implied_batch_size,
        }
        for block in guide.blocks
    ]
    _recorded(rows, named + columns, tr("The Interface rates and their captions"), sections)

    # What the rates count and cover, and where the captions go wrong.
    inputs = join_words([f"{n:,}" for n in sorted({block.samples for block in guide.blocks})])
    factors = join_words([str(n) for n in sorted({block.chips for block in guide.blocks})])
    clocks = join_words(sorted({block.record.throughput_clock for block in guide.blocks}))
    say(
        "Every run processed {inputs} network inputs (e2e rate x e2e time), mirrored views "
        "included. Clock: {clocks}.",
        inputs=inputs,
        clocks=clocks,
    )
    note(
        "The products are an extrapolation: one chip was measured and its rate multiplied by "
        "{factors}.",
        "warning",
        factors=factors,
    )
    wrong = [row for row in rows if not row["agrees"]]
    if wrong:
        told = tr("; ").join(
            tr("{state}, {caption} printed where the run had {implied}", **row) for row in wrong
        )
        text = tr("Captions with a wrong batch size: {n} ({told}).", n=len(wrong), told=told)
        note(text, "warning")
    _source(guide)


def _named(block: GuideBlock) -> dict[str, Any]:
    return {
        "state": tr("after tuning") if block.tuned else tr("before tuning"),
        "batch_size": block.record.batch_size,
    }


def guide_tuning(guide: Guide) -> None:
    """Show table 7.3 with the change in per cent, and the change from end to end."""
    cells = derived_table(guide, "7.3")
    rows = []
    for batch_size, printed in _by_batch_size(cells).items():
        before, after = printed["before tuning"], printed["after tuning"]
        ends = [
            guide.block(batch_size, tuned=tuned).record.stages["e2e"].rate
            for tuned in (False, True)
        ]
        rows.append(
            {
                "batch_size": batch_size,
                "before": float(before),
                "after": float(after),
                "change": float(100 * (after / before - 1)),
                "e2e_change": 100 * (ends[1] / ends[0] - 1),
            }
        )
    columns = [
        Column("batch_size", "Batch"),
        Column("before", "Before tuning", "images/s", _DIGITS),
        Column("after", "After tuning", "images/s", _DIGITS),
        Column("change", "Change", "%, derived", _CHANGE),
        Column("e2e_change", "Change of the [e2e] rate", "%, derived", _CHANGE),
    ]
    _recorded(rows, columns, tr("Tuning on {device}", device=guide.npu["device"]), ("7.3",))
    unit = guide.tables["7.3"]["unit"]
    say("The rates are {unit}. {told}", unit=unit, told=_reproduced(cells))
    _source(guide)


def guide_devices(guide: Guide) -> None:
    """Show table 7.4 with the ratio that it suggests and the ratio for one chip."""
    cells = derived_table(guide, "7.4")
    rows = []
    for batch_size, printed in _by_batch_size(cells).items():
        chip = guide.block(batch_size, tuned=True).rate
        rows.append(
            {
                "batch_size": batch_size,
                "gpu": float(printed["GPU"]),
                "npu": float(printed["NPU"]),
                "ratio": float(printed["NPU"] / printed["GPU"]),
                "chip": float(chip),
                "chip_ratio": float(chip / printed["GPU"]),
            }
        )
    gpu = tr("{device}, images/s", device=guide.gpu["device"])
    npu = tr("{device}, with the factor, images/s", device=guide.npu["device"])
    columns = [
        Column("batch_size", "Batch"),
        Column("gpu", "GPU", gpu, _DIGITS),
        Column("npu", "NPU", npu, _DIGITS),
        Column("ratio", "NPU / GPU", "derived", ".3f"),
        Column("chip", "NPU, one chip", "images/s", _DIGITS),
        Column("chip_ratio", "One chip / GPU", "derived", ".3f"),
    ]
    _recorded(rows, columns, tr("GPU and NPU"), ("7.4",))
    say(_reproduced(cells))
    note(
        "Unlike clocks. {device}, {precision_note}: {clock}. {npu}, {npu_note}: {npu_clock}.",
        "warning",
        device=guide.gpu["device"],
        precision_note=guide.gpu["precision_note"],
        clock=guide.gpu["clock"],
        npu=guide.npu["device"],
        npu_note=guide.npu["precision_note"],
        npu_clock=guide.block(rows[0]["batch_size"], tuned=True).record.throughput_clock,
    )
    say("Source of the GPU's clock: {source}.", source=guide.gpu["source"])
    _source(guide)


def guide_findings(guide: Guide) -> None:
    """List what follows from the guide's figures: finding, evidence, consequence."""
    for number, found in enumerate(guide_figures.findings(guide), 1):
        say(
            "{number}. {finding} Evidence: {evidence} So: {consequence}",
            number=number,
            finding=found.finding,
            evidence=found.evidence,
            consequence=found.consequence,
        )
    say("Derived from figures that the guide recorded; nothing of it was measured here.")
    _source(guide)


def guide_chip(guide: Guide) -> None:
    """Show section 7.3's comparison for the one chip that the guide measured."""
    blocks = {(block.record.batch_size, block.tuned): float(block.rate) for block in guide.blocks}
    rows = []
    for (size, tuned), after in sorted(blocks.items()):
        if tuned:
            before = blocks[size, False]
            rows.append(
                {"batch_size": size, "before": before, "after": after, "ratio": after / before}
            )
    columns = [
        Column("batch_size", "Batch"),
        Column("before", "Before tuning", "images/s", _DIGITS),
        Column("after", "After tuning", "images/s", _DIGITS),
        Column("ratio", "Ratio", "derived", ".2f"),
    ]
    caption = tr(
        "Published by the guide, sections 7.1 to 7.3, for IR-SE100 on {device}, one chip; "
        "not measured here",
        device=guide.npu["device"],
    )
    table(rows, columns, caption)
    say(
        "The guide's table 7.3 prints four times these rates; one chip was measured. It "
        "reports one run each, so there is no interval. Its clock: {clock}. "
        "Source, the guide: {source}.",
        clock=guide.blocks[0].record.throughput_clock,
        source=guide.source,
    )


def _by_batch_size(cells: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Gather the printed cells of a table by row and column."""
    rows: dict[int, dict[str, Any]] = {}
    for cell in cells:
        rows.setdefault(cell["batch_size"], {})[cell["column"]] = cell["printed"]
    return rows


def _reproduced(cells: Sequence[Mapping[str, Any]]) -> str:
    derived = [cell for cell in cells if cell["derived"] is not None]
    equal = [cell for cell in derived if cell["derived"] == cell["printed"]]
    return tr(
        "{n} of the {total} NPU figures follow to the last digit from the logs of sections 7.1 "
        "and 7.2.",
        n=len(equal),
        total=len(derived),
    )


def _recorded(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column],
    title: str,
    sections: Sequence[str],
) -> None:
    """Show a table whose caption says that the guide recorded it, and where."""
    names = join_words(list(sections))
    one = len(sections) == 1
    where = tr("section {names}", names=names) if one else tr("sections {names}", names=names)
    caption = tr(
        "{title}. Recorded by the guide, {where}; not measured here.", title=title, where=where
    )
    table(rows, columns, caption)


def _source(guide: Guide) -> None:
    say("Source, the guide: {source}.", source=guide.source)
