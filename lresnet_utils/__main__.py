"""``python -m lresnet_utils`` is the command line ``lresnet``."""

import sys
from pathlib import Path

# `-m` puts the folder first where it was started, whose other modules are none of ours.
if not sys.flags.safe_path and Path(sys.path[0]) != Path(__file__).parents[1]:
    del sys.path[0]

from lresnet_utils.cli import main

main()
