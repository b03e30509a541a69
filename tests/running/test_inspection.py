import re
import unicodedata

import pytest
import torch
from builders import write_onnx
from onnx import helper

from lresnet_utils.cli import main
from lresnet_utils.errors import CheckpointError
from lresnet_utils.models.architectures import ARCHITECTURES
from lresnet_utils.running.preflight import inspect_file
from lresnet_utils.untrusted.yaml import load_yaml

# What a terminal obeys, what forges a line, and what YAML or a reader takes for something else.
NAMES = (
    "\x1b]0;title\x07\x1b[31m\nmodel:\n  weights: /evil.onnx",
    "a\u202eb\u2028c\x85d\x9b31m",
    "true", "1e3", "0x1f", "- a", "a: b", "a # b", "'", '"', "\\n", " a ", "人脸", "\U0001f600",
    "&a *b !c",
    "x" * 3000,
)  # fmt: skip


def test_a_checkpoint_of_no_known_network_says_so(tmp_path):
    path = tmp_path / "w.pth"
    heads = {f"head.{n}": torch.zeros(1) for n in range(9)}
    torch.save({"conv.weight": torch.zeros(2, 3, 3, 3)} | heads, path)
    lines = inspect_file(path)
    assert lines[0] == "w.pth: 1 tensors"
    assert lines[1].endswith("head.4, head.5, ...")
    assert "add_a_network.md" in lines[-1]
    with pytest.raises(CheckpointError):
        inspect_file(tmp_path / "absent.pth")


def test_a_known_network_is_recognised_by_its_names(tmp_path):
    torch.save(ARCHITECTURES["mobilefacenet"].build().state_dict(), tmp_path / "w.pth")
    assert inspect_file(tmp_path / "w.pth")[-2:] == [
        "  architecture: mobilefacenet",
        f"  weights: {tmp_path / 'w.pth'}",
    ]


def no_control(text):
    return not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in text.replace("\n", ""))


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_what_is_suggested_reads_back_as_what_the_file_says(tmp_path, monkeypatch, capsys, name):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x\x1b[2J\nmodel: y"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], [name]),
        helper.make_node("Relu", [name], ["other"]),
    ]
    path = tmp_path / "w\x1b[1m\nmodel: z.onnx"
    inputs = {"x\x1b[2J\nmodel: y": ["batch", 3, 112, 112]}
    write_onnx(path, nodes, inputs, {key: ["batch", 3] for key in (name, "other")})
    monkeypatch.setattr("sys.argv", ["lresnet", "inspect", str(path), "--output", name])
    with pytest.raises(SystemExit, match="0"):
        main()
    told = capsys.readouterr().out
    assert no_control(told)
    assert [line for line in told.splitlines() if line.startswith("model:")] == ["model:"]
    (tmp_path / "p.yaml").write_text(told[told.index("\nmodel:") :], encoding="utf-8")
    said = load_yaml(tmp_path / "p.yaml")["model"]
    assert (said["output"], said["weights"]) == (name, str(path))


@pytest.mark.parametrize(
    ("name", "assumed", "other"),
    [
        (
            "iresnet18",
            "RGB, minus1_1",
            "MagFace's .*order: bgr, normalisation: zero_1",
        ),
        (
            "ir50",
            "BGR, minus1_1",
            "face.evoLVe's .*order: rgb, normalisation: minus1_1",
        ),
        ("mobilefacenet", "BGR, minus1_1", None),
    ],
)
def test_the_input_that_is_assumed_is_said_with_the_makers_who_differ(
    tmp_path, name, assumed, other
):
    with torch.device("meta"):
        shapes = ARCHITECTURES[name].build().state_dict()
    state = {key: torch.zeros(value.shape, dtype=value.dtype) for key, value in shapes.items()}
    torch.save(state, tmp_path / "w.pth")
    text = "\n".join(inspect_file(tmp_path / "w.pth"))
    assert f"input         {assumed}" in text
    assert bool(re.search(other or "weights have the same names", text)) == bool(other)
