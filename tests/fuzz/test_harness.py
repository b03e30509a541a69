"""The fuzzing loop notices every kind of failure, and damages the same way each time."""

import pytest
from fuzzkit.engine import damaged

SEEDS = (b"12 34 56", b"abc\ndef\n", b"")
NOTICED = {
    "raises": "crashes: ",
    "hangs": "hangs: over 1 s",
    "swells": "memory grew by ",
    "evaluates": "runs code or writes: exec",
    "unpickles": "runs code or writes: pickle.find_class",
    "starts": "runs code or writes: subprocess.Popen",
    "writes": "runs code or writes: open",
    "truncates": "accepts damage: AssertionError",
    "rambles": "a message of 4 lines",
}


@pytest.fixture(scope="module")
def outcomes(child):
    return child("broken", ",".join(["good", *NOTICED]), 12)


@pytest.mark.parametrize("reader", NOTICED)
def test_a_broken_reader_is_found(outcomes, reader):
    findings = outcomes[reader]["findings"]
    assert findings and all(NOTICED[reader] in finding for finding in findings), findings


def test_a_good_reader_is_not(outcomes):
    assert outcomes["good"]["findings"] == []
    assert outcomes["good"]["inputs"] == 12


def test_a_crash_of_c_code_is_a_finding_that_names_its_input(child):
    (outcome,) = child("broken", "dies", 12).values()
    assert "the process died: SIGSEGV" in outcome["findings"][0]
    assert outcome["findings"][0].startswith("dies/")


def test_the_same_key_gives_the_same_damage_and_others_other():
    made = [damaged(SEEDS, (b"token",), f"x/{number}") for number in range(300)]
    assert made == [damaged(SEEDS, (b"token",), f"x/{number}") for number in range(300)]
    assert len({data for _, data in made}) > 150
    # Whole inputs are among them: a reader that refuses everything would be found out.
    assert sum(data == SEEDS[which] for which, data in made) > 5
