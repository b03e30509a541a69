"""Graphs that swell are read within what any small file may cost, or refused in three lines."""

import sys
from collections import Counter

from fuzzkit.swelling import swelling_graph

# Ten of the first 120 that ask for much. Six are read, as the libraries leave such values alone; in
# four they make lists of gigabytes, which were ended at 0.84 GB. More is left to a busy machine,
# which looks at the process later.
GRAPHS = (3, 5, 14, 16, 23, 33, 40, 47, 70, 112)
MOST_BYTES = 1_500_000_000
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
    paths = [tmp_path / f"{number}.onnx" for number in GRAPHS]
    for number, path in zip(GRAPHS, paths, strict=True):
        path.write_bytes(swelling_graph(b"%d" % number))
    status, told, errors, size, _ = metered(sys.executable, "-c", READ, *paths)
    assert status == 0, errors
    found = Counter(told.splitlines())
    assert found.total() == len(GRAPHS) and found["read"] and found["refused True"], found
    assert set(found) <= {"read", "refused True", "refused False"}, found
    assert size < MOST_BYTES, size
