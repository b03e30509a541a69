"""The target that docs/add_a_target.md writes out is a target."""

import re
from pathlib import Path

import numpy as np

from lresnet_utils.targets import get_target

PAGE = Path(__file__).parents[2] / "docs" / "add_a_target.md"


def test_it_builds_loads_and_gives_what_onnx_runtime_gives(model, tmp_path):
    code = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    written = names["ReferenceTarget"]()
    assert written.available().ok and written.name == "onnxreference-fp32"
    batch = np.random.default_rng(0).normal(size=(2, 3, 112, 112)).astype(np.float32)
    outputs = []
    for target in (written, get_target("onnxruntime-fp32")):
        with target.load(target.build(model(2), tmp_path / target.name)) as session:
            outputs.append(session.infer(batch))
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)
