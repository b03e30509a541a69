"""The first batches of a process may come from several lanes at once."""

import subprocess
import sys

import pytest

# Without the first array of `_core`, about three of eight such processes stop for ever.
FIRST_BATCHES = """
import os, sys, threading
import numpy as np, openvino
from openvino import opset13 as op
from lresnet_utils.targets.openvino import _core

image = op.parameter([1, 3, 112, 112], openvino.Type.f32)
compiled = _core().compile_model(openvino.Model([op.relu(image)], [image]), "CPU")
requests = [compiled.create_infer_request() for _ in range(2)]
batch = np.zeros((1, 3, 112, 112), np.float32)
started = []

def lane(request):
    while not started:
        pass
    request.infer({0: batch}, share_inputs=True)

lanes = [threading.Thread(target=lane, args=(one,)) for one in requests]
for one in lanes:
    one.start()
sys.setswitchinterval(1e-6)
started.append(True)
for one in lanes:
    one.join()
"""


@pytest.mark.parametrize("attempt", range(8))
def test_two_lanes_begin_at_the_same_time(attempt):
    done = subprocess.run([sys.executable, "-c", FIRST_BATCHES], timeout=600, capture_output=True)
    assert done.returncode == 0, done.stderr
