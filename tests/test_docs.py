"""The pages' commands run, and print what the pages say they print.

In a page of ``docs/``:

- a ``console`` block holds commands, each behind ``$ ``, and under a command some of the lines it
  prints, ``...`` for what is left out. A command that is refused must show its message;
- a ``yaml`` block that begins with ``# params/NAME.yaml`` is written to that file;
- everything of a page happens in order, in one folder with the project's ``params`` and
  ``notebooks``. What a reader brings along is made by the page's entry in ``FILES``.

``lresnet run`` checks everything that can be checked before work starts, and stops there.
"""

import re
import shlex
import shutil
import textwrap
from pathlib import Path

import cv2
import onnx
import pytest
import torch

from lresnet_utils.cli import app
from lresnet_utils.data.pack import pack
from lresnet_utils.data.packaged import orl_files
from lresnet_utils.errors import LResNetError
from lresnet_utils.graph.to_onnx import export_onnx
from lresnet_utils.models.architectures import ARCHITECTURES
from lresnet_utils.models.network import load_network, seeded_state_dict

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(console|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def seeded(name, path, change=lambda state: state):
    """Write a checkpoint with the true names and shapes of a network."""
    with torch.device("meta"):
        network = ARCHITECTURES[name].build()
    path.parent.mkdir(exist_ok=True)
    torch.save(change(seeded_state_dict(network, seed=0)), path)


def mobilefacenet(folder):
    """A training's checkpoint, as data-parallel training saves it."""

    def trained(state):
        named = {f"module.{name}": tensor for name, tensor in state.items()}
        return {"model": named | {"module.head.kernel": torch.zeros(512, 4)}, "epoch": 3}

    seeded("mobilefacenet", folder / "model" / "mobilefacenet.pth", trained)


def other_makers_graph(folder):
    """A graph with another input's name and a batch size of one."""
    network = load_network("mobilefacenet", "seeded").module
    path = export_onnx(network, folder / "model" / "network.onnx", batch_size=1)
    model = onnx.load(path)
    for old, new in (("image", "data"), ("features", "embedding")):
        _rename(model.graph, old, new)
    onnx.save(model, path)


def _rename(graph, old, new):
    for value in (*graph.input, *graph.output):
        value.name = new if value.name == old else value.name
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]


def faces(folder):
    """Eight people of four unaligned pictures, and small sets of every other kind."""
    data = folder / "data"
    for number, (person, path) in enumerate(orl_files()[:80]):
        if number % 10 < 4:
            target = data / "people" / f"s{person:02d}" / f"{path.stem}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), cv2.imread(str(path)))
            official = data / "lfw" / "lfw" / f"S_{person}" / f"S_{person}_{path.stem:>04}.png"
            official.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(target, official)
    pack(data / "people", data / "lfw.bin", folds=4)
    shutil.copy(data / "lfw.bin", data / "agedb_30.bin")
    lines = ["2\t2"]
    for fold in (0, 4):
        lines += [f"S_{fold + person}\t1\t2" for person in (0, 1)]
        lines += [f"S_{fold + person}\t1\tS_{fold + 2}\t3" for person in (0, 1)]
    (data / "lfw" / "pairs.txt").write_text("\n".join(lines))
    sides = [f"people/s0{a}/1.png,people/s0{b}/2.png,{int(a == b)}" for a in (0, 1) for b in (0, 1)]
    (data / "pairs.csv").write_text("\n".join(["left,right,same", *sides]))
    rows = [f"{p}-{m},{m},people/s0{p}/{m + 1}.png" for p in (0, 1) for m in (0, 1)]
    (data / "templates.csv").write_text("\n".join(["template,medium,image", *rows]))
    pairs = ["0-0,0-1,1", "1-0,1-1,1", "0-0,1-0,0", "0-1,1-1,0"]
    (data / "template_pairs.csv").write_text("\n".join(["left,right,same", *pairs]))


def recording(folder):
    """What came back from another machine, and the guide's own logs."""
    (folder / "lresnet_utils").symlink_to(ROOT / "lresnet_utils")
    inner = folder / "data" / "recorded" / "bs16"
    inner.mkdir(parents=True)
    page = (DOCS / "run_elsewhere.md").read_text()
    label = re.search(r"^    device: .*?(?=\n\n)", page, re.MULTILINE | re.DOTALL)[0]
    (inner.parent / "recorded.yaml").write_text(textwrap.dedent(label))


FILES = {
    "add_a_network": mobilefacenet,
    "bring_a_checkpoint": mobilefacenet,
    "bring_an_onnx": other_makers_graph,
    "bring_faces": faces,
    "run_elsewhere": recording,
}
"""For each page, a function that makes the files which its reader brings along."""

PAGES = sorted(path.stem for path in DOCS.glob("*.md") if BLOCK.search(path.read_text()))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of what the commands need of the project; runs end before they start."""
    shutil.copytree(ROOT / "params", tmp_path / "params")
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lresnet_utils.running.progress.execute_with_progress", only_checked)
    return tmp_path


def only_checked(params, folder, *, check, **_):
    """Stand for a run: everything that is checked before work starts, and no work."""
    check()
    return 0


def execute(command, capsys):
    """Run one command in this process; return what it printed, and whether it was refused."""
    program, *arguments = shlex.split(command)
    if program == "cp":
        shutil.copy(*arguments)
    elif program == "mkdir":
        Path(arguments[-1]).mkdir(parents=True, exist_ok=True)
    else:
        assert program == "lresnet", f"pages may use lresnet, cp and mkdir, not {program}"
        try:
            app(arguments, standalone_mode=False)
        except LResNetError as error:
            return f"{capsys.readouterr().out}{error}", True
        except SystemExit as end:
            assert not end.code, command
    return capsys.readouterr().out, False


def follow(block, capsys):
    """Run a block's commands and compare what they print with what it shows."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
    assert not parts[0].strip(), "a console block begins with a command"
    for part in parts[1:]:
        command, _, shown = part.replace("\\\n", " ").partition("\n")
        printed, refused = execute(command, capsys)
        wanted = [re.escape(" ".join(line.split())) for line in shown.splitlines() if line.strip()]
        assert wanted or not refused, f"{command}\n{printed}"
        pattern = ".*".join("" if line == re.escape("...") else line for line in wanted)
        assert re.search(pattern, " ".join(printed.split())), f"{command}\n{printed}"


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run(page, folder, capsys):
    FILES.get(page, lambda folder: None)(folder)
    for kind, block in BLOCK.findall((DOCS / f"{page}.md").read_text()):
        if kind == "console":
            follow(block, capsys)
        elif path := re.match(r"# (params/[\w.]+\.yaml)\n", block):
            (folder / path[1]).write_text(block)


def test_every_page_with_files_exists():
    assert set(FILES) <= set(PAGES)


def test_a_page_that_says_something_else_is_found(folder, capsys):
    follow("$ mkdir -p model\n$ lresnet schema\n...\n", capsys)
    with pytest.raises(AssertionError):
        follow("$ lresnet schema\nno such line\n", capsys)
    with pytest.raises(AssertionError):
        follow("$ lresnet run params/absent.yaml\n", capsys)
    follow("$ lresnet run params/absent.yaml\nThe params file cannot be read\n", capsys)
    with pytest.raises(AssertionError, match="pages may use"):
        follow("$ rm -r model\n", capsys)
