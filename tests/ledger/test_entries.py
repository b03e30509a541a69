"""A part is used again only while it was made from the same and its files are whole."""

import pytest

from lresnet_utils.ledger import FRESH, entries
from lresnet_utils.ledger.entries import Ledger
from lresnet_utils.machine.disk import read_json, write_json, write_text
from lresnet_utils.run import RunFolder


@pytest.fixture
def make(tmp_path):
    """Return a function that makes or keeps a part of one file; `make.made` counts."""
    run = RunFolder(tmp_path)
    file = tmp_path / "bs4" / "embeddings" / "a.npz"

    def kept(made_from, status="ok"):
        def work():
            kept.made += 1
            write_text(file, "whole")
            return {"status": status, "n": kept.made}

        ledger = Ledger.of_stage(run, "4_infer", 4, timed=True)
        return ledger.kept("a", made_from, work, lambda: [file])

    kept.made, kept.file = 0, file
    return kept


def test_the_same_is_made_once(make):
    assert make({"build": "x"}) == make({"build": "x"}) == {"status": "ok", "n": 1}
    assert make({"build": "y"})["n"] == 2


def test_a_file_that_is_cut_altered_or_gone_is_made_again(make):
    make({})
    for text in ("whol", "WHOLE", None):
        make.file.unlink()
        if text is not None:
            make.file.write_text(text)
        before = make.made
        make({})
        assert make.made == before + 1
        assert make.file.read_text() == "whole"


def test_what_failed_is_tried_again_and_a_damaged_record_is_none(make, tmp_path):
    make({}, status="failed")
    assert make({})["n"] == 2
    write_text(tmp_path / "resume" / "bs4" / "4_infer" / "a.json", '{"made_from"')
    assert make({})["n"] == 3


@pytest.mark.parametrize(
    "forged",
    [
        {"told": {"status": "ok", "n": 10}},
        {"told": [1]},
        {"files": 3},
        {"files": {}},
        {"made_from": None},
        {"seal": None},
        {"seal": "0" * 64},
    ],
)
def test_numbers_that_somebody_changed_are_measured_again(make, tmp_path, forged):
    make({})
    path = tmp_path / "resume" / "bs4" / "4_infer" / "a.json"
    write_json(path, read_json(path) | forged)
    assert make({})["n"] == 2
    assert make({})["n"] == 2


def test_what_another_user_made_is_made_again(make, monkeypatch, tmp_path):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "theirs"))
    make({})
    monkeypatch.delenv("JUPYTER_DATA_DIR")
    assert make({})["n"] == 2


def test_without_a_place_for_a_key_nothing_is_believed(make, monkeypatch, tmp_path):
    write_text(tmp_path / "file", "")
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "file" / "none"))
    assert [make({})["n"] for _ in range(2)] == [1, 2]


def test_other_code_versions_and_machines_count(make, monkeypatch):
    make({})
    for name in ("code_of", "versions", "machine_key"):
        monkeypatch.setattr(entries, name, lambda *_: {"other": "one"})
        before = make.made
        make({})
        assert make.made == before + 1


def test_fresh_keeps_nothing(make, monkeypatch):
    make({})
    monkeypatch.setenv(FRESH, "1")
    assert make({})["n"] == 2
