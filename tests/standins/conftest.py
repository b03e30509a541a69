"""The stand-ins are programs that tests start, not tests."""

collect_ignore_glob = ["*.py"]
