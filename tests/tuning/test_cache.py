"""Measured once per machine and key; anything doubtful is measured again."""

import pytest

from lresnet_utils.tuning import cache
from lresnet_utils.tuning.cache import remembered


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
    monkeypatch.setattr(cache, "machine_key", lambda: {"cpu": "another"})
    assert not remembered(tmp_path, {"target": "a"}, measured)["reused"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"key": {}, "result": {"rate": 9}}'])
def test_a_damaged_or_foreign_file_is_replaced(tmp_path, measured, damage):
    remembered(tmp_path, {"target": "a"}, measured)
    (file,) = tmp_path.glob("*.json")
    file.write_bytes(damage)
    assert remembered(tmp_path, {"target": "a"}, measured)["rate"] == 2
    assert remembered(tmp_path, {"target": "a"}, measured)["reused"]
