"""Stage 5: embeddings become distances, and distances become verdicts with intervals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.errors import EvaluationError
from lresnet_utils.graph.face_parity import n_distinct
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.channels import input_name, judge_inputs, judge_order
from lresnet_utils.stages.infer import CLEAN, open_faces, set_variant
from lresnet_utils.stages.judge import Judge, changed_sides, fixed_threshold, health, judge_sets
from lresnet_utils.stages.preprocess import open_more
from lresnet_utils.targets.attempts import OK, attempt, carried, not_ok
from lresnet_utils.targets.embed import NOT_FINITE, ZERO
from lresnet_utils.verify.agreement import embedding_agreement
from lresnet_utils.verify.curves import Roc, roc
from lresnet_utils.verify.gates import guide_gate, paired_gate
from lresnet_utils.verify.scored_pairs import Scored

SEEDED = "the weights are random (seeded), so accuracy means nothing and is not evaluated"
IS_REFERENCE = "this is the reference itself"
NONE_IN_BOTH = "no image has an embedding from both"
NO_REFERENCE = "the reference target has no embeddings here"


@dataclass(frozen=True)
class Evaluation:
    """The stage's record with the arrays behind it, for figures.

    Attributes
    ----------
    record : dict
        What ``5_evaluate.json`` holds.
    faces : FaceSet
        Images and pairs.
    scored : dict
        ``(target, variant)`` to :class:`Scored`; empty for untrained weights.
    """

    record: dict[str, Any]
    faces: FaceSet
    scored: dict[tuple[str, str], Scored]

    def clean(self) -> dict[str, Scored]:
        """Return each target's scores on the set as it is."""
        return {target: s for (target, variant), s in self.scored.items() if variant == CLEAN}


def evaluate(
    run: RunFolder,
    *,
    batch_size: int,
    targets: list[str],
    reference: str,
    folds: int,
    far_targets: list[float],
    published_accuracy: float | None = None,
    fixed_thresholds: list[float | str] = (),
    bootstrap: int = 400,
    seed: int = 0,
) -> Evaluation:
    """Evaluate every target's embeddings by the guide's protocol and compare with a reference.

    Parameters
    ----------
    run : RunFolder
        Must hold the files of ``3_preprocess`` and ``4_infer``; gets the scores per target and
        variant as arrays, CSV and bob's four columns, and ``5_evaluate.json``.
    batch_size, targets, reference, folds, far_targets, published_accuracy, fixed_thresholds, \
    bootstrap, seed
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    Evaluation
        The record and the arrays that its figures are drawn from.
    """
    faces = open_faces(run)
    network = run.record("1_export", batch_size)["network"]
    embedded = carried(run, "4_infer", batch_size, targets)
    how = {"far_targets": far_targets, "replicates": bootstrap, "seed": seed}
    fixed = [fixed_threshold(given) for given in fixed_thresholds]

    def judge_of(own: FaceSet, clean: str = CLEAN) -> Judge:
        options = how | {"folds": own.folds or folds}
        return Judge(run, own, batch_size, network.get("architecture", ""), options, fixed, clean)

    judge = judge_of(faces)
    base = _vectors(run, batch_size, reference) if _has(embedded, reference) else None
    # The reference comes first: the others' flipped pairs are counted against its decisions.
    entries = {
        name: _entry(judge, name, embedded[name], network["trained"], reference, base)
        for name in sorted(embedded, key=lambda name: name != reference)
    }
    for name, entry in entries.items():
        if entry["status"] == OK:
            entry["gates"] = _gates(entry, published_accuracy, reference, name == reference)
    there = {key for entry in embedded.values() for key in entry.get("sets", {})}
    sets = open_more(run).items() if network["trained"] else ()
    more = {key: judge_of(own, set_variant(key)) for key, own in sets if key in there}
    order = _channel_test(judge) if network["trained"] else None
    record = {
        "trained": network["trained"],
        "reference": reference,
        "folds": judge.options["folds"],
        "n_pairs": faces.n_pairs,
        "set_health": health(judge, reference) if judge.scored else [],
        "channel_test": order,
        "input_test": _input_test(judge, order),
        "sets": judge_sets(more, entries, embedded, reference),
        "targets": {name: entries[name] for name in targets},
    }
    return Evaluation(run.write_record("5_evaluate", batch_size, record), faces, judge.scored)


def _channel_test(judge: Judge) -> dict[str, Any] | None:
    """Judge the channel order, where ``4_infer`` embedded the other one."""
    run, batch_size = judge.run, judge.batch_size
    tested = run.record("4_infer", batch_size).get("channel_test")
    if not tested or "refused" in tested:
        return tested
    own = judge.scored.get((tested["target"], CLEAN))
    if own is None:
        return {"refused": f"{tested['target']}, which embedded the other order, has no accuracy"}
    how = {key: judge.options[key] for key in ("folds", "replicates", "seed")}
    used = own.distances, own.acquired
    return judge_order(run, judge.faces, tested, used, batch_size=batch_size, **how)


def _input_test(judge: Judge, order: dict[str, Any] | None) -> dict[str, Any] | None:
    """Judge order and scale of the pixels; the order by the whole set, where that tells more."""
    run, batch_size = judge.run, judge.batch_size
    tested = run.record("4_infer", batch_size).get("input_test")
    if tested and "refused" not in tested:
        how = {key: judge.options[key] for key in ("replicates", "seed")}
        tested = judge_inputs(run, judge.faces, tested, batch_size=batch_size, **how)
    told = bool(tested) and tested.get("right") == "other"
    if told or (order or {}).get("right") != "other":
        return tested
    scale = run.record("1_export", batch_size)["input"]["normalisation"]
    return {
        "target": order["target"],
        "right": "other",
        "used": input_name((order["used_order"], scale)),
        "best": input_name((order["other_order"], scale)),
        "difference": order["difference"],
        "set_to": f"model.channel_order: {order['other_order']}",
        "n_images": judge.faces.n_images,
        "n_pairs": order["difference"]["n"],
    }


def _entry(
    judge: Judge, name: str, embedded: dict, trained: bool, reference: str, base: dict | None
) -> dict[str, Any]:
    """Judge one target; the reference must have been judged before."""
    if embedded["status"] != OK:
        return not_ok(embedded)
    if trained:
        entry = attempt(lambda: judge.accuracy(name, embedded["variants"]))
    else:
        entry = {"status": OK, "reason": None, "accuracy": None, "refused": SEEDED}
    if entry["status"] == OK:
        run, batch_size = judge.run, judge.batch_size
        own = _vectors(run, batch_size, name)
        reasons = embedded.get("variants", {}).get(CLEAN, {}).get("failures", {})
        # A build may fail where the network does not; the layer is known of the network alone.
        layer = (run.record("1_export", batch_size).get("embeddings") or {}).get("layer")
        # Count the images whose embedding is no use, and how many embeddings differ at all
        why = Counter(reasons.values())
        entry["embeddings"] = {
            "n_images": len(own["failed"]),
            "n_not_finite": why[NOT_FINITE],
            "n_zero": why[ZERO],
            "n_distinct": n_distinct(own["vectors"][~own["failed"]]),
        } | ({"layer": layer} if layer else {})
        entry["parity"] = _parity(own, reference, base, name, judge.scored, judge.faces)
        if entry.get("refused"):
            entry["parity"].setdefault("refused", entry["refused"])
    return entry


def _has(embedded: dict[str, Any], target: str) -> bool:
    return embedded.get(target, {}).get("status") == OK


def _vectors(run: RunFolder, batch_size: int, target: str) -> dict[str, np.ndarray]:
    path = run.embeddings(batch_size, target, CLEAN)
    return run.arrays(path, stage="4_infer", batch_size=batch_size)


def _parity(own, reference, base, name, scored, faces) -> dict[str, Any]:
    """Compare a target with the reference: embeddings always, decisions where there are any."""
    if base is None:
        return {"refused": f"{NO_REFERENCE} ({reference})"}
    both = ~(own["failed"] | base["failed"])
    if not both.any():
        return {"reference": reference, "refused": NONE_IN_BOTH}
    parity = {"reference": reference} | embedding_agreement(
        base["vectors"][both], own["vectors"][both]
    )
    if (name, CLEAN) not in scored or (reference, CLEAN) not in scored:
        return parity | {"flipped_pairs": None, "mcnemar_p": None}
    variants = sorted(
        {v for t, v in scored if t == name} & {v for t, v in scored if t == reference}
    )
    per_variant = {v: changed_sides(scored[reference, v], scored[name, v], faces) for v in variants}
    return parity | per_variant[CLEAN] | {"variants": per_variant}


def _gates(entry: dict[str, Any], published: float | None, reference: str, own: bool) -> list[dict]:
    """Judge a target by the guide's rule and, unless it is the reference, pair by pair."""
    accuracy, parity = entry["accuracy"], entry["parity"]
    refused = entry.get("refused") or (IS_REFERENCE if own else parity.get("refused"))
    gates = [
        guide_gate(
            accuracy and accuracy["value"],
            published,
            n_pairs=accuracy and accuracy["n"],
            refused=entry.get("refused"),
        ),
        paired_gate(
            len(parity.get("lost", [])),
            len(parity.get("gained", [])),
            parity.get("n_pairs"),
            reference=reference,
            refused=refused,
        ),
    ]
    return [gate.to_json() for gate in gates]


def stored_curve(run: RunFolder, batch_size: int, target: str, variant: str = CLEAN) -> Roc | None:
    """Return a target's ROC from its stored scores, or None where there are none."""
    path = run.scores(batch_size, target, variant)
    if not path.is_file():
        return None
    arrays = run.arrays(path, stage="5_evaluate", batch_size=batch_size)
    acquired = arrays["acquired"]
    try:
        return roc(arrays["distances"][acquired], arrays["same"][acquired])
    except EvaluationError:
        return None
