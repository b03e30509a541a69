"""One run per folder; whoever is second learns the owner's name."""

import fcntl
import getpass
import json
import os
import platform
import time
from pathlib import Path

import pytest

from lresnet_utils.errors import RunError
from lresnet_utils.machine.locks import NAME, STALE_S, owner, run_lock


def test_the_second_is_refused_with_the_owners_name_in_three_lines(tmp_path):
    with run_lock(tmp_path) as left:
        assert left is None
        with pytest.raises(RunError) as refused, run_lock(tmp_path):
            pass
        words = str(refused.value)
        assert owner()["user"] in words and f"process {os.getpid()}" in words
        assert len(words.splitlines()) == 3
    assert list(tmp_path.iterdir()) == []
    with run_lock(tmp_path):
        pass


def test_a_lock_left_by_a_killed_process_is_taken_over_and_told(tmp_path):
    (tmp_path / NAME).write_text(json.dumps(owner() | {"user": "ann", "pid": 1}))
    with run_lock(tmp_path) as left:
        assert left.startswith(f"ann on {platform.node()}, process 1")
    (tmp_path / NAME).write_text("cut sho")
    with run_lock(tmp_path) as left:
        assert left is None


def test_an_owner_on_another_machine_is_believed_while_its_heart_beats(tmp_path):
    path = tmp_path / NAME
    path.write_text(json.dumps(owner() | {"host": "elsewhere"}))
    with pytest.raises(RunError, match="on elsewhere"), run_lock(tmp_path):
        pass
    assert path.exists()
    old = time.time() - STALE_S - 5
    os.utime(path, (old, old))
    with run_lock(tmp_path) as left:
        assert "on elsewhere" in left
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_vanishes_under_the_eyes_is_made_anew(tmp_path, monkeypatch):
    path, lock = tmp_path / NAME, fcntl.flock

    def ends_first(handle, kind):
        lock(handle, kind)
        monkeypatch.setattr(fcntl, "flock", lock)
        path.unlink()

    monkeypatch.setattr(fcntl, "flock", ends_first)
    with run_lock(tmp_path):
        assert path.exists()


def test_a_lock_that_vanishes_between_two_looks_is_made_anew(tmp_path, monkeypatch):
    path, looks = tmp_path / NAME, {"exists": Path.exists, "stat": Path.stat, "lstat": Path.lstat}
    gone = []

    def vanishing(name):
        def look(self, *args, **how):
            found = looks[name](self, *args, **how)
            if self == path and not gone:
                gone.append(name)
                path.unlink()
            return found

        return look

    for name in looks:
        monkeypatch.setattr(Path, name, vanishing(name))
    with run_lock(tmp_path):
        pass
    assert gone


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder", "dangling link"])
def test_what_is_no_lock_is_neither_followed_nor_waited_for(tmp_path, kind):
    victim, folder = tmp_path / "victim", tmp_path / "run"
    victim.write_text("mine")
    folder.mkdir()
    path = folder / NAME
    make = {
        "link": lambda: path.symlink_to(victim),
        "hard link": lambda: path.hardlink_to(victim),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "dangling link": lambda: path.symlink_to(tmp_path / "new"),
    }
    make[kind]()
    with pytest.raises(RunError, match="name of a run's lock") as refused, run_lock(folder):
        pass
    assert len(str(refused.value).splitlines()) == 3
    assert victim.read_text() == "mine" and not (tmp_path / "new").exists()
    assert os.path.lexists(path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everybody's files")
def test_a_lock_that_may_not_be_written_is_refused_with_its_owner(tmp_path):
    (tmp_path / NAME).write_text("{}")
    (tmp_path / NAME).chmod(0o444)
    with pytest.raises(RunError, match=getpass.getuser()), run_lock(tmp_path):
        pass


def test_a_lock_of_brackets_is_nobodys(tmp_path):
    (tmp_path / NAME).write_text("[" * 60000)
    with run_lock(tmp_path) as left:
        assert left is None
