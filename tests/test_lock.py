"""One run per folder; whoever is second learns the owner's name."""

import json
import os
import platform
import time

import pytest

from lresnet_utils.errors import RunError
from lresnet_utils.lock import NAME, STALE_S, owner, run_lock


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
