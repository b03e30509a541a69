"""Ten thousand damaged inputs for every reader of files that may come from strangers.

Each must be refused with an error of the project's own, or read as what its bytes say; in a second
of processor time, without 500 MB, and without running anything. `make fuzz` gives more of them.
"""

import pytest

INPUTS = 10_000
# Whole files of up to some megabytes are built here, and each is one that a bomb could be.
FEWER = {"multiplying": 30}
READERS = {
    "data_files": ("bin", "png", "jpeg-bmp", "npz", "store", "dump"),
    "text_files": ("yaml", "params", "recorded", "json", "threshold", "report"),
    "tool_logs": ("log-benchmark", "log-ais", "log-msame", "log-trtexec", "log-openvino"),
    "listings": ("lfw-lists", "csv-pairs"),
    "networks": ("checkpoint", "onnx", "onnx-structures"),
    "multiplying": ("many-weights", "many-pictures", "many-yaml", "many-json", "many-arrays"),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(child):
    """Fuzz each module's readers once, in one process for all of them."""
    return {module: child(module, "all", _count(module)) for module in READERS}


def _count(module):
    return INPUTS // FEWER.get(module, 1)


@pytest.mark.parametrize(
    ("module", "reader"), [(module, name) for module, names in READERS.items() for name in names]
)
def test_damage_is_refused_or_read_as_it_stands(outcomes, module, reader):
    outcome = outcomes[module].get(reader)
    assert outcome is not None, outcomes[module]
    assert outcome["findings"] == []
    inputs = _count(module)
    assert outcome["inputs"] == inputs == outcome["accepted"] + outcome["refused"]
    # Whole files are among the inputs, and most damage is noticed.
    assert outcome["accepted"] > inputs / 100 and outcome["refused"] > inputs / 10


def test_no_reader_of_the_kit_is_left_out(outcomes):
    assert {module: set(found) for module, found in outcomes.items()} == {
        module: set(names) for module, names in READERS.items()
    }
