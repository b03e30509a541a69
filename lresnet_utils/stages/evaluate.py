"""Stage 5: embeddings become distances, and distances become verdicts with intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.errors import EvaluationError
from lresnet_utils.files import write_arrays
from lresnet_utils.run import RunFolder, resolve
from lresnet_utils.stages.channels import judge_order
from lresnet_utils.stages.infer import CLEAN, open_faces
from lresnet_utils.stages.links import of_scores
from lresnet_utils.stages.scored import Scored, headline, points, scored_pairs
from lresnet_utils.stages.status import OK, attempt, carried, not_ok
from lresnet_utils.verify.compare import embedding_agreement, flipped_pairs, mcnemar_exact
from lresnet_utils.verify.curves import Roc, roc
from lresnet_utils.verify.export import write_csv, write_four_columns
from lresnet_utils.verify.failures import failure_summary
from lresnet_utils.verify.gates import guide_gate, paired_gate
from lresnet_utils.verify.health import set_health
from lresnet_utils.verify.identities import PairIdentities, pair_identities
from lresnet_utils.verify.protocol import fold_numbers
from lresnet_utils.verify.scores import score_pairs
from lresnet_utils.verify.transfer import rates_at_threshold, threshold_of

SEEDED = "the weights are random (seeded), so accuracy means nothing and is not evaluated"
IS_REFERENCE = "this is the reference itself"
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
    trained = run.record("1_export", batch_size)["network"]["trained"]
    embedded = carried(run, "4_infer", batch_size, targets)
    base = _vectors(run, batch_size, reference) if _has(embedded, reference) else None
    scored: dict[tuple[str, str], Scored] = {}
    entries: dict[str, Any] = {}
    if trained:
        identities = _identities(faces)
        thresholds = [_fixed(given) for given in fixed_thresholds]
        options = {"folds": folds, "far_targets": far_targets}
        options |= {"replicates": bootstrap, "seed": seed}
        work = _Work(run, faces, identities, batch_size, options, thresholds, scored)
    # The reference comes first: the others' flipped pairs are counted against its decisions.
    for name in sorted(embedded, key=lambda name: name != reference):
        if embedded[name]["status"] != OK:
            entries[name] = not_ok(embedded[name])
            continue
        if trained:
            entries[name] = attempt(lambda n=name: work.accuracy(n, embedded[n]["variants"]))
        else:
            entries[name] = {"status": OK, "reason": None, "accuracy": None, "refused": SEEDED}
        if entries[name]["status"] == OK:
            parity = _parity(run, batch_size, name, reference, base, scored, faces)
            entries[name]["parity"] = parity
            entries[name]["gates"] = _gates(
                entries[name], published_accuracy, reference, name == reference
            )
    record = {
        "trained": trained,
        "reference": reference,
        "folds": folds,
        "n_pairs": faces.n_pairs,
        "set_health": _health(faces, folds, scored, reference) if scored else [],
        "channel_test": _channel_test(run, faces, batch_size, scored, options) if trained else None,
        "targets": {name: entries[name] for name in targets},
    }
    return Evaluation(run.write_record("5_evaluate", batch_size, record), faces, scored)


def _channel_test(run, faces, batch_size, scored, options) -> dict[str, Any] | None:
    """Judge the channel order, where ``4_infer`` embedded the other one."""
    tested = run.record("4_infer", batch_size).get("channel_test")
    own = tested and scored.get((tested.get("target"), CLEAN))
    if own is None:
        return tested
    how = {key: options[key] for key in ("folds", "replicates", "seed")}
    used = own.distances, own.acquired
    return judge_order(run, faces, tested, used, batch_size=batch_size, **how)


@dataclass(frozen=True)
class _Work:
    """What evaluating one target needs, gathered once."""

    run: RunFolder
    faces: FaceSet
    identities: PairIdentities
    batch_size: int
    options: dict[str, Any]
    fixed: list[tuple[str, Any]]
    scored: dict[tuple[str, str], Scored]

    def accuracy(self, target: str, variants: dict[str, Any]) -> dict[str, Any]:
        """Score every variant of a target; the clean one carries the headline numbers."""
        for variant in variants:
            self.scored[target, variant] = self._score(target, variant)
        clean = self.scored[target, CLEAN]
        failures = failure_summary(
            clean.distances,
            self.faces.same,
            clean.protocol.mean_threshold,
            acquired=clean.acquired,
            failed=clean.failed,
        )
        reasons = variants[CLEAN].get("failures", {})
        images = _failed_images(self.faces, clean.failed, reasons)
        return headline(clean) | {
            **points(clean, self.faces.same, self.options["far_targets"]),
            "fixed_thresholds": [self._at(target, clean, *given) for given in self.fixed],
            "failures": asdict(failures) | {"images": images},
            "variants": {v: headline(self.scored[target, v]) for v in variants},
            "custody": of_scores(
                self.run, self.batch_size, target, variants, self.options["folds"]
            ),
        }

    def _score(self, target: str, variant: str) -> Scored:
        path = self.run.embeddings(self.batch_size, target, variant)
        arrays = self.run.arrays(path, stage="4_infer", batch_size=self.batch_size)
        left, right, same = self.faces.left, self.faces.right, self.faces.same
        distances, acquired = score_pairs(arrays["vectors"], arrays["failed"], left, right)
        people, failed = self.identities, arrays["failed"]
        scored = scored_pairs(distances, acquired, failed, same, people, **self.options)
        path = self.run.scores(self.batch_size, target, variant)
        write_arrays(path, distances=distances, acquired=acquired, same=same)
        write_csv(path.with_suffix(".csv"), distances, same, left, right, people, scored.folds())
        write_four_columns(path.with_suffix(".txt"), distances, same, right, people)
        return scored

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


def _fixed(given: float | str) -> tuple[str, Any]:
    if isinstance(given, str):
        return given, threshold_of(resolve(given), given)
    return "fixed beforehand", lambda target, batch_size: float(given)


def _identities(faces: FaceSet) -> PairIdentities:
    return pair_identities(faces.left, faces.right, faces.same, faces.n_images, faces.identity)


def _health(faces: FaceSet, folds: int, scored: dict, reference: str) -> list[dict[str, Any]]:
    """Examine the set; doubtful labels as the reference sees them, or the first target."""
    clean = {target: s for (target, variant), s in scored.items() if variant == CLEAN}
    judge = clean.get(reference) or next(iter(clean.values()), None)
    found = set_health(
        faces.left,
        faces.right,
        faces.same,
        fold_numbers(faces.n_pairs, folds),
        _identities(faces),
        judge and judge.distances,
    )
    return [finding.to_json() for finding in found]


def _failed_images(faces: FaceSet, failed: np.ndarray, reasons: dict[str, str]) -> list[dict]:
    """Name each image that gave no embedding, why, and the pairs that it takes along."""
    return [
        {
            "image": int(image),
            "reason": reasons.get(str(image), "no embedding"),
            "pairs": np.flatnonzero((faces.left == image) | (faces.right == image)),
        }
        for image in np.flatnonzero(failed)
    ]


def _has(embedded: dict[str, Any], target: str) -> bool:
    return embedded.get(target, {}).get("status") == OK


def _vectors(run: RunFolder, batch_size: int, target: str) -> dict[str, np.ndarray]:
    path = run.embeddings(batch_size, target, CLEAN)
    return run.arrays(path, stage="4_infer", batch_size=batch_size)


def _parity(run, batch_size, name, reference, base, scored, faces) -> dict[str, Any]:
    """Compare a target with the reference: embeddings always, decisions where there are any."""
    if base is None:
        return {"refused": f"{NO_REFERENCE} ({reference})"}
    own = _vectors(run, batch_size, name)
    both = ~(own["failed"] | base["failed"])
    parity = {"reference": reference} | embedding_agreement(
        base["vectors"][both], own["vectors"][both]
    )
    if (name, CLEAN) not in scored or (reference, CLEAN) not in scored:
        return parity | {"flipped_pairs": None, "mcnemar_p": None, "refused": SEEDED}
    variants = sorted(
        {v for t, v in scored if t == name} & {v for t, v in scored if t == reference}
    )
    per_variant = {v: _flips(scored[reference, v], scored[name, v], faces) for v in variants}
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


def _flips(base: Scored, own: Scored, faces: FaceSet) -> dict[str, Any]:
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
