import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lresnet_utils.errors import EvaluationError
from lresnet_utils.verify import scores
from lresnet_utils.verify.intervals import PairIdentities
from lresnet_utils.verify.scores import (
    checked_scores,
    score_pairs,
    squared_l2,
    unit_rows,
    worst_pairs,
    write_csv,
    write_four_columns,
)

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=finite))
def test_unit_rows_have_length_one_or_stay_zero(x):
    unit = unit_rows(x)
    zero = ~x.any(axis=1)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), np.where(zero, 0.0, 1.0), atol=1e-15)
    assert (np.sign(unit) == np.where(unit == 0, 0, np.sign(x))).all()


def test_unit_rows_agree_with_the_plain_formula():
    x = np.random.default_rng(0).normal(size=(50, 128)).astype(np.float32)
    expected = x.astype(float) / np.linalg.norm(x.astype(float), axis=1, keepdims=True)
    np.testing.assert_allclose(unit_rows(x), expected, rtol=1e-15, atol=0)
    assert unit_rows(x).dtype == np.float64


def test_unit_rows_mark_rows_that_are_not_finite():
    unit = unit_rows([[np.nan, 1.0], [np.inf, 1.0], [0.0, 2.0]])
    assert np.isnan(unit[:2]).all()
    assert unit[2].tolist() == [0.0, 1.0]


def test_distances_are_two_minus_two_cosines_in_double_precision():
    rng = np.random.default_rng(1)
    a, b = unit_rows(rng.normal(size=(40, 512))), unit_rows(rng.normal(size=(40, 512)))
    np.testing.assert_allclose(squared_l2(a, b), 2 - 2 * (a * b).sum(axis=1), atol=1e-14)
    small = a.astype(np.float32)
    exact = [sum((float(p) - float(q)) ** 2 for p, q in zip(u, v, strict=True))
             for u, v in zip(small, b, strict=True)]  # fmt: skip
    np.testing.assert_allclose(squared_l2(small, b), exact, rtol=1e-14)


def test_the_memory_layout_does_not_change_a_bit():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(30, 77)), rng.normal(size=(30, 77))
    assert (squared_l2(a, b) == squared_l2(np.asfortranarray(a), b[::-1][::-1])).all()
    assert (unit_rows(a) == unit_rows(np.asfortranarray(a))).all()


def test_score_pairs_equals_one_pair_at_a_time_and_leaves_failures_out(monkeypatch):
    monkeypatch.setattr(scores, "_CHUNK", 7)
    rng = np.random.default_rng(3)
    vectors = unit_rows(rng.normal(size=(20, 16))).astype(np.float32)
    failed = np.zeros(20, bool)
    failed[[4, 11]] = True
    vectors[4], vectors[11] = 0, np.nan
    left, right = rng.integers(0, 20, 60), rng.integers(0, 20, 60)
    distances, acquired = score_pairs(vectors, failed, left, right)
    for pair, (i, j) in enumerate(zip(left, right, strict=True)):
        if i in (4, 11) or j in (4, 11):
            assert np.isnan(distances[pair])
            assert not acquired[pair]
        else:
            assert distances[pair] == squared_l2(vectors[[i]], vectors[[j]])[0]
            assert acquired[pair]
    assert not acquired.all()
    assert acquired.any()


@pytest.mark.parametrize(
    ("left", "right", "word"),
    [([0], [3], "3 embeddings"), ([-1], [0], "-1"), ([0, 1], [0], "do not pair"),
     ([0.0], [1.0], "image numbers")],
)  # fmt: skip
def test_pairs_that_name_no_image_are_refused(left, right, word):
    with pytest.raises(EvaluationError, match=word):
        score_pairs(np.eye(3), np.zeros(3, bool), left, right)


def test_raw_or_broken_embeddings_are_refused_unless_marked_as_failed():
    vectors = np.eye(3)
    vectors[1] *= 22.0
    with pytest.raises(EvaluationError, match="length 22") as error:
        score_pairs(vectors, np.zeros(3, bool), [0], [2])
    assert error.value.where == "image 1"
    vectors[1] = np.nan
    with pytest.raises(EvaluationError, match="length nan"):
        score_pairs(vectors, np.zeros(3, bool), [0], [2])
    assert score_pairs(vectors, np.array([False, True, False]), [0], [2])[0] == [2.0]


def test_embeddings_that_do_not_fit_are_refused():
    with pytest.raises(EvaluationError, match="cannot be compared"):
        squared_l2(np.eye(2), np.eye(3))
    with pytest.raises(EvaluationError, match="rows of a table"):
        unit_rows([1.0, 2.0])
    with pytest.raises(EvaluationError, match="failure flag"):
        score_pairs(np.eye(3), np.zeros(2, bool), [0], [1])


def test_scores_that_cannot_be_evaluated_are_refused():
    for bad in (np.nan, np.inf, -0.1):
        with pytest.raises(EvaluationError, match="first") as error:
            checked_scores([1.0, bad], [True, False])
        assert error.value.where == "pair 1"
        checked_scores([1.0, bad], [True, False], [True, False])
    with pytest.raises(EvaluationError, match="no pair"):
        checked_scores([np.nan], [True], [False])
    with pytest.raises(EvaluationError, match="true or false"):
        checked_scores([1.0, 2.0], [1, -1])
    with pytest.raises(EvaluationError, match="fit together"):
        checked_scores([1.0, 2.0], [True])


# Score files.


DISTANCES = np.array([0.1 + 0.2, np.nan, 1.7])
SAME = np.array([True, False, False])
LEFT, RIGHT = np.array([0, 2, 4]), np.array([1, 3, 5])
PEOPLE = PairIdentities(np.array([0, 1, 2]), np.array([0, 3, 2]), 4, "known")


def test_the_csv_reads_back_to_the_last_bit(tmp_path):
    path = write_csv(tmp_path / "s.csv", DISTANCES, SAME, LEFT, RIGHT, PEOPLE, np.array([0, 0, 1]))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["distance"]) for row in (rows[0], rows[2])] == [0.1 + 0.2, 1.7]
    assert float(rows[2]["score"]) == 1 - 1.7 / 2
    assert (rows[1]["distance"], rows[1]["score"]) == ("", "")
    assert [row["label"] for row in rows] == ["1", "0", "0"]
    assert [row["fold"] for row in rows] == ["0", "0", "1"]
    assert (rows[1]["left_image"], rows[1]["right_identity"]) == ("2", "3")


def test_bobs_columns_are_genuine_exactly_where_the_label_says_so(tmp_path):
    path = write_four_columns(tmp_path / "s.txt", DISTANCES, SAME, RIGHT, PEOPLE)
    rows = [line.split() for line in path.read_text().splitlines()]
    assert [len(row) for row in rows] == [4, 4, 4]
    assert [claimed == real for claimed, real, _, _ in rows] == SAME.tolist()
    scores = np.array([float(row[3]) for row in rows])
    assert np.isnan(scores[1])
    assert scores[0] > scores[2]


# Worst.


@given(st.integers(0, 2**32 - 1), st.integers(0, 12))
def test_equal_to_sorting_a_plain_list(seed, k):
    rng = np.random.default_rng(seed)
    distances = rng.choice([0.5, 1.0, 1.4, 1.5, 2.0], 25)
    same, acquired = rng.random(25) < 0.5, rng.random(25) < 0.8
    acquired[0] = True
    distances[~acquired] = np.nan
    used = [i for i in range(25) if acquired[i]]
    genuine = sorted((i for i in used if same[i]), key=lambda i: (-distances[i], i))
    impostor = sorted((i for i in used if not same[i]), key=lambda i: (distances[i], i))
    worst = worst_pairs(distances, same, 1.4, k, acquired=acquired)
    assert worst.genuine.tolist() == genuine[:k]
    assert worst.impostor.tolist() == impostor[:k]
    assert worst.genuine_wrong.tolist() == [not distances[i] < 1.4 for i in genuine[:k]]
    assert worst.impostor_wrong.tolist() == [bool(distances[i] < 1.4) for i in impostor[:k]]
    assert worst.n_genuine_wrong == sum(not distances[i] < 1.4 for i in genuine)
    assert worst.n_impostor_wrong == sum(bool(distances[i] < 1.4) for i in impostor)


@pytest.mark.parametrize(("threshold", "k"), [(1.4, -1), (float("nan"), 3)])
def test_impossible_requests_are_refused(threshold, k):
    with pytest.raises(EvaluationError, match="Cannot list"):
        worst_pairs([0.5, 1.5], [True, False], threshold, k)
