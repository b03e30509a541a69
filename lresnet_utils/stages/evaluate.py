"""Stage 5: embeddings become distances, and distances become verdicts with intervals."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lresnet_utils.data.collection import ALL
from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.data.known_sets import published
from lresnet_utils.errors import EvaluationError
from lresnet_utils.graph.parity import n_distinct
from lresnet_utils.ledger.custody import Link, made
from lresnet_utils.machine.disk import write_arrays
from lresnet_utils.results import CLEAN, OK, UNAVAILABLE
from lresnet_utils.run import RunFolder, resolve
from lresnet_utils.stages.infer import (
    ALIGNED,
    INPUTS,
    OTHER_ORDER,
    input_sample,
    open_faces,
    open_more,
    set_variant,
)
from lresnet_utils.targets.attempts import attempt, carried, not_ok
from lresnet_utils.targets.embed import NOT_FINITE, ZERO
from lresnet_utils.text.language import NONE, clause, message
from lresnet_utils.tuning.judge import FOLDS
from lresnet_utils.verify.agreement import (
    embedding_agreement,
    flipped_pairs,
    guide_gate,
    mcnemar_exact,
    paired_gate,
)
from lresnet_utils.verify.all_pairs import all_pairs
from lresnet_utils.verify.curves import Roc, roc
from lresnet_utils.verify.health import failure_summary, set_health
from lresnet_utils.verify.intervals import PairIdentities, pair_identities
from lresnet_utils.verify.paired import order_difference
from lresnet_utils.verify.protocol import fold_numbers
from lresnet_utils.verify.scored_pairs import (
    Scored,
    headline,
    points,
    rates_at_threshold,
    scored_pairs,
    threshold_of,
)
from lresnet_utils.verify.scores import score_pairs, write_csv, write_four_columns

SEEDED = "the weights are random (seeded), so accuracy means nothing and is not evaluated"
IS_REFERENCE = "this is the reference itself"
NONE_IN_BOTH = "no image has an embedding from both"
NO_REFERENCE = "the reference target has no embeddings here"
# Of McNemar's test of a way of feeding pixels, shared among the ways tried.
_ALPHA = 0.05


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
    there = embedded.get(reference, {}).get("status") == OK
    base = None
    if there:
        path = run.embeddings(batch_size, reference, CLEAN)
        base = run.arrays(path, stage="4_infer", batch_size=batch_size)
    # The reference comes first: the others' flipped pairs are counted against its decisions.
    entries = {
        name: _entry(judge, name, embedded[name], network["trained"], reference, base)
        for name in sorted(embedded, key=lambda name: name != reference)
    }
    for name, entry in entries.items():
        if entry["status"] == OK:
            # By the guide's rule and, unless it is the reference, pair by pair.
            accuracy, parity, refused = entry["accuracy"], entry["parity"], entry.get("refused")
            by_rule = guide_gate(
                accuracy and accuracy["value"],
                published_accuracy,
                n_pairs=accuracy and accuracy["n"],
                refused=refused,
            )
            by_pair = paired_gate(
                len(parity.get("lost", [])),
                len(parity.get("gained", [])),
                parity.get("n_pairs"),
                reference=reference,
                refused=refused or (IS_REFERENCE if name == reference else parity.get("refused")),
            )
            entry["gates"] = [by_rule.to_json(), by_pair.to_json()]
    told = {key for entry in embedded.values() for key in entry.get("sets", {})}
    sets = open_more(run).items() if network["trained"] else ()
    more = {key: judge_of(own, set_variant(key)) for key, own in sets if key in told}
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
        return {
            "refused": message(
                "{target}, which embedded the other order, has no accuracy", target=tested["target"]
            )
        }
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


def judge_order(
    run: RunFolder,
    faces: FaceSet,
    tested: dict[str, Any],
    used: tuple[np.ndarray, np.ndarray],
    *,
    batch_size: int,
    folds: int,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Compare both channel orders, pair by pair.

    Parameters
    ----------
    run, faces : RunFolder, FaceSet
        The run and its pairs.
    tested : dict
        What ``4_infer`` recorded as ``channel_test``.
    used : (float64 array, bool array), each of shape (n_pairs,)
        Distances and acquired pairs of the target with the order in use.
    batch_size, folds, replicates, seed
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    dict
        `tested` with the result of :func:`lresnet_utils.verify.paired.order_difference` and
        ``trained_on``, "rgb", "bgr" or None for cannot tell; or ``refused``.
    """
    path = run.embeddings(batch_size, tested["target"], OTHER_ORDER)
    arrays = run.arrays(path, stage="4_infer", batch_size=batch_size)
    left, right, _, _ = faces.compared()
    other = score_pairs(*faces.pooled(arrays["vectors"], arrays["failed"]), left, right)
    try:
        found = order_difference(
            used,
            other,
            left,
            right,
            faces.same,
            folds=folds,
            replicates=replicates,
            seed=seed,
        )
    except EvaluationError as error:
        return tested | {"refused": error.what}
    orders = {"used": tested["used_order"], "other": tested["other_order"], None: None}
    return tested | found | {"trained_on": orders[found["right"]]}


def judge_inputs(
    run: RunFolder,
    faces: FaceSet,
    tested: dict[str, Any],
    *,
    batch_size: int,
    replicates: int,
    seed: int,
) -> dict[str, Any]:
    """Compare every way of feeding pixels with the one in use, pair by pair.

    Parameters
    ----------
    run, faces : RunFolder, FaceSet
        The run and its pairs.
    tested : dict
        What ``4_infer`` recorded as ``input_test``.
    batch_size, replicates, seed
        As declared in :class:`lresnet_utils.params.Params`.

    Returns
    -------
    dict
        `tested` with ``ways``, per way its accuracy and the difference to the one in use;
        ``better`` where the interval excludes 0 and McNemar's exact p is below 0.05 over the
        number of ways; ``right``, "other" where one is better, else "used"; ``best`` and the
        ``difference`` of the best way, or of the one that may be best by its interval;
        ``aligned``, the way with faces aligned anew where that was tried; or ``refused``.
    """
    sample, scored = input_sample(faces), []
    path = run.embeddings(batch_size, tested["target"], INPUTS)
    arrays = run.arrays(path, stage="4_infer", batch_size=batch_size)
    for way in tested["ways"]:
        name = "_".join(way)
        rows = arrays[f"vectors_{name}"], arrays[f"failed_{name}"]
        scored.append(score_pairs(*rows, sample.left, sample.right))
    pairs = (sample.left, sample.right, sample.same)
    how = {"folds": FOLDS, "replicates": replicates, "seed": seed}
    used, *others = scored
    try:
        found = [order_difference(used, other, *pairs, **how) for other in others]
    except EvaluationError as error:
        return tested | {"refused": error.what}
    ways = [{"way": list(w)} | f for w, f in zip(tested["ways"][1:], found, strict=True)]
    for way in ways:
        p = way["difference"]["mcnemar_p"]
        way["better"] = way["right"] == "other" and p < _ALPHA / len(ways)
    inputs = [way for way in ways if ALIGNED not in way["way"]]
    # The furthest upper end among ways that are not better tells what the sample cannot exclude.
    better = [way for way in inputs if way["better"]]
    best = max(better or inputs, key=lambda way: way["difference"]["value" if better else "high"])
    keys = ("model.channel_order", "model.normalisation")
    changes = zip(keys, tested["ways"][0], best["way"], strict=True)
    return tested | {
        "ways": ways,
        "right": "other" if better else "used",
        "used": input_name(tested["ways"][0]),
        "best": input_name(best["way"] if better else tested["ways"][0]),
        "difference": best["difference"],
        "set_to": ", ".join(f"{key}: {new}" for key, old, new in changes if old != new),
        "aligned": next((way for way in ways if ALIGNED in way["way"]), None),
        "n_images": len(sample.images),
        "n_pairs": len(sample.same),
    }


def input_name(way: Sequence[str]) -> str:
    """Return a way of feeding pixels as readers see it, such as "RGB, minus1_1"."""
    return ", ".join((way[0].upper(), *way[1:]))


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
        path = run.embeddings(batch_size, name, CLEAN)
        own = run.arrays(path, stage="4_infer", batch_size=batch_size)
        reasons = embedded.get("variants", {}).get(CLEAN, {}).get("failures", {})
        # A build may fail where the network does not; the layer is known of the network alone.
        layer = (run.record("1_export", batch_size).get("embeddings") or {}).get("layer")
        # Count the images whose embedding is no use, and how many embeddings differ at all.
        why = Counter(reasons.values())
        entry["embeddings"] = {
            "n_images": len(own["failed"]),
            "n_not_finite": why[NOT_FINITE],
            "n_zero": why[ZERO],
            "n_distinct": n_distinct(own["vectors"][~own["failed"]]),
        } | ({"layer": layer} if layer else {})
        # Compare with the reference: embeddings always, decisions where there are any.
        both = None if base is None else ~(own["failed"] | base["failed"])
        if both is None:
            parity = {"refused": message("{what} ({where})", what=NO_REFERENCE, where=reference)}
        elif not both.any():
            parity = {"reference": reference, "refused": NONE_IN_BOTH}
        else:
            scored = judge.scored
            parity = {"reference": reference} | embedding_agreement(
                base["vectors"][both], own["vectors"][both]
            )
            if (name, CLEAN) not in scored or (reference, CLEAN) not in scored:
                parity |= {"flipped_pairs": None, "mcnemar_p": None}
            else:
                per_variant = {
                    v: changed_sides(scored[reference, v], scored[name, v], judge.faces)
                    for v in sorted(
                        {v for t, v in scored if t == name}
                        & {v for t, v in scored if t == reference}
                    )
                }
                parity |= per_variant[CLEAN] | {"variants": per_variant}
        entry["parity"] = parity
        if entry.get("refused"):
            entry["parity"].setdefault("refused", entry["refused"])
    return entry


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


def of_scores(
    run: RunFolder,
    faces: FaceSet,
    batch_size: int,
    target: str,
    variants: Iterable[str],
    folds: int,
) -> list[Link]:
    """Return the links from a target's embeddings and the pairs of a set to its scores."""
    return [
        made(
            run,
            run.scores(batch_size, target, variant),
            [run.embeddings(batch_size, target, variant), faces.folder / "pairs.npz"],
            tools=("numpy",),
            options={"variant": variant, "distance": "squared L2", "folds": folds},
        )
        for variant in variants
    ]


# How one target's embeddings of one set are judged: its own pairs, folds and people.

ONE_CLASS = {
    True: "all pairs are genuine, so no threshold can be chosen or tested",
    False: "all pairs are impostor pairs, so no threshold can be chosen or tested",
}
NOT_EMBEDDED = "this target embeds one set only"
NO_INTERVAL = message(
    NONE, why="every pair is counted in blocks; the drawn pairs have intervals over people"
)


@dataclass(frozen=True)
class Judge:
    """What judging targets on one set needs, gathered once.

    Attributes
    ----------
    run : RunFolder
    faces : FaceSet
        The set.
    batch_size : int
    architecture : str
        The network, to find what is published of it.
    options : dict
        ``folds``, ``far_targets``, ``replicates``, ``seed``, for :func:`scored_pairs`.
    fixed : list of (str, callable)
        Thresholds that were fixed beforehand, see :func:`fixed_threshold`.
    clean : str
        Name of the files of the images as they are.
    scored : dict
        Gets what is found, by target and name of the files.
    """

    run: RunFolder
    faces: FaceSet
    batch_size: int
    architecture: str
    options: dict[str, Any]
    fixed: list[tuple[str, Any]]
    clean: str = CLEAN
    scored: dict[tuple[str, str], Scored] = field(default_factory=dict)

    @functools.cached_property
    def identities(self) -> PairIdentities:
        """Who is on each side of the set's pairs."""
        return identities_of(self.faces)

    def accuracy(self, target: str, variants: dict[str, Any]) -> dict[str, Any]:
        """Score every variant of a target; the clean one carries the headline numbers.

        Where the pairs or the embeddings allow no accuracy, ``refused`` says why.
        """
        same = self.faces.same
        if same.all() or not same.any():
            return {"accuracy": None, "refused": ONE_CLASS[bool(same.all())]}
        try:
            for variant in variants:
                path = self.run.embeddings(self.batch_size, target, variant)
                arrays = self.run.arrays(path, stage="4_infer", batch_size=self.batch_size)
                failed = arrays["failed"]
                left, right, _, _ = self.faces.compared()
                rows = self.faces.pooled(arrays["vectors"], failed)
                distances, acquired = score_pairs(*rows, left, right)
                people = self.identities
                scored = scored_pairs(distances, acquired, failed, same, people, **self.options)
                path = self.run.scores(self.batch_size, target, variant)
                write_arrays(path, distances=distances, acquired=acquired, same=same)
                folds = scored.folds()
                write_csv(path.with_suffix(".csv"), distances, same, left, right, people, folds)
                write_four_columns(path.with_suffix(".txt"), distances, same, right, people)
                self.scored[target, variant] = scored
        except EvaluationError as error:
            for variant in variants:
                self.scored.pop((target, variant), None)
            why = clause(error.what)
            if error.where:
                why = message("{what} ({where})", what=why, where=error.where)
            return {"accuracy": None, "refused": why}
        clean = self.scored[target, self.clean]
        failures = failure_summary(
            clean.distances,
            self.faces.same,
            clean.protocol.mean_threshold,
            acquired=clean.acquired,
            failed=clean.failed,
        )
        reasons = variants[self.clean].get("failures", {})
        images = [
            {
                "image": int(image),
                "reason": reasons.get(str(image), "no embedding"),
                "pairs": np.flatnonzero(self.faces.pairs_with(image) & ~clean.acquired),
            }
            for image in np.flatnonzero(clean.failed)
        ]
        numbers = headline(clean, self.faces.same)
        names = (self.faces.name, self.faces.source)
        return numbers | {
            "published": published(
                self.architecture, names, self.faces.n_pairs, numbers["accuracy"]
            ),
            "every_pair": self._every_pair(target),
            **points(clean, self.faces.same, self.options["far_targets"]),
            "fixed_thresholds": [self._at(target, clean, *given) for given in self.fixed],
            "failures": asdict(failures) | {"images": images},
            "variants": {v: headline(self.scored[target, v], self.faces.same) for v in variants},
            "custody": of_scores(
                self.run, self.faces, self.batch_size, target, variants, self.options["folds"]
            ),
        }

    def _every_pair(self, target: str) -> dict[str, Any] | None:
        """Return the rates over every pair of pictures, where the set asks for them."""
        if self.faces.record.get("pairs") != ALL:
            return None
        path = self.run.embeddings(self.batch_size, target, self.clean)
        arrays = self.run.arrays(path, stage="4_infer", batch_size=self.batch_size)
        used = ~arrays["failed"]
        vectors, people = arrays["vectors"][used], self.faces.identity[used]
        found = all_pairs(vectors, people, self.options["far_targets"])
        none = {"interval": None, "interval_reason": NO_INTERVAL}
        counts = {"n_genuine": found.n_genuine, "n_impostor": found.n_impostor}
        return {
            "n_images": found.n_images,
            **counts,
            "eer": {"value": found.eer, "threshold": found.eer_threshold} | counts | none,
            "tar_at_far": [row if "refused" in row else row | none for row in found.tar_at_far],
        }

    def _at(self, target: str, clean: Scored, source: str, find: Any) -> dict[str, Any]:
        """Judge a target at one threshold that was fixed beforehand."""
        try:
            threshold = find(target, self.batch_size)
        except EvaluationError as error:
            return {"source": source, "refused": error.what}
        used = clean.acquired
        distances, same = clean.distances[used], self.faces.same[used]
        people = self.identities.take(used)
        return {"source": source} | rates_at_threshold(distances, same, threshold, people)


def fixed_threshold(given: float | str) -> tuple[str, Any]:
    """Return where a threshold fixed beforehand comes from, and how to find it for a cell."""
    if isinstance(given, str):
        return given, threshold_of(resolve(given), given)
    return "fixed beforehand", lambda target, batch_size: float(given)


def identities_of(faces: FaceSet) -> PairIdentities:
    """Return who is on each side of a set's pairs."""
    left, right, n, identity = faces.compared()
    return pair_identities(left, right, faces.same, n, identity)


def changed_sides(base: Scored, own: Scored, faces: FaceSet) -> dict[str, Any]:
    """Count the pairs that two builds decide differently, each at its own thresholds."""
    flips = flipped_pairs(
        base.distances,
        base.pair_thresholds(),
        own.distances,
        own.pair_thresholds(),
        faces.same,
        base.acquired & own.acquired,
    )
    return {
        "flipped_pairs": len(flips.indices),
        "lost": flips.lost,
        "gained": flips.gained,
        "mcnemar_p": mcnemar_exact(len(flips.lost), len(flips.gained)),
        "n_pairs": flips.n,
    }


def health(judge: Judge, reference: str) -> list[dict[str, Any]]:
    """Examine a set; doubtful labels as the reference sees them, or the first target."""
    clean = {target: s for (target, name), s in judge.scored.items() if name == judge.clean}
    seen = clean.get(reference) or next(iter(clean.values()), None)
    left, right, _, _ = judge.faces.compared()
    found = set_health(
        left,
        right,
        judge.faces.same,
        fold_numbers(judge.faces.n_pairs, judge.options["folds"]),
        judge.identities,
        seen and seen.distances,
    )
    return [finding.to_json() for finding in found]


def judge_sets(
    judges: dict[str, Judge], entries: dict[str, Any], embedded: dict[str, Any], reference: str
) -> dict[str, Any]:
    """Judge every target on every further set, each by its own pairs, folds and people.

    Parameters
    ----------
    judges : dict
        By the set's key.
    entries : dict
        Per target, the reference first; the ones that are ok get ``sets``.
    embedded : dict
        Per target what ``4_infer`` says of it.
    reference : str

    Returns
    -------
    dict
        Per set its ``name``, ``folds``, counts and what is odd about it.
    """
    for name, entry in entries.items():
        if entry["status"] == OK:
            entry["sets"] = {}
            for key, judge in judges.items():
                counts = embedded[name].get("sets", {}).get(key)
                if counts is None:
                    entry["sets"][key] = {"status": UNAVAILABLE, "reason": NOT_EMBEDDED}
                    continue
                variants = {judge.clean: counts}
                found = attempt(functools.partial(judge.accuracy, name, variants))
                if found["status"] == OK and found["accuracy"] is not None:
                    del found["variants"]  # this set has none
                    base = judge.scored.get((reference, judge.clean))
                    if base is None:
                        parity = {
                            "refused": message(
                                "the reference ({reference}) has no embeddings of this set",
                                reference=reference,
                            )
                        }
                    else:
                        parity = changed_sides(base, judge.scored[name, judge.clean], judge.faces)
                    found["parity"] = {"reference": reference} | parity
                entry["sets"][key] = found
            # The chain of custody is told per target, whatever the set.
            for own in entry["sets"].values():
                entry.setdefault("custody", []).extend(own.pop("custody", []))
    return {
        key: {
            "name": judge.faces.name,
            "folds": judge.options["folds"],
            "n_pairs": judge.faces.n_pairs,
            "set_health": health(judge, reference) if judge.scored else [],
        }
        for key, judge in judges.items()
    }
