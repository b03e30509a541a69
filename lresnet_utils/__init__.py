"""Reproducible evaluation reports for face-embedding networks.

The notebooks tell the story; this package holds the logic. It computes (``models``, ``graph``,
``data``, ``targets``, ``embed``, ``verify``, ``perf``), then draws and says (``report``), and runs
the notebooks (``runner``, ``cli``).
"""

__version__ = "0.1.0"
