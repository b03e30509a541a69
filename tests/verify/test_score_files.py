import csv

import numpy as np

from lresnet_utils.verify.intervals import PairIdentities
from lresnet_utils.verify.score_files import write_csv, write_four_columns

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
