"""What must hold before a build can be recommended: each asked of every run, and answered.

A precondition that holds is recorded and not talked about. One that fails withholds the
recommendation, since what passed its gates on a wrong input, a broken set or an unfit grid has
passed nothing. One that cannot be told, or holds for a part only, stands beside the
recommendation as its condition. What to do about each is in docs/when_the_verdict_is_withheld.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lresnet_utils.data.align import looks_off
from lresnet_utils.findings import model
from lresnet_utils.findings.model import FAILS, HOLDS, UNKNOWN, Cell, Finding, Results
from lresnet_utils.results import FAILED, UNAVAILABLE
from lresnet_utils.text.language import clause, clauses

MOST_LOST = 0.05
"""Share of pairs that may be lost before the rest no longer stands for the set."""
MOST_UNTOLD = 0.05
"""Share of pairs by which another input may be better before that is made a condition."""
MOST_SEVERAL = 0.5
"""Share of pictures with several faces from which a low accuracy is the wrong faces' first."""
LEAST_APART = 0.8
"""Area under the ROC below which people are hardly told apart, by any threshold.

Set by judgement. It tells wrong faces, not untrained weights: SFace with random ones has 0.78, 0.86
and 0.85 (three seeds) over all pairs of ORL's aligned faces.
"""
_ALPHA = 0.05


def preconditions(results: Results) -> list[Finding]:
    """Return every precondition that applies to a run, with its state as the finding's kind.

    Parameters
    ----------
    results : mapping
        What ``results.json`` holds.

    Returns
    -------
    list of Finding
        ``case`` is "holds", "fails" or "part" (holds for a part, or cannot be told).
    """
    base = base_cell(results)
    rules: tuple[Callable[[Results, Cell | None], Finding | None], ...] = (
        build_ran,
        # Where both fail, the first is why the second does.
        finite_embeddings,
        accuracy_judged,
        both_classes,
        # Above chance: where the faces are the wrong ones, guessing is what follows.
        people_apart,
        better_than_chance,
        grid_resolves,
        input_as_trained,
        faces_aligned,
        set_complete,
        timing_quiet,
    )
    return [found for rule in rules if (found := rule(results, base)) is not None]


def unmet(results: Results) -> list[Finding]:
    """Return the preconditions that fail or hold for a part only, as findings."""
    return [found for found in preconditions(results) if found.kind != HOLDS]


def base_cell(results: Results) -> Cell | None:
    """Return the cell that a run's accuracy is told by: the reference's at the largest batch."""
    cells = [c for c in model.ok_cells(results) if c.get("accuracy") or c.get("accuracy_refused")]
    judged = [cell for cell in cells if cell.get("accuracy")]
    cells = model.largest_batch(judged or cells)
    name = model.param(results, "reference", None) or model.reference(results)
    best = max(cells, key=lambda c: (c.get("accuracy") or {}).get("value", 0.0), default=None)
    return next((cell for cell in cells if cell["target"] == name), best)


def _finding(rule: str, kind: str, evidence: dict[str, Any], cell: Cell | None) -> Finding:
    case = {HOLDS: "holds", FAILS: "fails", UNKNOWN: "part"}[kind]
    return Finding(rule, kind, evidence, model.names([cell] if cell else []), case)


def build_ran(results: Results, base: Cell | None) -> Finding | None:
    """At least one build went through every stage."""
    cells = results["cells"]
    if not cells or model.ok_cells(results):
        return None
    failed = [cell for cell in cells if cell["status"] == FAILED]
    items = _by_reason((c, c["reason"], c.get("remedy")) for c in failed or cells)
    main = max(items, key=lambda item: len(item["cells"]))
    evidence = {"reason": clause(main["reason"]), "remedy": main["remedy"], "items": items}
    return Finding("build-ran", FAILS, evidence, model.names(cells), "fails")


def accuracy_judged(results: Results, base: Cell | None) -> Finding | None:
    """A set of faces and trained weights give an accuracy in at least one cell."""
    seeded = model.param(results, "model.weights", None) == "seeded"
    if not results["dataset"] or seeded or base is None or base.get("accuracy"):
        return None
    return _finding("accuracy-judged", FAILS, {"reason": base["accuracy_refused"]}, base)


def finite_embeddings(results: Results, base: Cell | None) -> Finding | None:
    """Embeddings are numbers, and not one and the same vector for every face."""
    found = base and base.get("embeddings")
    if not found:
        return None
    dead = found["n_not_finite"] + found["n_zero"]
    alike = found["n_distinct"] <= 1 < found["n_images"]
    kind = FAILS if alike or dead == found["n_images"] else UNKNOWN if dead else HOLDS
    return _finding("finite-embeddings", kind, {"target": base["target"], **found}, base)


def both_classes(results: Results, base: Cell | None) -> Finding | None:
    """There are genuine and impostor pairs, and both in each fold."""
    if base is None or not results["dataset"]:
        return None
    n_genuine, n_impostor = (results["dataset"].get(f"n_{c}") for c in ("genuine", "impostor"))
    if n_genuine is None:
        return None
    folds = (base.get("accuracy") or {}).get("one_class_folds") or 0
    kind = FAILS if not n_genuine or not n_impostor or folds else HOLDS
    evidence = {"n_genuine": n_genuine, "n_impostor": n_impostor, "n_folds_one_class": folds}
    return _finding("both-classes", kind, evidence, base)


def people_apart(results: Results, base: Cell | None) -> Finding | None:
    """People are told apart clearly, at whatever threshold.

    Where they are not, the crops may show one person under many names: then pairs of two people
    are as near as pairs of one. Where most pictures held several faces, that is the likely cause.
    What is no better than guessing is said by that rule, unless the cause is likely.
    """
    auc = _auc(base)
    if auc is None:
        return None
    dataset = results["dataset"]
    several, n_images = dataset.get("n_several_faces") or 0, dataset.get("n_images") or 0
    evidence = {"auc": auc, "target": base["target"], "n_images": n_images}
    if not _hardly_apart(auc):
        return _finding("people-apart", HOLDS, evidence, base)
    if several > MOST_SEVERAL * n_images:
        evidence["n_several_faces"] = several
        evidence["several_faces"] = clauses(*dataset.get("several_faces", []))
        return Finding("people-apart", FAILS, evidence, model.names([base]), "several")
    return _finding("people-apart", FAILS, evidence, base) if _above_chance(auc) else None


def _hardly_apart(auc: Mapping[str, Any]) -> bool:
    return (auc["value"] if auc["high"] is None else auc["high"]) < LEAST_APART


def _above_chance(auc: Mapping[str, Any]) -> bool:
    # Without an interval the value itself must do; too few people for one are no proof of anything.
    return (auc["value"] if auc["low"] is None else auc["low"]) > 0.5


def _auc(base: Cell | None) -> dict[str, Any] | None:
    auc = base and base.get("auc")
    if not auc or auc.get("value") is None or "n_genuine" not in auc:
        return None
    ends = {key: auc.get(key) for key in ("value", "low", "high")}
    interval = auc.get("interval") or auc.get("interval_reason")
    n_pairs = auc["n_genuine"] + auc["n_impostor"]
    return ends | {"n": n_pairs, "unit": "area under the ROC", "interval": interval}


def better_than_chance(results: Results, base: Cell | None) -> Finding | None:
    """Recognition is better than guessing, by an interval that excludes it.

    The area under the ROC is asked, since it needs no threshold and no balance of classes.
    """
    auc = _auc(base)
    if auc is None:
        return None
    kind = HOLDS if _above_chance(auc) else FAILS
    return _finding("better-than-chance", kind, {"auc": auc, "target": base["target"]}, base)


def grid_resolves(results: Results, base: Cell | None) -> Finding | None:
    """The guide's thresholds are fine enough for these distances.

    Both accuracies rest on the same pairs, so the pairs that only one of them decides rightly
    are compared by McNemar's exact test. Where people are hardly told apart no threshold helps.
    """
    accuracy, auc = (base or {}).get("accuracy") or {}, _auc(base)
    exact = accuracy.get("exact")
    if not exact or (auc and _hardly_apart(auc)):
        return None
    evidence = {
        "accuracy": model.accuracy(accuracy),
        "exact": model.accuracy(exact | {"n": accuracy["n"]}),
        "exact_threshold": exact["threshold"],
        "steps": exact["steps"],
        "p": exact["mcnemar_p"],
        "target": base["target"],
    }
    worse = exact["errors"] < accuracy["errors"] and exact["mcnemar_p"] < _ALPHA
    return _finding("grid-resolves", FAILS if worse else HOLDS, evidence, base)


def input_as_trained(results: Results, base: Cell | None) -> Finding | None:
    """Pixels come in the channel order and the scale that the network was trained with."""
    test = results.get("input_test")
    if not test or "refused" in test:
        return None
    evidence = {key: test[key] for key in ("used", "best", "target", "set_to")}
    evidence["difference"] = _difference(test)
    kind = UNKNOWN if test["difference"]["high"] > MOST_UNTOLD else HOLDS
    return _finding("input-as-trained", FAILS if test["right"] == "other" else kind, evidence, base)


def faces_aligned(results: Results, base: Cell | None) -> Finding | None:
    """Faces that were given as aligned lie on the template, or aligning them gains nothing."""
    found = results["dataset"].get("alignment")
    if not found:
        return None
    again = (results.get("input_test") or {}).get("aligned")
    evidence = dict(found) | ({"difference": _difference(again)} if again else {})
    # Only files and folders of pictures can be aligned by a run; a .bin set is as it was made.
    whose = "photographs" if "n_aligned" in results["dataset"] else "ready_made"
    evidence[whose] = True
    if found["n_no_face"] > found["n"]:
        return Finding(
            "faces-aligned", UNKNOWN, evidence, model.names([base] if base else []), "none"
        )
    kind = UNKNOWN if looks_off(found) else HOLDS
    return _finding("faces-aligned", FAILS if again and again["better"] else kind, evidence, base)


def _difference(test: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("value", "low", "high", "n", "interval")
    return {key: test["difference"][key] for key in keys} | {"unit": "difference of shares"}


def set_complete(results: Results, base: Cell | None) -> Finding | None:
    """The pairs that were asked about were scored, and no picture was passed over."""
    dataset, failures = results["dataset"], (base or {}).get("failures") or {}
    if not dataset or not failures:
        return None
    n_pairs = failures["n_genuine"] + failures["n_impostor"]
    lost = failures["n_genuine_lost"] + failures["n_impostor_lost"]
    passed_over = dataset.get("passed_over") or {}
    evidence = {
        "lost": model.share(lost, n_pairs),
        "n_unusable": failures["n_failed_images"],
        "n_images": failures["n_images"],
        "n_passed_over": passed_over.get("n_files", 0),
        "passed_over": clauses(*passed_over.get("examples", [])),
        "n_several_faces": dataset.get("n_several_faces") or 0,
    }
    # Of the pairs that could be drawn not all are; pictures in none of them are there all the same.
    n_there = dataset["n_images"] + dataset.get("n_files_in_no_pair", 0)
    if lost > MOST_LOST * n_pairs or evidence["n_passed_over"] > MOST_LOST * n_there:
        kind = FAILS
    elif lost or evidence["n_passed_over"]:
        kind = UNKNOWN
    else:
        kind = HOLDS
    return _finding("set-complete", kind, evidence, base)


def timing_quiet(results: Results, base: Cell | None) -> Finding | None:
    """Nothing else took processor time while builds were timed.

    A disturbed timing withholds the ratio that would rest on it, and no build.
    """
    loads = {row["batch_size"]: row.get("load") or {} for row in results.get("timing", [])}
    timed = [cell for cell in model.ok_cells(results) if cell.get("throughput_ips")]
    known = [cell for cell in timed if "busy" in loads.get(cell["batch_size"], {})]
    if not known:
        return None
    busy = model.busy_loads(results)
    sizes = sorted({cell["batch_size"] for cell in known} & busy.keys())
    keys = ("other_cores", "stolen_cores", "cores", "seconds")
    items = [{"batch_size": size} | {key: busy[size][key] for key in keys} for size in sizes]
    evidence = {"batch_sizes": sizes, "items": items} if sizes else {"n_cells": len(known)}
    cells = [cell for cell in known if cell["batch_size"] in sizes] if sizes else known
    kind, case = (UNKNOWN, "part") if sizes else (HOLDS, "holds")
    return Finding("timing-quiet", kind, evidence, model.names(cells), case)


# Rules about what is missing: cells without results, and sets that limit what can be told.


def stopped_cells(results: Results) -> list[Finding]:
    """Say which cells failed and which this machine cannot run, and why."""
    found = []
    for status, kind in ((FAILED, FAILS), (UNAVAILABLE, UNKNOWN)):
        cells = [cell for cell in results["cells"] if cell["status"] == status]
        if cells:
            items = _by_reason((cell, cell["reason"], cell.get("remedy")) for cell in cells)
            evidence = {
                "n_cells": len(cells),
                "n_all": len(results["cells"]),
                "targets": model.targets(cells),
                "items": items,
            }
            found.append(Finding("stopped-cells", kind, evidence, model.names(cells), status))
    return found


def unjudged_cells(results: Results) -> list[Finding]:
    """Say which cells have results but no accuracy, or no speed, and why."""
    found = []
    for case, key, why in (
        ("accuracy", "accuracy", "accuracy_refused"),
        ("speed", "throughput_ips", "throughput_refused"),
    ):
        cells = [c for c in model.ok_cells(results) if not c.get(key) and c.get(why)]
        if cells:
            items = _by_reason((cell, cell[why], None) for cell in cells)
            evidence = {"targets": model.targets(cells), "items": items}
            found.append(Finding("unjudged-cells", UNKNOWN, evidence, model.names(cells), case))
    return found


def several_faces(results: Results) -> list[Finding]:
    """Say where so many pictures held several faces that the wrong one may have been taken."""
    dataset = results["dataset"]
    n_several = dataset.get("n_several_faces") or 0
    apart = people_apart(results, base_cell(results))
    said = apart is not None and apart.case == "several"
    if said or n_several <= MOST_LOST * dataset.get("n_images", 0):
        return []
    evidence = {
        "n_several_faces": n_several,
        "n_images": dataset["n_images"],
        "several_faces": clauses(*dataset.get("several_faces", [])),
    }
    cells = model.names(model.judged_cells(results))
    return [Finding("several-faces", UNKNOWN, evidence, cells)]


def _by_reason(stopped: Iterable[tuple[Cell, str, str | None]]) -> list[dict[str, Any]]:
    """Gather cells that were stopped by the same thing."""
    items: dict[tuple[str, str | None], list[Cell]] = {}
    for cell, reason, remedy in stopped:
        items.setdefault((reason, remedy), []).append(cell)
    return [
        {"cells": model.names(cells), "reason": reason, "remedy": remedy}
        for (reason, remedy), cells in items.items()
    ]


def set_health(results: Results) -> list[Finding]:
    """Say what is odd about the set of pairs, and what that does to the numbers."""
    cells = model.names(model.judged_cells(results))
    return [
        Finding(
            "set-health",
            UNKNOWN,
            {key: found[key] for key in ("finding", "evidence", "consequence")},
            cells,
        )
        for found in results.get("set_health", [])
        if not found["harmless"]
    ]
