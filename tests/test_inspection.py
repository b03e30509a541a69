import pytest
import torch

from lresnet_utils.errors import CheckpointError
from lresnet_utils.inspection import inspect_file
from lresnet_utils.models.architectures import ARCHITECTURES


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
