"""How one target's embeddings of one set are judged: its own pairs, folds and people."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lresnet_utils.data.face_set import FaceSet
from lresnet_utils.data.readers.folder import ALL
from lresnet_utils.data.zoo import published
from lresnet_utils.errors import EvaluationError
from lresnet_utils.machine.disk import write_arrays
from lresnet_utils.run import RunFolder, resolve
from lresnet_utils.stages.infer import CLEAN
from lresnet_utils.stages.links import of_scores
from lresnet_utils.targets.attempts import OK, UNAVAILABLE, attempt
from lresnet_utils.verify.agreement import flipped_pairs, mcnemar_exact
from lresnet_utils.verify.all_pairs import all_pairs
from lresnet_utils.verify.failures import failure_summary
from lresnet_utils.verify.health import set_health
from lresnet_utils.verify.identities import PairIdentities, pair_identities
from lresnet_utils.verify.protocol import fold_numbers
from lresnet_utils.verify.score_files import write_csv, write_four_columns
from lresnet_utils.verify.scored_pairs import Scored, headline, points, scored_pairs
from lresnet_utils.verify.scores import score_pairs
from lresnet_utils.verify.transfer import rates_at_threshold, threshold_of

ONE_CLASS = {
    True: "all pairs are genuine, so no threshold can be chosen or tested",
    False: "all pairs are impostor pairs, so no threshold can be chosen or tested",
}
NOT_EMBEDDED = "this target embeds one set only"
NO_INTERVAL = "none: every pair is counted in blocks; the drawn pairs have intervals over people"


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
                self.scored[target, variant] = self._score(target, variant)
        except EvaluationError as error:
            for variant in variants:
                self.scored.pop((target, variant), None)
            where = f" ({error.where})" if error.where else ""
            return {"accuracy": None, "refused": f"{error.what.rstrip('.')}{where}"}
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

    def _score(self, target: str, variant: str) -> Scored:
        path = self.run.embeddings(self.batch_size, target, variant)
        arrays = self.run.arrays(path, stage="4_infer", batch_size=self.batch_size)
        failed, same = arrays["failed"], self.faces.same
        left, right, _, _ = self.faces.compared()
        rows = self.faces.pooled(arrays["vectors"], failed)
        distances, acquired = score_pairs(*rows, left, right)
        people = self.identities
        scored = scored_pairs(distances, acquired, failed, same, people, **self.options)
        path = self.run.scores(self.batch_size, target, variant)
        write_arrays(path, distances=distances, acquired=acquired, same=same)
        write_csv(path.with_suffix(".csv"), distances, same, left, right, people, scored.folds())
        write_four_columns(path.with_suffix(".txt"), distances, same, right, people)
        return scored

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
            entry["sets"] = {
                key: _on_set(judge, name, embedded[name].get("sets", {}).get(key), reference)
                for key, judge in judges.items()
            }
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


def _on_set(judge: Judge, target: str, counts: dict | None, reference: str) -> dict[str, Any]:
    if counts is None:
        return {"status": UNAVAILABLE, "reason": NOT_EMBEDDED}
    found = attempt(lambda: judge.accuracy(target, {judge.clean: counts}))
    if found["status"] != OK or found["accuracy"] is None:
        return found
    del found["variants"]  # this set has none
    base = judge.scored.get((reference, judge.clean))
    if base is None:
        parity = {"refused": f"the reference ({reference}) has no embeddings of this set"}
    else:
        parity = changed_sides(base, judge.scored[target, judge.clean], judge.faces)
    return found | {"parity": {"reference": reference} | parity}
