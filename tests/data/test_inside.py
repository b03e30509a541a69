"""Files below a folder: pipes, devices and sparse files never block and are never read whole."""

import os

import pytest

from lresnet_utils.data import images
from lresnet_utils.data.inside import read_picture, read_text
from lresnet_utils.data.readers.csv import is_templates
from lresnet_utils.data.source import check_source, describe_source
from lresnet_utils.errors import DataError


@pytest.fixture
def odd(tmp_path):
    """A folder with a pipe, a link to a device and a sparse file of 3 GB."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(3 * 10**9)
    return tmp_path


def test_pictures_that_are_no_files_or_too_large_have_a_reason(odd):
    for name, reason in (
        ("pipe", "It cannot be read: it is a pipe, socket or device, not a file"),
        ("zero", "It cannot be read: it is a pipe, socket or device, not a file"),
        ("sparse", f"It is too large: more than {images.MAX_BYTES:,} bytes"),
        ("absent", "It cannot be read: No such file or directory"),
        ("x" * 300, "It cannot be read: File name too long"),
    ):
        assert read_picture(odd / name) == (None, reason)


def test_lists_that_are_no_files_or_too_large_are_refused(odd):
    for name in ("pipe", "zero", "sparse", "absent", "x" * 300):
        with pytest.raises(DataError, match=r"^The list (cannot be read|is too large): ") as caught:
            read_text(odd / name, "The list")
        assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize("ending", [".csv", ".bin"])
def test_a_set_with_an_impossible_path_is_an_error_of_three_lines(odd, ending):
    os.mkfifo(odd / f"pipe{ending}")
    for name in ("pipe", "x" * 300, "a\udcff", "a\0b"):
        for read in (describe_source, check_source):
            with pytest.raises(DataError) as caught:
                read(odd / f"{name}{ending}")
            assert len(str(caught.value).splitlines()) <= 3
            str(caught.value).encode("utf-8")


def test_line_ends_and_a_mark_at_the_start_are_read_as_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfleft,right,same\r\na,b,1\r\n")
    assert read_text(tmp_path / "a.csv", "The CSV") == "left,right,same\na,b,1\n"
    assert is_templates(tmp_path / "a.csv") is False
