"""Where sockets can lie."""

import socket
import tempfile
from pathlib import Path

import pytest

from lresnet_utils.errors import RunError
from lresnet_utils.machine import processes
from lresnet_utils.machine.processes import folder_for_sockets

LONGEST_TAIL = "pymp-12345678/listener-12345678"


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """Make the temporary folder one whose path is longer than any socket's can be."""
    folder = tmp_path / ("t" * 150)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))


def test_sockets_lie_in_the_temporary_folder(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="lr", dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        assert folder_for_sockets("lr-x") == Path(short) / "lr-x"


def test_a_deep_temporary_folder_is_passed_over(deep):
    assert folder_for_sockets("lr-x") == Path("/tmp/lr-x")


def test_the_longest_path_that_is_accepted_holds_a_socket(monkeypatch):
    """One character more goes elsewhere."""
    with tempfile.TemporaryDirectory(prefix="lr", dir="/tmp") as base:
        for length, below in ((71, True), (72, False)):
            parent = Path(base) / ("t" * (length - len(f"{base}//lr-x")))
            parent.mkdir()
            monkeypatch.setattr(tempfile, "tempdir", str(parent))
            folder = folder_for_sockets("lr-x")
            assert (folder.parent == parent) is below
            if below:
                path = folder / LONGEST_TAIL
                path.parent.mkdir(parents=True)
                with socket.socket(socket.AF_UNIX) as one:
                    one.bind(str(path))


def test_with_no_folder_for_sockets_nothing_starts(deep, monkeypatch):
    monkeypatch.setattr(processes, "_SHORT", "/nowhere")
    with pytest.raises(RunError, match="paths would be too long") as refused:
        folder_for_sockets("lr-x")
    assert "TMPDIR" in refused.value.fix
