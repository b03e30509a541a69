"""Tools that end well, badly, silently, by a signal or not at all."""

import json
import sys
from pathlib import Path

import pytest

from lresnet_utils.errors import TargetError
from lresnet_utils.targets import tools as module
from lresnet_utils.targets.tools import find_tool, run_tool


@pytest.fixture
def run(tools, tmp_path):
    """Run a shell script as the tool ``thing``."""

    def call(script, *, timeout_s=30, **how):
        path = tools.script("thing", script)
        where = {"log": tmp_path / "logs/thing.log", "cwd": tmp_path / "work"}
        return run_tool([path, "a b", "$HOME;*"], timeout_s=timeout_s, **where, **how)

    return call


def refusal(run, script, **how):
    with pytest.raises(TargetError) as error:
        run(script, **how)
    assert len(str(error.value).splitlines()) == 3
    assert error.value.where.endswith("thing.log")
    return error.value


def test_arguments_arrive_as_they_are_and_everything_printed_is_kept(run, tmp_path):
    log = run('pwd; echo "$2"; echo err >&2; echo done', success="^done$", env={"HOME": "x"})
    lines = log.read_text().splitlines()
    assert lines == [str(tmp_path / "work"), "$HOME;*", "err", "done"]
    kept = json.loads((tmp_path / "logs/thing.log.run.json").read_text())
    assert kept["argv"][1:] == ["a b", "$HOME;*"]
    assert (kept["exit_code"], kept["cwd"]) == (0, str(tmp_path / "work"))


def test_environment_adds_to_that_of_this_process(run, monkeypatch):
    monkeypatch.setenv("FROM_HERE", "1")
    log = run('echo "$FROM_HERE $MORE"', env={"MORE": "2"})
    assert log.read_text() == "1 2\n"


def test_a_tool_that_is_a_script_finds_the_modules_beside_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # what our own children get
    (tmp_path / "beside.py").write_text("print('found')")
    script = tmp_path / "tool.py"
    script.write_text(f"#!{sys.executable}\nimport beside\n")
    script.chmod(0o755)
    log = run_tool([script], log=tmp_path / "tool.log", timeout_s=100, cwd=tmp_path / "work")
    assert log.read_text() == "found\n"


@pytest.mark.parametrize(
    ("script", "what", "line"),
    [
        ("echo one; echo '[ERROR] two'; echo three; exit 3", "exit code 3", "[ERROR] two"),
        ("echo one; echo 'E40000: no te'; exit 1", "exit code 1", "E40000: no te"),
        ("echo it failed; echo bye; exit 1", "exit code 1", "it failed"),
        ("echo one; echo two; exit 1", "exit code 1", "two"),
        ("exit 1", "exit code 1", "it printed nothing"),
        ("echo done; exit 9", "exit code 9", "done"),
        ("echo one", "without its line of success", "one"),
        ("echo one; kill -SEGV $$", "SIGSEGV", "one"),
    ],
)
def test_failures_name_the_line_and_keep_the_log(run, script, what, line):
    error = refusal(run, script, success="^done$")
    assert what in error.what
    assert error.what.endswith(line)
    assert Path(error.where).is_file()


def test_the_failing_line_is_explained(run):
    error = refusal(run, "echo '[E] x'; exit 1", explain=lambda line: f"about {line}")
    assert error.fix == "about [E] x"


def test_a_tool_that_hangs_is_ended_with_its_children(run, tools, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GRACE_S", 0.2)
    script = f"trap '' TERM; sleep 600 & echo busy; echo $$ $! > {tmp_path}/pids; wait; sleep 600"
    tools.hangs_first(tmp_path / "pids")
    tools.patch.setenv("PATH", f"{tools.folder}:/usr/bin:/bin")
    error = refusal(run, script, timeout_s=1)
    assert "did not end within 1 s" in error.what
    assert error.what.endswith("busy")
    assert tools.ended(tmp_path / "pids")


def test_children_that_outlive_a_tool_are_ended(run, tools, tmp_path):
    tools.patch.setenv("PATH", f"{tools.folder}:/usr/bin:/bin")
    run(f"sleep 600 & echo $! > {tmp_path}/pids; echo done", success="done")
    assert tools.ended(tmp_path / "pids")


def test_a_program_that_cannot_be_started_is_refused(tmp_path):
    where = {"log": tmp_path / "log", "cwd": tmp_path, "timeout_s": 5}
    with pytest.raises(TargetError, match="cannot be started"):
        run_tool([tmp_path / "absent"], **where)
    with pytest.raises(ValueError, match="absolute"):
        run_tool(["sh"], **where)


def test_find_tool_prefers_the_variable_then_the_path_then_the_folders(tools, tmp_path):
    assert find_tool("thing") is None
    other = tmp_path / "other"
    other.mkdir()
    far = tools.script("thing", "").rename(other / "thing")
    assert find_tool("thing", folders=[other]) == far
    near = tools.script("thing", "")
    assert find_tool("thing", folders=[other]) == near
    tools.patch.setenv("LRESNET_THING", str(far))
    assert find_tool("thing", variable="LRESNET_THING") == far
    tools.patch.setenv("LRESNET_THING", str(tmp_path / "absent"))
    assert find_tool("thing", variable="LRESNET_THING") is None
    near.chmod(0o644)
    assert find_tool("thing") is None
