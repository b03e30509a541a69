"""Measured once per machine and key; anything doubtful is measured again."""

import pytest

from lresnet_utils.ledger import FRESH, code, entries
from lresnet_utils.ledger.entries import made_by, remembered
from lresnet_utils.machine.disk import read_json, write_json


@pytest.fixture
def measured():
    calls = []

    def measure():
        calls.append(1)
        return {"rate": len(calls)}

    measure.calls = calls
    return measure


def test_the_same_key_is_measured_once(tmp_path, measured):
    first = remembered(tmp_path, {"target": "a"}, measured)
    again = remembered(tmp_path, {"target": "a"}, measured)
    assert first == again | {"reused": False} and again["reused"]
    assert len(measured.calls) == 1 and first["measured_at"].endswith("+00:00")


def test_another_key_or_machine_is_measured_anew(tmp_path, measured, monkeypatch):
    remembered(tmp_path, {"target": "a"}, measured)
    assert not remembered(tmp_path, {"target": "b"}, measured)["reused"]
    monkeypatch.setattr(entries, "machine_key", lambda: {"cpu": "another"})
    assert not remembered(tmp_path, {"target": "a"}, measured)["reused"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": {}, "result": {"rate": 9}}'])
def test_a_damaged_or_foreign_file_is_replaced(tmp_path, measured, damage):
    remembered(tmp_path, {"target": "a"}, measured)
    (file,) = tmp_path.glob("*.json")
    file.write_bytes(damage)
    assert remembered(tmp_path, {"target": "a"}, measured)["rate"] == 2
    assert remembered(tmp_path, {"target": "a"}, measured)["reused"]


@pytest.mark.parametrize("rate", [1000, None])
def test_a_result_that_somebody_changed_is_measured_again(tmp_path, measured, rate):
    remembered(tmp_path, {"target": "a"}, measured)
    (file,) = tmp_path.glob("*.json")
    known = read_json(file)
    known["told"]["rate"] = rate
    write_json(file, known)
    found = remembered(tmp_path, {"target": "a"}, measured)
    assert found["rate"] == 2 and not found["reused"]


def test_a_run_that_does_all_anew_believes_only_itself(tmp_path, measured, monkeypatch):
    remembered(tmp_path, {"target": "a"}, measured)
    for number, run in enumerate(("one", "other"), start=2):
        monkeypatch.setenv(FRESH, run)
        for reused in (False, True):
            found = remembered(tmp_path, {"target": "a"}, measured)
            assert (found["rate"], found["reused"]) == (number, reused)
    monkeypatch.delenv(FRESH)
    assert remembered(tmp_path, {"target": "a"}, measured)["rate"] == 3


def edited(monkeypatch, name):
    """Let a file of the package have other contents."""
    real = code._hash
    monkeypatch.setattr(code, "_hash", lambda path: "" if path == code._ROOT / name else real(path))


@pytest.mark.parametrize(
    "name",
    [
        "verify/protocol.py",
        "verify/agreement.py",
        "targets/embed.py",
        "perf/timing.py",
        "perf/statistics.py",
        "tuning/judge.py",
        "targets/openvino/__init__.py",
        "graph/rewrite.py",
        "stages/compile.py",
    ],
)
def test_an_edit_of_whatever_a_search_imports_counts(tmp_path, measured, monkeypatch, name):
    remembered(tmp_path, {"target": "a"}, measured)
    edited(monkeypatch, name)
    assert not remembered(tmp_path, {"target": "a"}, measured)["reused"]


def test_no_module_that_searches_is_left_out():
    folders = ("tuning", "targets")
    own = {path for folder in folders for path in (code._ROOT / folder).rglob("*.py")}
    assert {code._below(path) for path in own} <= set(code.code_of(entries._SEARCHES))


@pytest.mark.parametrize("stage", ["compile", "infer", "perf"])
@pytest.mark.parametrize("reader", ["lfw", "csv", "folder"])
def test_a_reader_of_other_sets_has_no_part_in_what_is_built_embedded_and_timed(
    monkeypatch, stage, reader
):
    """What they make of a set is held by the hashes of its pictures and pairs."""
    before = made_by(f"lresnet_utils.stages.{stage}", timed=True)
    edited(monkeypatch, f"data/readers/{reader}.py")
    assert made_by(f"lresnet_utils.stages.{stage}", timed=True) == before
    assert "" in made_by("lresnet_utils.stages.preprocess", timed=False)["code"].values()
