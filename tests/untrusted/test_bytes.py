"""Files that are none, too large, or have impossible names."""

import os

import pytest

from lresnet_utils import cli
from lresnet_utils.errors import DataError, GraphError, ParamsError
from lresnet_utils.graph.reading import external_files, read_foreign
from lresnet_utils.untrusted.bytes import read_bytes


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


def test_a_pipe_in_the_place_of_a_graph_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(GraphError):
        read_foreign(tmp_path / "pipe.onnx")
    assert external_files(tmp_path / "pipe.onnx") == []


def test_a_path_that_is_too_long_is_an_error_of_three_lines(tmp_path, monkeypatch, capsys):
    path = tmp_path / ("x" * 300) / "w.pth"
    chosen = ["params/demo.yaml", "--set", f"model.weights={path}", "--output", str(tmp_path / "o")]
    monkeypatch.setattr("sys.argv", ["lresnet", "run", *chosen])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "A path is longer than the system takes." and len(lines) == 3
