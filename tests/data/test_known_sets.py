"""Published figures: matched by set and network, and compared only where that is fair."""

import pytest

from lresnet_utils.data.known_sets import known_set, licence_of, published

MEASURED = {"value": 0.9952, "low": 0.993, "high": 0.997, "n": 6000}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("CFP-FP",), "cfp_fp"),
        (("a set", "data/agedb_30.bin"), "agedb_30"),
        (("AgeDB-30",), "agedb_30"),
        (("lfw",), "lfw"),
        (("ORL", "orl"), None),
    ],
)
def test_sets_are_known_by_name_or_file(names, found):
    assert known_set(*names) == found


@pytest.mark.parametrize(("low", "high", "inside"), [(0.993, 0.997, True), (0.996, 0.999, False)])
def test_inside_is_a_matter_of_the_interval(low, high, inside):
    (row,) = published("ir_se50", ("LFW",), 6000, MEASURED | {"low": low, "high": high})
    assert row["inside"] is inside and row["published"] == 0.9952
    assert f"lies {'inside' if inside else 'outside'}" in row["sentence"]
    assert "TreB1eN" in row["source"] and "6,000 pairs" in row["sentence"]


def test_figures_over_other_pairs_or_without_an_interval_are_not_compared():
    (row,) = published("ir_se50", ("LFW",), 24, MEASURED)
    assert "24 pairs and LFW has 6,000" in row["refused"] and "inside" not in row
    (row,) = published("ir_se50", ("LFW",), 6000, MEASURED | {"low": None})
    assert "no interval" in row["refused"]
    (row,) = published("ir_se50", ("LFW",), 6000, None)
    assert "no accuracy was measured" in row["sentence"]


def test_what_nobody_published_is_not_compared():
    assert published("ir_se152", ("LFW",), 6000, MEASURED) == []
    assert published("ir_se50", ("ORL",), 3600, MEASURED) == []
    assert len(published("iresnet50", ("lfw",), 6000, MEASURED)) > 3, "one row per training set"


def test_terms_follow_the_name_of_a_file():
    assert "Non-commercial" in licence_of("data/cfp_fp.bin")["licence"]
    assert licence_of("model/model_ir_se50.pth")["title"] == "TreB1eN's IR-SE50 checkpoint"
    assert "Huang" in licence_of("data/lfw")["licence"]
    assert licence_of("packaged") is None and licence_of("") is None and licence_of("orl") is None
