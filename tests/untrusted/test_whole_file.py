"""Files that are none, too large, or have impossible names."""

import os

import pytest

from lresnet_utils.errors import DataError, ParamsError
from lresnet_utils.untrusted.whole_file import read_bytes


def test_a_file_of_exactly_the_limit_is_read_and_one_more_byte_is_not(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"1234")
    assert read_bytes(path, most=4) == b"1234"
    with pytest.raises(ParamsError, match="The list is too large: more than 3 bytes"):
        read_bytes(path, most=3, what="The list", error=ParamsError)


def test_pipes_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "ring").symlink_to(tmp_path / "ring")
    for path in (tmp_path / "pipe", tmp_path / "link", "/dev/zero", tmp_path, tmp_path / "ring"):
        with pytest.raises(DataError, match="cannot be read"):
            read_bytes(path, most=100)
    with pytest.raises(DataError, match="impossible name"):
        read_bytes("a\0b", most=100)
