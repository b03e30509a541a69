"""Settings of the vendors' tools."""

import pytest

from lresnet_utils.errors import ParamsError
from lresnet_utils.untrusted.settings import ToolOptions


def test_defaults_are_the_guides():
    tools = ToolOptions()
    assert (tools.device, tools.soc_version, tools.atc_log) == (0, "Ascend310", "debug")
    assert ToolOptions.from_values(tools.model_dump()) == tools


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"soc_versoin": "x"}, ("'soc_versoin'", "did you mean 'soc_version'?")),
        ({"soc_version": "Ascend310; rm"}, ("tools.soc_version", "npu-smi")),
        ({"device": -1}, ("tools.device", "greater than or equal to 0")),
        ({"device": "0"}, ("tools.device", "integer")),
        ({"runner": "acl"}, ("tools.runner", "ais_bench")),
        ({"card_extrapolation": True, "soc_version": "Ascend310P3"}, ("does not carry four",)),
    ],
)
def test_wrong_settings_are_refused(values, words):
    with pytest.raises(ParamsError) as error:
        ToolOptions.from_values(values)
    assert len(str(error.value).splitlines()) <= 3
    for word in words:
        assert word in str(error.value)
