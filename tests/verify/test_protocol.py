import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify.protocol import (
    exact_protocol,
    fold_numbers,
    guide_protocol,
    guide_thresholds,
)

GRID = [float(t) for t in np.arange(0, 4, 0.01)]


def decide(threshold, distances, same):
    """Count true and false positives and negatives one pair at a time."""
    tp = fp = tn = fn = 0
    for distance, genuine in zip(distances, same, strict=True):
        if distance < threshold:
            tp, fp = tp + genuine, fp + (not genuine)
        else:
            fn, tn = fn + genuine, tn + (not genuine)
    tpr = 0.0 if tp + fn == 0 else float(tp) / float(tp + fn)
    fpr = 0.0 if fp + tn == 0 else float(fp) / float(fp + tn)
    return tpr, fpr, float(tp + tn) / len(distances), fp + fn


def by_loops(distances, same, folds, acquired):
    """Follow the published description of the protocol, with a loop for everything."""
    tprs, fprs = np.zeros((folds, len(GRID))), np.zeros((folds, len(GRID)))
    accuracy, best, errors = np.zeros(folds), np.zeros(folds), 0
    for fold, (train, test) in enumerate(KFold(folds, shuffle=False).split(distances)):
        train, test = train[acquired[train]], test[acquired[test]]
        train_d, train_s = distances[train].tolist(), same[train].tolist()
        test_d, test_s = distances[test].tolist(), same[test].tolist()
        chosen, chosen_accuracy = None, -1.0
        for column, threshold in enumerate(GRID):
            at_threshold = decide(threshold, train_d, train_s)[2]
            if at_threshold > chosen_accuracy:
                chosen, chosen_accuracy = threshold, at_threshold
            tprs[fold, column], fprs[fold, column] = decide(threshold, test_d, test_s)[:2]
        best[fold] = chosen
        accuracy[fold], wrong = decide(chosen, test_d, test_s)[2:]
        errors += wrong
    return np.mean(tprs, 0), np.mean(fprs, 0), accuracy, best, errors


def assert_equal_to_loops(distances, same, folds, acquired):
    tpr, fpr, accuracy, best, errors = by_loops(distances, same, folds, acquired)
    result = guide_protocol(distances, same, folds=folds, acquired=acquired)
    assert (result.tpr == tpr).all()
    assert (result.fpr == fpr).all()
    assert (result.accuracy == accuracy).all()
    assert (result.best_thresholds == best).all()
    assert result.errors == errors
    assert result.n == acquired.sum()
    assert result.mean_accuracy == accuracy.mean()
    assert result.mean_threshold == best.mean()


def make(seed, n, kind):
    rng = np.random.default_rng(seed)
    same = rng.random(n) < rng.choice([0.1, 0.5, 0.9])
    distances = np.clip(rng.normal(np.where(same, 1.0, 1.9), 0.4), 0, 4.1)
    if kind == "grid":
        distances = np.asarray(GRID)[np.minimum(np.rint(distances * 100), 399).astype(int)]
    elif kind == "beside":
        distances = np.asarray(GRID)[np.minimum(np.rint(distances * 100), 399).astype(int)]
        away = rng.choice([-np.inf, np.inf], n)
        moved = np.maximum(np.nextafter(distances, away), 0)
        distances = np.where(rng.random(n) < 0.6, moved, distances)
    elif kind == "few":
        distances = rng.choice([0.0, 0.01, 0.29, 1.41, 3.98, 3.99, 4.0], n)
    return distances, same


@pytest.mark.parametrize("kind", ["smooth", "grid", "beside", "few"])
@pytest.mark.parametrize("seed", range(6))
def test_equal_to_the_loops_to_the_last_bit(seed, kind):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(25, 90))
    distances, same = make(seed, n, kind)
    assert_equal_to_loops(distances, same, [2, 3, 5, 7, 10, 4][seed], np.ones(n, bool))


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_the_loops_when_pairs_are_missing(seed):
    distances, same = make(seed, 80, "grid")
    acquired = np.random.default_rng(100 + seed).random(80) < 0.7
    distances[~acquired] = np.nan
    assert_equal_to_loops(distances, same, 5, acquired)


def by_fold(distances, same, folds):
    """Follow the description with a loop over folds; `by_loops` also loops over thresholds."""
    accuracy, best, tprs, fprs = [], [], [], []
    for train, test in KFold(folds).split(distances):
        accepted = distances[None] < np.array(GRID)[:, None]
        right = accepted == same[None]
        chosen = int(np.argmax(right[:, train].mean(axis=1)))
        accuracy.append(right[chosen, test].mean())
        best.append(GRID[chosen])
        for rates, members in ((tprs, test[same[test]]), (fprs, test[~same[test]])):
            rates.append(accepted[:, members].sum(axis=1) / max(1, len(members)))
    return np.mean(tprs, 0), np.mean(fprs, 0), np.array(accuracy), np.array(best)


def test_equal_on_a_thousand_random_sets():
    """Tiny sets with ties, grid points, repeated scores, and folds of one class."""
    rng = np.random.default_rng(11)
    for _ in range(1000):
        n, folds = int(rng.integers(4, 40)), int(rng.integers(2, 5))
        distances, same = make(int(rng.integers(10**9)), n, rng.choice(["grid", "beside", "few"]))
        if rng.random() < 0.3:
            same = np.arange(n) < n // 2
        result = guide_protocol(distances, same, folds=folds)
        tpr, fpr, accuracy, best = by_fold(distances, same, folds)
        assert np.array_equal(result.tpr, tpr)
        assert np.array_equal(result.fpr, fpr)
        assert np.array_equal(result.accuracy, accuracy)
        assert np.array_equal(result.best_thresholds, best)


@settings(max_examples=25)
@given(st.data())
def test_equal_to_the_loops_on_any_small_set(data):
    on_grid = st.sampled_from(GRID)
    n = data.draw(st.integers(2, 14))
    distance = st.one_of(on_grid, st.floats(0, 4.2))
    distances = np.array(data.draw(st.lists(distance, min_size=n, max_size=n)))
    same = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    folds = data.draw(st.integers(2, min(n, 4)))
    assert_equal_to_loops(distances, same, folds, np.ones(n, bool))


def test_the_guides_size_gives_the_guides_kind_of_numbers():
    distances, same = make(0, 6000, "grid")
    result = guide_protocol(distances, same)
    assert result.n == 6000
    # Ten equal folds: the mean accuracy is the fraction of right decisions.
    assert result.mean_accuracy == pytest.approx(1 - result.errors / 6000, abs=1e-15)
    spread = np.sqrt(((result.accuracy - result.mean_accuracy) ** 2).sum() / 9)
    assert result.standard_error == pytest.approx(spread / np.sqrt(10), rel=1e-12)


def test_a_distance_on_a_threshold_is_refused_there():
    distances, same = np.full(4, GRID[141]), np.ones(4, bool)
    result = guide_protocol(distances, same, folds=2)
    assert (result.tpr[:142] == 0).all()
    assert (result.tpr[142:] == 1).all()
    assert (result.best_thresholds == GRID[142]).all()


def test_float32_distances_are_decided_in_float64():
    # Rounded to float32, 0.29 lies just below the grid's 0.29; in float32 it would lie on it.
    distances = np.full(4, 0.29, np.float32)
    result = guide_protocol(distances, np.ones(4, bool), folds=2)
    assert (result.best_thresholds == GRID[29]).all()
    assert (guide_protocol(np.full(4, 0.29), np.ones(4), folds=2).best_thresholds == GRID[30]).all()


def test_distances_beyond_the_grid_are_never_accepted():
    result = guide_protocol([3.99, 4.0, 3.99, 4.0], np.ones(4, bool), folds=2)
    assert result.errors == 4
    assert (result.tpr == 0).all()
    assert (result.best_thresholds == 0).all()


@pytest.mark.parametrize("label", [True, False])
def test_one_class_alone_counts_its_absent_rate_as_zero(label):
    result = guide_protocol([0.5, 0.6, 0.7, 0.8], np.full(4, label), folds=2)
    absent = result.fpr if label else result.tpr
    present = result.tpr if label else result.fpr
    assert (absent == 0).all()
    assert present.max() == 1


@given(st.integers(2, 300), st.data())
def test_folds_are_those_of_scikit_learn(n, data):
    folds = data.draw(st.integers(2, min(n, 12)))
    expected = np.empty(n, int)
    for fold, (_, test) in enumerate(KFold(folds).split(np.zeros(n))):
        expected[test] = fold
    assert (fold_numbers(n, folds) == expected).all()


def test_thresholds_are_the_four_hundred_of_the_script():
    assert guide_thresholds().tolist() == GRID
    assert len(GRID) == 400


def test_impossible_requests_are_refused():
    with pytest.raises(EvaluationError, match="3 pairs cannot be split into 10 folds"):
        guide_protocol([0.1, 0.2, 0.3], [True, False, True])
    with pytest.raises(EvaluationError, match="1 folds"):
        guide_protocol([0.1, 0.2, 0.3], [True, False, True], folds=1)
    with pytest.raises(EvaluationError, match="not finite"):
        guide_protocol([0.1, np.nan], [True, False], folds=2)
    with pytest.raises(EvaluationError, match="1 of 2 folds") as error:
        guide_protocol(np.ones(4), np.ones(4), folds=2, acquired=[True, True, False, False])
    assert error.value.where == "fold 2"


def by_trying_all(distances, same, order):
    """Return the fewest errors that any threshold makes on these pairs, and the first that does."""
    values = np.unique(distances[order])
    between = (values[1:] + values[:-1]) / 2
    candidates = [values[0], *between, np.nextafter(values[-1], np.inf)]
    wrong = [int(((distances[order] < t) != same[order]).sum()) for t in candidates]
    return min(wrong), candidates[int(np.argmin(wrong))]


@given(st.integers(0, 10_000))
def test_exact_thresholds_are_the_best_of_all_that_there_are(seed):
    rng = np.random.default_rng(seed)
    n, folds = int(rng.integers(8, 40)), int(rng.integers(2, 5))
    # Few different values, so that many distances are equal, and far below a step of the grid.
    distances = rng.integers(0, 12, n) * 1e-4
    same = rng.random(n) < 0.5
    acquired = rng.random(n) < 0.9
    fold = fold_numbers(n, folds)
    acquired[[np.flatnonzero(fold == f)[0] for f in range(folds)]] = True
    right, thresholds, best = exact_protocol(distances, same, folds=folds, acquired=acquired)
    for f in range(folds):
        train, own = np.flatnonzero(acquired & (fold != f)), acquired & (fold == f)
        fewest, first = by_trying_all(distances, same, train)
        assert ((distances[train] < thresholds[f]) != same[train]).sum() == fewest
        assert thresholds[f] == first
        assert (right[own] == ((distances[own] < thresholds[f]) == same[own])).all()
    assert not right[~acquired].any()
    assert best == by_trying_all(distances, same, np.flatnonzero(acquired))[1]


def test_a_grid_that_is_too_coarse_is_no_matter_to_exact_thresholds():
    distances = np.tile([0.0010, 0.0040, 0.0012, 0.0043], 20)
    same = np.tile([True, False], 40)
    assert guide_protocol(distances, same).mean_accuracy == 0.5
    assert exact_protocol(distances, same)[0].all()
