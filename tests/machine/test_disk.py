"""Files are whole or absent."""

import errno
import os
import unicodedata

import numpy as np
import pytest

from lresnet_utils.errors import DataError, RunError
from lresnet_utils.machine import disk


def test_an_error_midway_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a" / "x.json"
    disk.write_json(path, {"a": 1})
    with pytest.raises(KeyError), disk.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert disk.read_json(path) == {"a": 1}
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]


def test_a_replaced_file_can_be_read_by_others(tmp_path):
    before = os.umask(0o022)
    path = disk.write_text(tmp_path / "x", "text")
    os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o002])
def test_who_may_read_a_file_is_for_the_mask_to_say(tmp_path, mask):
    before = os.umask(mask)
    try:
        written = disk.write_text(tmp_path / "x.json", "{}")
        plain = tmp_path / "plain"
        plain.touch()
    finally:
        os.umask(before)
    assert written.stat().st_mode == plain.stat().st_mode


def test_a_folder_that_is_a_file_is_refused_in_words(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(RunError, match="Cannot write here"):
        disk.write_text(blocker / "x", "text")


def test_json_keeps_order_takes_numpy_and_refuses_nan(tmp_path):
    path = tmp_path / "x.json"
    value = {"b": np.float32(0.5), "a": np.arange(3), "p": path}
    disk.write_json(path, value)
    assert list(disk.read_json(path)) == ["b", "a", "p"]
    assert disk.read_json(path)["a"] == [0, 1, 2]
    with pytest.raises(ValueError):
        disk.write_json(path, {"x": float("nan")})
    assert disk.read_json(path)["b"] == 0.5


def test_damaged_json_and_arrays_are_refused(tmp_path):
    path = tmp_path / "x"
    for reader in (disk.read_json, disk.read_arrays):
        with pytest.raises(DataError, match="does not exist"):
            reader(tmp_path / "absent")
        path.write_bytes(b"\xff{")
        with pytest.raises(DataError):
            reader(path)


def test_arrays_read_back_with_the_same_bytes_each_time(tmp_path):
    values = {"x": np.linspace(0, 1, 7), "flag": np.array([True, False])}
    first = disk.write_arrays(tmp_path / "1.npz", **values)
    second = disk.write_arrays(tmp_path / "2.npz", **values)
    assert first.read_bytes() == second.read_bytes()
    read = disk.read_arrays(first)
    assert all(np.array_equal(read[name], value) for name, value in values.items())


def test_pickled_arrays_are_not_read(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.array([os], dtype=object).astype(str).astype(object))
    with pytest.raises(DataError):
        disk.read_arrays(path)


def test_sha256_is_that_of_the_bytes(tmp_path):
    path = disk.write_text(tmp_path / "x", "abc")
    # The test vector of FIPS 180-2, appendix B.1.
    assert disk.sha256_file(path) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_streamed_table_has_the_bytes_of_a_whole_one(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    failed = np.array([True, False] * 2)
    whole = disk.write_arrays(tmp_path / "whole.npz", vectors=vectors, failed=failed)
    with disk.stream_arrays(tmp_path / "streamed.npz") as file:
        with file.table("vectors", 5) as write:
            for start, end in ((0, 0), (0, 2), (2, 3), (3, 5)):
                write(vectors[start:end])
        file.add("failed", failed)
    assert (tmp_path / "streamed.npz").read_bytes() == whole.read_bytes()


def test_a_table_without_rows_is_read_back(tmp_path):
    with disk.stream_arrays(tmp_path / "x.npz") as file, file.table("vectors", 0) as write:
        write(np.zeros((0, 4), np.float32))
    assert disk.read_arrays(tmp_path / "x.npz")["vectors"].shape == (0, 4)


@pytest.mark.parametrize(
    "blocks",
    [
        [],
        [np.zeros((2, 3))],
        [np.zeros((2, 3)), np.zeros((1, 4))],
        [np.zeros((2, 3)), np.zeros((1, 3), np.float32)],
        [np.zeros((4, 3))],
    ],
    ids=["nothing", "too few", "another width", "another type", "too many"],
)
def test_a_table_that_does_not_fit_leaves_no_file(tmp_path, blocks):
    with (
        pytest.raises(ValueError, match="row"),
        disk.stream_arrays(tmp_path / "x.npz") as file,
        file.table("vectors", 3) as write,
    ):
        for block in blocks:
            write(block)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "todo"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "make it writable"),
        (errno.EACCES, "choose a folder that can be written"),
    ],
)
def test_what_to_do_fits_what_the_disk_says(tmp_path, number, todo):
    refused = disk.cannot_write(tmp_path / "x", OSError(number, os.strerror(number)))
    assert todo in refused.fix
    assert os.strerror(number) in str(refused)


def test_json_holds_no_character_that_a_screen_would_obey(tmp_path):
    value = {"a\u202e": ["\x00\x1b\x7f\x9b\u2028\ufeff\U000e0001", "人脸\n\t"]}
    path = disk.write_json(tmp_path / "a.json", value)
    text = path.read_text(encoding="utf-8")
    assert "人脸" in text
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in text if c != "\n")
    assert disk.read_json(path) == value


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to a pipe"])
def test_what_is_no_file_is_not_replaced(tmp_path, kind):
    path, pipe = tmp_path / "x.json", tmp_path / "pipe"
    os.mkfifo(pipe)
    make = {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}
    make.get(kind, lambda: path.symlink_to(pipe))()
    before = path.lstat()
    with pytest.raises(RunError, match="other than a file"):
        disk.write_json(path, {})
    assert os.path.samestat(path.lstat(), before)
    assert {entry.name for entry in tmp_path.iterdir()} == {"x.json", "pipe"}


@pytest.mark.parametrize("kind", ["other file", "folder", "pipe", "link to nothing", "ring"])
def test_what_a_user_names_for_a_result_is_new_or_such_a_result(tmp_path, kind):
    path = tmp_path / "x.json"
    disk.require_replaceable(path, lambda data: data == b"{}")
    path.write_text("{}")
    disk.require_replaceable(path, lambda data: data == b"{}")
    path.unlink()
    make = {
        "other file": lambda: path.write_text("mine"),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link to nothing": lambda: path.symlink_to("nothing"),
        "ring": lambda: path.symlink_to("x.json"),
    }
    make[kind]()
    with pytest.raises(RunError, match="would be replaced"):
        disk.require_replaceable(path, lambda data: data == b"{}")


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "x.json"
    victim.write_text("mine")
    path.symlink_to(victim)
    disk.write_json(path, {})
    assert victim.read_text() == "mine" and not path.is_symlink()
