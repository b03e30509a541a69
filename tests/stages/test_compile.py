"""What a search found is taken over only where it would find the same."""

import copy

import pytest

from lresnet_utils.run import RunFolder
from lresnet_utils.stages.compile import _Work
from lresnet_utils.targets import get_target
from lresnet_utils.untrusted.settings import BuildOptions

EXPORTED = {
    "network": {"architecture": "sface", "weights_sha256": "00" * 32, "trained": True},
    "input": {"channel_order": "rgb", "normalisation": "raw"},
    "simplified": {"operators": {"Conv": 2}},
}


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("network", "weights_sha256", "11" * 32),
        ("network", "trained", False),
        ("input", "normalisation", "minus1_1"),
        ("input", "channel_order", "bgr"),
        ("simplified", "operators", {"Conv": 2, "Mul": 1}),
    ],
)
def test_a_search_of_another_network_graph_or_input_is_none(tmp_path, group, name, value):
    def search(exported, name="a"):
        run = RunFolder(tmp_path / name)
        run.write_record("1_export", 4, exported)
        work = _Work(run, 4, 0, BuildOptions())
        target = get_target("onnxruntime-fp32")
        return work._remembered("graph", target, lambda: {"rewrites": []})["reused"]

    # Runs beside each other share what was measured.
    assert (search(EXPORTED), search(EXPORTED, "b")) == (False, True)
    changed = copy.deepcopy(EXPORTED)
    changed[group][name] = value
    assert (search(changed), search(changed)) == (False, True)
