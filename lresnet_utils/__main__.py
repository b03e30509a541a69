"""``python -m lresnet_utils`` is the command line ``lresnet``."""

from lresnet_utils.cli import main

main()
