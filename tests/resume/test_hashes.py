"""A file counts as untouched only while everything the system says of it is the same."""

import os
import time

from lresnet_utils.files import sha256_file
from lresnet_utils.resume import hashes
from lresnet_utils.resume.hashes import Hashes


def settled(path, text):
    """Write a file that looks as if it had been there for a while."""
    path.write_text(text)
    old = time.time() - 100
    os.utime(path, (old, old))


def counting(monkeypatch):
    hashed = []
    monkeypatch.setattr(hashes, "sha256_file", lambda p: hashed.append(p.name) or sha256_file(p))
    monkeypatch.setattr(hashes, "_SETTLED_S", -1.0)
    return hashed


def test_what_is_untouched_is_hashed_once_even_by_another_process(tmp_path, monkeypatch):
    hashed = counting(monkeypatch)
    settled(tmp_path / "a", "one")
    first = Hashes(tmp_path / "memory.json")
    about = first.of(tmp_path / "a")
    assert about == {"bytes": 3, "sha256": sha256_file(tmp_path / "a")}
    first.keep()
    assert Hashes(tmp_path / "memory.json").of(tmp_path / "a") == about
    assert hashed == ["a"]


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path, monkeypatch):
    hashed = counting(monkeypatch)
    settled(tmp_path / "a", "one")
    before = (tmp_path / "a").stat()
    known = Hashes()
    first = known.of(tmp_path / "a")
    (tmp_path / "a").write_text("two")
    os.utime(tmp_path / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known.of(tmp_path / "a")["sha256"] != first["sha256"]
    assert hashed == ["a", "a"]


def test_a_file_that_was_just_written_is_not_trusted_to_stay(tmp_path):
    (tmp_path / "a").write_text("one")
    known = Hashes(tmp_path / "memory.json")
    known.of(tmp_path / "a")
    known.keep()
    assert not (tmp_path / "memory.json").exists()


def test_nothing_there_and_a_damaged_memory(tmp_path):
    (tmp_path / "memory.json").write_text("{cut")
    known = Hashes(tmp_path / "memory.json")
    assert known.of(tmp_path / "absent") is None
    assert known.all([tmp_path / "absent"], tmp_path) == {}


def test_a_folder_is_known_by_names_sizes_and_times(tmp_path):
    (tmp_path / "people").mkdir()
    settled(tmp_path / "people" / "a", "one")
    before = Hashes().of(tmp_path / "people")
    assert Hashes().of(tmp_path / "people") == before
    settled(tmp_path / "people" / "b", "one")
    assert Hashes().of(tmp_path / "people") != before
