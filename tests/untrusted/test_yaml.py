"""YAML without YAML 1.1's surprises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lresnet_utils.errors import ParamsError
from lresnet_utils.untrusted.yaml import MAX_BYTES, load_yaml, parse_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-3", -3),
        ("+7", 7),
        ("010", 10),
        ("true", True),
        ("null", None),
        ("", None),
        ("yes", "yes"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("2001-01-01", "2001-01-01"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1_000", "1_000"),
        ("'1e-3'", "1e-3"),
        ("[1, a]", [1, "a"]),
    ],
)
def test_scalars_mean_what_they_look_like(text, value):
    parsed = parse_scalar(text)
    assert parsed == value
    assert type(parsed) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_reads_back(number):
    assert parse_scalar(repr(number)) == number


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 1\na: 2\n", "stands twice"),
        ("a: &x [1]\nb: *x\n", "anchors and aliases"),
        ("1: a\n", "not a word"),
        ("a: [1\n", "Not valid YAML"),
        ("- a\n- b\n", "name: value"),
        ("a: !!python/object/apply:os.system [echo]\n", "Not valid YAML"),
        ("a: !!timestamp 2001-99-99\n", "Not valid YAML"),
        ("\x00", "Not valid YAML"),
    ],
)
def test_what_is_not_a_plain_mapping_is_refused_with_its_place(tmp_path, text, why):
    path = tmp_path / "p.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError) as refusal:
        load_yaml(path)
    assert why in str(refusal.value)
    assert "p.yaml" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) <= 3


def test_a_missing_a_binary_and_an_oversized_file_are_refused(tmp_path):
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    large = tmp_path / "l.yaml"
    large.write_text("a: " + "x" * MAX_BYTES)
    for path, why in [
        (tmp_path / "no.yaml", "No such file"),
        (binary, "UTF-8"),
        (large, f"more than {MAX_BYTES:,} bytes"),
    ]:
        with pytest.raises(ParamsError, match=why):
            load_yaml(path)
