"""A file counts as untouched only while everything the system says of it is the same."""

import json
import os
import shutil
import time

import pytest

from lresnet_utils.ledger import hashes
from lresnet_utils.ledger.hashes import Hashes
from lresnet_utils.machine.disk import sha256_file


def settled(path, text):
    """Write a file that looks as if it had been there for a while."""
    path.write_text(text)
    old = time.time() - 100
    os.utime(path, (old, old))


def tick(path):
    """Let the clock of the file system, which has steps, pass the last change of what is there."""
    latest = max(p.stat().st_ctime_ns for p in [path, *path.rglob("*")])
    probe = path.parent / "probe"
    while not probe.exists() or probe.stat().st_ctime_ns <= latest:
        probe.write_text("")


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
    tick(tmp_path / "a")
    (tmp_path / "a").write_text("two")
    os.utime(tmp_path / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known.of(tmp_path / "a")["sha256"] != first["sha256"]
    assert hashed == ["a", "a"]


def test_a_file_that_was_just_written_is_not_trusted_to_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "_SETTLED_S", 600.0)  # this machine may be busy
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


@pytest.fixture
def people(tmp_path):
    """A folder of two people with a picture each: of one size, and changed at the same time."""
    for name, text in (("a", "one"), ("b", "two")):
        (tmp_path / "people" / name).mkdir(parents=True)
        (tmp_path / "people" / name / "1.png").write_text(text)
        os.utime(tmp_path / "people" / name / "1.png", ns=(10**18, 10**18))
    return tmp_path / "people"


def exchange(people):
    a, b = people / "a" / "1.png", people / "b" / "1.png"
    a.rename(people.parent / "kept")
    b.rename(a)
    (people.parent / "kept").rename(b)


def copy_over(people):
    a, b = people / "a" / "1.png", people / "b" / "1.png"
    other = shutil.copy2(a, people.parent / "kept")
    shutil.copy2(b, a)
    shutil.copy2(other, b)


def unpack_over(people):
    for name, text in (("a", "two"), ("b", "one")):
        (people / name / "1.png").write_text(text)
        os.utime(people / name / "1.png", ns=(10**18, 10**18))


@pytest.mark.parametrize("swap", [exchange, copy_over, unpack_over])
def test_a_folder_whose_pictures_change_places_is_another(people, monkeypatch, swap):
    monkeypatch.setattr(hashes, "_SETTLED_S", -1.0)
    known = Hashes()
    before = known.of(people)
    assert known.of(people) == before == Hashes().of(people)
    tick(people)
    swap(people)
    assert {path.stat().st_mtime_ns for path in people.rglob("*.png")} == {10**18}
    assert known.of(people)["bytes"] == before["bytes"] == 6
    assert known.of(people)["sha256"] != before["sha256"]


def test_a_folder_is_read_once_and_is_the_same_wherever_it_lies(people, tmp_path, monkeypatch):
    hashed = counting(monkeypatch)
    known = Hashes(tmp_path / "memory.json")
    about = known.of(people)
    known.keep()
    assert Hashes(tmp_path / "memory.json").of(people) == about
    assert len(hashed) == 2
    assert Hashes(tmp_path / "memory.json", fresh=True).of(people) == about
    assert len(hashed) == 4
    assert Hashes().of(shutil.copytree(people, tmp_path / "again")) == about
    (people / "c.png").write_text("")
    assert known.of(people) != about


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "pipe")
    assert Hashes().of(tmp_path / "pipe") is None
    assert Hashes().of(tmp_path / "folder")["bytes"] == 0


@pytest.mark.parametrize("form", ["[{path}]", "{{}}", '{{"{path}": 3}}', '{{"{path}": {known}}}'])
@pytest.mark.parametrize("kept", [True, False])
def test_a_memory_of_other_types_or_that_others_wrote_is_empty(tmp_path, form, kept):
    """One that tells the truth about the file but for its hash, among those."""
    path, memory = tmp_path / "a", tmp_path / "memory.json"
    settled(path, "one")
    about = path.stat()
    stamp = [about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns]
    text = form.format(path=json.dumps(str(path))[1:-1], known=json.dumps([*stamp, "f" * 64]))
    memory.write_text(f'{{"files": {text}, "seal": "{"0" * 64}"}}' if kept else text)
    assert Hashes(memory).of(path)["sha256"] == sha256_file(path)
