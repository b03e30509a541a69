"""JSON from anywhere: what Python's parser takes beyond the standard, and what would cost much."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lresnet_utils.errors import DataError
from lresnet_utils.untrusted.json import MAX_DEPTH, MAX_VALUES, parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=15,
)


@given(VALUES, st.booleans())
def test_what_json_holds_reads_back(value, escaped):
    data = json.dumps(value, ensure_ascii=escaped).encode("utf-8")
    assert parse_json(data, where="x") == value


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"NaN", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"1e999", "too large a number"),
        (b"9" * 5000, "more than 40 digits"),
        (b'{"a": 1, "b": {"a": 2}, "a": 3}', "'a' stands twice"),
        (b'"\\ud800"', "half a character"),
        (b'"\xff"', "not UTF-8"),
        (b"[1,", "line 1"),
        (b"[" * 100_000, f"more than {MAX_DEPTH} levels"),
        (b'{"a":' * 100_000, f"more than {MAX_DEPTH} levels"),
        (b"[" + b"1," * MAX_VALUES + b"1]", f"more than {MAX_VALUES:,} values"),
        (b"", "line 1"),
    ],
)
def test_the_rest_is_refused_in_three_lines(data, why):
    with pytest.raises(DataError) as refusal:
        parse_json(data, where="file.json")
    assert why in str(refusal.value) and "file.json" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) <= 3 and len(str(refusal.value)) < 300


def test_a_pair_of_escapes_is_one_character_and_brackets_in_text_are_text():
    assert parse_json(b'"\\ud83d\\ude00"', where="x") == "\U0001f600"
    assert parse_json(b'["[[[[", "]]"]', where="x") == ["[[[[", "]]"]
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert json.loads(deep) == parse_json(deep, where="x")
