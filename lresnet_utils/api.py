"""What a notebook of one's own needs: evaluate scores or embeddings, and run a params file.

``import lresnet_utils as lr`` gives these names, and those they are drawn and compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lresnet_utils.comparison.reports import Comparison, compare_reports
from lresnet_utils.comparison.sources import open_report
from lresnet_utils.data.collection import deal_people, draw_folds
from lresnet_utils.errors import EvaluationError, RunError
from lresnet_utils.machine.disk import read_json
from lresnet_utils.params import load_params
from lresnet_utils.report.charts.recognition import (
    DetDisplay,
    FoldDisplay,
    RocDisplay,
    ScoreHistogramDisplay,
    ThresholdDisplay,
    ThresholdExplorer,
    threshold_explorer,
)
from lresnet_utils.report.show import Column, table_html
from lresnet_utils.results import check_results
from lresnet_utils.run import RunFolder
from lresnet_utils.text.numbers import fmt_percent
from lresnet_utils.verify.curves import Roc, error_rates
from lresnet_utils.verify.intervals import PairIdentities, pair_identities
from lresnet_utils.verify.protocol import guide_thresholds
from lresnet_utils.verify.scored_pairs import Scored, headline, points, scored_pairs
from lresnet_utils.verify.scores import checked_scores, score_pairs, unit_rows

FAR_TARGETS = (0.1, 0.01, 0.001, 0.0001)

# Of two unit vectors, with what rounding may add.
_LONGEST = 4.0001


@dataclass(frozen=True)
class PairEvaluation:
    """The numbers of one matcher on one set of pairs, and the charts they are drawn in.

    The last line of a cell shows it as a table.

    Attributes
    ----------
    name : str
        What the charts call the matcher.
    same : ndarray of bool, shape (n,)
        True for genuine pairs.
    scored : Scored
        Distances, protocol, curve and intervals.
    numbers : dict
        As a cell of ``results.json`` holds them: ``accuracy``, ``threshold``, ``eer``, ``auc``,
        ``tar_at_far``, ``minimum_cost``, ``decidability``, each with its counts and with the
        ``low`` and ``high`` of its 95 % interval, or ``interval_reason`` why it has none.
    """

    name: str
    same: np.ndarray
    scored: Scored
    numbers: dict[str, Any]

    def roc(self) -> RocDisplay:
        """Return the ROC, with its interval over people where there is one."""
        found = self.scored.intervals
        return RocDisplay.from_rocs({self.name: self._curve()}, found and found.band)

    def det(self) -> DetDisplay:
        """Return the DET curve, likewise."""
        found = self.scored.intervals
        return DetDisplay.from_rocs({self.name: self._curve()}, found and found.band)

    def thresholds(self) -> ThresholdDisplay:
        """Return accuracy and both errors at each threshold of the guide's grid."""
        used, grid = self.scored.acquired, guide_thresholds()
        rates = error_rates(self.scored.distances[used], self.same[used], grid)
        chosen = self.scored.protocol.mean_threshold
        return ThresholdDisplay(grid, *rates, chosen=chosen, target=self.name)

    def histogram(self) -> ScoreHistogramDisplay:
        """Return the distances of both kinds of pairs."""
        chosen = self.scored.protocol.mean_threshold
        return ScoreHistogramDisplay(self.scored.distances, self.same, chosen, target=self.name)

    def folds(self) -> FoldDisplay:
        """Return accuracy and threshold of every fold."""
        found = self.scored.protocol
        return FoldDisplay({self.name: found.accuracy}, {self.name: found.best_thresholds})

    def explore(self) -> ThresholdExplorer:
        """Return a slider for the threshold, for the last line of a cell."""
        scores = {self.name: (self.scored.distances, self.same)}
        return threshold_explorer(scores, self.scored.protocol.mean_threshold)

    def _curve(self) -> Roc:
        if self.scored.curve is None:
            raise EvaluationError(self.scored.no_curve)
        return self.scored.curve

    def _repr_html_(self) -> str:
        numbers, n = self.numbers, int(self.scored.acquired.sum())
        rows = [
            {"measure": "Accuracy", "value": numbers["accuracy"], "n": numbers["accuracy"]["n"]},
            {"measure": "EER", "value": numbers["eer"], "n": n},
            {"measure": "AUC", "value": numbers["auc"], "n": n},
        ]
        for row in numbers["tar_at_far"]:
            value = row if "refused" in row else row | {"value": row["tar"]}
            rows.append({"measure": f"TAR at FAR {row['far']:g}", "value": value, "n": n})
        columns = [
            Column("measure", "Rate"),
            Column("value", "Value", "95 %", fmt_percent),
            Column("n", "Pairs"),
        ]
        threshold = numbers["threshold"]["value"]
        return table_html(rows, columns, f"{self.name}; mean threshold {threshold:.3f}")


def evaluate_pairs(
    distances: ArrayLike,
    same: ArrayLike,
    *,
    people: ArrayLike | None = None,
    name: str = "scores",
    folds: int = 10,
    far_targets: Sequence[float] = FAR_TARGETS,
    bootstrap: int = 400,
    seed: int = 0,
) -> PairEvaluation:
    """Evaluate the distances of pairs by the guide's protocol, with intervals.

    Parameters
    ----------
    distances : array_like of float, shape (n,)
        Squared L2 distances of unit embeddings, from 0 to 4: for a cosine ``c``, ``2 - 2 * c``.
        NaN where a pair could not be compared; it is left out and counted.
    same : array_like of bool, shape (n,)
        True for genuine pairs.
    people : array_like, shape (n, 2), optional
        Who is on each side. Intervals are over people; without them accuracy and TAR have
        Wilson's, which takes pairs as independent, and EER and AUC have none.
    name : str
        What charts and tables call the matcher.
    folds : int
        Contiguous, as in the guide.
    far_targets : sequence of float
        False accept rates at which TAR is asked for.
    bootstrap, seed : int
        Replicates over people, and the seed of their draws.

    Returns
    -------
    PairEvaluation

    Raises
    ------
    EvaluationError
        When shapes do not fit, there are fewer pairs than folds, one class only, or a distance
        that two unit vectors cannot have.

    Examples
    --------
    >>> found = evaluate_pairs([0.2, 1.9, 0.2, 2.1], [True, False, True, False], folds=2)
    >>> found.numbers["accuracy"]["value"], found.numbers["eer"]["value"]
    (1.0, 0.0)
    """
    distances, same, _ = checked_scores(distances, same, ~np.isnan(np.asarray(distances, float)))
    wrong = np.flatnonzero(distances > _LONGEST)
    if len(wrong):
        raise EvaluationError(
            f"{distances[wrong[0]]:g} is no squared distance of unit vectors (0 to 4).",
            where=f"pair {wrong[0]}; {len(wrong)} of {len(distances)} pairs in all",
            fix="for cosine similarities c, give 2 - 2 * c",
        )
    if same.all() or not same.any():
        raise EvaluationError(
            f"All pairs are {'genuine' if same.all() else 'impostor'} pairs.",
            fix="an accuracy and a threshold need pairs of both kinds",
        )
    identities = None
    if people is not None:
        people = np.asarray(people)
        if people.shape != (len(same), 2):
            raise EvaluationError(
                f"People {people.shape} do not fit {len(same)} pairs.",
                fix="give two columns: who is on the left, and who on the right",
            )
        known = np.unique(people, return_inverse=True)[1].reshape(people.shape)
        identities = pair_identities(*known.T, same, known.max() + 1, np.arange(known.max() + 1))
    return _evaluated(name, distances, same, identities, folds, far_targets, bootstrap, seed)


def evaluate_embeddings(
    vectors: ArrayLike,
    people: ArrayLike,
    *,
    pairs: tuple[ArrayLike, ArrayLike] | None = None,
    name: str = "embeddings",
    folds: int = 10,
    far_targets: Sequence[float] = FAR_TARGETS,
    bootstrap: int = 400,
    seed: int = 0,
) -> PairEvaluation:
    """Evaluate embeddings whose people are known.

    Parameters
    ----------
    vectors : array_like, shape (n, d)
        Embeddings, one per image; scaled to unit length here.
    people : array_like, shape (n,)
        Who each image shows: numbers or names.
    pairs : (array_like of int, array_like of int), optional
        Image numbers of both sides of each pair, fold by fold. Without them as many genuine as
        impostor pairs are drawn in folds that share no person, the same at every call: as a run
        does with a folder of people.
    name, folds, far_targets, bootstrap, seed
        As in :func:`evaluate_pairs`.

    Returns
    -------
    PairEvaluation

    Raises
    ------
    EvaluationError
        When shapes do not fit, or an embedding is zero or not finite.
    DataError
        When there are too few people or images for so many folds.
    """
    unit = unit_rows(vectors)
    who = np.asarray(people)
    if who.shape != unit.shape[:1]:
        raise EvaluationError(
            f"{len(unit)} embeddings and people {who.shape} do not fit.",
            fix="say for each embedding who it shows",
        )
    who = np.unique(who, return_inverse=True)[1]
    if pairs is None:
        images = [np.flatnonzero(who == person).tolist() for person in range(who.max() + 1)]
        dealt = deal_people([len(own) for own in images], folds)
        left, right, _ = draw_folds(images, dealt, folds, name)
    else:
        left, right = (np.asarray(side) for side in pairs)
    distances, _ = score_pairs(unit, np.zeros(len(unit), bool), left, right)
    same = who[left] == who[right]
    identities = pair_identities(left, right, same, len(unit), who)
    return _evaluated(name, distances, same, identities, folds, far_targets, bootstrap, seed)


def _evaluated(
    name: str,
    distances: np.ndarray,
    same: np.ndarray,
    identities: PairIdentities | None,
    folds: int,
    far_targets: Sequence[float],
    bootstrap: int,
    seed: int,
) -> PairEvaluation:
    scored = scored_pairs(
        distances,
        ~np.isnan(distances),
        np.zeros(0, bool),
        same,
        identities,
        folds=folds,
        far_targets=list(far_targets),
        replicates=bootstrap,
        seed=seed,
    )
    numbers = headline(scored, same) | points(scored, same, list(far_targets))
    return PairEvaluation(name, same, scored, numbers)


def run_report(
    params: Path | str, *, output: Path | str | None = None, overrides: Iterable[str] = ()
) -> RunFolder:
    """Check a params file, execute the notebooks that must run, and publish the pages.

    Parameters
    ----------
    params : path
        Such as ``params/demo.yaml``.
    output : path, optional
        The run's folder; ``outputs/NAME`` by default.
    overrides : iterable of str
        ``key=value`` as with ``lresnet run --set``.

    Returns
    -------
    RunFolder
        ``index`` is its first page; :func:`read_results` reads its numbers.

    Raises
    ------
    LResNetError
        Of whatever kind, when something given is wrong: before work starts.
    RunError
        When a notebook or a cell failed; what was finished is kept.
    """
    from lresnet_utils.running import preflight  # brings torch
    from lresnet_utils.running.progress import execute_with_progress

    checked = load_params(params, overrides)
    run = RunFolder.open(output or Path("outputs") / checked.name)
    if execute_with_progress(checked, run, check=lambda: preflight.check(checked, run)):
        raise RunError(
            "Not every cell of the run is ok.",
            where=str(run.folder),
            fix=f"the reasons stand above and in {run.index.name}; what is finished is kept",
        )
    return run


def read_results(run: RunFolder | Path | str) -> dict[str, Any]:
    """Read the numbers of a run, as ``lresnet schema --results`` describes them.

    Parameters
    ----------
    run : RunFolder or path
        The run, or its folder.

    Returns
    -------
    dict
        What ``results.json`` holds; a cell's numbers are in ``cells``.

    Raises
    ------
    DataError
        When there is none, or it is no report.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.given(run)
    fix = "give the folder of a run, such as outputs/demo"
    return check_results(read_json(folder.results), folder.results, fix)


def compare(a: Path | str, b: Path | str, **options: Any) -> Comparison:
    """Compare two reports, each a run's folder, a ``results.json`` or an ``index.html``.

    Parameters
    ----------
    a, b : path
        The old and the new one.
    **options
        Of :func:`lresnet_utils.comparison.reports.compare_reports`.

    Returns
    -------
    Comparison
        Its ``record`` holds the verdicts and everything they rest on.
    """
    return compare_reports(open_report(a), open_report(b), **options)
