"""Stage 5: embeddings become distances, and distances become verdicts with intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.errors import EvaluationError
from lresnet_utils.files import write_arrays
from lresnet_utils.run import RunFolder
from lresnet_utils.stages.infer import CLEAN, open_faces
from lresnet_utils.stages.scored import Scored, headline
from lresnet_utils.stages.status import OK, attempt, carried, not_ok
from lresnet_utils.verify.compare import embedding_agreement, flipped_pairs, mcnemar_exact
from lresnet_utils.verify.curves import Roc, roc, tar_at_far
from lresnet_utils.verify.failures import failure_summary
from lresnet_utils.verify.gates import guide_gate, paired_gate
from lresnet_utils.verify.protocol import guide_protocol
from lresnet_utils.verify.scores import score_pairs

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
) -> Evaluation:
    """Evaluate every target's embeddings by the guide's protocol and compare with a reference.

    Parameters
    ----------
    run : RunFolder
        Must hold the files of ``3_preprocess`` and ``4_infer``; gets one scores file per target
        and variant, and ``5_evaluate.json``.
    batch_size, targets, reference, folds, far_targets, published_accuracy
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
    # The reference comes first: the others' flipped pairs are counted against its decisions.
    for name in sorted(embedded, key=lambda name: name != reference):
        if embedded[name]["status"] != OK:
            entries[name] = not_ok(embedded[name])
            continue
        if trained:
            work = _Work(run, faces, batch_size, folds, far_targets, scored)
            entries[name] = attempt(lambda n=name, w=work: w.accuracy(n, embedded[n]["variants"]))
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
        "targets": {name: entries[name] for name in targets},
    }
    return Evaluation(run.write_record("5_evaluate", batch_size, record), faces, scored)


@dataclass(frozen=True)
class _Work:
    """What evaluating one target needs, gathered once."""

    run: RunFolder
    faces: FaceSet
    batch_size: int
    folds: int
    far_targets: list[float]
    scored: dict[tuple[str, str], Scored]

    def accuracy(self, target: str, variants: dict[str, Any]) -> dict[str, Any]:
        """Score every variant of a target; the clean one carries the headline numbers."""
        for variant in variants:
            self.scored[target, variant] = self._score(target, variant)
        clean = self.scored[target, CLEAN]
        distances, same = clean.distances[clean.acquired], self.faces.same[clean.acquired]
        failures = failure_summary(
            clean.distances,
            self.faces.same,
            clean.protocol.mean_threshold,
            acquired=clean.acquired,
            failed=clean.failed,
        )
        return headline(clean) | {
            "tar_at_far": tar_at_far(distances, same, self.far_targets) if clean.curve else [],
            "failures": asdict(failures),
            "variants": {v: headline(self.scored[target, v]) for v in variants},
        }

    def _score(self, target: str, variant: str) -> Scored:
        path = self.run.embeddings(self.batch_size, target, variant)
        arrays = self.run.arrays(path, stage="4_infer", batch_size=self.batch_size)
        left, right, same = self.faces.left, self.faces.right, self.faces.same
        distances, acquired = score_pairs(arrays["vectors"], arrays["failed"], left, right)
        protocol = guide_protocol(distances, same, folds=self.folds, acquired=acquired)
        write_arrays(
            self.run.scores(self.batch_size, target, variant),
            distances=distances,
            acquired=acquired,
            same=same,
        )
        try:
            curve, no_curve = roc(distances[acquired], same[acquired]), None
        except EvaluationError as error:
            curve, no_curve = None, error.what
        return Scored(distances, acquired, arrays["failed"], protocol, curve, no_curve)


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
