"""Graphs that swell are read within what any small file may cost, or refused in three lines."""

import sys
from collections import Counter

from fuzzkit.swelling import swelling_graph

GRAPHS = 40
MOST_BYTES, MOST_SECONDS_EACH = 10**9, 10.0
READ = """
import sys
from pathlib import Path
from lresnet_utils.errors import LResNetError
from lresnet_utils.stages.export import look_at

for path in map(Path, sys.argv[1:]):
    try:
        look_at(path, output="auto")
        print("read")
    except LResNetError as error:
        lines = len(str(error).splitlines())
        print(f"refused {'GiB of memory' in error.what}" if lines <= 3 else f"{lines} lines")
"""


def test_values_that_swell_cost_no_more_than_a_small_file_may(metered, tmp_path):
    paths = [tmp_path / f"{number}.onnx" for number in range(GRAPHS)]
    for number, path in enumerate(paths):
        path.write_bytes(swelling_graph(b"%d" % number))
    status, told, errors, size, seconds = metered(sys.executable, "-c", READ, *paths)
    assert status == 0, errors
    found = Counter(told.splitlines())
    # Some are harmless, and some are ended at the limit on memory.
    assert found.total() == GRAPHS and min(found["read"], found["refused True"]) > 0, found
    assert set(found) <= {"read", "refused True", "refused False"}, found
    assert size < MOST_BYTES, size
    assert seconds < MOST_SECONDS_EACH * GRAPHS, seconds
